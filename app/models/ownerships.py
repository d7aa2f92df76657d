"""Who may trade which market, as the executor told it. Qt-free; GUI thread."""

from __future__ import annotations

from core.domain.positions import Ownership
from core.events import OwnershipChanged


class Ownerships:
    """The newest word on each market; markets nothing was said of are shared."""

    def __init__(self) -> None:
        self._changes: dict[str, OwnershipChanged] = {}

    def learn(self, change: OwnershipChanged) -> None:
        """Take over what the executor says."""
        self._changes[change.symbol] = change

    def forget(self) -> None:
        """Forget everything: another account."""
        self._changes.clear()

    def of(self, symbol: str) -> Ownership:
        """Return who may trade a market."""
        change = self._changes.get(symbol)
        return change.ownership if change else Ownership.SHARED

    def paused(self, symbol: str) -> tuple[str, ...]:
        """Return the strategies that start again when a market is handed back."""
        change = self._changes.get(symbol)
        return change.paused if change else ()
