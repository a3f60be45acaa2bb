"""Insight's page in a real browser, beside a mesh that works."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from headrace.local.statedir import StateDir
from tests.fakes.insight import otlp_request, otlp_span
from tests.support.browser import browse
from tests.support.mesh import Mesh, headrace
from tests.support.requests import distinct_rows, linear
from tests.support.traces import stored
from tests.support.waiting import eventually

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).parent / "scripts" / "page.mjs"
STORED_S = 0.5
"""Insight gathers spans for a quarter of a second."""
HOSTILE = """</script><img src=x onerror="document.title='owned'"><script>document.title='owned'</script>"""


@contextmanager
def working(mesh: Mesh) -> Iterator[None]:
    """Requests all the time."""
    over = threading.Event()
    token = (("authorization", f"Bearer {mesh.demo_token}"),)

    def work() -> None:
        with mesh.inference() as stub:
            for row in distinct_rows(100_000):
                if over.wait(0.05):
                    return
                stub.ModelInfer(linear(row[None]), metadata=token, timeout=10)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def send_hostile_span(mesh: Mesh) -> None:
    """A trace whose name and model are markup, far in the future so that it stays first."""
    now = time.time_ns()
    attempts = count(0xBAD)
    with mesh.channel(f"unix:{StateDir(mesh.state_dir).insight_socket}") as channel:
        stub = TraceServiceStub(channel)

        def kept() -> bool:
            # Behind a flood of another test insight keeps no further trace for a while, and what it
            # did not keep it never keeps: each attempt is another trace, and has time to be stored.
            trace = next(attempts)
            span = otlp_span(trace, 1, start=now + 3600 * 10**9, end=now + 3601 * 10**9)
            span.name = HOSTILE
            span.attributes.add(key="headrace.model").value.string_value = HOSTILE
            stub.Export(otlp_request(span, service="gateway"), timeout=10)
            time.sleep(STORED_S)
            return stored(mesh, f"{trace:032x}") is not None

        eventually(kept, "insight keeps the trace", 30.0)


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the page are, for whoever wants to see them."""
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def seen(mesh: Mesh, shots: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the script saw."""
    send_hostile_span(mesh)
    link = json.loads(headrace("top", "--web", "--json", "--state-dir", mesh.state_dir))["url"]
    arguments = {
        "link": link,
        "page": link.split("#")[0],
        "model": "linear",
        "hostile": HOSTILE,
        "shots": str(shots),
    }
    with working(mesh):
        return browse(SCRIPT, arguments, tmp_path_factory.mktemp("profile"))


def test_the_browser_has_nothing_to_complain_of(seen: dict[str, Any]) -> None:
    """No violation of the policy, no error in the console, no request to another origin, focus always visible."""
    assert (seen["problems"], seen["violations"]) == ([], [])
    assert len(seen["origins"]) == 1


def test_a_stranger_sees_no_figures(seen: dict[str, Any]) -> None:
    """Before a link or token, and after signing out."""
    for shown in (seen["stranger"], seen["left"]):
        assert "Token" in shown
        assert "linear" not in shown


def test_a_link_leaves_no_secret_in_the_address(seen: dict[str, Any]) -> None:
    """Nor after a reload is one needed."""
    assert "#" not in seen["address"]
    assert seen["live"].startswith("live")


def test_figures_are_live(seen: dict[str, Any]) -> None:
    """The model that is asked has a rate."""
    assert float(seen["rate"]) > 0


def test_hostile_names_are_text(seen: dict[str, Any]) -> None:
    """No image, no script and no title come of it."""
    assert seen["hostile"] == {"title": "Headrace", "images": 0, "scripts": 1}


def test_the_keyboard_reaches_everything(seen: dict[str, Any]) -> None:
    """Filter, trace, span: the span in focus is told in full."""
    assert seen["span"]["spans"] >= 3
    assert seen["span"]["detail"] in seen["span"]["last"]
    assert "Takes" in seen["span"]["facts"]


def test_a_permalink_shows_the_same_span_again(seen: dict[str, Any]) -> None:
    """After a reload, from the address alone."""
    assert "/traces/" in seen["permalink"]
    assert "?span=" in seen["permalink"]
    assert seen["again"] == seen["span"]["detail"]


def test_small_screens_need_no_scrolling_sideways(seen: dict[str, Any]) -> None:
    """320 pixels: figures and waterfall."""
    assert seen["overflow"] == [0, 0, 0]
