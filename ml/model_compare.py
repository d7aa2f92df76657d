"""Stored models side by side: how they were made and how they did. Pure functions, any thread; no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.clock import to_datetime
from core.errors import UserError
from ml.agents.package import StoredAgent
from ml.model_storage import StoredModel

# Which way a metric is better, by the last part of its name; of all others less is better.
_MORE_IS_BETTER = frozenset(
    {"skill", "r2", "ic", "rank_ic", "hit_rate", "hit_low", "hit_high", "edge", "auc", "mcc", "targets"}
    | {"effective_targets"}
    # of agents
    | {"log_return", "total_return", "cagr", "sharpe", "sortino", "calmar", "profit_factor", "hindsight_share"}
    | {"probability", "probabilistic", "percentile", "estimate", "median", "iqm"}
)
# Those that people rank models by; there are hundreds of others.
_RANKING = (
    *("crps", "pinball", "coverage", "r2", "skill", "ic", "rank_ic", "hit_rate", "mae", "rmse"),
    *("log_return", "sharpe", "sortino", "max_drawdown", "turnover"),
)
# Where a short name is looked for, in this order.
_PLACES = ("", "model.", "ensemble.", "ensemble.trading.", "ensemble.positions.")
_LONGEST_SHOWN = 40
_COVERAGE, _NOMINAL = "coverage", "nominal_coverage"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Models side by side; every row has one value for each model, in their order.

    Attributes:
        model_ids: the columns.
        differences: entries of the configuration that are not equal, by dotted name.
        metrics: numbers of the test part, by dotted name; None where a model has none.
        not_comparable: why the metrics do not measure the same, one sentence each.
    """

    model_ids: tuple[str, ...]
    differences: dict[str, tuple[Any, ...]]
    metrics: dict[str, tuple[float | None, ...]]
    not_comparable: tuple[str, ...]


Stored = StoredModel | StoredAgent


def compare_models(models: Sequence[Stored], sort: str | None = None) -> Comparison:
    """Put models side by side.

    Args:
        sort: metric by which the best comes first; the order given where None.

    Raises:
        UserError: no model has that metric, their metrics do not measure the same, or only some of them are agents.
    """
    if len({type(model) for model in models}) > 1:
        raise UserError("An agent and a forecaster are not measured alike.", "Compare models of one kind.")
    reasons = tuple(_reasons(models))
    if sort is not None:
        models = _ranked(models, sort, reasons)
    return Comparison(
        model_ids=tuple(model.model_id for model in models),
        differences=_differences(models),
        metrics=_metrics(models),
        not_comparable=reasons,
    )


def _ranked(models: Sequence[Stored], metric: str, reasons: tuple[str, ...]) -> list[Stored]:
    metrics = _metrics(models)
    name = _full_name(metric, metrics)
    if name is None:
        known = ", ".join(known for known in _RANKING if _full_name(known, metrics) is not None)
        raise UserError(
            f"The models have no metric {metric[:_LONGEST_SHOWN]!r}.",
            f"Use {known}, or another name from the answer of `models compare --json`.",
        )
    if reasons:
        raise UserError(f"The models cannot be ranked: {reasons[0]}", "Compare them without --sort.")
    keys = [_rank(name, value, row) for value, row in zip(metrics[name], _rows(models), strict=True)]
    return [model for _, model in sorted(zip(keys, models, strict=True), key=lambda pair: pair[0])]


def _full_name(metric: str, metrics: dict[str, tuple[float | None, ...]]) -> str | None:
    """Return the dotted name that a short one stands for."""
    return next((place + metric for place in _PLACES if place + metric in metrics), None)


def _rank(name: str, value: float | None, row: dict[str, float]) -> float:
    """Return a number that is smaller the better a model did."""
    if value is None:
        return math.inf
    if name == _COVERAGE:
        return abs(value - row[_NOMINAL])
    return -value if name.rpartition(".")[2] in _MORE_IS_BETTER else value


def _reasons(models: Sequence[Stored]) -> Iterator[str]:
    markets = {(m.spec.data.venue, m.spec.data.symbol, m.spec.data.timeframe) for m in models}
    if len(markets) > 1:
        yield f"not comparable: they are for different markets ({'; '.join(sorted(' '.join(m) for m in markets))})."
    horizons = sorted({m.spec.model.horizon_bars for m in models if isinstance(m, StoredModel)})
    if len(horizons) > 1:
        yield f"not comparable: they look {', '.join(map(str, horizons))} bars ahead."
    if len({m.spec.environment.costs for m in models if isinstance(m, StoredAgent)}) > 1:
        yield "not comparable: they were charged different costs."
    tests = sorted({_test_range(model) for model in models})
    if len(tests) > 1:
        yield f"not comparable: they were tested on different bars ({'; '.join(map(_as_days, tests))})."
    elif len({_judged_bars(model) for model in models}) > 1:
        yield "not comparable: they were tested on different numbers of bars of the same time."
    elif len({str(model.manifest["data"].get("sha256")) for model in models}) > 1 and len(markets) == 1:
        yield "not comparable: the bars they were made of are not the same."


def _test_range(model: Stored) -> tuple[int, int]:
    test = model.manifest["split"]["test"]
    return int(test["first_open_ns"]), int(test["last_open_ns"])


def _judged_bars(model: Stored) -> int:
    return model.metrics.bars if isinstance(model, StoredAgent) else model.metrics.targets


def _as_days(times: tuple[int, int]) -> str:
    first, last = (to_datetime(time_ns) for time_ns in times)
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"


def _differences(models: Sequence[Stored]) -> dict[str, tuple[Any, ...]]:
    rows = [dict(_flat(model.spec.to_json(), lists=False)) for model in models]
    names = dict.fromkeys(name for row in rows for name in row)
    table = {name: tuple(row.get(name) for row in rows) for name in names}
    return {name: row for name, row in table.items() if len({json.dumps(value) for value in row}) > 1}


def _metrics(models: Sequence[Stored]) -> dict[str, tuple[float | None, ...]]:
    rows = _rows(models)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: tuple(row.get(name) for row in rows) for name in names}


def _rows(models: Sequence[Stored]) -> list[dict[str, float]]:
    return [
        {name: value for name, value in _flat(model.metrics.to_json(), lists=True) if isinstance(value, int | float)}
        for model in models
    ]


def _flat(value: Any, *, lists: bool, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every entry under its dotted name; with `lists` their items under their own names or numbers."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, lists=lists, name=f"{name}.{key}" if name else key)
    elif isinstance(value, list) and lists:
        for index, item in enumerate(value):
            key = item.get("name", index) if isinstance(item, dict) else index
            yield from _flat(item, lists=lists, name=f"{name}.{key}")
    else:
        yield name, value
