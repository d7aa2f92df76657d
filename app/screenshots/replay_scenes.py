"""Pictures of the replay of an agent. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
from PySide6.QtGui import QPixmap

from app.models.replay import AgentReplay
from app.screenshots.agents import AGENT_IDS
from app.screenshots.session import BTC
from app.screenshots.studio import Studio, settle
from app.ui.dialogs.error_dialog import ErrorDialog
from app.ui.replay.window import ReplayWindow
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE
from ml.agents.environment_spec import ACCOUNT_NAMES
from ml.agents.episode import Episode
from ml.arrays import FloatArray

Take = Callable[[Studio], QPixmap]

_SEEN = ("log_return", "return_1", "return_4", "return_24", "volatility", "rsi", "macd", "volume_z", "day_sin")
_COST = 0.0012
_GAP_AT = 150
_BARS = 300


def replay_scenes() -> dict[str, Take]:
    """Return the pictures by name."""
    return {
        "replay_bar": partial(_bar, 220),
        "replay_unusual": partial(_bar, 222, unusual=True),
        "replay_end_of_bars": partial(_bar, _GAP_AT - 1),
        "replay_everything": partial(_bar, 120, everything=True),
        "replay_not_kept": partial(_bar, 60, kept=200),
        "replay_refused": _refused,
    }


@contextmanager
def _window(studio: Studio, replay: AgentReplay) -> Iterator[ReplayWindow]:
    window = ReplayWindow(studio.theme, studio.language, studio.window)
    window.show()
    settle()
    window.show_replay(replay)
    settle()
    yield window
    window.close()
    settle()


def _bar(
    row: int, studio: Studio, *, unusual: bool = False, everything: bool = False, kept: int | None = None
) -> QPixmap:
    episode = _episode(studio)
    if kept is not None:
        episode = replace(episode, observed=episode.observed[-kept:], left_out=4_380)
    with _window(studio, AgentReplay.of(AGENT_IDS[0], BINANCE, "ppo", episode)) as window:
        window.seen.unusual_first.setChecked(unusual)
        window.transport.everything.setChecked(everything)
        window.player.go_to(row)
        if everything:
            window.chart.fit()
        return studio.shoot(window)


def _refused(studio: Studio) -> QPixmap:
    dialog = ErrorDialog(studio.theme, studio.window)
    dialog.show_error(
        f"The agent {AGENT_IDS[1]} was stored without the bars it was judged on.",
        "An earlier version made it. Train it again to replay what it did.",
    )
    taken = studio.shoot(dialog)
    dialog.close()
    dialog.deleteLater()
    settle()
    return taken


def _episode(studio: Studio) -> Episode:
    """Return a pass over hourly bars of an agent that follows the last day, with a gap in the middle."""
    frame = studio.materials.market.history(BTC, Timeframe.H1).finals()
    frame = frame.slice(len(frame) - _BARS, len(frame))
    size, rng = len(frame), np.random.default_rng(7)
    time_ns = frame.time_ns.copy()
    time_ns[:_GAP_AT] -= 9 * Timeframe.H1.ns
    starts = np.array([0, _GAP_AT])
    ends = np.array([_GAP_AT - 1, size - 1])
    moved = np.diff(np.log(frame.close), prepend=np.log(frame.close[0]))
    moved[starts] = 0.0
    trend = _smooth(moved, 24) / max(float(np.std(_smooth(moved, 24))), 1e-12)
    seeds = np.clip(0.45 * trend[:, None] + rng.normal(0.0, 0.12, (size, 5)).cumsum(axis=0) * 0.04, -1.0, 1.0)
    seeds[ends] = 0.0
    wanted = seeds.mean(axis=1)
    held = np.zeros(size)
    for row in range(1, size):  # within the band it lets things be
        before = held[row - 1]
        held[row] = wanted[row - 1] if abs(wanted[row - 1] - before) > 0.12 else before
    held[starts] = 0.0
    traded = np.diff(held, prepend=0.0)
    traded[starts] = 0.0
    cost = _COST * np.abs(traded)
    growth = 1.0 + held * np.expm1(moved) - cost
    account = np.stack([held, 4 * moved, rng.uniform(0, 3, size), rng.uniform(0, 0.1, size), np.ones(size)], axis=1)
    features = rng.normal(size=(size, len(_SEEN)))
    features[:, 0], features[:, 3] = moved / max(float(moved.std()), 1e-12), trend
    observed = np.concatenate([features, account], axis=1).astype(np.float32)
    observed[ends] = 0.0
    return Episode(
        symbol=BTC,
        timeframe=Timeframe.H1.value,
        time_ns=time_ns,
        open=frame.open,
        high=frame.high,
        low=frame.low,
        close=frame.close,
        volume=frame.volume,
        target=wanted,
        held=held,
        traded=traded,
        equity=np.asarray(np.cumprod(growth), np.float64),
        cost=cost,
        seeds=seeds,
        names=(*_SEEN, *ACCOUNT_NAMES),
        observed=observed,
        rules={"flat": np.ones(size), "hold": np.asarray(np.exp(np.cumsum(moved)), np.float64)},
        starts=starts,
    )


def _smooth(values: FloatArray, bars: int) -> FloatArray:
    """Return the mean of so many values up to each, fewer at the beginning."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    at = np.arange(1, len(values) + 1)
    first = np.maximum(0, at - bars)
    result: FloatArray = (sums[at] - sums[first]) / (at - first)
    return result
