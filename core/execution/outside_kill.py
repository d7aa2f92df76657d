"""The kill switch from another process: works while the trading program hangs or is gone. Own event loop.

The fence goes up first, so nothing new is sent whatever happens next. It takes no lock, and of the data folder it only
reads the books. What it sends itself stands in its own journal file before it is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

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
    is_flat,
    note,
    note_sale,
    sellable,
    write_report,
)
from core.execution.order_manager import client_order_id
from core.execution.process_lock import ExecutorLock, exclusive
from core.execution.records import OrderRecord

_log = logging.getLogger(__name__)

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

    async def run(self, epoch: int | None, *, flatten: bool, reason: str) -> tuple[KillReport, Path]:
        """Cancel everything, confirm, optionally close positions, write a report.

        Args:
            epoch: the one the fence was raised to; None where it could not be raised: then a program may go on sending,
                and nothing is sold beside it.

        Raises:
            UserError: the report cannot be written.
        """
        report = begin_report(reason, flatten, self.wall)
        report.fenced = epoch is not None
        if epoch is None:
            note(report, "the fence could not be raised: a program that runs may send new orders, so end it")
        diary = KillJournal(self.paths.root, epoch or 0, self.wall.now_ns())
        _note_down(diary, "begin", {"epoch": epoch, "reason": reason, "flatten": flatten}, report)
        try:
            async with self.connect() as gateway:
                await cancel_everything(gateway, (), report, lambda _: None, self.sleep)
                _note_down(diary, "cancelled", {"orders": report.cancelled, "confirmed": report.confirmed}, report)
                if flatten and epoch is not None:
                    with exclusive(self.paths.root / "kill.lock", 0.0):  # two kills must not sell the same
                        await self._flatten(gateway, epoch, diary, report)
        except (GatewayError, UserError) as exc:
            note(report, exc.message)
        except Exception as exc:  # noqa: BLE001 - the report must come whatever happens
            _log.error("the kill failed", exc_info=exc)
            note(report, f"the kill failed: {type(exc).__name__} {exc}")
        if flatten and report.flat is None:
            report.flat = False
        _note_down(diary, "end", {"summary": report.summary()}, report)
        return report, write_report(report, self.paths.reports, self.wall)

    async def _flatten(self, gateway: ExchangeGateway, epoch: int, diary: KillJournal, report: KillReport) -> None:
        if not await self._is_quiet(epoch):
            report.errors.append("the trading program neither ended nor halted, so nothing was sold")
            return
        positions, is_sure = await self._positions(gateway, report)
        instruments, kill_id = dict(gateway.instruments), f"outside-{epoch}-{self.wall.now_ns()}"
        held = sellable(positions, instruments, report)
        left = {(p.symbol, p.owner): p for p in positions}
        marks = await _prices(gateway, {p.symbol for p in held}, report)
        for position in held:
            # Read anew: the fee of a sale may have taken the next one's coins.
            free = {balance.currency: balance.free for balance in await gateway.fetch_balances()}
            for intent in flatten_intents([position], free, instruments, marks, kill_id, self.wall.now_ns(), report):
                try:
                    diary.append_intent(intent)
                except OSError as exc:
                    note(report, f"a sale that cannot be written down first is not sent: {exc.strerror or exc}")
                    continue
                order = await _sell(gateway, intent)
                told = {"client_order_id": order.client_order_id, "state": order.state.value}
                _note_down(diary, "sold", told, report)
                note_sale(report, order)
                rest = position.quantity - order.filled_quantity
                left[(position.symbol, position.owner)] = replace(position, quantity=rest)
        report.flat = is_sure and is_flat(left.values(), instruments, marks)

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

    async def _positions(self, gateway: ExchangeGateway, report: KillReport) -> tuple[list[Position], bool]:
        """Read the books, and add what the venue filled since the program last wrote them.

        Returns:
            What there is to sell, and whether that is sure: a sale that may still come, or that the venue says nothing
            of, counts as done, so that nothing is sold twice; whether it is done nobody knows.
        """
        holdings, unsettled, sales = self._books()
        positions, is_sure = {(p.symbol, p.owner): p for p in holdings}, True
        for record in unsettled:
            intent = record.intent
            filled, over = await self._filled(gateway, intent.symbol, record.key, record.order.submitted_ns, report)
            if intent.side is Side.SELL and not over:
                filled = intent.quantity  # on its way, or about to be
            is_sure = is_sure and over
            place = (intent.symbol, intent.owner)
            held = positions.get(place) or Position(gateway.venue, *place)
            missing = max(ZERO, filled - record.booked_quantity) * intent.side.sign
            rules = gateway.instruments.get(intent.symbol)
            if missing > 0 and rules is not None:
                # The fee may have been taken out of it: rather a rest stays than too much is sold.
                missing -= missing * max(rules.maker_fee, rules.taker_fee)
            positions[place] = replace(held, quantity=held.quantity + missing)
        for sale in sales:
            place, key = (sale.symbol, sale.owner), client_order_id(sale.intent_id)
            if place in positions:
                filled, over = await self._filled(gateway, sale.symbol, key, sale.created_ns, report)
                left = positions[place].quantity - (filled if over else sale.quantity)
                positions[place] = replace(positions[place], quantity=left)
                is_sure = is_sure and over
        return list(positions.values()), is_sure

    def _books(self) -> tuple[list[Position], list[OrderRecord], list[Intent]]:
        """Return positions, unsettled orders and what earlier kills announced, all as of one moment.

        A fill that the program books between two looks would be missing in the one and counted in the other. The files
        come first: what is merged meanwhile is in the journal by the time they are renamed.
        """
        announced = announced_sales(self.paths.root)
        journal = Journal(self.paths.journal_db)
        try:
            with journal.snapshot():
                holdings, unsettled = journal.holdings(), journal.unsettled_orders()
                sales = [sale for sale in announced if journal.order(client_order_id(sale.intent_id)) is None]
        finally:
            journal.close()
        return holdings, unsettled, sales

    async def _filled(
        self, gateway: ExchangeGateway, symbol: str, key: str, sent_ns: int, report: KillReport
    ) -> tuple[Decimal, bool]:
        """Return how much the venue filled of an order, and whether that is its last word."""
        try:
            seen = await gateway.fetch_order(symbol, key)
        except OrderUnknown:
            return ZERO, not self._may_arrive(sent_ns)
        except GatewayError as exc:  # a market that is gone, for one: the others are sold all the same
            note(report, f"order {key} could not be asked about: {exc.message}")
            return ZERO, False
        return seen.filled_quantity, seen.state.is_terminal

    def _may_arrive(self, sent_ns: int) -> bool:
        return self.wall.now_ns() - sent_ns < ARRIVAL_NS


def _note_down(diary: KillJournal, kind: str, payload: dict[str, Any], report: KillReport) -> None:
    """Write down what was done, if that goes: only what is about to be sold must stand there first."""
    try:
        diary.append(kind, payload)
    except OSError as exc:
        note(report, f"what the kill did could not be written down: {exc.strerror or exc}")


async def _prices(gateway: ExchangeGateway, symbols: set[str], report: KillReport) -> dict[str, Decimal]:
    """Ask for prices; a market that tells none keeps no other from being sold, and is sold without."""
    prices: dict[str, Decimal] = {}
    for symbol in sorted(symbols):
        try:
            prices[symbol] = Decimal(repr((await gateway.fetch_ticker(symbol)).last))
        except GatewayError as exc:
            note(report, f"no price of {symbol}: {exc.message}")
    return prices


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
