"""Taking a market over and handing it back. Runs on the executor's event loop.

The new ownership is journalled before anything is done about it: from then on risk refuses what it forbids (through
`owner_denies`), whatever happens to the steps that follow. `settle` finishes them after a crash or an unanswered
cancel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Protocol

from core.clock import Clock
from core.domain.orders import MANUAL_OWNER, Intent
from core.domain.positions import Ownership
from core.errors import UserError
from core.events import EventSink, Notice, OwnershipChanged, Severity, TransferBooked
from core.execution.journal import Journal
from core.execution.order_manager import OrderManager
from core.execution.ownership import is_strategy, manual_orders, strategy_orders, undecided, who_may_trade
from core.execution.position_desk import PositionDesk
from core.execution.records import OwnershipRecord

PERSON = "person"


class Strategies(Protocol):
    """What taking over asks of the strategies (`core.execution.strategy_runner.StrategyRunner`)."""

    def pause_market(self, symbol: str, reason: str) -> tuple[str, ...]:
        """Stop the strategies of a market at once, for good until started; return the ids of those that ran."""
        ...

    def refresh(self, symbol: str) -> None:
        """Announce the strategies of a market again, with what they hold now."""
        ...


class OwnershipDesk:
    """Who may trade which market of one account.

    Args:
        cancel: cancels one order of ours by its client order id.
        start: starts a strategy; may raise UserError.
    """

    def __init__(
        self,
        journal: Journal,
        manager: OrderManager,
        positions: PositionDesk,
        strategies: Strategies,
        sink: EventSink,
        wall: Clock,
        *,
        cancel: Callable[[str], Awaitable[object]],
        start: Callable[[str], Awaitable[None]],
    ) -> None:
        self._journal = journal
        self._manager = manager
        self._positions = positions
        self._strategies = strategies
        self._sink = sink
        self._wall = wall
        self._cancel = cancel
        self._start = start
        self._records: dict[str, OwnershipRecord] = {}
        self._unwritten: list[str] = []  # markets whose strategies were released, and the journal does not know yet
        self._returning: list[str] = []  # strategies that a hand-back has yet to start
        self._changing = asyncio.Lock()  # a hand-back must not overtake the take-over it ends

    # --- what holds now ---------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read the journal and tell what is not shared; strategies of markets taken over do not start by themselves."""
        self._records = self._journal.ownership()
        for record in list(self._records.values()):
            # One that still runs was left by a crash in the middle of taking over.
            manual = record.ownership is Ownership.MANUAL
            paused = self._strategies.pause_market(record.symbol, _PAUSED) if manual else ()
            if paused:
                self._set(record.symbol, record.ownership, record.changed_by, (*record.paused, *paused))
            else:
                self._announce(record)

    def ownership(self, symbol: str) -> Ownership:
        """Return who may trade a market."""
        record = self._records.get(symbol)
        return record.ownership if record else Ownership.SHARED

    def owner_denies(self, intent: Intent) -> str:
        """Return why the market's ownership forbids an intent, one sentence, or "" where it does not."""
        return who_may_trade(self.ownership(intent.symbol), intent)

    def check_start(self, symbol: str) -> None:
        """Refuse to start a strategy in a market that was taken over.

        Raises:
            UserError: it was.
        """
        if self.ownership(symbol) is Ownership.MANUAL:
            raise UserError(f"You have taken {symbol} over.", "Hand it back first.")

    # --- commands ---------------------------------------------------------------------------------------------

    async def take_over(self, symbol: str, *, move: bool = False, by: str = PERSON) -> None:
        """Put a market into the person's hands: its strategies pause, their working orders are cancelled.

        Args:
            move: whether the strategies' positions go to the person as well, at cost.
            by: who commanded it.

        Raises:
            UserError: it cannot be done now, or the journal cannot be written; nothing has changed.
        """
        async with self._changing:
            if self.ownership(symbol) is Ownership.MANUAL:
                raise UserError(f"You have taken {symbol} over.", "Hand it back first.")
            self._check_fates(symbol)
            self._set(symbol, Ownership.MANUAL, by)
            paused = self._strategies.pause_market(symbol, _PAUSED)
            if paused:
                self._set(symbol, Ownership.MANUAL, by, paused)
            await self._cancel_strategy_orders(symbol)
            if move:
                self._move_all(symbol)

    async def hand_back(
        self, symbol: str, to: Ownership = Ownership.SHARED, *, move_to: str = "", by: str = PERSON
    ) -> None:
        """Let strategies trade a market again, beside the person or alone; those that were taken over start again.

        Args:
            to: SHARED or BOT.
            move_to: strategy that gets the person's position, at cost; "" leaves it with the person.
            by: who commanded it.

        Raises:
            UserError: it cannot be done now, or the journal cannot be written; nothing has changed.
        """
        async with self._changing:
            if to is Ownership.MANUAL or to is self.ownership(symbol):
                raise UserError(f"Nothing changes in {symbol}.")
            self._check_fates(symbol)
            if to is Ownership.BOT and manual_orders(self._manager.working, symbol):
                raise UserError(f"You have orders working in {symbol}.", "Cancel them first.")
            if move_to:
                self._move(symbol, MANUAL_OWNER, move_to, "handed back to the strategy")
            record = self._records.get(symbol)
            self._set(symbol, to, by)
            self._returning = list(record.paused) if record else []
            while self._returning:  # read anew each time: who stops one while another one warms up means it
                await self._start_again(self._returning.pop(0))

    async def transfer(self, symbol: str, from_owner: str, to_owner: str, reason: str) -> None:
        """Move all that one owner holds in a market to another, at what it cost.

        Raises:
            UserError: it cannot be moved now, or the journal cannot be written; nothing has changed.
        """
        async with self._changing:
            self._move(symbol, from_owner, to_owner, reason)

    async def settle(self) -> None:
        """Cancel what strategies still have working in markets taken over; for every periodic round."""
        if self._changing.locked():
            return
        for symbol, record in list(self._records.items()):
            if record.ownership is Ownership.MANUAL:
                await self._cancel_strategy_orders(symbol)

    def release(self, strategy_ids: Iterable[str]) -> None:
        """Forget that strategies are to start again when their market is handed back: somebody has stopped them.

        Raises:
            UserError: the journal cannot be written. They are forgotten all the same, and written the next time.
        """
        gone = set(strategy_ids)
        self._returning = [strategy_id for strategy_id in self._returning if strategy_id not in gone]
        for symbol, record in self._records.items():
            if gone.intersection(record.paused):
                left = tuple(strategy_id for strategy_id in record.paused if strategy_id not in gone)
                self._records[symbol] = replace(record, paused=left)
                self._unwritten.append(symbol)
        while self._unwritten:
            record = self._records[self._unwritten[-1]]
            self._journal.set_ownership(record)
            self._unwritten.pop()
            self._announce(record)

    # --- inside -----------------------------------------------------------------------------------------------

    def _check_fates(self, symbol: str) -> None:
        settled = [o for o in self._manager.working if not self._manager.is_in_flight(o.client_order_id)]
        if undecided(settled, symbol):
            raise UserError(
                f"The fate of an order in {symbol} is still unknown.", "Wait until it is known, then try again."
            )

    def _set(self, symbol: str, ownership: Ownership, by: str, paused: tuple[str, ...] = ()) -> None:
        record = OwnershipRecord(symbol, ownership, by, paused, self._wall.now_ns())
        self._journal.set_ownership(record)
        self._records[symbol] = record
        self._announce(record)

    def _announce(self, record: OwnershipRecord) -> None:
        self._sink(OwnershipChanged(record.symbol, record.ownership, record.changed_by, record.paused))

    async def _cancel_strategy_orders(self, symbol: str) -> None:
        for order in strategy_orders(self._manager.working, symbol):
            await self._cancel(order.client_order_id)

    def _move(self, symbol: str, from_owner: str, to_owner: str, reason: str) -> None:
        self._sink(TransferBooked(self._positions.transfer(symbol, from_owner, to_owner, reason)))
        self._strategies.refresh(symbol)

    def _move_all(self, symbol: str) -> None:
        holding = [p.owner for p in self._manager.positions if p.symbol == symbol and p.lots and is_strategy(p.owner)]
        for owner in holding:
            try:
                self._move(symbol, owner, MANUAL_OWNER, _PAUSED)
            except UserError as exc:
                # The market is taken over all the same; the position can be closed where it is.
                self._sink(Notice(Severity.WARNING, "A position was not moved", str(exc)))

    async def _start_again(self, strategy_id: str) -> None:
        try:
            await self._start(strategy_id)
        except UserError as exc:
            self._sink(Notice(Severity.WARNING, "A strategy was not started again", str(exc)))


_PAUSED = "taken over by hand"
