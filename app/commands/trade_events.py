"""What `main.py trade` does with events: tells a person, and watches for failed strategies. Qt-free; executor's loop.

Standard error only: with `--json`, standard output is the result's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from app.commands.cli import say
from core.domain.money import ZERO, plain
from core.events import (
    AccountOpened,
    BooksTold,
    ExecutorEvent,
    FillBooked,
    IntentDenied,
    Notice,
    OrderUpdated,
    SignalEmitted,
    StrategyState,
    StrategyStatus,
)


class StrategyWatch:
    """Which strategies of a run failed, and whether any is left.

    Args:
        none_left: called when at least one has failed and no other one runs or is still to be started.
    """

    def __init__(self, none_left: Callable[[], None]) -> None:
        self._none_left = none_left
        self._failed: dict[str, str] = {}
        self._left: set[str] = set()

    @property
    def failures(self) -> list[str]:
        """One sentence for each strategy that failed, in order; none where all went well."""
        return [f"Strategy {name} failed: {detail}." for name, detail in self._failed.items()]

    def expect(self, strategy_ids: Iterable[str]) -> None:
        """Name the strategies that are about to be started: a run is not over because the first of them failed."""
        self._left |= set(strategy_ids)

    def note(self, status: StrategyStatus) -> None:
        """Take one status in."""
        match status.state:
            case StrategyState.WARMING_UP | StrategyState.RUNNING:
                self._left.add(status.strategy_id)
            case StrategyState.FAILED:
                self._left.discard(status.strategy_id)
                self._failed[status.strategy_id] = " ".join(status.detail.split()).rstrip(".")
            case StrategyState.PAUSED:  # by a kill, or because the run is over
                self._left.discard(status.strategy_id)
            case StrategyState.STOPPED:
                return  # not started yet: nothing stops a single strategy here
        if self._failed and not self._left:
            self._none_left()


class Teller:
    """Says on standard error what the executor does; orders and fills of the books it begins with are no news."""

    def __init__(self, watch: StrategyWatch) -> None:
        self._watch = watch
        self._telling_books = False
        self._states: dict[str, str] = {}
        self._targets: dict[str, float] = {}

    def __call__(self, event: ExecutorEvent) -> None:
        if isinstance(event, StrategyStatus):
            self._watch.note(event)
        match event:
            case AccountOpened():
                self._telling_books = True
            case BooksTold():
                self._telling_books = False
            case FillBooked() | OrderUpdated() if self._telling_books:
                pass
            case FillBooked(fill, _):
                say(f"{fill.side} {plain(fill.quantity)} {fill.symbol} at {plain(fill.price)}")
            case IntentDenied(intent, code, message):
                say(f"Denied ({code}): {intent.side} {plain(intent.quantity)} {intent.symbol}: {message}")
            case SignalEmitted(signal) if self._targets.get(signal.owner) != signal.target_weight:
                self._targets[signal.owner] = signal.target_weight
                say(f"Signal of {signal.owner}: hold {signal.target_weight:.0%} ({signal.reason})")
            case OrderUpdated(order) if order.state.is_terminal and order.filled_quantity == ZERO:
                say(f"Order {order.client_order_id}: {order.state} {order.message}".rstrip())
            case StrategyStatus(strategy_id=name, state=state, detail=detail) if self._states.get(name) != state:
                self._states[name] = state
                say(f"Strategy {name}: {state} {detail}".rstrip())
            case Notice(severity, title, text):
                say(f"{severity.value}: {title}. {text}".rstrip())
