"""Everything the window knows, fed by the one ordered stream of executor events. GUI thread only.

Widgets read from here; nothing here talks back to the executor.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from PySide6.QtCore import QObject, Signal

from app.flows.event_text import log_text_for, notice_for
from app.flows.order_flow import TicketContext
from app.flows.risk_limits import RiskUse
from app.models.fills_model import FillRow, FillsModel
from app.models.log_model import LogLevel, LogModel
from app.models.notifications_model import NotificationsModel
from app.models.orders_model import OrdersModel
from app.models.owner_names import OwnerNames
from app.models.ownerships import Ownerships
from app.models.plans_model import PlansModel
from app.models.positions_model import PositionsModel
from app.models.precision import Precision
from app.models.record_model import RecordModel
from app.models.strategies_model import StrategiesModel
from core.domain.instruments import Instrument
from core.domain.market import BookSnapshot, Ticker
from core.domain.money import ZERO
from core.domain.order_plans import OrderPlan, PlanKind, parse_child
from core.domain.orders import OrderState, TradingMode, TradingState
from core.domain.positions import Balance
from core.events import (
    AccountOpened,
    BalancesChanged,
    BooksTold,
    ConnectionState,
    ConnectionStatus,
    ExecutorEvent,
    FillBooked,
    Notice,
    OrderUpdated,
    OwnershipChanged,
    PlanUpdated,
    PositionChanged,
    RiskFigures,
    RiskSettingsChanged,
    Severity,
    StrategyStatus,
    TradingStateChanged,
)
from core.signals.risk_management import RiskSettings

ORDERS_LINK = "orders"
_REACHABLE = (ConnectionState.ONLINE, ConnectionState.DEGRADED)
_LEVEL = {
    Severity.INFO: LogLevel.INFO,
    Severity.SUCCESS: LogLevel.INFO,
    Severity.WARNING: LogLevel.WARNING,
    Severity.ERROR: LogLevel.ERROR,
}


class WindowModels(QObject):
    """The table models and the latest single values.

    Attributes:
        orders, plans, positions, fills, strategies, log, notifications: table models.
        names: what strategies are called.
        ownerships: who may trade which market.
        mode: which money is moved; None before the executor said so.
        trading_state: what the executor allows.
        risk_settings: the limits in force; None before the executor said so.

    Signals:
        notice_added: a `NoticeRow` was added or counted up.
        mode_changed: the `TradingMode` the executor reports.
        trading_state_changed: a `TradingStateChanged`.
        connection_changed: a `ConnectionStatus`.
    """

    notice_added = Signal(object)
    mode_changed = Signal(object)
    trading_state_changed = Signal(object)
    connection_changed = Signal(object)

    def __init__(self, now_ns: Callable[[], int], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._now_ns = now_ns
        self.precision = Precision()
        self.names = OwnerNames()
        self.plans = PlansModel(self.precision, self)
        self.orders = OrdersModel(self.precision, self, self.names, self.plans.kind_of)
        self.ownerships = Ownerships()
        self.positions = PositionsModel(self.precision, self, self.names, self.ownerships)
        self.fills = FillsModel(self.precision, self, self.names)
        self.strategies = StrategiesModel(self.precision, self)
        self.log = LogModel(self)
        self.notifications = NotificationsModel(self)
        self.mode: TradingMode | None = None
        self.trading_state = TradingState.ACTIVE
        self.risk_settings: RiskSettings | None = None
        self._risk_figures: RiskFigures | None = None
        self._account = ""
        self._telling_books = False
        self._instruments: dict[str, Instrument] = {}
        self._balances: dict[str, Balance] = {}
        self._prices: dict[str, tuple[Decimal | None, Decimal | None, Decimal | None]] = {}
        self._links: dict[str, ConnectionStatus] = {}

    @property
    def tables(self) -> tuple[RecordModel, ...]:
        """Every table model."""
        return (self.orders, self.plans, self.positions, self.fills, self.strategies, self.log, self.notifications)

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """The markets known, in the order the venue gave them."""
        return tuple(self._instruments.values())

    def apply(self, event: ExecutorEvent) -> None:
        """Take over one event; order matters and nothing is skipped."""
        news = self._is_news(event)
        match event:
            case OrderUpdated(order=order):
                self.orders.put(order)
            case PlanUpdated(plan=plan):
                self._learn_plan(plan)
            case FillBooked(fill=fill, order=order):
                self.fills.put(FillRow(fill, order))
            case PositionChanged(position=position, mark_price=mark):
                self.positions.set_position(position, mark)
            case OwnershipChanged(symbol=symbol):
                self.ownerships.learn(event)
                self.positions.refresh_ownership(symbol)
            case AccountOpened(account=account):
                self._on_account(account)
            case BooksTold():
                self._telling_books = False
            case BalancesChanged(balances=balances):
                self._balances = {balance.currency: balance for balance in balances}
            case StrategyStatus():
                self.strategies.put(event)
                self._learn_name(event)
            case TradingStateChanged():
                self.trading_state = event.state
                self.trading_state_changed.emit(event)
            case RiskSettingsChanged(settings=settings):
                self.risk_settings = settings
            case RiskFigures():
                self._risk_figures = event
            case ConnectionStatus():
                self._on_connection(event)
            case _:
                pass
        if news:
            self._tell(event)

    def add_notice(self, notice: Notice) -> None:
        """Keep a notice and announce it."""
        self.notice_added.emit(self.notifications.add(notice, self._now_ns()))

    def add_log(self, level: LogLevel, source: str, text: str) -> None:
        """Keep a log line."""
        self.log.add(self._now_ns(), level, source, text)

    def set_instruments(self, instruments: tuple[Instrument, ...]) -> None:
        """Learn markets and their rules."""
        for instrument in instruments:
            self._instruments[instrument.symbol] = instrument
            self.precision.learn(instrument)

    def set_ticker(self, ticker: Ticker) -> None:
        """Take over the latest prices of a market and mark its positions."""
        last, bid, ask = (_exact(price) for price in (ticker.last, ticker.bid, ticker.ask))
        self._prices[ticker.symbol] = (last, bid, ask)
        if last is not None:
            self.positions.set_mark(ticker.symbol, last)

    def set_book(self, book: BookSnapshot) -> None:
        """Take over the best prices of a book; the last price stays."""
        last = self._prices.get(book.symbol, (None, None, None))[0]
        bid = _exact(book.bids[0][0]) if book.bids else None
        ask = _exact(book.asks[0][0]) if book.asks else None
        self._prices[book.symbol] = (last, bid, ask)

    def ticket_context(self, symbol: str) -> TicketContext:
        """Return the world around a ticket for this market."""
        instrument = self._instruments.get(symbol)
        last, bid, ask = self._prices.get(symbol, (None, None, None))
        link = self._links.get(ORDERS_LINK)
        return TicketContext(
            instrument=instrument,
            last=last,
            bid=bid,
            ask=ask,
            free_base=self._free(instrument.base) if instrument is not None else None,
            free_quote=self._free(instrument.quote) if instrument is not None else None,
            equity=self.equity(instrument.quote) if instrument is not None else None,
            position=self.positions.net_quantity(symbol),
            owned=self.positions.owned(symbol),
            online=link is not None and link.state in _REACHABLE,
            trading_state=self.trading_state,
            ownership=self.ownerships.of(symbol),
        )

    def equity(self, quote: str) -> Decimal | None:
        """Return what the account holds at the last prices, in `quote`; None while a balance or price is unknown."""
        if not self._balances:
            return None
        total = ZERO
        for balance in self._balances.values():
            if balance.currency == quote:
                total += balance.total
            elif balance.total:
                last = self.positions.newest_price(f"{balance.currency}/{quote}")
                if last is None:
                    return None
                total += balance.total * last
        return total

    def risk_use(self) -> RiskUse:
        """Return how much of the risk limits is used."""
        figures = self._risk_figures
        return RiskUse(
            day_pnl=None if figures is None else figures.day_pnl,
            drawdown=None if figures is None else figures.drawdown,
            open_orders=len(self.orders.open_orders()),
            largest_position=self.positions.largest_value(),
        )

    def protected(self, symbol: str, owner: str) -> Decimal:
        """Return how much of an owner's position the order plans under way close."""
        entered: dict[str, Decimal] = {}
        for order in self.orders.records():
            intent = order.intent
            if intent.parent_id and parse_child(intent.intent_id)[1] == "entry":
                entered[intent.parent_id] = entered.get(intent.parent_id, ZERO) + order.filled_quantity
        total = ZERO
        for plan in self.plans.under_way():
            draft = plan.draft
            if (draft.symbol, draft.owner) == (symbol, owner):
                total += draft.quantity if draft.kind is PlanKind.EXIT else entered.get(plan.plan_id, ZERO)
        return total

    def profit(self) -> Decimal | None:
        """Return realised plus open profit after fees over all positions; None before the first position."""
        rows = self.positions.owner_rows()
        return sum((row.total_pnl for row in rows), ZERO) if rows else None

    def flush(self) -> None:
        """Bring everything staged to the screen."""
        for table in self.tables:
            table.flush()

    def retranslate(self) -> None:
        """Write every cell in the present language."""
        for table in self.tables:
            table.retranslate()

    def _on_account(self, account: str) -> None:
        """Forget the books of another account; those of the same one are only told again."""
        self._telling_books = True
        if self._account not in ("", account):
            self._forget_books()
        self._account = account

    def _forget_books(self) -> None:
        for table in (self.orders, self.plans, self.positions, self.fills, self.strategies):
            table.clear()
        self.ownerships.forget()
        self._balances = {}
        self._risk_figures = None
        self._account = ""

    def _on_connection(self, status: ConnectionStatus) -> None:
        self._links[status.link] = status
        if status.mode is not self.mode and (self.mode is None or status.link == "orders"):
            if self.mode is not None:
                # Until its account opens, if it ever does, the other mode's books and prices would pass for its own.
                self._forget_books()
                self._prices.clear()
                self.positions.forget_prices()
            self.mode = status.mode
            self.mode_changed.emit(status.mode)
        self.connection_changed.emit(status)

    def _learn_name(self, status: StrategyStatus) -> None:
        if self.names.learn(status.strategy_id, status.title):
            for table in (self.orders, self.positions, self.fills):
                table.retranslate()  # rows that came before the title show it as well

    def _learn_plan(self, plan: OrderPlan) -> None:
        fresh = self.plans.kind_of(plan.plan_id) is None
        self.plans.put(plan)
        if fresh and any(order.intent.parent_id == plan.plan_id for order in self.orders.records()):
            self.orders.retranslate()  # parts that came before their plan are called after it as well

    def _is_news(self, event: ExecutorEvent) -> bool:
        """Whether an event says something beyond fresh figures; latency and profit change every second.

        Of the books told at the beginning of a session only an order that nobody knows the fate of is news.
        """
        if self._telling_books and isinstance(event, OrderUpdated | FillBooked | PlanUpdated):
            return isinstance(event, OrderUpdated) and event.order.state is OrderState.UNKNOWN
        if isinstance(event, ConnectionStatus):
            before = self._links.get(event.link)
            return before is None or (before.state, before.detail) != (event.state, event.detail)
        if isinstance(event, TradingStateChanged):
            return event.state is not self.trading_state or event.state is TradingState.HALTED
        if isinstance(event, StrategyStatus):
            known = self.strategies.record(event.strategy_id)
            return known is None or (known.state, known.detail) != (event.state, event.detail)
        return True

    def _tell(self, event: ExecutorEvent) -> None:
        notice = notice_for(event)
        if notice is not None:
            self.add_notice(notice)
        line = log_text_for(event)
        if line is not None:
            self.add_log(_LEVEL[line.severity], line.source, line.text)

    def _free(self, currency: str) -> Decimal | None:
        if not self._balances:
            return None
        balance = self._balances.get(currency)
        return Decimal(0) if balance is None else balance.free


def _exact(price: float | None) -> Decimal | None:
    # repr gives the shortest decimal that is this float: the number the venue wrote.
    return None if price is None else Decimal(repr(price))
