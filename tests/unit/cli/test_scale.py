"""`headrace scale`: the shapes that scripts rely on, and what a person reads."""

import io
import json

from headrace.cli.output import Output
from headrace.cli.scale import SENTENCES, show_decisions, show_pools
from headrace.scaling.client import Action, Cause, Decision, Entry, KnownPool, Reading, Signal, Threshold

CPU = Reading(Signal.CPU, 0.834567891, Threshold(0.7, 0.3), over=True, under=False, for_s=34.2)
QUEUE = Reading(Signal.QUEUE, 1.0, Threshold(50.0, 5.0), over=False, under=False, for_s=2.0)
MEMORY = Reading(Signal.MEMORY, 0.5, Threshold(0.8, 0.4), over=False, under=False, for_s=0.0)
RATE = Reading(Signal.REQUEST_RATE, 1234.5, None, over=False, under=False, for_s=0.0)
UP = Entry(
    7,
    1_790_000_000_000_000_000,
    Decision(Action.UP, Cause.OVERLOADED, 1, 2, 1, (CPU, MEMORY, QUEUE, RATE), ("inference-1",)),
)
POOL = KnownPool("inference", "", 1, 2, 1, 10, "auto", True, "it did not become ready", UP)


def printed(*, as_json: bool) -> tuple[Output, io.StringIO]:
    out = io.StringIO()
    return Output(as_json=as_json, out=out), out


def test_pools_for_a_program() -> None:
    """The keys of the design, and more; numbers are numbers."""
    output, out = printed(as_json=True)
    show_pools([POOL], output)
    (pool,) = json.loads(out.getvalue())["pools"]
    assert pool["model"] == "*"
    assert [pool[key] for key in ("current", "desired", "min", "max")] == [1, 2, 1, 10]
    last = pool["last_decision"]
    assert (last["action"], last["cause"], last["time"]) == ("up", "overloaded", "2026-09-21T14:13:20Z")
    assert last["signals"][0] == {
        "signal": "cpu",
        "value": 0.834568,
        "up": 0.7,
        "down": 0.3,
        "over": True,
        "under": False,
        "for_s": 34.2,
    }
    assert last["signals"][3]["up"] is None
    assert last["stale"] == ["inference-1"]


def test_a_pool_without_a_decision() -> None:
    """Null, and a dash."""
    fresh = KnownPool("inference", "", 1, 1, 1, 10, "auto", False, "", None)
    output, out = printed(as_json=True)
    show_pools([fresh], output)
    assert json.loads(out.getvalue())["pools"][0]["last_decision"] is None
    output, out = printed(as_json=False)
    show_pools([fresh], output)
    assert out.getvalue().splitlines()[1].split() == ["inference", "1", "1", "1", "10", "auto", "-"]


def test_pools_for_a_person() -> None:
    """The reason in words, what is missing, each signal beside its threshold, and why a start failed."""
    output, out = printed(as_json=False)
    show_pools([POOL], output)
    text = out.getvalue()
    assert "two signals or more were over their thresholds: inference-1" in text
    assert "the last start or stop failed: it did not become ready" in text
    for line in (
        "  cpu 0.835 > 0.7 for 34 s, held",
        "  memory 0.5 between 0.4 and 0.8",
        "  queue 1 < 5 for 2 s",
        "  rate 1,234",
    ):
        assert line in text.splitlines()


def test_the_history() -> None:
    """Each decision with its time and what it was made from; none yet is a sentence."""
    output, out = printed(as_json=False)
    show_decisions([UP], output)
    assert out.getvalue().startswith("2026-09-21T14:13:20Z  1 -> 2  two signals or more")
    output, out = printed(as_json=True)
    show_decisions([UP], output)
    assert [one["number"] for one in json.loads(out.getvalue())["decisions"]] == [7]
    output, out = printed(as_json=False)
    show_decisions([], output)
    assert "nothing was decided" in out.getvalue()


def test_every_cause_has_its_sentence() -> None:
    """None that is added is left without words."""
    assert set(SENTENCES) == {cause.name for cause in Cause}
