"""The equity of passes over the validation part beside rules that anybody could follow. Training child only."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np

from core.data.atomic_file import write_atomically
from ml.agents.accounts import JudgedPart, log_returns
from ml.agents.baselines import FLAT, baseline_rules
from ml.agents.evaluation import judged_market, judged_rows
from ml.agents.progress import CURVES_FILE, MOST_POINTS, PassCurves, RuleCurve
from ml.agents.shared_bars import LearningBars
from ml.agents.walks import Walked
from ml.arrays import FloatArray, IntArray
from ml.environment import BatchedTradingEnv
from ml.trading_metrics import NS_PER_YEAR

_DIGITS = 6


class ValidationRules:
    """The rules on the validation part; they are followed once, when the first pass has ended."""

    def __init__(self, bars: LearningBars, env: BatchedTradingEnv) -> None:
        """Take the part.

        Args:
            bars: of the run.
            env: that the agent learns in: its costs and bounds are those of the rules.
        """
        self._bars, self._bar_ns = bars, bars.bar_ns
        self._market = judged_market(env, bars_per_year=NS_PER_YEAR / self._bar_ns, time_ns=bars.time_ns)
        self._part = JudgedPart.of(self._market, judged_rows(env, bars.valid))

    def curves(self, seed: int, step: int, log_return: FloatArray) -> PassCurves:
        """Return the curves of a pass.

        Args:
            seed / step: of the agent.
            log_return: net, behind each decision of the part in the order of its stretches, shape (m,).
        """
        times = self._times
        kept = _kept(len(times))
        return PassCurves(
            seed=seed,
            step=step,
            time_ns=tuple(times[kept].tolist()),
            equity=_equity(self._part.together(log_return), kept),
            rules=self._rules,
        )

    def log_return(self, walked: Walked) -> float:
        """Return what a pass came to, the capital spread over the markets as where the agent is judged."""
        if self._part.slot is None:
            return walked.log_return
        return float(self._part.together(walked.path).sum())

    @cached_property
    def _times(self) -> IntArray:
        """The close before the first return, and that of every return."""
        opens = self._part.time_ns
        assert opens is not None  # the bars of a run have times
        return np.append(opens[:1], opens + self._bar_ns)

    @cached_property
    def _rules(self) -> tuple[RuleCurve, ...]:
        train = JudgedPart.of(self._market, [(stretch.start, stretch.stop) for stretch in self._bars.train])
        kept = _kept(len(self._times))
        return tuple(
            RuleCurve(rule.name, _equity(log_returns(rule.weights, self._part, close_out=False), kept))
            for rule in baseline_rules(train, self._part, self._bars.forecast)
            if rule.name != FLAT
        )


def save_curves(run_dir: Path, curves: PassCurves) -> None:
    """Keep the curves of the newest pass beside the checkpoint, for a window that was not there.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    write_atomically(run_dir / CURVES_FILE, json.dumps(curves.to_json()).encode())


def _kept(count: int) -> IntArray:
    """Return which of so many moments are kept: the first, the last, and evenly between them."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(np.int64))


def _equity(log_return: FloatArray, kept: IntArray) -> tuple[float, ...]:
    grown = np.exp(np.append(0.0, np.cumsum(log_return)))[kept]
    return tuple(float(f"{value:.{_DIGITS}g}") for value in grown)
