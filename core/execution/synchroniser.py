"""Gathering what the venue says, and applying what follows. Runs on the executor's event loop."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from core.clock import NS_PER_S, Clock
from core.domain.fills import Fill
from core.domain.orders import Order, OrderState, TradingMode
from core.errors import UserError
from core.events import EventSink, Notice, Severity
from core.execution import reconciliation as rec
from core.execution.api.gateway import DefinitiveReject, ExchangeGateway, GatewayError, OrderReport, OrderUnknown
from core.execution.journal import Journal
from core.execution.order_manager import OrderManager, ended_without_word
from core.execution.order_state import IllegalTransition
from core.execution.position_tracker import holds
from core.execution.records import OrderRecord
from core.signals.risk_management import ReasonCode

# Trades may be listed late and out of order; re-reading an hour costs one page.
FILL_OVERLAP_NS = 3_600 * NS_PER_S
# How far the reading of trades gets before it is written down: a crash in between has them read again.
READ_STEP_NS = 60 * NS_PER_S
QUERY_LAG_NS = 2 * NS_PER_S

_log = logging.getLogger(__name__)

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class EvidenceRules:
    """When an unanswered submit counts as never arrived, besides the venue's own `recv_window_ms` (DESIGN section 4).

    Attributes:
        margin_s: the venue accepts timestamps this far in its future.
        query_gap_s: time between the two order queries.
        patience_s: how long trades of unidentified orders may be ours although order queries do not show them.
        unlisted_s: after how long a fill that the venue speaks of but does not list is booked from the order's totals.
    """

    margin_s: float = 1.0
    query_gap_s: float = 1.0
    patience_s: float = 60.0
    unlisted_s: float = 300.0


@dataclass(slots=True)
class _Case:
    """An order under investigation: venue time before which absence proves nothing, and patience ends; ns UTC.

    Attributes:
        since_ns: when the order became UNKNOWN (wall time): once it was known in between, it is another case.
    """

    since_ns: int
    deadline_ns: int
    patience_ns: int


class Synchroniser:
    """Keeps the books equal to the venue by query; streams only make it faster.

    Attributes:
        adopt_from_ns: when the books began, venue time, ns UTC; older trades of others are not adopted.
        clock_offset_ns: venue clock minus ours, as last measured.
    """

    def __init__(
        self,
        gateway: ExchangeGateway,
        journal: Journal,
        manager: OrderManager,
        sink: EventSink,
        wall: Clock,
        sleep: Sleep,
        rules: EvidenceRules,
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._manager = manager
        self._sink = sink
        self._wall = wall
        self._sleep = sleep
        self._rules = rules
        self._cases: dict[str, _Case] = {}
        # Since when trades of an order are missing (wall time, ns), and what of it was booked then.
        self._unlisted: dict[str, tuple[int, Decimal]] = {}
        # How far own trades were read, by symbol, and what of that the journal knows; None until asked for.
        self._read_ns: Mapping[str, int] | None = None
        self._kept_ns: Mapping[str, int] = {}
        self._told: set[str] = set()  # orders of markets that are not listed
        self.adopt_from_ns = 0
        self.clock_offset_ns = 0

    async def reconcile(self, symbols: Iterable[str]) -> list[rec.Event]:
        """Compare with the venue and apply what follows.

        Args:
            symbols: markets whose own trades are read besides those of unsettled orders.

        Returns:
            What had to be done; empty where the books were equal.

        Raises:
            GatewayError: the list of open orders could not be read, so nothing was compared.
        """
        records = tuple(r for r in self._manager.unsettled if not self._manager.is_in_flight(r.key))
        self._tell_unlisted(records)
        open_orders = tuple(await self._gateway.fetch_open_orders())
        listed = {report.client_order_id for report in open_orders}
        queried: dict[str, OrderReport | None] = {}
        for record in records:
            is_open = not record.order.state.is_terminal and self._is_listed(record.intent.symbol)
            if record.key not in listed and is_open and not self._is_young(record):
                await self._query(record, queried)
        unsettled = {record.intent.symbol for record in records}
        rules = self._gateway.instruments
        held = {p.symbol for p in self._manager.positions if p.symbol in rules and holds(p, rules[p.symbol])}
        own = await self._fetch_fills(unsettled | held | set(symbols) | {report.symbol for report in open_orders})
        fills = [fill for fill in own if not self._journal.has_fill(fill)]
        if any(self._manager.find(f.symbol, f.client_order_id, f.venue_order_id) is None for f in fills):
            self._manager.claim()  # what another process of ours sent is no order of somebody else
        # Orders sent meanwhile are not in `records`, so their trades must be recognised by the present books, and by
        # nothing but their looks while the answer that names them is on its way.
        asked = {record.key for record in records}
        local = rec.LocalState(
            records,
            self._owners(fills, open_orders),
            adopt_from_ns=self.adopt_from_ns,
            clock_offset_ns=self.clock_offset_ns,
            in_flight=tuple(r for r in self._manager.unsettled if r.key not in asked),
        )
        events = rec.reconcile(local, rec.VenueState(open_orders, queried, tuple(fills)))
        events += [rec.OrderReported(report) for report in open_orders if self._shows_again(report)]
        await self._apply(events)
        booked = {(e.fill.symbol, e.fill.trade_id) for e in events if isinstance(e, rec.FillMissed | rec.ExternalFill)}
        self._note_read(own, [fill for fill in fills if (fill.symbol, fill.trade_id) not in booked])
        return events

    async def book_missing_fills(self) -> None:
        """Read and book the trades the venue spoke of but did not name.

        Raises:
            GatewayError: they could not be read.
        """
        symbols = {r.intent.symbol for r in self._manager.unsettled if not r.fills_complete}
        for fill in await self._fetch_fills(symbols):
            if not self._journal.has_fill(fill):
                self._manager.book(fill)
        self._infer_fills()

    def _infer_fills(self) -> None:
        """Book what the venue says is filled but has not listed as trades for so long that it never will."""
        now = self._wall.now_ns()
        open_ends = {r.key: r for r in self._manager.unsettled if not r.fills_complete}
        before = self._unlisted
        # Where trades are listed one after the other, the rest will be as well: the waiting begins anew.
        self._unlisted = {
            key: before[key] if key in before and before[key][1] == r.booked_quantity else (now, r.booked_quantity)
            for key, r in open_ends.items()
        }
        for key, record in open_ends.items():
            instrument = self._gateway.instruments.get(record.intent.symbol)
            if instrument is None or now - self._unlisted[key][0] < self._rules.unlisted_s * NS_PER_S:
                continue
            fill = rec.inferred_fill(record, self._gateway.venue, instrument, now + self.clock_offset_ns)
            if fill is not None and self._manager.book(fill):
                text = f"Order {key}: {fill.quantity:f} {fill.symbol} @ {fill.price:f}, from the order's own totals."
                self._sink(Notice(Severity.WARNING, "A fill was booked that the venue does not list", text))

    async def resolve_unknown(self) -> None:
        """Look for evidence about every UNKNOWN order; one that cannot be asked about keeps no other waiting."""
        for key in [record.key for record in self._manager.unsettled]:
            try:
                await self._resolve(key)
            except GatewayError as exc:
                _log.warning("order %s could not be looked into: %s", key, exc.message)
        self._cases = {k: c for k, c in self._cases.items() if self._is_unknown(k)}

    async def _resolve(self, key: str) -> None:
        if self._now(key).state is OrderState.SUBMITTED and not self._manager.is_in_flight(key):
            self._manager.mark_unknown(key, "no answer was recorded before the program stopped")
        record = self._manager.record(key)
        if record is None or record.order.state is not OrderState.UNKNOWN:
            return
        if self._is_listed(record.intent.symbol):
            await self._investigate(record)
        else:
            await self._case_of(key)  # whoever looks at the venue's page need not wait then

    async def ask_about(self, client_id: str) -> Order:
        """Ask the venue about one order now, and return what is known of it then.

        Raises:
            UserError: there is no such order, or its market is not listed.
            GatewayError: the venue could not be asked.
        """
        record = self._manager.record(client_id)
        if record is None:
            raise UserError(f"There is no order {client_id}.", "Look at the list of orders.")
        if not self._is_listed(record.intent.symbol):
            raise UserError(
                f"The venue does not list {record.intent.symbol}, so it cannot be asked about this order.",
                "Look at the venue's account page.",
            )
        if record.order.state is OrderState.UNKNOWN:
            await self._investigate(record)
        else:
            with contextlib.suppress(OrderUnknown):  # the rounds find out what that means
                self.apply(await self._gateway.fetch_order(record.intent.symbol, client_id))
        return self._now(client_id)

    async def declare_gone(self, client_id: str) -> Order:
        """End an UNKNOWN order because a person saw on the venue's own page that it is not there.

        The venue is asked once more; where it knows the order, what it says counts. Should the order show later, it is
        open again. About a market it does not list it cannot be asked: there the person's word ends any order.

        Raises:
            UserError: there is no such order, nobody has to decide on it, or it may still arrive.
            GatewayError: the venue could not be asked: without its answer nobody can know.
        """
        record = self._manager.record(client_id)
        if record is None or not self._is_undecided(record):
            raise UserError("This order is not waiting for a decision.", "Look at the list of orders.")
        if self._is_listed(record.intent.symbol):
            await self._investigate(record)
            if not self._is_unknown(client_id):
                return self._now(client_id)
        if self._is_unknown(client_id):
            case, now = await self._case_of(client_id)
            if now <= case.deadline_ns:
                raise UserError("The order may still arrive at the venue.", "Wait a minute, then decide.")
        self._journal.add_command("declare_gone", {"client_order_id": client_id}, self._wall.now_ns())
        return self._manager.expire(
            client_id, ReasonCode.DECLARED_GONE, "a person saw at the venue that it is not there"
        )

    def _is_undecided(self, record: OrderRecord) -> bool:
        state = record.order.state
        if self._is_listed(record.intent.symbol):
            return state is OrderState.UNKNOWN
        return not state.is_terminal and not self._manager.is_in_flight(record.key)

    def _is_listed(self, symbol: str) -> bool:
        """Whether the venue can be asked about a market; one that lists none at all is not connected, and says so."""
        rules = self._gateway.instruments
        return not rules or symbol in rules

    def _tell_unlisted(self, records: Iterable[OrderRecord]) -> None:
        """Tell once of the orders nobody can look into, because their market is delisted or suspended."""
        found: dict[str, list[str]] = {}
        for record in records:
            if record.key not in self._told and not self._is_listed(record.intent.symbol):
                found.setdefault(record.intent.symbol, []).append(record.key)
        for symbol, keys in found.items():
            self._told.update(keys)
            named = ", ".join(keys)
            text = (
                f"{symbol} is not listed, so the venue cannot be asked about: {named}. Look at its account page. "
                "What is not there can be declared gone."
            )
            self._sink(Notice(Severity.WARNING, "Orders in a market that the venue does not list", text))

    def _now(self, client_id: str) -> Order:
        record = self._manager.record(client_id)
        assert record is not None  # orders never vanish
        return record.order

    async def _investigate(self, record: OrderRecord) -> None:
        key = record.key
        if await self._shown(record):
            return
        case, now = await self._case_of(key)
        if now <= case.deadline_ns:
            return
        if await self._shown(record):
            return
        await self._sleep(self._rules.query_gap_s)
        if await self._shown(record):
            return
        symbol = record.intent.symbol
        for report in await self._gateway.fetch_open_orders(symbol):
            if report.client_order_id == key:
                self.apply(report)
                return
        fills = [fill for fill in await self._fetch_fills({symbol}) if not self._journal.has_fill(fill)]
        mine = [fill for fill in fills if self._belongs_to(fill, key)]
        if mine:
            for fill in mine:
                self._manager.book(fill)
            return
        nobodys = [f for f in fills if self._manager.find(symbol, f.client_order_id, f.venue_order_id) is None]
        if any(rec.may_be_ours(fill, (record,), self.clock_offset_ns) for fill in nobodys) and now <= case.patience_ns:
            return
        if record.order.venue_order_id and now <= case.patience_ns:
            return  # the venue had it: that queries do not show it now is most likely their being late
        # What never had the venue's number may still arrive where requests do not expire; only a person ends that.
        may_end = record.order.venue_order_id or self._gateway.recv_window_ms is not None
        if may_end and self._is_unknown(key):
            self._give_up(record)

    async def _case_of(self, key: str) -> tuple[_Case, int]:
        """Return the case of an UNKNOWN order, and the venue's time."""
        now, since = await self._gateway.server_time_ns(), self._now(key).updated_ns
        case = self._cases.get(key)
        if case is None or case.since_ns != since:
            # Venue time read after the request ended is no earlier than the request's own timestamp.
            window_ms = self._gateway.recv_window_ms
            # Where no request is ever refused as too late, only a person decides, and not before patience ends.
            window_s = self._rules.patience_s if window_ms is None else window_ms / 1_000
            deadline = now + int((window_s + self._rules.margin_s) * NS_PER_S)
            case = _Case(since, deadline, deadline + int(self._rules.patience_s * NS_PER_S))
            self._cases[key] = case
        return case, now

    def _give_up(self, record: OrderRecord) -> None:
        if record.order.venue_order_id:
            message = "the venue once had this order and does not know it any more"
            self._manager.expire(record.key, ReasonCode.GONE_AT_VENUE, message)
        else:
            message = "proven never to have reached the venue; it was not sent again"
            self._manager.expire(record.key, ReasonCode.NEVER_ARRIVED, message)

    async def _shown(self, record: OrderRecord) -> bool:
        if not self._is_unknown(record.key):
            return True  # the stream was faster
        try:
            report = await self._gateway.fetch_order(record.intent.symbol, record.key)
        except OrderUnknown:
            return False
        self.apply(report)
        return True

    def _is_unknown(self, key: str) -> bool:
        record = self._manager.record(key)
        return record is not None and record.order.state is OrderState.UNKNOWN

    def _belongs_to(self, fill: Fill, key: str) -> bool:
        found = self._manager.find(fill.symbol, fill.client_order_id, fill.venue_order_id)
        return found is not None and found.key == key

    def _is_young(self, record: OrderRecord) -> bool:
        """An order the venue has just confirmed: its queries may lag, so not finding it means nothing yet."""
        confirmed = record.order.state not in (OrderState.SUBMITTED, OrderState.UNKNOWN)
        return confirmed and 0 <= self._wall.now_ns() - record.order.updated_ns < QUERY_LAG_NS

    async def _query(self, record: OrderRecord, queried: dict[str, OrderReport | None]) -> None:
        try:
            queried[record.key] = await self._gateway.fetch_order(record.intent.symbol, record.key)
        except OrderUnknown:
            queried[record.key] = None
        except GatewayError as exc:
            # Not asked is not missing; the next round asks again.
            _log.warning("order %s could not be queried: %s", record.key, exc.message)

    async def _fetch_fills(self, symbols: Iterable[str]) -> list[Fill]:
        read = self._read_so_far()
        fills: list[Fill] = []
        for symbol in sorted(filter(self._is_listed, symbols)):
            since = read[symbol] - FILL_OVERLAP_NS if symbol in read else self._first_ns()
            fills += await self._gateway.fetch_fills(symbol, since_ns=since)
        return fills

    def _read_so_far(self) -> Mapping[str, int]:
        if self._read_ns is None:
            kept = self._journal.trades_read()
            if kept is None:  # an earlier version took what was booked last for what was read last
                kept = self._journal.last_fill_ns()
                self._journal.set_trades_read(kept)
            self._read_ns = self._kept_ns = kept
        return self._read_ns

    def _note_read(self, listed: list[Fill], waiting: list[Fill]) -> None:
        """Note how far own trades are read and booked: only this, and no fill of a stream, is where reading goes on."""
        self._read_ns = rec.read_until(self._read_so_far(), listed, waiting, self.adopt_from_ns)
        kept = self._kept_ns
        if any(s not in kept or until >= kept[s] + READ_STEP_NS for s, until in self._read_ns.items()):
            self._journal.set_trades_read(self._read_ns)
            self._kept_ns = self._read_ns

    def _shows_again(self, report: OrderReport) -> bool:
        """Whether the venue lists an order as open that is over here on less than the venue's own word."""
        known = self._manager.find(report.symbol, report.client_order_id, report.venue_order_id)
        return known is not None and (ended_without_word(known.order) or rec.is_outgrown(known, report))

    def _first_ns(self) -> int | None:
        """Since when trades may be ours in a market without any: reading years of an account would take hours.

        Elsewhere than at a real venue trades may carry the time of a replayed market, before the books began.
        """
        live = self._gateway.mode is TradingMode.LIVE
        return self.adopt_from_ns - FILL_OVERLAP_NS if live and self.adopt_from_ns else None

    def _owners(self, fills: list[Fill], open_orders: tuple[OrderReport, ...]) -> dict[tuple[str, str], str]:
        named = [(f.symbol, f.client_order_id, f.venue_order_id) for f in fills]
        named += [(r.symbol, r.client_order_id, r.venue_order_id) for r in open_orders]
        found = {(s, v): self._manager.find(s, c, v) for s, c, v in named}
        return {place: record.key for place, record in found.items() if record is not None}

    async def _apply(self, events: list[rec.Event]) -> None:
        foreign = [event.fill for event in events if isinstance(event, rec.ExternalFill)]
        for event in events:
            match event:
                case rec.OrderReported(report) | rec.OrderAdopted(report):
                    self.apply(report)
                case rec.FillMissed(fill):
                    self._manager.book(fill)
                case rec.OrderMissing(key):
                    self._manager.mark_unknown(key, "the venue does not list this order")
                case rec.CancelPending(key):
                    await self._cancel_again(key)
                case rec.ExternalFill():
                    pass  # gathered per order below
        for report in rec.external_reports(foreign):
            self.apply(report)

    def apply(self, report: OrderReport) -> None:
        """Book what the venue says of an order, ours or not; a contradiction or a foreign order is announced."""
        try:
            known = self._manager.apply_report(report)
        except IllegalTransition as exc:
            self.tell_contradiction(report.client_order_id, exc)
            _log.error("contradiction: %s: %r", exc, report)
            return
        if known is None:
            order = self._manager.adopt(report)
            text = f"{order.intent.side} order of {order.intent.quantity} {order.intent.symbol} ({order.state})"
            self._sink(Notice(Severity.WARNING, "An order of somebody else was found on the account", text))

    def tell_contradiction(self, client_id: str, exc: IllegalTransition) -> None:
        """Tell a person that the venue says of an order what cannot be."""
        text = f"Order {client_id}: {exc}. The venue's account page decides."
        self._sink(Notice(Severity.ERROR, "The venue contradicts the books", text))

    async def _cancel_again(self, key: str) -> None:
        try:
            await self._manager.cancel(key)
        except IllegalTransition as exc:
            self.tell_contradiction(key, exc)
        except DefinitiveReject as exc:
            self._manager.cancel_failed(key, exc.message)
            self._sink(Notice(Severity.WARNING, "The venue refuses to cancel", exc.message))
        except GatewayError as exc:
            _log.warning("cancel of %s failed again: %s", key, exc.message)
