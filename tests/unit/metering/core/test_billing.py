"""Which events of one billing key are charged."""

from headrace.metering.core.billing import FREE_EXECUTIONS, KeyState, judged
from headrace.metering.usage import UsageKind

EXECUTED, CACHED, FAILED, CANCELLED = (
    UsageKind.EXECUTED,
    UsageKind.CACHED,
    UsageKind.FAILED,
    UsageKind.CANCELLED,
)
EDGE = bytes(16)
DIGEST, OTHER = b"a" * 16, b"b" * 16


def charges(*kinds: UsageKind, digest: bytes = EDGE) -> list[bool]:
    """Whether each of these events, one after another with one key, is charged."""
    state: KeyState | None = None
    found = []
    for kind in kinds:
        verdict = judged(kind, digest, state)
        state = verdict.state
        found.append(verdict.charged)
    return found


def test_a_retry_elsewhere_is_billed_once() -> None:
    """Of executions with the edge's key only the first is charged, however many there are."""
    assert charges(*[EXECUTED] * 10) == [True] + [False] * 9


def test_a_failure_does_not_take_the_key() -> None:
    """The retry that succeeds is charged; the failure costs its tenant nothing anyway."""
    assert charges(FAILED, EXECUTED, EXECUTED) == [True, True, False]


def test_a_cancelled_execution_does_not_take_the_key() -> None:
    """Cancelling first would otherwise buy the answer for the price of its compute."""
    assert charges(CANCELLED, EXECUTED, CANCELLED) == [True, True, False]


def test_a_client_key_buys_no_free_compute() -> None:
    """After three unpaid executions each further one is charged."""
    expected = [True] + [False] * FREE_EXECUTIONS + [True, True]
    assert charges(*[EXECUTED] * 6, digest=DIGEST) == expected


def test_answers_without_execution_stay_free() -> None:
    """A hundred cached or coalesced answers of one key are one charge."""
    assert charges(*[CACHED] * 100, digest=DIGEST) == [True] + [False] * 99


def test_a_key_stands_for_one_request() -> None:
    """With another digest it is another request, which pays and leaves the key as it is."""
    verdict = judged(EXECUTED, OTHER, KeyState(DIGEST, 0))
    assert verdict == (True, KeyState(DIGEST, 0))
