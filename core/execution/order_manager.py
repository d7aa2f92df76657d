"""The order manager: at most one order per intent, and books equal to the venue. Runs on the executor's event loop.

Order of things, never changed: the intent and its client order id are committed to the journal, the fence is read, the
request is sent, once. An answer that does not decide leaves the order UNKNOWN; nothing here ever sends it again
(`core.execution.synchroniser` finds out what became of it). Facts are journalled first and shown second.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial

from core.clock import Clock
from core.domain.fills import Fill
from core.domain.orders import Intent, IntentSource, Order, OrderState
from core.domain.positions import Position
from core.errors import UserError
from core.events import EventSink, FillBooked, IntentDenied, Notice, OrderUpdated, PositionChanged, Severity
from core.execution.api.gateway import (
    DefinitiveReject,
    ExchangeGateway,
    FatalGatewayError,
    GatewayError,
    OrderReport,
    OrderRequest,
    OrderUnknown,
    RetryableError,
    SendRevoked,
)
from core.execution.fence import Fence
from core.execution.fill_booker import FillBooker
from core.execution.journal import DuplicateIntent, Journal
from core.execution.marks import Marks
from core.execution.order_state import IllegalTransition, hear, step
from core.execution.position_rebuild import load_positions
from core.execution.reconciliation import is_inferred, is_outgrown, seen_whole
from core.execution.records import EXTERNAL_OWNER, OrderRecord
from core.signals.risk_management import Approved, Denied, ReasonCode

ID_PREFIX = "maru-"
BOOK = "book"  # fact of the journal: what tells it from every other
RECENT_ORDERS = 2_000
ANNOUNCED = 500
# An order is shown when it has left: whoever is shown it takes the interpreter from the one who sends it.
SHOWN_AFTER_S = 0.005
# Ends of an order that the venue itself overrules by showing it.
_NOT_THERE = tuple(
    code.value for code in (ReasonCode.NEVER_ARRIVED, ReasonCode.DECLARED_GONE, ReasonCode.GONE_AT_VENUE)
)

_log = logging.getLogger(__name__)


def client_order_id(intent_id: str, book: str = "") -> str:
    """Derive the id an intent's order carries at the venue: 31 characters of `[a-z2-7-]`, the same for ever.

    130 bits of SHA-256: two intents never share one.

    Args:
        book: which journal the intent stands in: the first order by hand is called the same in every data folder, and
            where it is lost the other folder's order must not be taken for it.
    """
    digest = hashlib.sha256((f"{book}/{intent_id}" if book else intent_id).encode()).digest()
    return ID_PREFIX + base64.b32encode(digest).decode().lower()[:26]


def is_ours(client_id: str) -> bool:
    """Return whether a client order id was made by `client_order_id`."""
    return client_id.startswith(ID_PREFIX) and len(client_id) == len(ID_PREFIX) + 26


class OrderManager:
    """Owns every order and position of one account.

    Attributes:
        armed_epoch: fence epoch at which orders may be sent.
        claim: asked to import what another process of ours sent, when an order of our making is not in the books.
        on_stranded: told of every order of our making that is in no book, claimed by nobody, before it is adopted.
        on_unpriced: told (currency, quote) where a fee could not be converted, so that a price is found for the next.
    """

    def __init__(
        self, gateway: ExchangeGateway, journal: Journal, fence: Fence, wall: Clock, sink: EventSink, marks: Marks
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._fence = fence
        self._wall = wall
        self._sink = sink
        self._marks = marks
        self._booker = FillBooker(journal, marks.convert)
        self._book = ""
        self.armed_epoch = 0
        self.claim: Callable[[], None] = lambda: None
        self.on_stranded: Callable[[OrderReport], None] = lambda report: None
        self.on_unpriced: Callable[[str, str], None] = lambda currency, quote: None
        # Unsettled orders, and the newest settled ones for late reports; older ones are found in the journal.
        self._records: dict[str, OrderRecord] = {}
        self._recent: OrderedDict[str, OrderRecord] = OrderedDict()
        self._by_venue_id: dict[tuple[str, str], str] = {}
        self._positions: dict[tuple[str, str], Position] = {}
        self._in_flight: set[str] = set()
        # Fence epoch at which each registered order may be sent; a halt takes back what has not been sent yet.
        self._permits: dict[str, int] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    # --- state ------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read unsettled orders and positions from the journal."""
        self._book = self._journal.meta(BOOK) or ""
        self._records = {record.key: record for record in self._journal.unsettled_orders()}
        self._by_venue_id = {
            (r.intent.symbol, r.order.venue_order_id): key for key, r in self._records.items() if r.order.venue_order_id
        }
        positions = load_positions(self._journal, self._gateway.instruments)
        self._positions = {(p.symbol, p.owner): p for p in positions}

    def announce_books(self) -> None:
        """Tell what stands in the books: the newest orders and fills, and all positions."""
        orders = {record.key: record.order for record in self._journal.orders(limit=ANNOUNCED)}
        for order in orders.values():
            self._sink(OrderUpdated(order))
        for fill in self._journal.fills(limit=ANNOUNCED):
            self._sink(FillBooked(fill, orders.get(fill.client_order_id)))
        for position in self.positions:
            self._sink(PositionChanged(position, self._marks.price(position.symbol)))

    @property
    def unsettled(self) -> list[OrderRecord]:
        """Orders that are not over, or whose fills are not all booked."""
        return list(self._records.values())

    @property
    def working(self) -> list[Order]:
        """Orders the venue may still execute."""
        return [record.order for record in self._records.values() if not record.order.state.is_terminal]

    @property
    def unbooked(self) -> list[tuple[Intent, Decimal]]:
        """What the venue filled but has not listed as trades yet: the wish, and base currency."""
        open_ends = [record for record in self._records.values() if not record.fills_complete]
        return [(r.intent, r.order.filled_quantity - r.booked_quantity) for r in open_ends]

    @property
    def positions(self) -> list[Position]:
        """All positions, flat ones too."""
        return list(self._positions.values())

    async def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no answer to a submit is awaited; returns whether that came true in time."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def is_in_flight(self, client_id: str) -> bool:
        """Return whether the answer to this very submit is still awaited."""
        return client_id in self._in_flight

    def position(self, symbol: str, owner: str) -> Position:
        """Return one owner's position; flat where there is none."""
        return self._positions.get((symbol, owner)) or Position(self._gateway.venue, symbol, owner)

    def account_quantity(self, symbol: str) -> Decimal:
        """Return the base currency held by all owners together."""
        return sum((p.quantity for (s, _), p in self._positions.items() if s == symbol), start=Decimal(0))

    def record(self, client_id: str) -> OrderRecord | None:
        """Return one order, from memory or from the journal."""
        return self._records.get(client_id) or self._recent.get(client_id) or self._journal.order(client_id)

    def record_of(self, intent_id: str) -> OrderRecord | None:
        """Return the order of an intent, from the journal."""
        return self._journal.order_of(intent_id)

    def find(self, symbol: str, client_id: str, venue_order_id: str) -> OrderRecord | None:
        """Return the order a report or fill speaks of; the venue's id decides where both are known."""
        record = self.record(client_id) if client_id else None
        known = record.order.venue_order_id if record else ""
        if record is not None and not (known and venue_order_id and known != venue_order_id):
            return record
        if not venue_order_id:
            return None
        key = self._by_venue_id.get((symbol, venue_order_id))
        return self.record(key) if key else self._journal.order_by_venue_id(symbol, venue_order_id)

    # --- sending ----------------------------------------------------------------------------------------------

    async def submit(self, approved: Approved) -> Order:
        """Send the one order of an approved intent and return it as the answer left it.

        Raises:
            DuplicateIntent: the intent already has its order; nothing was sent.
            UserError: the journal cannot be written; nothing was sent.
        """
        return await self.transmit(self.register(approved))

    def register(self, approved: Approved) -> str:
        """Commit an approved intent and its client order id; `transmit` must follow.

        From here on the order counts as working: the next risk check sees it.

        Raises:
            DuplicateIntent: the intent already has its order.
            UserError: the journal cannot be written.
        """
        intent = approved.intent
        now = self._wall.now_ns()
        key = client_order_id(intent.intent_id, self._book)
        order = Order(key, intent, OrderState.SUBMITTED, submitted_ns=now, updated_ns=now)
        record = OrderRecord(order)
        self._journal.insert_order(record, "submit", now)
        self._remember(record)
        self._in_flight.add(record.key)
        self._permits[record.key] = self.armed_epoch
        self._idle.clear()
        return record.key

    def revoke(self) -> None:
        """Take back the permission of every registered order that is not on the wire yet; cannot fail."""
        self._permits.clear()

    async def transmit(self, key: str) -> Order:
        """Send a registered order, once, and return it as the answer left it."""
        try:
            if not self._may_send(key):
                self._end_unsent(key)
            else:
                asyncio.get_running_loop().call_later(SHOWN_AFTER_S, self._announce_sent, key)
                request = _request(self._existing(key).order, partial(self._may_send, key))
                self.apply_report(await self._gateway.submit_order(request))
        except SendRevoked:
            self._end_unsent(key)
        except (DefinitiveReject, FatalGatewayError) as exc:
            self._refuse(key, ReasonCode.VENUE_REJECTED, exc)
        except RetryableError as exc:
            self._refuse(key, ReasonCode.NOT_PROCESSED, exc)
        except GatewayError as exc:
            self.mark_unknown(key, exc.message)
        except IllegalTransition as exc:
            # The stream was here first and knows more; what cannot be is told where reports are compared.
            _log.error("the answer to order %s contradicts the books: %s", key, exc)
        except BaseException as exc:
            # Even a bug or a cancelled task leaves an order that may exist.
            self.mark_unknown(key, f"interrupted: {type(exc).__name__}")
            raise
        finally:
            self._in_flight.discard(key)
            self._permits.pop(key, None)
            if not self._in_flight:
                self._idle.set()
        return self._existing(key).order

    def _announce_sent(self, key: str) -> None:
        """Show an order of which nothing is known yet but that it was sent."""
        record = self._records.get(key)
        if record is not None and record.order.state is OrderState.SUBMITTED:
            self._sink(OrderUpdated(record.order))

    def deny(self, denied: Denied) -> Order:
        """Journal and announce an intent that risk refused."""
        now = self._wall.now_ns()
        intent = denied.intent
        order = Order(
            client_order_id(intent.intent_id, self._book),
            intent,
            OrderState.DENIED,
            reason_code=denied.code.value,
            message=denied.message,
            updated_ns=now,
        )
        self._journal.insert_order(OrderRecord(order), "risk", now)
        self._sink(IntentDenied(intent, denied.code.value, denied.message))
        self._sink(OrderUpdated(order))
        return order

    async def cancel(self, client_id: str) -> Order:
        """Ask the venue to cancel an order; safe to repeat.

        Returns:
            The order as known afterwards; PENDING_CANCEL where the venue has not said how it went.

        Raises:
            KeyError: no such order.
            GatewayError: the request failed; the order stays PENDING_CANCEL until the venue is asked again.
            UserError: what the venue said of it cannot be written down; it was asked to cancel all the same.
        """
        record = self.record(client_id)
        if record is None:
            raise KeyError(client_id)
        if record.order.state.is_terminal:
            return record.order
        if record.order.state in (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED):
            try:
                self._move(record, OrderState.PENDING_CANCEL, "cancel")
            except UserError as exc:  # books that cannot be written must not keep an order at the venue
                _log.warning("that order %s is being cancelled could not be written down: %s", client_id, exc.message)
        try:
            self.apply_report(await self._gateway.cancel_order(record.intent.symbol, client_id))
        except OrderUnknown:
            # Not open (any more): the order itself says what became of it.
            self.apply_report(await self._gateway.fetch_order(record.intent.symbol, client_id))
        return self._existing(client_id).order

    def cancel_failed(self, client_id: str, message: str) -> Order:
        """Note that an order still works although its cancel was asked for."""
        record = self._existing(client_id)
        if record.order.state is not OrderState.PENDING_CANCEL:
            return record.order
        target = OrderState.PARTIALLY_FILLED if record.order.filled_quantity else OrderState.ACCEPTED
        return self._move(record, target, "cancel failed", message=message)

    # --- evidence ---------------------------------------------------------------------------------------------

    def apply_report(self, report: OrderReport) -> Order | None:
        """Book what the venue says of an order; outdated and repeated reports change nothing.

        Returns:
            The order, or None where it is not one of ours (see `adopt`).

        Raises:
            IllegalTransition: the report contradicts what is known.
        """
        found = self.find(report.symbol, report.client_order_id, report.venue_order_id)
        if found is None and is_ours(report.client_order_id):
            self.claim()
            found = self.find(report.symbol, report.client_order_id, report.venue_order_id)
        if found is None:
            return None
        if is_outgrown(found, report):
            self._correct(found, report)
        key = found.key
        if report.venue_order_id and not found.order.venue_order_id:
            # The trades of this report may name only the venue's id.
            self._by_venue_id[(report.symbol, report.venue_order_id)] = key
        for fill in report.fills:
            self.book(replace(fill, client_order_id=key))
        record = self._existing(key)
        order = record.order
        state = hear(_heard_as(order), report.state)
        ended_badly = state is OrderState.REJECTED and order.state is not state
        ahead = report.filled_quantity > order.filled_quantity
        revived = order.reason_code in _NOT_THERE and state is not order.state
        found_out = order.state is OrderState.UNKNOWN and state is not order.state  # why it was asked for is past
        after = replace(
            order,
            state=state,
            venue_order_id=order.venue_order_id or report.venue_order_id,
            filled_quantity=max(order.filled_quantity, report.filled_quantity),
            average_price=report.average_price if ahead else order.average_price,
            reason_code=ReasonCode.VENUE_REJECTED.value if ended_badly else "" if revived else order.reason_code,
            message=report.message or ("" if revived or found_out else order.message),
        )
        if after != order:
            self._store(replace(record, order=after), order.state, "venue report")
        return self._existing(key).order

    def book(self, fill: Fill) -> bool:
        """Book one execution: fill, order and position in one commit. Heard twice, it counts once.

        Returns:
            Whether it was new and belongs to a known order.
        """
        record = self.find(fill.symbol, fill.client_order_id, fill.venue_order_id)
        if record is None:
            return False
        now = self._wall.now_ns()
        fill = replace(fill, client_order_id=record.key)
        before = record.order
        inferred_until = None if is_inferred(fill) else self._journal.inferred_until(record.key)
        if inferred_until is not None and fill.time_ns <= inferred_until:
            _log.debug("trade %s of %s is in the books as an inferred one", fill.trade_id, record.key)
            return False
        position, instrument = self.position(fill.symbol, record.intent.owner), self._gateway.instruments[fill.symbol]
        booking = self._booker.book(position, fill, instrument)
        if booking is None:
            return False
        filled = record.with_fill(fill.quantity, fill.price)
        order = replace(
            filled.order,
            state=_state_after_fill(_heard_as(before), filled.order),
            venue_order_id=before.venue_order_id or fill.venue_order_id,
            reason_code="" if before.reason_code in _NOT_THERE else before.reason_code,
            updated_ns=now,
        )
        filled = replace(filled, order=order)
        if not self._journal.book_fill(
            fill, filled, booking.position, booking.fee_quote, now, from_state=before.state, cause="fill"
        ):
            return False
        self._booker.booked(booking.position)
        self._remember(filled)
        self._positions[(fill.symbol, record.intent.owner)] = booking.position
        self._sink(OrderUpdated(order))
        self._sink(FillBooked(fill, order))
        self._sink(PositionChanged(booking.position, self._marks.price(fill.symbol)))
        foreign = before.intent.source is IntentSource.EXTERNAL  # what was ordered may not be known yet
        if not foreign and record.booked_quantity <= before.intent.quantity < filled.booked_quantity:
            text = f"Order {record.key}: {filled.booked_quantity:f} of {before.intent.quantity:f} {fill.symbol}."
            self._sink(Notice(Severity.ERROR, "The venue filled more than was ordered", text))
        if booking.fee_quote is None:
            _log.warning("no price known to convert a fee of %s %s", fill.fee, fill.fee_currency)
            self.on_unpriced(fill.fee_currency, instrument.quote)
        return True

    def take_position(self, position: Position) -> None:
        """Take over and announce a position that changed by no fill; the journal holds it already."""
        self._booker.forget(position)
        self._positions[(position.symbol, position.owner)] = position
        self._sink(PositionChanged(position, self._marks.price(position.symbol)))

    def adopt(self, report: OrderReport) -> Order:
        """Take an order of somebody else into the books, under the owner "external"."""
        if is_ours(report.client_order_id):
            self.on_stranded(report)  # first: once it is in the books, nothing tells that it was a stranger
        now = self._wall.now_ns()
        taken = not report.client_order_id or self.record(report.client_order_id) is not None
        key = f"ext-{report.venue_order_id}" if taken else report.client_order_id
        intent = Intent(
            intent_id=f"external:{self._gateway.venue}:{report.symbol}:{report.venue_order_id}",
            source=IntentSource.EXTERNAL,
            owner=EXTERNAL_OWNER,
            symbol=report.symbol,
            side=report.side,
            quantity=report.quantity,
            order_type=report.order_type,
            # A stop order's trigger is not part of a report; its limit stands in for it.
            limit_price=report.limit_price,
            stop_price=report.limit_price,
            reason="found at the venue, not placed by this program",
            created_ns=report.time_ns,
        )
        order = Order(
            key,
            intent,
            report.state,
            report.venue_order_id,
            report.filled_quantity,
            report.average_price,
            submitted_ns=report.time_ns,
            updated_ns=now,
        )
        self._journal.insert_order(OrderRecord(order), "adopted", now)
        self._remember(OrderRecord(order))
        self._sink(OrderUpdated(order))
        for fill in report.fills:
            self.book(replace(fill, client_order_id=key))
        return self._existing(key).order

    def _correct(self, record: OrderRecord, report: OrderReport) -> None:
        now = self._wall.now_ns()
        whole = seen_whole(record, report, now)
        self._journal.correct_order(whole, record.order.state, now)
        self._remember(whole)
        self._sink(OrderUpdated(whole.order))

    def import_unknown(self, intent: Intent, submitted_ns: int) -> bool:
        """Take an order over that another process of ours may have sent; evidence will say what became of it.

        Returns:
            False where it is known already.
        """
        now = self._wall.now_ns()
        order = Order(
            client_order_id(intent.intent_id), intent, OrderState.UNKNOWN, submitted_ns=submitted_ns, updated_ns=now
        )
        try:
            self._journal.insert_order(OrderRecord(order), "imported", now)
        except DuplicateIntent:
            return False
        self._remember(OrderRecord(order))
        self._sink(OrderUpdated(order))
        return True

    def mark_unknown(self, client_id: str, message: str) -> Order:
        """Say that an order's fate is open: it locks exposure growth in its market until evidence decides."""
        record = self._existing(client_id)
        if record.order.state.is_terminal or record.order.state is OrderState.UNKNOWN:
            return record.order
        if record.order.state is not OrderState.SUBMITTED and self.is_in_flight(client_id):
            return record.order  # the stream answered before the request failed
        return self._move(record, OrderState.UNKNOWN, "unknown", message=message)

    def expire(self, client_id: str, code: ReasonCode, message: str) -> Order:
        """End an UNKNOWN order on evidence that the venue holds none."""
        return self._move(self._existing(client_id), OrderState.EXPIRED, "evidence", code=code, message=message)

    # --- inside -----------------------------------------------------------------------------------------------

    def _may_send(self, key: str) -> bool:
        """Whether an order may go on the wire now: its permit holds, and nobody raised the fence since it was given."""
        epoch = self._permits.get(key)
        return epoch is not None and self._fence.allows(epoch)

    def _end_unsent(self, key: str) -> None:
        message = "trading was stopped before the order was sent"
        record = self._existing(key)
        self._move(record, OrderState.DENIED, "fence", code=ReasonCode.FENCED, message=message)
        self._sink(IntentDenied(record.intent, ReasonCode.FENCED.value, message))

    def _refuse(self, key: str, code: ReasonCode, error: GatewayError) -> None:
        record = self._existing(key)
        if record.order.state is OrderState.SUBMITTED:
            self._move(record, OrderState.REJECTED, "answer", code=code, message=error.message)
        else:
            # The account's own stream already showed the order: it exists, whatever the answer said.
            _log.error("order %s is %s although its request was refused: %s", key, record.order.state, error.message)

    def _move(
        self, record: OrderRecord, target: OrderState, cause: str, *, code: ReasonCode | None = None, message: str = ""
    ) -> Order:
        before = record.order
        order = replace(
            before,
            state=step(before.state, target),
            reason_code=code.value if code else before.reason_code,
            message=message or ("" if before.state is OrderState.UNKNOWN else before.message),
        )
        return self._store(replace(record, order=order), before.state, cause)

    def _store(self, record: OrderRecord, from_state: OrderState, cause: str) -> Order:
        now = self._wall.now_ns()
        record = replace(record, order=replace(record.order, updated_ns=now))
        self._journal.update_order(record, from_state, cause, now)
        self._remember(record)
        self._sink(OrderUpdated(record.order))
        return record.order

    def _remember(self, record: OrderRecord) -> None:
        key, venue_id = record.key, record.order.venue_order_id
        if venue_id:
            self._by_venue_id[(record.intent.symbol, venue_id)] = key
        if not record.is_settled:
            self._recent.pop(key, None)
            self._records[key] = record
            return
        self._records.pop(key, None)
        self._recent[key] = record
        if len(self._recent) > RECENT_ORDERS:
            _, oldest = self._recent.popitem(last=False)
            self._by_venue_id.pop((oldest.intent.symbol, oldest.order.venue_order_id), None)

    def _existing(self, key: str) -> OrderRecord:
        record = self.record(key)
        if record is None:
            raise KeyError(key)
        return record


