"""Reads the markets of an agent's run, pins their bars, and tells where they come from. Training child only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.user_path import user_path
from ml.agents.bars import MarketInput
from ml.agents.run_spec import AgentSpec
from ml.features import PointSeries, load_point_series
from ml.jsonvalues import Json
from ml.model_storage import data_lineage, history_lineage
from ml.worker.pinned_bars import load_pinned_history

_FOLDER = "markets"  # in the folder of a run: a numbered folder for each further market


def load_markets(spec: AgentSpec, candles_dir: Path, run_dir: Path, *, anew: bool) -> tuple[MarketInput, ...]:
    """Read the markets of a run, that of the specification first, each pinned; see `load_pinned_history`.

    The others are read within the limits of the first one's bars.

    Raises:
        UserError: no such series of bars, a damaged file, or nothing in the range.
    """
    own = load_pinned_history(spec.data, candles_dir, run_dir, anew=anew)
    first, last = int(own.frame.time_ns[0]), int(own.frame.time_ns[-1])
    limits = replace(spec.data, start_ns=first, end_ns=last + own.frame.timeframe.ns)
    others = (
        load_pinned_history(replace(limits, symbol=symbol), candles_dir, run_dir / _FOLDER / str(number), anew=anew)
        for number, symbol in enumerate(spec.universe.symbols)
    )
    return tuple(
        MarketInput(history, _funding(spec, history.frame.symbol), spec.universe.rules_of(history.frame.symbol))
        for history in (own, *others)
    )


def _funding(spec: AgentSpec, symbol: str) -> PointSeries | None:
    source = spec.universe.funding_of(symbol)
    return None if source is None else load_point_series(user_path(Path(source.path)), symbol, source.column, 0.0)


def markets_lineage(inputs: Sequence[MarketInput]) -> Json:
    """Return the lineage of the first market, and of the others and all funding rates beside it."""
    lineage = history_lineage(inputs[0].history)
    if len(inputs) > 1:
        lineage["universe"] = {each.history.frame.symbol: data_lineage(each.history.frame) for each in inputs[1:]}
    funding = {each.history.frame.symbol: each.funding for each in inputs if each.funding is not None}
    if funding:
        lineage["funding"] = {
            symbol: {
                "points": len(rates.value),
                "sha256": hashlib.sha256(rates.known_ns.tobytes() + rates.value.tobytes()).hexdigest(),
            }
            for symbol, rates in funding.items()
        }
    return lineage
