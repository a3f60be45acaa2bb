"""Whether an event is charged, by what is known of its billing key.

A key is taken by the first event that is charged for an answer. Of the same
key's later executions a few are free (a retry that the client did not ask for
must not cost it), then each is charged, so that a key buys no free compute.
"""

from typing import NamedTuple

from headrace.metering.usage import UsageKind

FREE_EXECUTIONS = 3

ANSWERED = (UsageKind.EXECUTED, UsageKind.CACHED, UsageKind.COALESCED)
"""Kinds that take a key."""
EXECUTED = (UsageKind.EXECUTED, UsageKind.CANCELLED)
"""Kinds that ran."""


class KeyState(NamedTuple):
    """A key that was taken: what it stands for, and how often it was executed again for free."""

    digest: bytes
    free: int


class Verdict(NamedTuple):
    """Whether the event is charged, and the key's state after it; None: still not taken."""

    charged: bool
    state: KeyState | None


def judged(kind: int, digest: bytes, state: KeyState | None) -> Verdict:
    """The verdict on an event whose key is in this state. `digest` is all zero for the edge's keys.

    For a failed event it is of no account: its tenant pays nothing, charged or not.
    """
    if state is None:
        return Verdict(charged=True, state=KeyState(digest, 0) if kind in ANSWERED else None)
    if state.digest != digest:
        return Verdict(charged=True, state=state)  # the key stands for another request
    if kind not in EXECUTED:
        return Verdict(charged=False, state=state)
    if any(digest) and state.free >= FREE_EXECUTIONS:
        return Verdict(charged=True, state=state)
    return Verdict(charged=False, state=KeyState(digest, state.free + 1))
