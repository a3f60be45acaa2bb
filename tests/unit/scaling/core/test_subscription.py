"""The discovery protocol with one gateway: nonces, acknowledgements, refusals."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.scaling.core.subscription import NOTHING, Offer, Request, Subscription

A, B = frozenset({"a"}), frozenset({"a", "b"})


def asked(names: frozenset[str] = A, version: int = 1) -> tuple[Subscription, Offer]:
    """A subscription whose first request was answered."""
    made = Subscription()
    made.hear(Request(names))
    offer = made.next(version)
    assert offer
    return made, offer


def test_answered_at_once() -> None:
    """The first request gets the newest version of what it names."""
    _, offer = asked(B, 7)
    assert (offer.version, offer.names) == (7, B)


def test_nobody_is_answered_before_there_is_something_to_say() -> None:
    """Neither a gateway that asks before a list is known, nor one that has not asked."""
    made = Subscription()
    assert made.next(1) is None
    made.hear(Request(A))
    assert made.next(None) is None
    assert made.next(1)


def test_acknowledged() -> None:
    """A version is known when the request with its nonce has come, and is not sent again."""
    made, offer = asked()
    assert not made.knows(1)
    made.hear(Request(A, offer.nonce))
    assert made.knows(1)
    assert made.next(1) is None


def test_refused() -> None:
    """A refused version is not known and not sent again; the next one is."""
    made, offer = asked()
    made.hear(Request(A, offer.nonce, refused=True))
    assert (made.knows(1), made.refused, made.taken) == (False, 1, NOTHING)
    assert made.next(1) is None
    assert made.next(2)


def test_one_at_a_time_and_the_newest() -> None:
    """While a response is under way nothing is sent; then the newest, not each that was missed."""
    made, offer = asked()
    assert made.next(2) is None
    made.hear(Request(A, offer.nonce))
    later = made.next(5)
    assert later
    assert later.version == 5
    assert later.nonce != offer.nonce


def test_an_overtaken_request_says_nothing() -> None:
    """A nonce that is not the last one's acknowledges nothing, refuses nothing, changes no names."""
    made, first = asked()
    made.hear(Request(A, first.nonce))
    second = made.next(2)
    assert second
    for request in (Request(B, first.nonce), Request(B, first.nonce, refused=True), Request(B, "made up")):
        made.hear(request)
    assert (made.taken, made.refused, made.names) == (1, NOTHING, A)
    assert not made.knows(2)


def test_other_names_are_answered_although_the_version_is_known() -> None:
    """With the acknowledgement or after it: what is new to the gateway is sent."""
    made, offer = asked()
    made.hear(Request(B, offer.nonce))
    second = made.next(1)
    assert second
    assert second.names == B
    made.hear(Request(B, second.nonce))
    assert made.next(1) is None
    made.hear(Request(A, second.nonce))
    assert made.next(1)


def test_who_asks_for_nothing_is_waited_for_by_nobody() -> None:
    """A stream without names knows every version, and gets none."""
    made = Subscription()
    assert made.knows(9)
    made.hear(Request(frozenset()))
    assert made.next(1) is None
    assert made.knows(9)


class Gateway(RuleBasedStateMachine):
    """A gateway as the protocol wants it, over a stream that delivers in order but late."""

    def __init__(self) -> None:
        super().__init__()
        self.made = Subscription()
        self.version = 0
        self.sent: list[Offer] = []
        self.requests: list[tuple[Request, int | None]] = []
        self.last = ""
        self.wanted: frozenset[str] = frozenset()
        self.took: dict[str, int] = {}

    @rule()
    def publish(self) -> None:
        self.version += 1

    @rule(names=st.sampled_from([A, B, frozenset({"b"})]))
    def want(self, names: frozenset[str]) -> None:
        self.wanted = names
        self.requests.append((Request(names, self.last), None))

    @precondition(lambda self: self.sent)
    @rule(refuse=st.booleans())
    def answer(self, refuse: bool) -> None:
        offer = self.sent.pop(0)
        self.last = offer.nonce
        self.requests.append((Request(self.wanted, offer.nonce, refuse), offer.version))
        if not refuse:
            self.took |= dict.fromkeys(offer.names, offer.version)

    @precondition(lambda self: self.requests)
    @rule()
    def deliver(self) -> None:
        request, _ = self.requests.pop(0)
        self.made.hear(request)

    @rule()
    def send(self) -> None:
        if offer := self.made.next(self.version or None):
            self.sent.append(offer)

    @invariant()
    def one_under_way(self) -> None:
        """Never two responses without an answer."""
        assert len(self.sent) <= 1

    @invariant()
    def knows_only_what_was_taken(self) -> None:
        """Nothing counts as acknowledged that the gateway has not taken."""
        assert self.made.taken <= max(self.took.values(), default=NOTHING)

    def teardown(self) -> None:
        """Left alone, everybody soon agrees: the gateway has the newest of all it wants, and that is known."""
        self.publish()
        for _ in range(8):
            while self.requests:
                self.deliver()
            self.send()
            while self.sent:
                self.answer(refuse=False)
        assert self.made.next(self.version) is None
        assert self.made.knows(self.version)
        assert all(self.took[name] == self.version for name in self.wanted)


TestGateway = Gateway.TestCase
TestGateway.settings = settings(stateful_step_count=40)


@given(st.lists(st.builds(Request, st.just(A), st.text(max_size=3), st.booleans()), max_size=20))
def test_any_client(requests: list[Request]) -> None:
    """Whatever a client sends, it gets at most one response without an answer, and no version is known that was not sent."""
    made, under_way = Subscription(), 0
    for request in requests:
        made.hear(request)
        under_way += made.next(3) is not None
        assert made.taken in (NOTHING, 3)
        assert made.next(3) is None
