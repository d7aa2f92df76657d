"""A stored agent that looks at a market and trades nothing. One thread at a time; no torch.

It decides as it would in a strategy, for a made-up account that begins with nothing and pays in the accounting kernel
what the agent learned that trading costs.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.accounting.reference import AccountState, BarPrices, Target, equity_of, open_account, step, weight_of
from core.accounting.rules import CostRates, MarketRules
from core.domain.candles import Candle
from core.errors import UserError
from core.strategies.agent_policy import AccountView
from ml.agents.inference import OnnxAgent
from ml.outlook import AgentWeights, LookedAt, Outlook

PAST_DECISIONS = 200

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _MadeUp:
    """The account that follows the agent, with its peak, bars since it traded and began, and what is wanted."""

    state: AccountState
    peak: float
    since_change: int
    age: int
    target: float


class AgentOnlooker:
    """Targets of one agent, bar after bar."""

    def __init__(self, agent: OnnxAgent, about: LookedAt, costs: CostRates, rules: MarketRules, cash: float) -> None:
        """Bind an agent; `begin` starts it.

        Args:
            agent: with its encoder, where it has one.
            about: what it is.
            costs / rules / cash: of the made-up account.
        """
        self.about = about
        self._agent, self._costs, self._rules, self._cash = agent, costs, rules, cash
        self._step_ns = agent.timeframe.ns
        self._newest_ns: int | None = None
        self._run = 0
        self._account: _MadeUp | None = None
        self._said: deque[tuple[int, float, float]] = deque(maxlen=PAST_DECISIONS)

    @property
    def needed(self) -> int:
        """Closed bars without a gap that a decision takes."""
        return self._agent.warm_up_bars

    @property
    def newest_ns(self) -> int | None:
        """Open time of the newest bar it has seen; None before the first."""
        return self._newest_ns

    def begin(self, history: Sequence[Candle], rest: Callable[[], bool]) -> Outlook | None:
        """Start anew with closed bars, oldest first; the account begins where enough of them lie behind.

        Args:
            history: its last bars are decided one by one, those before only warm the agent up.
            rest: asked between two bars.

        Returns:
            What it wants at the newest bar; None where there is no bar, or `rest` ended it.

        Raises:
            UserError: the agent failed on these bars.
        """
        self._newest_ns, self._account, self._run = None, None, 0
        self._said.clear()
        self._agent.warm_up([])
        outlook = None
        for candle in history[-(self.needed + PAST_DECISIONS - 1) :]:
            if rest():
                return None
            outlook = self.update(candle)
        return outlook

    def update(self, candle: Candle) -> Outlook:
        """Take the next closed bar.

        Raises:
            UserError: the agent failed on it.
        """
        follows = self._newest_ns is not None and candle.open_time_ns == self._newest_ns + self._step_ns
        self._run = self._run + 1 if follows else 1
        try:
            self._take(candle)
        except Exception as exc:
            # ONNX Runtime has a dozen exception types without a common public base. Nothing is lost: nobody trades.
            _log.exception("agent %s cannot go on looking", self.about.model_id)
            raise UserError(
                f"Model {self.about.model_id} failed on a bar of the chart.",
                "The log says how. Take the model off the chart, or look at another one.",
            ) from exc
        self._newest_ns = candle.open_time_ns
        return Outlook(
            bar_open_ns=candle.open_time_ns,
            close=candle.close,
            forecast=None,
            bars=min(self._run, self.needed),
            needed=self.needed,
            weights=self._weights(),
        )

    def _take(self, candle: Candle) -> None:
        if not self._agent.update(candle):
            # After a gap nobody knows what the account would hold: it begins anew.
            self._account = None
            self._said.clear()
            return
        account = self._account = self._moved(self._account, candle)
        view = AccountView(
            units=account.state.lots * self._rules.unit,
            mark=candle.close,
            entry_price=account.state.entry_price,
            equity=equity_of(account.state, self._rules),
            peak=account.peak,
            bars_since_change=account.since_change,
        )
        account.target = self._agent.decide(view).weight
        self._said.append((candle.open_time_ns, account.target, weight_of(account.state, self._rules)))

    def _moved(self, before: _MadeUp | None, candle: Candle) -> _MadeUp:
        """Return the account at the close of a bar that meets its target."""
        if before is None:
            return _MadeUp(open_account(self._cash, candle.close), self._cash, 0, 0, 0.0)
        bar = BarPrices(candle.open, candle.high, candle.low, candle.close, candle.volume)
        done = step(before.state, Target(before.target), bar, self._costs, self._rules)
        peak = max(before.peak, equity_of(done.state, self._rules))
        since_change = 0 if done.fills else before.since_change + 1
        return _MadeUp(done.state, peak, since_change, before.age + 1, before.target)

    def _weights(self) -> AgentWeights | None:
        if self._account is None:
            return None
        times, targets, held = zip(*self._said, strict=True)
        return AgentWeights(times, targets, held, self._account.age)
