"""Judges a run: what callers were told, against what the ledger has. Pure.

A violation is a sentence that names the call or the key. None means: each
acknowledged answer is the right one and billed once, at the cost that its
caller was told; nothing else is billed; nobody was refused whom the failure
policy does not let be refused.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from headrace.metering.core.rows import hashed
from tests.chaos.history import Acknowledged, FaultBegun, FaultEnded, Happening, Invoked, Refused

RELATIVE, ABSOLUTE = 1e-5, 1e-6
"""How far an answer may be from the right one: two programs worked it out."""

Ending = Acknowledged | Refused


class Booked(NamedTuple):
    """An event in the ledger. `paid` is what its tenant pays, `price` what it would, were it charged; nano-units.

    `answered` is whether it stands for an answer: not for work that failed or was cancelled.
    """

    tenant: str
    key: bytes
    answered: bool
    charged: bool
    paid: int
    price: int


class Window(NamedTuple):
    """A fault, from its begin to its end."""

    kind: str
    begun: float
    ended: float


@dataclass(frozen=True, slots=True)
class Share:
    """What became of the calls that a kind of fault met: how many, and how many were answered."""

    faults: int
    calls: int
    answered: int
    longest_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, and the figures of the run. `repeats` are executions that nobody paid."""

    violations: list[str]
    calls: int
    answered: int
    refused: Counter[str]
    untold: int
    repeats: int
    shares: Mapping[str, Share]


@dataclass(slots=True)
class _Run:
    """The history, sorted."""

    calls: dict[int, Invoked] = field(default_factory=dict)
    endings: dict[int, list[Ending]] = field(default_factory=lambda: defaultdict(list))
    begun: dict[int, FaultBegun] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)

    def take(self, happening: Happening) -> None:
        match happening:
            case Invoked(call=call):
                self.calls[call] = happening
            case Acknowledged(call=call) | Refused(call=call):
                self.endings[call].append(happening)
            case FaultBegun(fault=fault):
                self.begun[fault] = happening
            case FaultEnded(at=at, fault=fault):
                self.ended[fault] = at

    @property
    def answers(self) -> Iterator[tuple[Invoked, Acknowledged]]:
        for call, endings in self.endings.items():
            for ending in endings:
                if isinstance(ending, Acknowledged) and call in self.calls:
                    yield self.calls[call], ending

    @property
    def refusals(self) -> Iterator[tuple[Invoked, Refused]]:
        for call, endings in self.endings.items():
            for ending in endings:
                if isinstance(ending, Refused) and call in self.calls:
                    yield self.calls[call], ending

    @property
    def windows(self) -> list[Window]:
        return [
            Window(fault.kind, fault.at, self.ended.get(number, math.inf))
            for number, fault in self.begun.items()
        ]


def judged(
    history: Iterable[Happening],
    booked: Sequence[Booked],
    *,
    sound: bool,
    allowed: Mapping[str, frozenset[str]],
    afterwards_s: float,
) -> Verdict:
    """The verdict on a run that is over, whose outboxes are drained.

    `booked` are all events of the run's tenants, `sound` is the ledger's own
    audit. `allowed` names the codes that a kind of fault lets callers be
    refused with, until `afterwards_s` after its end.
    """
    run = _Run()
    for happening in history:
        run.take(happening)
    windows = run.windows
    violations = [
        *_ill_formed(run),
        *_wrong(run),
        *_ill_billed(run, booked),
        *_strangers(run, booked),
        *_unexplained_waste(booked),
        *_ill_refused(run, windows, allowed, afterwards_s),
    ]
    if not sound:
        violations.append("the ledger does not add up")
    answers = list(run.answers)
    return Verdict(
        violations,
        calls=len(run.calls),
        answered=len(answers),
        refused=Counter(ending.code for _, ending in run.refusals),
        untold=sum(ending.cost is None for _, ending in answers),
        repeats=sum(not event.charged for event in booked),
        shares=_shares(run, windows),
    )


def key_of(call: Invoked, request_id: str) -> bytes:
    """What the ledger has of a request: its caller's own key or else the edge's; empty where neither is known."""
    if call.key:
        return hashed(b"c" + call.key.encode())
    return hashed(b"e" + request_id.encode()) if request_id else b""


def _ill_formed(run: _Run) -> Iterator[str]:
    """A call has one ending, an ending a call, a fault an end."""
    for number in run.calls:
        if len(endings := run.endings.get(number, [])) != 1:
            yield f"call {number} has {len(endings)} endings"
    for number in run.endings.keys() - run.calls.keys():
        yield f"call {number} ended and was never sent"
    for number in run.begun.keys() - run.ended.keys():
        yield f"fault {number} ({run.begun[number].kind}) has no end"


