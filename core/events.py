"""What the executor and the feeds tell the rest of the program. Frozen values; any thread may hold them.

Order, fill, error and kill-switch events are never coalesced: they travel through an ordered queue and are
journalled before anyone sees them. Market data and connection figures may be replaced by newer values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from core.domain.fills import Fill
from core.domain.order_plans import OrderPlan
from core.domain.orders import Intent, Order, OrderDraft, TradingMode, TradingState
from core.domain.positions import Balance, Ownership, Position, Transfer
from core.domain.signals import Forecast, Signal
from core.signals.risk.settings import RiskSettings
from core.strategies.spec import StrategyKind


class Severity(StrEnum):
    """How loud a notice is."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"


class ConnectionState(StrEnum):
    """State of one link to a venue."""

    OFFLINE = "offline"  # closed, or the venue does not answer at all
    CONNECTING = "connecting"
    ONLINE = "online"
    DEGRADED = "degraded"  # REST answers, but a stream or anything else does not work


class StrategyState(StrEnum):
    """Life of a strategy inside the executor."""

    STOPPED = "stopped"
    WARMING_UP = "warming_up"
    RUNNING = "running"
    PAUSED = "paused"  # kill switch or manual takeover
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class OrderUpdated:
    """An order changed; `order` is its complete new state."""

    order: Order


@dataclass(frozen=True, slots=True)
class PlanUpdated:
    """An order plan changed; `plan` is its complete new state."""

    plan: OrderPlan


@dataclass(frozen=True, slots=True)
class FillBooked:
    """A fill was written to the journal and the position."""

    fill: Fill
    order: Order | None


@dataclass(frozen=True, slots=True)
class PositionChanged:
    """A position changed; `mark_price` is the last known price, if any."""

    position: Position
    mark_price: Decimal | None


@dataclass(frozen=True, slots=True)
class OwnershipChanged:
    """Who may trade a market; markets nothing was said of are shared.

    Attributes:
        by: who said so, e.g. "person".
        paused: strategies that start again when the market is handed back.
    """

    symbol: str
    ownership: Ownership
    by: str
    paused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TransferBooked:
    """A position went from one owner to another at what it cost; both `PositionChanged` came before."""

    transfer: Transfer


@dataclass(frozen=True, slots=True)
class AccountOpened:
    """A session with the venue begins and tells its books anew; where `account` differs, those told before are others'.

    Attributes:
        account: mode and key fingerprint, as the journal knows it.
    """

    account: str


@dataclass(frozen=True, slots=True)
class BooksTold:
    """The books as they stood at the beginning of the session have been told; what follows is news."""


@dataclass(frozen=True, slots=True)
class BalancesChanged:
    """Account balances as the venue reports them."""

    balances: tuple[Balance, ...]


@dataclass(frozen=True, slots=True)
class IntentDenied:
    """Risk refused an intent; `code` is a `ReasonCode` value, `message` says it to a person."""

    intent: Intent
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class DraftRefused:
    """A manual order was refused before it became an order: nothing was journalled, nothing sent."""

    draft: OrderDraft
    message: str


@dataclass(frozen=True, slots=True)
class SignalEmitted:
    """A strategy decided on a closed bar."""

    signal: Signal


@dataclass(frozen=True, slots=True)
class ForecastMade:
    """The model of a strategy looked at a closed bar; may be replaced by its next one.

    Attributes:
        forecast: of the model.
        timeframe: of its bars.
        close: price the forecast starts from, quote currency.
    """

    forecast: Forecast
    timeframe: str
    close: float


@dataclass(frozen=True, slots=True)
class StrategyStatus:
    """One strategy as shown in the strategy manager.

    Attributes:
        strategy_id: stable id, also the `owner` of its orders and position.
        title: name shown.
        symbol / timeframe: market it trades.
        model_id: content hash of its model package; empty where it has none.
        state: see `StrategyState`.
        detail: one sentence, e.g. why it failed.
        position: base currency held.
        pnl: realised + unrealised − fees, quote currency.
        last_signal: target weight last decided, None before the first.
        kind: what decides.
    """

    strategy_id: str
    title: str
    symbol: str
    timeframe: str
    model_id: str
    state: StrategyState
    detail: str = ""
    position: Decimal = Decimal(0)
    pnl: Decimal = Decimal(0)
    last_signal: float | None = None
    kind: StrategyKind = StrategyKind.MODEL


@dataclass(frozen=True, slots=True)
class TradingStateChanged:
    """Kill switch, halt or re-arm. `report` carries the kill switch's written result where there is one."""

    state: TradingState
    reason: str
    report: str = ""


@dataclass(frozen=True, slots=True)
class RiskSettingsChanged:
    """The limits in force; told at the beginning of a session and whenever they change."""

    settings: RiskSettings


@dataclass(frozen=True, slots=True)
class RiskFigures:
    """How much of the loss limits is used, quote currency; may be replaced by newer values.

    Attributes:
        day_pnl: profit since the start of the UTC day, or since trading was re-armed on it.
        drawdown: fall of the profit from its highest point since trading was armed.
    """

    day_pnl: Decimal
    drawdown: Decimal


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """Health of one link.

    Attributes:
        link: "market" or "orders".
        latency_ms: last REST round trip.
        clock_offset_ms: venue clock minus ours.
    """

    venue: str
    link: str
    mode: TradingMode
    state: ConnectionState
    detail: str = ""
    latency_ms: float | None = None
    clock_offset_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence for the person at the screen, with its remedy if there is one."""

    severity: Severity
    title: str
    text: str = ""


ExecutorEvent = (
    OrderUpdated
    | PlanUpdated
    | FillBooked
    | PositionChanged
    | OwnershipChanged
    | TransferBooked
    | AccountOpened
    | BooksTold
    | BalancesChanged
    | IntentDenied
    | DraftRefused
    | SignalEmitted
    | ForecastMade
    | StrategyStatus
    | TradingStateChanged
    | RiskSettingsChanged
    | RiskFigures
    | ConnectionStatus
    | Notice
)

# Called on the executor's thread, in order, after the journal holds the fact. Must not block.
EventSink = Callable[[ExecutorEvent], None]