def ended_without_word(order: Order) -> bool:
    """Return whether an order counts as over because it was not found or was refused: then the venue's list rules."""
    return order.state is OrderState.REJECTED or _heard_as(order) is not order.state


def _heard_as(order: Order) -> OrderState:
    """The state that counts when the venue speaks: an order believed never to have been there is open if it shows."""
    not_there = order.state is OrderState.EXPIRED and order.reason_code in _NOT_THERE
    return OrderState.UNKNOWN if not_there else order.state


def _state_after_fill(current: OrderState, order: Order) -> OrderState:
    if current in (OrderState.FILLED, OrderState.REJECTED, OrderState.DENIED):
        return current  # money moved all the same; over-fills and contradictions are booked, the state cannot say more
    if order.filled_quantity >= order.intent.quantity:
        return step(current, OrderState.FILLED)
    if current in (OrderState.PENDING_CANCEL, OrderState.CANCELED, OrderState.EXPIRED):
        return current
    return step(current, OrderState.PARTIALLY_FILLED)


def _request(order: Order, may_send: Callable[[], bool]) -> OrderRequest:
    intent = order.intent
    return OrderRequest(
        client_order_id=order.client_order_id,
        symbol=intent.symbol,
        side=intent.side,
        order_type=intent.order_type,
        quantity=intent.quantity,
        limit_price=intent.limit_price,
        stop_price=intent.stop_price,
        time_in_force=intent.time_in_force,
        may_send=may_send,
    )
