"""Row 21: ten minutes of hostile input over every parser of ours, in shares of equal time.

What is refused is refused with an error of the parser's own; anything else that is raised is a crash.
After each round the parser takes what is good. What tests/unit/inference/test_hostile.py does in moments
with inputs made after the contracts is done here with inputs that are good but for a few bytes.
"""

import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.fuzz.parsers import Parser, parsers

NAMES = sorted(parsers(Path()))
TOTAL_S = 600.0
ROUND = 300
SMALL_BYTES = 4096
"""What an input counts at least: a parser's own tables are no growth."""
TARGET_TIMES = 8

WORDS = (b"{", b"[", b"]", b"}", b'"', b"\\u0000", b"\0", b"\xff", b"\r\n", b":", b",", b"-1", b"1e999", b"NaN",
         b"18446744073709551616", b"null", b"true", b"../", b"%s", b"&a *a", b"!!python/object", b"\xf4\x8f\xbf\xbf")  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn, corpus: tuple[bytes, ...]) -> bytes:
    """Something good with a few bytes changed, cut out, put in or repeated; or bytes that are nothing."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=400))
    data = bytearray(draw(st.sampled_from(corpus)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        upto = min(len(data), at + draw(st.integers(0, 24)))
        match draw(st.integers(0, 4)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del data[at:upto]
            case 2:
                data[at:at] = draw(st.sampled_from(WORDS) | st.binary(max_size=8))
            case 3:
                data[at:at] = data[at:upto] * draw(st.sampled_from((1, 2, 50, 400)))
            case _:
                data[at:at] = draw(st.sampled_from(WORDS)) * draw(st.sampled_from((2, 50, 2000)))
    return bytes(data[:65_536])


def memory_of(parser: Parser, data: bytes) -> int:
    """What the parser took at its peak, in bytes; raises whatever is no error of its own."""
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    with suppress(*parser.errors):
        parser.read(data)
    return tracemalloc.get_traced_memory()[1] - before


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_input_crashes_a_parser(name: str, tmp_path: Path) -> None:
    """Its own error or a value, at most a hundred times the input's memory, and what is good is read afterwards."""
    parser = parsers(tmp_path)[name]
    tried, worst, ends = 0, 0.0, time.monotonic() + TOTAL_S / len(NAMES)

    def one(data: bytes) -> None:
        nonlocal tried, worst
        tried += 1
        most = parser.times * max(len(data), SMALL_BYTES)
        took = memory_of(parser, data)
        if took > most:  # a library's first use of something fills its own caches
            took = memory_of(parser, data)
        assert took <= most, f"{took} bytes for {len(data)}"
        if len(data) >= SMALL_BYTES:
            worst = max(worst, took / len(data))

    rules = settings(
        max_examples=ROUND,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    tracemalloc.start()
    try:
        with capture_logs():
            while time.monotonic() < ends:
                seed(tried)(rules(given(spoiled(parser.corpus))(one)))()
                for good in parser.corpus:
                    parser.read(good)
    finally:
        tracemalloc.stop()
    print(f"\n{name}: {tried} inputs, at most {worst:.1f} times an input's size (aim {TARGET_TIMES})")
