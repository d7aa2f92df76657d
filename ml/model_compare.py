"""Stored models side by side: how they were made and how they did. Pure functions, any thread; no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.clock import to_datetime
from core.errors import UserError
from ml.model_storage import StoredModel

# Which way a metric is better, by the last part of its name; of all others less is better.
_MORE_IS_BETTER = frozenset(
    {"skill", "r2", "ic", "rank_ic", "hit_rate", "hit_low", "hit_high", "edge", "auc", "mcc", "targets"}
    | {"effective_targets"}
)
# Those that people rank models by; there are hundreds of others.
_RANKING = ("crps", "pinball", "coverage", "r2", "skill", "ic", "rank_ic", "hit_rate", "mae", "rmse")
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


def compare_models(models: Sequence[StoredModel], sort: str | None = None) -> Comparison:
    """Put models side by side.

    Args:
        sort: metric by which the best comes first; the order given where None.

    Raises:
        UserError: no model has that metric, or their metrics do not measure the same.
    """
    reasons = tuple(_reasons(models))
    if sort is not None:
        models = _ranked(models, sort, reasons)
    return Comparison(
        model_ids=tuple(model.model_id for model in models),
        differences=_differences(models),
        metrics=_metrics(models),
        not_comparable=reasons,
    )


def _ranked(models: Sequence[StoredModel], metric: str, reasons: tuple[str, ...]) -> list[StoredModel]:
    metrics = _metrics(models)
    name = metric if metric in metrics else f"model.{metric}"
    if name not in metrics:
        known = ", ".join(known for known in _RANKING if known in metrics or f"model.{known}" in metrics)
        raise UserError(
            f"The models have no metric {metric[:_LONGEST_SHOWN]!r}.",
            f"Use {known}, or another name from the answer of `models compare --json`.",
        )
    if reasons:
        raise UserError(f"The models cannot be ranked: {reasons[0]}", "Compare them without --sort.")
    keys = [_rank(name, value, row) for value, row in zip(metrics[name], _rows(models), strict=True)]
    return [model for _, model in sorted(zip(keys, models, strict=True), key=lambda pair: pair[0])]


def _rank(name: str, value: float | None, row: dict[str, float]) -> float:
    """Return a number that is smaller the better a model did."""
    if value is None:
        return math.inf
    if name == _COVERAGE:
        return abs(value - row[_NOMINAL])
    return -value if name.rpartition(".")[2] in _MORE_IS_BETTER else value


def _reasons(models: Sequence[StoredModel]) -> Iterator[str]:
    markets = {(m.spec.data.venue, m.spec.data.symbol, m.spec.data.timeframe) for m in models}
    if len(markets) > 1:
        yield f"not comparable: they are for different markets ({'; '.join(sorted(' '.join(m) for m in markets))})."
    horizons = sorted({model.spec.model.horizon_bars for model in models})
    if len(horizons) > 1:
        yield f"not comparable: they look {', '.join(map(str, horizons))} bars ahead."
    tests = sorted({_test_range(model) for model in models})
    if len(tests) > 1:
        yield f"not comparable: they were tested on different bars ({'; '.join(map(_as_days, tests))})."
    elif len({model.metrics.targets for model in models}) > 1:
        yield "not comparable: they were tested on different numbers of bars of the same time."
    elif len({str(model.manifest["data"].get("sha256")) for model in models}) > 1 and len(markets) == 1:
        yield "not comparable: the bars they were made of are not the same."


def _test_range(model: StoredModel) -> tuple[int, int]:
    test = model.manifest["split"]["test"]
    return int(test["first_open_ns"]), int(test["last_open_ns"])


def _as_days(times: tuple[int, int]) -> str:
    first, last = (to_datetime(time_ns) for time_ns in times)
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"


def _differences(models: Sequence[StoredModel]) -> dict[str, tuple[Any, ...]]:
    rows = [dict(_flat(model.spec.to_json(), lists=False)) for model in models]
    names = dict.fromkeys(name for row in rows for name in row)
    table = {name: tuple(row.get(name) for row in rows) for name in names}
    return {name: row for name, row in table.items() if len({json.dumps(value) for value in row}) > 1}


def _metrics(models: Sequence[StoredModel]) -> dict[str, tuple[float | None, ...]]:
    rows = _rows(models)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: tuple(row.get(name) for row in rows) for name in names}


def _rows(models: Sequence[StoredModel]) -> list[dict[str, float]]:
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
