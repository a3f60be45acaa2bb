"""The failure policy of docs/architecture.md, as data: which fault allows which refusals."""

from collections.abc import Mapping

REFUSALS: Mapping[str, frozenset[str]] = {
    # Nobody is there to ask; a call that was under way has lost its connection.
    "kill gateway": frozenset({"UNAVAILABLE"}),
    "kill every replica": frozenset({"UNAVAILABLE"}),
    # Everything ends with it, or by it.
    "kill supervisor": frozenset({"UNAVAILABLE"}),
    "down": frozenset({"UNAVAILABLE"}),
}
"""What a caller may be told while the fault lasts. A fault that is not named allows nothing: every call is answered."""

AFTERWARDS_S = 2.0
"""How long after the end of such a fault: a client that found nobody waits before it connects again."""
