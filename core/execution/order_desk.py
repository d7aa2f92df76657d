"""From a wish to an order that rests or is over: marks, risk, submit, settle; and cancels. Executor's event loop.

The one place where an intent meets the risk gate. Strategies, manual orders and the kill switch all come through
`OrderDesk.submit`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from core.clock import Clock
from core.domain.orders import (
    MANUAL_OWNER,
    Intent,
    IntentSource,
    Order,
    OrderChange,
    OrderDraft,
    OrderState,
    TimeInForce,
    TradingState,
)
from core.domain.positions import Position
from core.errors import RiskRefused, UserError
from core.events import EventSink, Notice, Severity
from core.execution.account import AccountBook
from core.execution.api.gateway import DefinitiveReject, ExchangeGateway, GatewayError, OrderUnknown
from core.execution.backoff import Backoff
from core.execution.book_keeper import BookKeeper
from core.execution.book_reader import BookReader
from core.execution.journal import DuplicateIntent, Journal
from core.execution.mark_watcher import MarkWatcher
from core.execution.marks import Marks
from core.execution.order_flow import HISTORY, OrderFlow
from core.execution.order_manager import OrderManager
from core.execution.order_state import IllegalTransition
from core.execution.risk_context import RiskContexts
from core.execution.synchroniser import Synchroniser
from core.execution.trading_control import TradingControl
from core.execution.unwanted import UnwantedOrders
from core.signals.risk.context import BookView
from core.signals.risk_management import Denied, ReasonCode, RiskManager

_UNSEEN = (OrderState.SUBMITTED, OrderState.UNKNOWN)
_SHOWN = (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)

SETTLE_PAUSE_MAX_S = 1.0
KEYED = f"{MANUAL_OWNER}:key:"  # intents of a caller that may repeat himself

_log = logging.getLogger(__name__)


class NotWanted(Exception):
    """Whoever wanted an order changed his mind before it was sent."""


@dataclass(frozen=True, slots=True)
class DeskOptions:
    """Patience; seconds."""

    settle_s: float
    settle_poll_s: float
    backoff_s: float
    cancel_attempts: int


@dataclass(slots=True, eq=False)
class _Waiting:
    """An intent that waits for a price or a book; `is_recalled` where all orders were cancelled meanwhile."""

    intent: Intent
    is_recalled: bool = False


class OrderDesk:
    """The order path of one account.

    Args:
        spawn: runs what follows the books of traded markets.
        backoff: makes the pauses before such a stream is opened again.
        owner_denies: why an intent's owner must not trade its market now, one sentence; empty where it may.
        own_equity: worth of the account that an agent's intent trades, quote currency; None of other intents.

    Attributes:
        flow: what went out lately.
    """

    def __init__(
        self,
        gateway: ExchangeGateway,
        journal: Journal,
        manager: OrderManager,
        risk: RiskManager,
        control: TradingControl,
        account: AccountBook,
        marks: Marks,
        watcher: MarkWatcher,
        sync: Synchroniser,
        keeper: BookKeeper,
        sink: EventSink,
        wall: Clock,
        *,
        options: DeskOptions,
        new_id: Callable[[], str],
        owner_denies: Callable[[Intent], str],
        own_equity: Callable[[Intent], Decimal | None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        backoff: Callable[[], Backoff],
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._manager = manager
        self._risk = risk
        self._control = control
        self._account = account
        self._marks = marks
        self._mark_watcher = watcher
        self._sync = sync
        self._keeper = keeper
        self._sink = sink
        self._wall = wall
        self._options = options
        self._new_id = new_id
        account.is_traded = lambda symbol: symbol in gateway.instruments
        self.flow = OrderFlow(wall, account.market, lambda: account.newest_orders(HISTORY))
        self._books = BookReader(gateway, risk, marks, self.flow, spawn, backoff)
        self._contexts = RiskContexts(
            gateway,
            manager,
            risk,
            control,
            account,
            marks,
            self.flow,
            wall,
            in_doubt=lambda: keeper.in_doubt,
            clock_skew_ns=lambda: gateway.clock_skew_ns,
            owner_denies=owner_denies,
            own_equity=own_equity,
        )
        self._sends: set[asyncio.Task[Order]] = set()
        self._closed = False
        self._changing: set[str] = set()
        self._waiting: list[_Waiting] = []  # for a price or a book
        self._unwanted = UnwantedOrders(journal, manager)
        self._refusals: dict[str, str] = {}  # what the venue said to a cancel, per order

    def load(self) -> None:
        """Read which orders are still to be cancelled; the books must be loaded."""
        self._unwanted.load()

    def position(self, symbol: str, owner: str) -> Position:
        """Return one owner's position."""
        return self._manager.position(symbol, owner)

    async def place_order(self, draft: OrderDraft, key: str | None = None) -> Order:
        """Send a manual order through risk to the venue.

        Args:
            draft: the order.
            key: names the wish where the caller may have to repeat it; the same key is at most one order for ever.

        Returns:
            The order as it stands: resting, over, UNKNOWN or DENIED.

        Raises:
            UserError: the draft is no order, or the journal cannot be written; nothing was sent then.
        """
        if draft.owner != MANUAL_OWNER and not draft.reduce_only:
            raise UserError(
                f"A manual order can only reduce the position of {draft.owner}.", "Make it a reduce-only order."
            )
        reason = "manual order" if draft.owner == MANUAL_OWNER else f"manual order for {draft.owner}"
        try:
            intent = Intent(
                intent_id=f"{MANUAL_OWNER}:{self._new_id()}" if key is None else f"{KEYED}{key}",
                source=IntentSource.MANUAL,
                owner=draft.owner,
                symbol=draft.symbol,
                side=draft.side,
                quantity=draft.quantity,
                order_type=draft.order_type,
                limit_price=draft.limit_price,
                stop_price=draft.stop_price,
                time_in_force=draft.time_in_force,
                reduce_only=draft.reduce_only,
                reason=reason,
                created_ns=self._wall.now_ns(),
            )
        except ValueError as exc:
            raise UserError(f"This is no order: {exc}.", "Fill in quantity and prices.") from exc
        return await self.submit(intent)

    async def submit(self, intent: Intent, *, is_wanted: Callable[[], bool] = lambda: True) -> Order:
        """Send any intent through risk; the one way to the venue.

        Args:
            is_wanted: asked once more when price and book are known: they may be long in coming.

        Raises:
            NotWanted: it is wanted no more; nothing was sent.
            UserError: trading has ended, all orders were cancelled meanwhile, or the journal cannot be written; nothing
                was sent.
        """
        halts, waiting = self._control.halts, _Waiting(intent)
        self._waiting.append(waiting)
        try:
            await self._mark_watcher.freshen(intent.symbol)
            book = await self._books.look(intent)
        finally:
            self._waiting.remove(waiting)
        if self._closed:  # the lock is given back: another executor may have it by now
            raise UserError("Trading has ended; nothing was sent.", "Start trading again.")
        if not is_wanted():
            raise NotWanted
        if waiting.is_recalled:
            raise UserError(
                "All orders were cancelled before this one was sent.", "Place it again if you still want it."
            )
        verdict = self._stopped_since(halts, intent) or self._risk.check(intent, self._contexts.of(intent, book))
        try:
            if isinstance(verdict, Denied):
                self._follow_book(intent, book)
                self.flow.denied(verdict, self._risk.settings.max_orders_per_minute)
                return self._manager.deny(verdict)
            self._keeper.symbols.add(intent.symbol)
            # No await since the check: two intents cannot both be approved against the same state.
            key = self._manager.register(verdict)
            self.flow.sent(intent)
        except DuplicateIntent:
            _log.warning("intent %s was decided before; nothing was sent", intent.intent_id)
            known = self._manager.record_of(intent.intent_id)
            if known is None:
                raise
            if intent.intent_id.startswith(KEYED) and not _is_same_wish(known.intent, intent):
                before = f"This id was used before, for another order: {_wish(known.intent)}."
                raise UserError(before, "Use a new id; nothing was sent.") from None
            return known.order
        order = await self._send(key)
        self._mark_watcher.watch(intent.symbol)
        self._follow_book(intent, book)
        return await self._settle(order)

    def _stopped_since(self, halts: int, intent: Intent) -> Denied | None:
        """Refuse what was wished for before a halt: re-arming lets new orders pass, not those that waited.

        What may pass in a halt is the gate's business: the sales of STOP, and what protects in one that a limit began.
        """
        protects = intent.reduce_only and self._control.keeps_protection
        if self._control.halts == halts or intent.source is IntentSource.KILL_SWITCH or protects:
            return None
        return Denied(intent, ReasonCode.TRADING_HALTED, "trading was stopped before the order was sent")

    def _follow_book(self, intent: Intent, book: BookView | None) -> None:
        """Follow the book of a market where it was looked at, so that the next order need not ask for it."""
        if book is not None:
            self._books.follow(intent.symbol)

    async def _send(self, key: str) -> Order:
        """Send in a task of its own: whoever stops waiting for the answer must not keep it from the books."""
        task = asyncio.get_running_loop().create_task(self._manager.transmit(key))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Give up waiting for answers; orders without one are UNKNOWN then. Nothing is sent any more."""
        self._closed = True
        for task in list(self._sends):
            task.cancel()
        await asyncio.gather(*self._sends, return_exceptions=True)

    async def cancel_order(self, client_id: str, *, anew: bool = True) -> Order:
        """Cancel one order; always allowed.

        Args:
            anew: whoever asks is told also what the venue answered to somebody else before.

        Raises:
            UserError: no such order.
        """
        if self._manager.record(client_id) is None:
            raise UserError(f"There is no order {client_id}.", "Look at the list of orders.")
        if anew:
            self._refusals.pop(client_id, None)
        return await self._cancel(client_id)

    async def _cancel(self, client_id: str, *, changes: bool = False) -> Order:
        if not changes:
            self._changing.discard(client_id)  # what is cancelled is not followed by a changed order
        before = self._now(client_id)
        if before.state in _SHOWN:
            self._unwanted.expect(client_id)
        else:
            self._unwanted.add([client_id])
        for attempt in range(self._options.cancel_attempts):
            self.flow.cancel_sent()
            try:
                return await self._manager.cancel(client_id)
            except DefinitiveReject as exc:
                if before.state not in _UNSEEN:  # of one that nobody has seen a refusal says nothing
                    self._unwanted.discard(client_id)
                if self._refusals.get(client_id) != exc.message:  # while trading is halted it is asked every round
                    self._sink(Notice(Severity.WARNING, "The venue refuses to cancel", exc.message))
                self._refusals[client_id] = exc.message
                return self._manager.cancel_failed(client_id, exc.message)
            except OrderUnknown:
                break  # neither open nor known: the next rounds find out
            except IllegalTransition as exc:
                self._sync.tell_contradiction(client_id, exc)
                break
            except GatewayError as exc:
                _log.warning("cancel of %s failed: %s", client_id, exc.message)
                await asyncio.sleep(self._options.backoff_s * (attempt + 1))
        self._sink(Notice(Severity.WARNING, "A cancel is not confirmed yet", f"Order {client_id} is asked for again."))
        return self._now(client_id)

    def _now(self, client_id: str) -> Order:
        record = self._manager.record(client_id)
        assert record is not None  # orders never vanish
        return record.order

    async def replace_order(self, client_id: str, change: OrderChange) -> Order:
        """Put a changed order in the place of a resting one: cancel, confirm, then send what is still wanted.

        The former order must be proven over before the new one is sent, so that never both work; what it filled until
        then is taken off. A crash in between leaves the former one cancelled and nothing sent: an intent that is not
        in the journal does not exist.

        Returns:
            The new order; the former one where it was filled meanwhile or its cancel is not confirmed.

        Raises:
            UserError: there is no such working order, it belongs to a plan, it is being changed already, or the change
                would be refused; the former order stays as it was. Or it is cancelled and what it filled could not be
                read; nothing follows it then.
        """
        if client_id in self._changing:
            raise UserError("The order is being changed at this moment.", "Wait until that is done.")
        former = self._replaceable(client_id)
        self._changing.add(client_id)  # a second change would send a second order for the same one
        try:
            return await self._replace(former, change)
        finally:
            self._changing.discard(client_id)

    async def _replace(self, former: Order, change: OrderChange) -> Order:
        client_id, halts = former.client_order_id, self._control.halts

        def is_wanted() -> bool:
            return client_id in self._changing and self._control.halts == halts

        wish = change.apply(former, self._new_id(), self._wall.now_ns())
        if wish is None:
            raise UserError("Nothing is changed, or less is asked for than is filled already.", "Change the order.")
        await self._mark_watcher.freshen(wish.symbol)
        former = self._replaceable(client_id)  # a cancel may have come between
        if not is_wanted():
            raise UserError("The order was to be cancelled meanwhile.", "It is not changed.")
        verdict = self._risk.check(wish, self._contexts.without(wish, former))
        if isinstance(verdict, Denied):
            sentence = f"The changed order would be refused: {verdict.message}."
            raise RiskRefused(sentence, "The order stays as it was.", verdict.code.value)
        payload = {"client_order_id": client_id, "intent_id": wish.intent_id}
        self._journal.add_command("replace_order", payload, self._wall.now_ns())
        over = await self._cancel(client_id, changes=True)
        if not over.state.is_terminal:
            return over  # told as a cancel that is not confirmed yet; nothing follows it
        try:
            over = await self._sync.ask_about(client_id)  # a fill may have come between
        except GatewayError as exc:
            message = f"The order is cancelled, but what it filled could not be read: {exc.message}"
            raise UserError(message, "Look at the order, then place a new one.") from exc
        remains = change.apply(over, wish.intent_id, self._wall.now_ns())
        if remains is None or over.state is OrderState.FILLED:
            return over
        await self._keeper.refresh_balances()
        try:
            if is_wanted():
                return await self.submit(remains, is_wanted=is_wanted)
        except NotWanted:
            pass
        return over  # somebody wanted it cancelled meanwhile, or trading stopped: nothing takes its place

    def check_parent(self, intent: Intent) -> Denied | None:
        """Ask risk about an order that goes out in parts, before the first; `intent` is the whole and never sent."""
        return self._risk.check_parent(intent, self._contexts.of(intent))

    def _replaceable(self, client_id: str) -> Order:
        record = self._manager.record(client_id)
        if record is None:
            raise UserError(f"There is no order {client_id}.", "Look at the list of orders.")
        order = record.order
        if order.intent.parent_id:
            raise UserError("The order belongs to an order plan.", "Cancel the plan and make a new one.")
        if order.state not in _SHOWN or order.intent.source is IntentSource.EXTERNAL:
            raise UserError("Only a working order of your own can be changed.", "Look at the list of orders.")
        return order

    async def cancel_all(self, symbol: str | None = None) -> None:
        """Cancel all orders of the account, or those of one market; also orders that are not ours.

        Raises:
            UserError: the venue did not answer; the orders may still be open.
        """
        self._changing.clear()  # nothing follows what is cancelled
        for waiting in self._waiting:  # strategies and plans decide anew, and are stopped by themselves
            by_hand = waiting.intent.source is IntentSource.MANUAL and not waiting.intent.parent_id
            waiting.is_recalled |= by_hand and symbol in (None, waiting.intent.symbol)
        working = [o for o in self._manager.working if symbol in (None, o.intent.symbol)]
        self.unwant(o.client_order_id for o in working if o.state in _UNSEEN)
        try:
            listed = await self._gateway.fetch_open_orders(symbol)
            symbols = {report.symbol for report in listed} | {o.intent.symbol for o in self._manager.working}
            for each in sorted(symbols if symbol is None else {symbol}):
                for report in await self._gateway.cancel_all_orders(each):
                    self._sync.apply(report)
        except GatewayError as exc:
            raise UserError(f"Not all orders could be cancelled: {exc.message}", "Try again.") from exc

    async def cancel_owned(self, owner: str) -> None:
        """Cancel one owner's working orders."""
        for order in self._manager.working:
            if order.intent.owner == owner:
                await self.cancel_order(order.client_order_id)

    def unwant(self, client_ids: Iterable[str]) -> None:
        """Have orders cancelled as soon as the venue shows them: whoever wanted them does not any more."""
        self._unwanted.add(client_ids)

    def unwant_all(self) -> None:
        """Have every working order of ours cancelled as soon as the venue shows it, also after re-arming.

        The sales of STOP itself stay.
        """
        others = (IntentSource.KILL_SWITCH, IntentSource.EXTERNAL)
        self.unwant(o.client_order_id for o in self._manager.working if o.intent.source not in others)

    async def chase_cancels(self) -> None:
        """Cancel orders that show only now although they are not wanted any more.

        Those whose cancel met an order still on its way, and, while trading is halted, every order of ours: a kill
        cannot cancel what the venue did not list yet. Closing sales of the kill switch itself stay, and where a limit
        halted trading what only closes.

        Raises:
            UserError: the journal cannot be written; every cancel was sent.
        """
        working = {o.client_order_id: o for o in self._manager.working}
        self._unwanted.review()
        self._refusals = {key: message for key, message in self._refusals.items() if key in working}
        halted = self._control.state is TradingState.HALTED
        errors: list[UserError] = []
        for key, order in working.items():
            protects = order.intent.reduce_only and self._control.keeps_protection
            stays = protects or order.intent.source in (IntentSource.KILL_SWITCH, IntentSource.EXTERNAL)
            if order.state in _SHOWN and (key in self._unwanted or (halted and not stays)):
                try:
                    await self._cancel(key)
                except UserError as exc:  # sent, and its answer cannot be written down: the next ones are sent as well
                    errors.append(exc)
        if errors:
            raise errors[0]

    async def _settle(self, order: Order) -> Order:
        """Wait until an order rests or is over with its fills booked, and the balances show it."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._options.settle_s, self._options.settle_poll_s
        while loop.time() < deadline:
            record = self._manager.record(order.client_order_id)
            if record is None or record.order.state is OrderState.UNKNOWN:
                break
            order = record.order
            if record.is_settled or (order.state in _SHOWN and _may_rest(order.intent) and record.fills_complete):
                break
            try:
                if record.fills_complete:
                    self._sync.apply(await self._gateway.fetch_order(order.intent.symbol, order.client_order_id))
                else:
                    await self._sync.book_missing_fills()
            except GatewayError as exc:
                _log.info("order %s is not settled yet: %s", order.client_order_id, exc.message)
            await asyncio.sleep(pause)
            pause = min(2 * pause, SETTLE_PAUSE_MAX_S)  # what is late now may stay so, and each look costs requests
        if order.state is not OrderState.DENIED:
            await self._keeper.refresh_balances()
        record = self._manager.record(order.client_order_id)
        return record.order if record else order


def _is_same_wish(one: Intent, other: Intent) -> bool:
    return replace(one, intent_id="", reason="", created_ns=0) == replace(other, intent_id="", reason="", created_ns=0)


def _wish(intent: Intent) -> str:
    return f"{intent.side.value} {intent.quantity.normalize():f} {intent.symbol}"


def _may_rest(intent: Intent) -> bool:
    return intent.limit_price is not None and intent.time_in_force is TimeInForce.GTC
