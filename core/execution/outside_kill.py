"""The kill switch from another process: works while the trading program hangs or is gone. Own event loop.

The fence goes up first, so nothing new is sent whatever happens next. It takes no lock, and of the data folder it only
reads the books. What it sends itself stands in its own journal file before it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from core.clock import NS_PER_S, Clock
from core.config import DataPaths
from core.domain.money import ZERO
from core.domain.orders import Intent, Order, OrderState, Side
from core.domain.positions import Position
from core.errors import UserError
from core.execution.api.gateway import (
    DefinitiveReject,
    ExchangeGateway,
    FatalGatewayError,
    GatewayError,
    OrderRequest,
    OrderUnknown,
    RetryableError,
)
from core.execution.fence import Fence
from core.execution.foreign_kill import KillJournal, announced_sales
from core.execution.journal import Journal
from core.execution.kill_switch import (
    KillReport,
    begin_report,
    cancel_everything,
    flatten_intents,
    note_sale,
    write_report,
)
from core.execution.order_manager import client_order_id
from core.execution.process_lock import ExecutorLock, exclusive

ACKNOWLEDGE_S = 10.0
POLL_S = 0.1
ARRIVAL_NS = 10 * NS_PER_S  # a request on its way that is older does not arrive any more, and queries have caught up


@dataclass(frozen=True, slots=True)
class OutsideKill:
    """One kill from outside.

    Attributes:
        fence: raised by the caller before anything else.
        lock: the executor's lock; only looked at.
        connect: opens the gateway for the time of the kill.
        acknowledge_s: how long to wait for the program to halt or end before positions may be closed.
    """

    paths: DataPaths
    fence: Fence
    lock: ExecutorLock
    connect: Callable[[], AbstractAsyncContextManager[ExchangeGateway]]
    wall: Clock
    acknowledge_s: float = ACKNOWLEDGE_S
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self, epoch: int, *, flatten: bool, reason: str) -> tuple[KillReport, Path]:
        """Cancel everything, confirm, optionally close positions, write a report.

        Args:
            epoch: the one the fence was raised to.

        Raises:
            UserError: the report cannot be written.
        """
        report = begin_report(reason, flatten, self.wall)
        diary = KillJournal(self.paths.root, epoch, self.wall.now_ns())
        diary.append("begin", {"epoch": epoch, "reason": reason, "flatten": flatten})
        try:
            async with self.connect() as gateway:
                await cancel_everything(gateway, (), report, lambda _: None, self.sleep)
                diary.append("cancelled", {"orders": report.cancelled, "confirmed": report.confirmed})
                if flatten:
                    with exclusive(self.paths.root / "kill.lock", 0.0):  # two kills must not sell the same
                        await self._flatten(gateway, epoch, diary, report)
        except (GatewayError, UserError) as exc:
            report.errors.append(exc.message)
        if flatten and report.flat is None:
            report.flat = False
        diary.append("end", {"summary": report.summary()})
        return report, write_report(report, self.paths.reports, self.wall)

    async def _flatten(self, gateway: ExchangeGateway, epoch: int, diary: KillJournal, report: KillReport) -> None:
        if not await self._is_quiet(epoch):
            report.errors.append("the trading program neither ended nor halted, so nothing was sold")
            return
        positions = await self._positions(gateway)
        marks: dict[str, Decimal] = {}
        for symbol in sorted({p.symbol for p in positions if p.quantity > 0}):
            ticker = await gateway.fetch_ticker(symbol)
            marks[symbol] = Decimal(repr(ticker.last))
        instruments, kill_id = dict(gateway.instruments), f"outside-{epoch}-{self.wall.now_ns()}"
        for position in sorted(positions, key=lambda p: (p.symbol, p.owner)):
            # Read anew: the fee of a sale may have taken the next one's coins.
            free = {balance.currency: balance.free for balance in await gateway.fetch_balances()}
            for intent in flatten_intents([position], free, instruments, marks, kill_id, self.wall.now_ns(), report):
                diary.append_intent(intent)
                order = await _sell(gateway, intent)
                diary.append("sold", {"client_order_id": order.client_order_id, "state": order.state.value})
                note_sale(report, order)
        report.flat = all(sale["state"] == OrderState.FILLED for sale in report.sold)

    async def _is_quiet(self, epoch: int) -> bool:
        """Whether the program is gone or has acknowledged the fence: only then no second seller is at work."""
        waited = 0.0
        while True:
            state = self.fence.read()
            if self.lock.is_free() or (state is not None and state.acknowledged >= epoch):
                return True
            if waited >= self.acknowledge_s:
                return False
            await self.sleep(POLL_S)
            waited += POLL_S

    async def _positions(self, gateway: ExchangeGateway) -> list[Position]:
        """Read the books, and add what the venue filled since the program last wrote them."""
        journal = Journal(self.paths.journal_db)
        try:
            positions = {(p.symbol, p.owner): p for p in journal.holdings()}
            for record in journal.unsettled_orders():
                try:
                    seen = await gateway.fetch_order(record.intent.symbol, record.key)
                    filled, over = seen.filled_quantity, seen.state.is_terminal
                except OrderUnknown:
                    filled, over = ZERO, not self._may_arrive(record.order.submitted_ns)
                if record.intent.side is Side.SELL and not over:
                    filled = record.intent.quantity  # on its way, or about to be
                place = (record.intent.symbol, record.intent.owner)
                held = positions.get(place) or Position(gateway.venue, *place)
                missing = max(ZERO, filled - record.booked_quantity) * record.intent.side.sign
                if missing > 0:  # the fee may have been taken out of it: rather a rest stays than too much is sold
                    rules = gateway.instruments[record.intent.symbol]
                    missing -= missing * max(rules.maker_fee, rules.taker_fee)
                positions[place] = replace(held, quantity=held.quantity + missing)
            for sale in announced_sales(self.paths.root):
                place = (sale.symbol, sale.owner)
                if place in positions and journal.order(client_order_id(sale.intent_id)) is None:
                    left = positions[place].quantity - await self._taken(gateway, sale)
                    positions[place] = replace(positions[place], quantity=left)
            return list(positions.values())
        finally:
            journal.close()

    async def _taken(self, gateway: ExchangeGateway, sale: Intent) -> Decimal:
        """How much an earlier kill sold, or may still sell."""
        try:
            seen = await gateway.fetch_order(sale.symbol, client_order_id(sale.intent_id))
        except OrderUnknown:
            return sale.quantity if self._may_arrive(sale.created_ns) else ZERO
        return seen.filled_quantity if seen.state.is_terminal else sale.quantity

    def _may_arrive(self, sent_ns: int) -> bool:
        return self.wall.now_ns() - sent_ns < ARRIVAL_NS


async def _sell(gateway: ExchangeGateway, intent: Intent) -> Order:
    key = client_order_id(intent.intent_id)
    request = OrderRequest(key, intent.symbol, intent.side, intent.order_type, intent.quantity)
    order = Order(key, intent)
    try:
        report = await gateway.submit_order(request)
    except (DefinitiveReject, FatalGatewayError, RetryableError) as exc:
        return replace(order, state=OrderState.REJECTED, message=exc.message)
    except GatewayError as exc:
        return replace(order, state=OrderState.UNKNOWN, message=exc.message)
    return replace(order, state=report.state, filled_quantity=report.filled_quantity)
