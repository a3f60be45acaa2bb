"""The near-cache: on while the service is heard, and never with an answer that was to be forgotten."""

from headrace.cache.core.shelf import Kept, Scope
from headrace.cache.near import NearCache
from tests.fakes.cache import SetClock

KEY = bytes(32)


def heard() -> tuple[NearCache, SetClock]:
    clock = SetClock()
    near = NearCache(10, 100_000, clock)
    near.found()
    return near, clock


def kept(tenant: str = "acme") -> Kept:
    return Kept(b"answer", tenant, "linear", 1010.0)


def test_it_answers_only_while_the_service_is_heard() -> None:
    """Not before the first word, not after the last one, and not with what it had before that."""
    near = NearCache(10, 100_000, SetClock())
    near.put(KEY, kept(), near.epoch)
    assert near.get(KEY) is None
    near.found()
    near.put(KEY, kept(), near.epoch)
    assert near.get(KEY) == b"answer"
    near.lost()
    assert near.get(KEY) is None
    near.found()
    assert near.get(KEY) is None


def test_what_the_service_names_is_forgotten() -> None:
    """And nothing else."""
    near, _ = heard()
    near.put(KEY, kept(), near.epoch)
    near.put(b"other", kept("globex"), near.epoch)
    near.forget([Scope(tenant="acme")])
    assert near.get(KEY) is None
    assert near.get(b"other") == b"answer"


def test_an_answer_begun_before_a_word_is_not_kept() -> None:
    """It may be just what was to be forgotten."""
    near, _ = heard()
    epoch = near.epoch
    near.forget([Scope(tenant="acme")])
    near.put(KEY, kept(), epoch)
    assert near.get(KEY) is None


def test_a_heartbeat_forgets_nothing() -> None:
    """An empty word changes no epoch."""
    near, _ = heard()
    epoch = near.epoch
    near.forget([])
    assert near.epoch == epoch


def test_an_answer_ends() -> None:
    """At its end on the monotonic clock; an empty answer is one until then."""
    near, clock = heard()
    near.put(KEY, Kept(b"", "acme", "linear", 1010.0), near.epoch)
    clock.now = 1009.9
    assert near.get(KEY) == b""
    clock.now = 1010.0
    assert near.get(KEY) is None
    assert near.hits == 1
