"""What an executor event says to a person: a notice, a log line, both or nothing. Qt-free, pure, any thread."""

from __future__ import annotations

from dataclasses import dataclass

from app.flows.reason_text import Reason
from app.i18n import format_exact, tr
from core.domain.orders import IntentSource, Order, OrderState, Side, TradingState
from core.events import (
    AccountOpened,
    BalancesChanged,
    BooksTold,
    ConnectionState,
    ConnectionStatus,
    DraftRefused,
    ExecutorEvent,
    FillBooked,
    ForecastMade,
    IntentDenied,
    Notice,
    OrderUpdated,
    OwnershipChanged,
    PlanUpdated,
    PositionChanged,
    RiskFigures,
    RiskSettingsChanged,
    Severity,
    SignalEmitted,
    StrategyState,
    StrategyStatus,
    TradingStateChanged,
    TransferBooked,
)


@dataclass(frozen=True, slots=True)
class LogText:
    """A line for the log; `severity` gives its level."""

    severity: Severity
    source: str
    text: str


def notice_for(event: ExecutorEvent) -> Notice | None:
    """Return what the person should be told about an event; None where the tables say enough."""
    match event:
        case Notice():
            return event
        case FillBooked(fill=fill):
            verb = tr("Bought") if fill.side is Side.BUY else tr("Sold")
            what = f"{format_exact(fill.quantity)} {fill.symbol.partition('/')[0]} @ {format_exact(fill.price)}"
            return Notice(Severity.SUCCESS, f"{verb} {what}", _who(event.order))
        case IntentDenied(intent=intent, code=code, message=message):
            title = tr("Order denied: {symbol}", symbol=intent.symbol)
            return Notice(Severity.WARNING, title, Reason(code, message).text())
        case OrderUpdated(order=order) if order.state is OrderState.REJECTED:
            title = tr("The exchange rejected an order: {symbol}", symbol=order.intent.symbol)
            return Notice(Severity.ERROR, title, Reason(order.reason_code, order.message).text())
        case OrderUpdated(order=order) if order.state is OrderState.UNKNOWN:
            title = tr("Order without an answer: {symbol}", symbol=order.intent.symbol)
            return Notice(Severity.WARNING, title, tr("It is being reconciled; nothing is sent again."))
        case TradingStateChanged():
            return _state_notice(event)
        case StrategyStatus(state=StrategyState.FAILED):
            return Notice(Severity.ERROR, tr("Strategy failed: {title}", title=event.title), event.detail)
        case _:
            return None


def log_text_for(event: ExecutorEvent) -> LogText | None:
    """Return the log line of an event; None for what changes all the time."""
    match event:
        case OrderUpdated(order=order):
            return LogText(Severity.INFO, "orders", _order_line(order))
        case PlanUpdated(plan=plan):
            draft = plan.draft
            what = f"{draft.kind.value} {draft.side.value} {draft.quantity} {draft.symbol} → {plan.state.value}"
            return LogText(Severity.INFO, "plans", f"{what} {plan.reason}".strip() + f" [{plan.plan_id}]")
        case FillBooked(fill=fill):
            text = f"{fill.side.value} {fill.quantity} {fill.symbol} @ {fill.price} fee {fill.fee} {fill.fee_currency}"
            return LogText(Severity.SUCCESS, "fills", text)
        case IntentDenied():
            return LogText(Severity.WARNING, "risk", f"{event.intent.symbol}: {event.code} {event.message}")
        case SignalEmitted(signal=signal):
            return LogText(
                Severity.INFO,
                "signals",
                f"{signal.owner}: {signal.symbol} → {signal.target_weight:.2f} {signal.reason}",
            )
        case StrategyStatus():
            return LogText(
                _strategy_severity(event), "strategies", f"{event.title}: {event.state} {event.detail}".strip()
            )
        case TradingStateChanged():
            severity = Severity.INFO if event.state is TradingState.ACTIVE else Severity.WARNING
            return LogText(severity, "trading", f"{event.state}: {event.reason} {event.report}".strip())
        case ConnectionStatus():
            severity = Severity.INFO if event.state is ConnectionState.ONLINE else Severity.WARNING
            return LogText(severity, "connection", f"{event.venue} {event.link}: {event.state} {event.detail}".strip())
        case Notice():
            return LogText(event.severity, "notice", f"{event.title} {event.text}".strip())
        case OwnershipChanged():
            return LogText(Severity.INFO, "trading", f"{event.symbol}: {event.ownership} ({event.by})")
        case TransferBooked(transfer=moved):
            text = f"{moved.quantity} {moved.symbol} moved at cost: {moved.from_owner} → {moved.to_owner}"
            return LogText(Severity.INFO, "trading", text)
        case AccountOpened(account=account):
            return LogText(Severity.INFO, "trading", f"books of the account {account}")
        case RiskSettingsChanged(settings=settings):
            limits = ", ".join(f"{name} {value}" for name, value in settings.to_json().items())
            return LogText(Severity.INFO, "risk", f"limits: {limits}")
        case ForecastMade() | BooksTold() | PositionChanged() | BalancesChanged() | RiskFigures() | DraftRefused():
            return None  # a refusal comes with a notice


def _who(order: Order | None) -> str:
    if order is None:
        return ""
    intent = order.intent
    return tr("Manual order") if intent.source is IntentSource.MANUAL else intent.reason or intent.owner


def _state_notice(event: TradingStateChanged) -> Notice:
    text = "\n".join(part for part in (event.reason, event.report) if part)
    match event.state:
        case TradingState.HALTED:
            return Notice(Severity.ERROR, tr("Trading is halted"), text)
        case TradingState.REDUCING:
            return Notice(Severity.WARNING, tr("Only reducing orders are allowed"), text)
        case TradingState.ACTIVE:
            return Notice(Severity.SUCCESS, tr("Trading is active"), text)


def _order_line(order: Order) -> str:
    intent = order.intent
    price = "market" if intent.limit_price is None else str(intent.limit_price)
    parts = [intent.side.value, str(intent.quantity), intent.symbol, "@", price, f"→ {order.state}", order.message]
    return " ".join(part for part in parts if part) + f" [{order.client_order_id}]"


def _strategy_severity(status: StrategyStatus) -> Severity:
    return Severity.ERROR if status.state is StrategyState.FAILED else Severity.INFO
