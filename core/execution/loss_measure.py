"""What losses are measured from: the highest profit and the day's start, kept across restarts. Executor's event loop.

Both begin anew when a person re-arms trading: otherwise the loss that halted it would halt it again at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from decimal import Decimal

from core.domain.money import ZERO, parse_decimal
from core.execution.journal import Journal

META_KEY = "loss_baseline"
# A restart may forget so much of the highest profit, as a fraction of the drawdown allowed; the rest is on disk.
COARSENESS = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Baseline:
    """What losses are measured from; profits in quote currency.

    Attributes:
        peak: highest profit since trading was armed.
        day: the UTC day (since the epoch, market clock) `day_start` belongs to.
        day_start: profit at the start of that day, or when trading was re-armed on it.
        armed_ns: since when trading had been allowed when this was begun, ns UTC: another time means re-armed since;
            None where nobody has said so yet.
        reduced_day: the day whose loss reached the limit; None where none did, or trading was allowed again since.
    """

    peak: Decimal
    day: int
    day_start: Decimal
    armed_ns: int | None = None
    reduced_day: int | None = None

    def to_json(self) -> str:
        """Write it for the journal."""
        values = {"peak": f"{self.peak:f}", "day": self.day, "day_start": f"{self.day_start:f}"}
        return json.dumps({**values, "armed_ns": self.armed_ns, "reduced_day": self.reduced_day}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Baseline:
        """Read what `to_json` wrote."""
        stored = json.loads(text)
        peak, day_start = parse_decimal(stored["peak"]), parse_decimal(stored["day_start"])
        return cls(peak, stored["day"], day_start, stored["armed_ns"], stored["reduced_day"])


class LossMeasure:
    """Day's loss and drawdown of one account.

    Attributes:
        tolerance: how much of the highest profit a crash may forget, quote currency: not every tick is written down.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._present: Baseline | None = None
        self._stored: Baseline | None = None
        self.tolerance = ZERO

    @property
    def present(self) -> Baseline | None:
        """What losses are measured from now; None before the first observation."""
        if self._present is None and (text := self._journal.meta(META_KEY)) is not None:
            self._present = self._stored = Baseline.from_json(text)
        return self._present

    @property
    def known(self) -> Baseline:
        """What losses are measured from now, after the first observation."""
        assert self.present is not None, "a limit is reached, or trading re-armed, only after something was observed"
        return self.present

    def observe(self, pnl: Decimal, day: int, day_start: Decimal) -> None:
        """Take a profit in: begin where nothing is known, raise the highest one, begin a new day.

        Args:
            pnl: profit of all positions, every one of them at a price that was heard.
            day / day_start: the present day of the market clock and the profit at its start.
        """
        before = self.present or Baseline(pnl, day, day_start)
        after = replace(before, peak=max(before.peak, pnl))
        if day != before.day:
            after = replace(after, day=day, day_start=day_start)
        self._keep(after)

    def adopt(self, armed_ns: int) -> None:
        """Note since when trading is allowed; nothing is measured anew."""
        self._keep(replace(self.known, armed_ns=armed_ns))

    def restart(self, pnl: Decimal, armed_ns: int) -> None:
        """Measure from here on: a person has allowed trading again. Journalled, so that nobody wonders later."""
        told = {"peak_before": f"{self.known.peak:f}", "peak": f"{pnl:f}", "day_start": f"{pnl:f}"}
        self._journal.add_command("loss_baseline", told, armed_ns)
        self._keep(replace(self.known, peak=pnl, day_start=pnl, armed_ns=armed_ns, reduced_day=None))

    def mark_reduced(self, day: int | None) -> None:
        """Remember the day whose loss reached the limit, or that it is over."""
        self._keep(replace(self.known, reduced_day=day))

    def day_pnl(self, pnl: Decimal) -> Decimal:
        """Return the profit since the start of the day, or since trading was re-armed on it."""
        return ZERO if self.present is None else pnl - self.present.day_start

    def drawdown(self, pnl: Decimal) -> Decimal:
        """Return the fall from the highest profit, 0 at the top."""
        return ZERO if self.present is None else max(ZERO, self.present.peak - pnl)

    def _keep(self, after: Baseline) -> None:
        self._present, stored = after, self._stored
        close = stored is not None and 0 <= after.peak - stored.peak <= self.tolerance
        if stored is None or not close or stored != replace(after, peak=stored.peak):
            self._journal.set_meta(META_KEY, after.to_json())
            self._stored = after
