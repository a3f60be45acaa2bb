"""Answers what is in the ledger, beside its writer: SQLite's log lets both go on."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from headrace.metering.core.entries import RECEIVABLE, SUPPLIED, WASTE
from headrace.metering.usage import Cost, CostRow

_COSTS = """
SELECT iif(:by_tenant, tenant, '') AS t, iif(:by_model, model, '') AS m, account, sum(events), sum(cached),
    sum(compute), sum(network), sum(storage), sum(api)
FROM entries WHERE second >= :since AND second < :until AND account <> :supplied
    AND (:only IS NULL OR tenant = :only)
GROUP BY t, m, account ORDER BY t, m
"""
_BALANCE = """
SELECT count(*), coalesce(sum(events), 0), coalesce(sum(cached), 0), coalesce(sum(compute), 0),
    coalesce(sum(network), 0), coalesce(sum(storage), 0), coalesce(sum(api), 0) FROM entries
"""
_UNBALANCED = """
SELECT count(*) FROM (SELECT 1 FROM entries GROUP BY segment HAVING
    sum(events) OR sum(cached) OR sum(compute) OR sum(network) OR sum(storage) OR sum(api))
"""
# Each source's segments must lie end to end up to its watermark, gaps counted.
_UNEXPLAINED = """
SELECT count(*) FROM watermarks w WHERE w.sequence <>
    (SELECT coalesce(sum(events), 0) FROM segments s WHERE s.source = w.source AND s.incarnation = w.incarnation)
    + (SELECT coalesce(sum(events), 0) FROM gaps g WHERE g.source = w.source AND g.incarnation = w.incarnation)
"""


@dataclass(frozen=True, slots=True)
class Audit:
    """What must hold of a ledger; `sound` says whether it does.

    `sums` are those of every column of the entries, all of them zero.
    `unbalanced` segments have entries that don't sum to zero, `unexplained`
    sources have a watermark that their segments and gaps don't add up to.
    `events` were recorded, `booked` of them stand on the receivable and the
    waste account together.
    """

    sums: tuple[int, ...]
    unbalanced: int
    unexplained: int
    events: int
    booked: int

    @property
    def sound(self) -> bool:
        """Whether nothing is lost, doubled or out of balance."""
        return (
            not any(self.sums) and not self.unbalanced and not self.unexplained and self.events == self.booked
        )


class LedgerReader:
    """Reads a ledger that another connection may be writing. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        """Opens the file, which must be a ledger; raises `sqlite3.Error`."""
        self._db = sqlite3.connect(
            f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def costs(
        self,
        since_s: int,
        until_s: int,
        currency: str,
        *,
        by_tenant: bool,
        by_model: bool,
        only: str | None = None,
    ) -> list[CostRow]:
        """What was used in whole seconds from `since_s` until before `until_s`, by tenant and model; `only` of one tenant."""
        parameters = {
            "since": since_s,
            "until": until_s,
            "by_tenant": by_tenant,
            "by_model": by_model,
            "only": only,
            "supplied": SUPPLIED,
        }
        sums: dict[tuple[str, str], dict[int, tuple[int, ...]]] = {}
        for tenant, model, account, *amounts in self._db.execute(_COSTS, parameters):
            sums.setdefault((tenant, model), {})[account] = tuple(amounts)
        return [_row(tenant, model, of, currency) for (tenant, model), of in sums.items()]

    def first_second(self) -> int | None:
        """When the first event of all was; None without any."""
        found: int | None = self._db.execute("SELECT min(second) FROM entries").fetchone()[0]
        return found

    def audit(self) -> Audit:
        """Adds everything up. Reads the whole ledger."""
        self._db.execute("BEGIN")
        try:
            _, *sums = self._db.execute(_BALANCE).fetchone()
            return Audit(
                tuple(sums),
                self._one(_UNBALANCED),
                self._one(_UNEXPLAINED),
                self._one("SELECT coalesce(sum(events), 0) FROM segments"),
                -self._one(f"SELECT coalesce(sum(events), 0) FROM entries WHERE account = {SUPPLIED}"),  # noqa: S608
            )
        finally:
            self._db.execute("COMMIT")

    def _one(self, query: str) -> int:
        value: int = self._db.execute(query).fetchone()[0]
        return value


def _row(tenant: str, model: str, sums: dict[int, tuple[int, ...]], currency: str) -> CostRow:
    none = (0,) * 6
    requests, cached, compute, network, storage, api = sums.get(RECEIVABLE, none)
    wasted, _, *waste = sums.get(WASTE, none)
    # Of a cancelled request the tenant pays a part: its other parts are waste, its count is not.
    return CostRow(
        tenant, model, requests, cached, Cost(compute, network, storage, api, currency), wasted, sum(waste)
    )