def _wrong(run: _Run) -> Iterator[str]:
    """Each answer is its caller's, and right."""
    for call, ending in run.answers:
        if ending.echoed != str(call.call):
            yield f"call {call.call} got the answer of {ending.echoed!r}"
        if len(ending.answer) != len(call.right) or not all(map(_close, ending.answer, call.right)):
            yield f"call {call.call} of {call.model} was answered {ending.answer}, right is {call.right}"


def _close(found: float, right: float) -> bool:
    return math.isclose(found, right, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def _ill_billed(run: _Run, booked: Sequence[Booked]) -> Iterator[str]:
    """Each answer is charged once, at the cost that its caller was told.

    A request that was executed twice is charged for one of the two, and its
    caller was told of one of the two: the same only where it was executed once.
    Work that was cut off is charged only to who sent the request again by himself.
    """
    events: dict[tuple[str, bytes], list[Booked]] = defaultdict(list)
    for event in booked:
        events[event.tenant, event.key].append(event)
    cut = Counter((call.tenant, key_of(call, ending.request_id)) for call, ending in run.refusals)
    for call, ending in run.answers:
        key = key_of(call, ending.request_id)
        if not key:
            yield f"call {call.call} was answered without a request id"
            continue
        of_key = events.get((call.tenant, key), [])
        charged = sum(event.charged and event.answered for event in of_key)
        begun = sum(event.paid > 0 and not event.answered for event in of_key)
        if charged != 1:
            yield f"call {call.call} ({key.hex()}) was charged {charged} times"
        elif ending.cost is not None and ending.cost not in _prices(of_key):
            yield f"call {call.call} ({key.hex()}) was told {ending.cost}, the ledger has {_prices(of_key)}"
        if begun > cut[call.tenant, key]:
            yield f"call {call.call} ({key.hex()}) was charged {begun} times for work without an answer"


def _prices(of_key: Sequence[Booked]) -> set[int]:
    """What an answer may have told: what is paid, and where there were several executions, what any would cost."""
    answers = [event for event in of_key if event.answered]
    return {answers[0].paid} if len(answers) == 1 else {event.price for event in answers}


def _strangers(run: _Run, booked: Sequence[Booked]) -> Iterator[str]:
    """Every key in the ledger was sent by somebody.

    A call without an ending that tells the edge's key may have left one key that nobody knows.
    """
    known: set[tuple[str, bytes]] = set()
    unknown: Counter[str] = Counter()
    for number, call in run.calls.items():
        keys = {key_of(call, ending.request_id) for ending in run.endings.get(number, [])} - {b""}
        known.update((call.tenant, key) for key in keys)
        unknown[call.tenant] += not keys
    found = Counter(tenant for tenant, key in {(one.tenant, one.key) for one in booked} - known)
    for tenant, count in found.items():
        if count > unknown[tenant]:
            yield f"{tenant}: {count} keys in the ledger, and only {unknown[tenant]} calls that could be theirs"


def _unexplained_waste(booked: Sequence[Booked]) -> Iterator[str]:
    """What nobody paid for was paid under the same key."""
    paid = {(event.tenant, event.key) for event in booked if event.charged and event.answered}
    for event in booked:
        if not event.charged and (event.tenant, event.key) not in paid:
            yield f"{event.key.hex()} of {event.tenant} was executed, and nobody pays"


def _ill_refused(
    run: _Run, windows: Sequence[Window], allowed: Mapping[str, frozenset[str]], afterwards_s: float
) -> Iterator[str]:
    """Nobody is refused but while a fault allows it."""
    for call, ending in run.refusals:
        met = [one for one in windows if one.begun <= ending.at and call.at <= one.ended + afterwards_s]
        if not any(ending.code in allowed.get(one.kind, frozenset()) for one in met):
            during = ", ".join(one.kind for one in met) or "nothing"
            yield f"call {call.call} of {call.model} was refused ({ending.code}: {ending.why}) during {during}"


def _shares(run: _Run, windows: Sequence[Window]) -> dict[str, Share]:
    """By kind of fault; a call counts where it was under way at any moment of it."""
    spans = [
        (call.at, endings[0].at, isinstance(endings[0], Acknowledged))
        for number, call in run.calls.items()
        if (endings := run.endings.get(number))
    ]
    found: dict[str, Share] = {}
    for kind in sorted({one.kind for one in windows}):
        of_kind = [one for one in windows if one.kind == kind]
        met = [
            answered
            for at, end, answered in spans
            if any(one.begun <= end and at <= one.ended for one in of_kind)
        ]
        longest = max(one.ended - one.begun for one in of_kind)
        found[kind] = Share(len(of_kind), len(met), sum(met), longest)
    return found
