"""Limits that act by themselves: losses that halt or reduce trading, strategies that run away. Executor's event loop.

The gate denies what would break a limit; this watch acts where nobody asks. The executor calls `RiskWatch.round` every
half second and right after re-arming.

- Drawdown reached: HALTED until a person re-arms. Strategies and plans that could open or grow a position pause, and
  the rounds of the order desk cancel their orders; what only closes stays at the venue.
- Day's loss reached: REDUCING until the next UTC day of the market clock, or until a person re-arms.
- Re-arming measures both anew from there.
- A strategy that hits the rate limit is stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from core.domain.orders import TradingState
from core.errors import UserError
from core.events import EventSink, Notice, RiskFigures, RiskSettingsChanged, Severity
from core.execution.account import AccountBook
from core.execution.loss_measure import COARSENESS
from core.execution.order_flow import OrderFlow
from core.execution.trading_control import DRAWDOWN_REASON, TradingControl
from core.signals.risk_management import RiskManager, RiskSettings, daily_loss_reached, drawdown_reached

DAILY_LOSS_REASON = "the daily loss limit was reached"
NEW_DAY_REASON = "a new day began after the daily loss limit was reached"

_log = logging.getLogger(__name__)


class Strategies(Protocol):
    """What the watch may do with strategies; `core.execution.strategy_runner.StrategyRunner` can."""

    def pause_all(self, reason: str) -> None:
        """Stop every running strategy at once."""
        ...

    def forget_running(self) -> None:
        """Journal that none is to be started again by itself."""
        ...

    async def stop(self, strategy_id: str) -> None:
        """Stop one and cancel its working orders."""
        ...


class Plans(Protocol):
    """What the watch may do with order plans; `core.execution.plan_runner.PlanRunner` can."""

    def hold(self, reason: str) -> list[str]:
        """Pause those that would open or grow a position; returns what could not be written."""
        ...


class RiskWatch:
    """Watches the limits of one account.

    Args:
        spawn: runs what may take its time.
        follow_price: keeps the price of a market fresh from now on.
    """

    def __init__(
        self,
        risk: RiskManager,
        control: TradingControl,
        account: AccountBook,
        flow: OrderFlow,
        strategies: Strategies,
        plans: Plans,
        sink: EventSink,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        follow_price: Callable[[str], None],
    ) -> None:
        self._follow_price = follow_price
        self._risk = risk
        self._control = control
        self._account = account
        self._flow = flow
        self._strategies = strategies
        self._plans = plans
        self._sink = sink
        self._spawn = spawn
        self._told_settings: RiskSettings | None = None
        self._told_figures: RiskFigures | None = None
        self._told_unpriced: list[str] = []

    async def round(self) -> None:
        """Look once and act.

        Raises:
            UserError: the journal cannot be written; trading is halted where a limit asked for it.
        """
        self._tell_settings()
        self._stop_runaways()
        if self._cannot_value():
            return
        self._account.roll_day()
        # First: the loss that halted trading must not halt it again right after re-arming.
        self._follow_arming()
        self._begin_day()
        figures = RiskFigures(self._account.day_pnl(), self._account.drawdown())
        self._judge(figures)
        if figures != self._told_figures:
            self._told_figures = figures
            self._sink(figures)

    # --- losses -----------------------------------------------------------------------------------------------

    def _judge(self, figures: RiskFigures) -> None:
        settings, state = self._risk.settings, self._control.state
        if state is not TradingState.HALTED and drawdown_reached(figures.drawdown, settings):
            self._halt(f"The drawdown {figures.drawdown:.2f} reached the limit {settings.max_drawdown}.")
        elif state is TradingState.ACTIVE and daily_loss_reached(figures.day_pnl, settings):
            self._account.losses.mark_reduced(self._account.today)
            self._control.reduce(DAILY_LOSS_REASON)
            text = (
                f"Today's loss {-figures.day_pnl:.2f} reached the limit {settings.max_daily_loss}. Only orders that "
                "reduce a position pass until the next day (UTC), or until you re-arm trading."
            )
            self._sink(Notice(Severity.ERROR, "Daily loss limit reached", text))

    def _halt(self, text: str) -> None:
        self._control.halt_now()  # before anything that may fail
        self._strategies.pause_all(DRAWDOWN_REASON)
        errors = self._control.store_halt(DRAWDOWN_REASON) + self._plans.hold(DRAWDOWN_REASON)
        try:
            self._strategies.forget_running()
        except UserError as exc:
            errors.append(exc.message)
        for error in dict.fromkeys(errors):  # STOP's own rounds write it down as soon as that goes
            self._sink(Notice(Severity.ERROR, "The halt could not be written down", error))
        remedy = "Find out why before you re-arm trading; the drawdown is then measured anew."
        self._sink(Notice(Severity.ERROR, "Drawdown limit reached: trading is halted", f"{text} {remedy}"))

    def _follow_arming(self) -> None:
        """Measure losses anew where a person has re-armed trading since they were measured last."""
        record, losses = self._control.record, self._account.losses
        losses.tolerance = COARSENESS * self._risk.settings.max_drawdown
        if record.state is not TradingState.ACTIVE or losses.known.armed_ns == record.since_ns:
            return
        if losses.known.armed_ns is None or record.reason == NEW_DAY_REASON:
            losses.adopt(record.since_ns)  # nobody re-armed: the highest profit stays
            return
        losses.restart(self._account.pnl(), record.since_ns)
        self._sink(Notice(Severity.INFO, "Drawdown and today's loss are measured anew from now"))

    def _begin_day(self) -> None:
        """Let everything pass again on the day after the one whose loss reached the limit, unless a copy forbids it."""
        losses = self._account.losses
        if losses.known.reduced_day not in (None, self._account.today):
            self._control.resume(NEW_DAY_REASON, reduced_for=DAILY_LOSS_REASON)
            losses.mark_reduced(None)

    def _cannot_value(self) -> bool:
        """Whether a position has no price yet: then there is no profit to judge. Said once, and its price followed."""
        unpriced = self._account.unpriced()
        for symbol in unpriced:
            self._follow_price(symbol)
        if unpriced and unpriced != self._told_unpriced:
            text = f"No price is known of {', '.join(unpriced)}."
            self._sink(Notice(Severity.WARNING, "The loss limits cannot be watched", text))
        self._told_unpriced = unpriced
        return bool(unpriced)

    # --- the rest ---------------------------------------------------------------------------------------------

    def _stop_runaways(self) -> None:
        for owner, why in self._flow.take_runaways().items():
            self._spawn(self._stop_runaway(owner))  # its cancels may take their time; the losses are watched meanwhile
            self._sink(Notice(Severity.ERROR, "A strategy was stopped: it orders too fast", f"{owner}: {why}."))

    async def _stop_runaway(self, owner: str) -> None:
        try:
            await self._strategies.stop(owner)
        except UserError as exc:
            _log.warning("runaway %s could not be stopped: %s", owner, exc.message)

    def _tell_settings(self) -> None:
        if self._risk.settings != self._told_settings:
            self._told_settings = self._risk.settings
            self._sink(RiskSettingsChanged(self._risk.settings))
