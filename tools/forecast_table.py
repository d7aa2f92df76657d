"""Write the Markdown tables of stored forecasters as they stand in Docs/benchmarks.md; no number is typed by hand.

    python tools/forecast_table.py --data-dir FOLDER [ID …]

Without ids all models of the folder are taken, in the order in which they were trained. They must have been tested on
the same market; models of the same features share their baselines.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.config import data_paths
from core.errors import UserError
from ml.metric_results import HorizonMetrics, PointMetrics, RangeMetrics
from ml.model_storage import StoredModel, load_model, stored_ids
from ml.overfitting import probabilistic_sharpe
from ml.statistic_results import SeedSummary, TradingMetrics

_NONE = "–"
_RIVALS = ("zero", "climatology", "ridge", "boosting")


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Markdown tables of stored forecasters.")
    parser.add_argument("ids", nargs="*", help="models; all if none is named")
    parser.add_argument("--data-dir", type=Path, required=True, help="the data folder they are stored in")
    chosen = parser.parse_args()
    folder = data_paths(chosen.data_dir).models
    try:
        models = [load_model(folder, model_id) for model_id in chosen.ids or stored_ids(folder)]
        if not chosen.ids:
            models.sort(key=lambda model: int(model.manifest["created_ns"]))
        print(tables(models))
    except UserError as error:
        print(f"{error.message} {error.remedy}", file=sys.stderr)
        return 2
    return 0


def tables(models: Sequence[StoredModel]) -> str:
    """Return all tables.

    Raises:
        UserError: no models, or models of several markets.
    """
    if not models:
        raise UserError("There are no models to tabulate.", "Train some first.")
    if len({(model.spec.data.symbol, model.spec.data.timeframe, model.spec.model.horizons) for model in models}) > 1:
        raise UserError("The models are of several markets or horizons.", "Name models of one.")
    parts = []
    for index, horizon in enumerate(models[0].spec.model.horizons):
        bars = "1 bar" if horizon == 1 else f"{horizon} bars"
        parts += [
            f"### {bars} ahead: {targets_of(models, index)}",
            points(models, index),
            ranges(models, index),
            comparisons(models, index),
        ]
    parts += [
        "### The single seeds, first horizon",
        seeds(models),
        "### Holding the sign of the first horizon's forecast",
        strategy(models),
    ]
    parts += ["### Verdicts, as printed", verdicts(models)]
    return "\n\n".join(parts)


def points(models: Sequence[StoredModel], index: int) -> str:
    """Return the errors of the point forecasts of one horizon."""
    rows = [(name_of(model), model.metrics.horizons[index].model) for model in models]
    for name, horizon in baselines_of(models, index):
        rows += [(f"{row.name}{name}", row) for row in horizon.baselines]
    return table(
        ("forecast", "MAE", "RMSE", "R²", "MAE skill", "IC (95 %)", "rank IC", "hit rate (95 %)"),
        (_point_row(name, row) for name, row in rows),
    )


def _point_row(name: str, row: PointMetrics) -> tuple[str, ...]:
    return (
        name,
        f"{row.mae:.6f}",
        f"{row.rmse:.6f}",
        percent(row.r2),
        percent(row.skill),
        with_range(row.ic, row.ic_low, row.ic_high, "+.3f"),
        _NONE if row.rank_ic is None else f"{row.rank_ic:+.3f}",
        with_range(row.hit_rate, row.hit_low, row.hit_high, ".1%"),
    )


def ranges(models: Sequence[StoredModel], index: int) -> str:
    """Return the quality of the quantiles of one horizon, coverage raw, split-conformal and adaptive."""
    rows = []
    for model in models:
        horizon = model.metrics.horizons[index]
        conformal = [row for row in model.metrics.conformal if row.horizon == horizon.horizon]
        moved = tuple(
            text for row in conformal for text in (f"{row.split_coverage:.1%}", f"{row.adaptive_coverage:.1%}")
        )
        rows.append((*_range_row(name_of(model), horizon.ranges, horizon), *(moved or (_NONE, _NONE))))
    for name, horizon in baselines_of(models, index):
        others = [_range_row(f"{row.name}{name}", row, horizon) for row in horizon.baseline_ranges]
        rows += [(*row, _NONE, _NONE) for row in others]
    nominal = f"{models[0].metrics.horizons[index].ranges.nominal_coverage:.0%}"
    return table(
        (
            "forecast", "CRPS", "skill over zero", "pinball", "width",
            f"coverage ({nominal})", "split-conformal", "adaptive",
        ),
        rows,
    )  # fmt: skip


def _range_row(name: str, row: RangeMetrics, horizon: HorizonMetrics) -> tuple[str, ...]:
    zero = next(other for other in horizon.baseline_ranges if other.name == "zero")
    return (
        name,
        f"{row.crps:.6f}",
        percent(1.0 - row.crps / zero.crps),
        f"{row.pinball:.6f}",
        f"{row.width:.5f}",
        f"{row.coverage:.1%}",
    )


def comparisons(models: Sequence[StoredModel], index: int) -> str:
    """Return the two-sided p-values of Diebold and Mariano's test, each with who has the smaller loss."""
    rows = []
    for model in models:
        tests = {(test.baseline, test.loss): test for test in model.metrics.horizons[index].comparisons}
        for loss in ("squared", "crps"):
            cells = []
            for rival in _RIVALS:
                test = tests.get((rival, loss))
                cells.append(_NONE if test is None else f"{p_value(test.p_value)} {'+' if test.gain > 0 else '−'}")
            rows.append((name_of(model), {"squared": "squared error", "crps": "CRPS"}[loss], *cells))
    return table(("model (+ it is better, − it is worse)", "loss", *(f"p against {rival}" for rival in _RIVALS)), rows)


def seeds(models: Sequence[StoredModel]) -> str:
    """Return what the single networks agree on: median and bootstrap interval."""
    rows = []
    for model in models:
        metrics = model.metrics
        trained = [f"{seed.best_epoch}" for seed in metrics.seeds]
        rows.append(
            (
                name_of(model),
                _summary(metrics.seed_crps, ".6f"),
                _summary(metrics.seed_r2, "+.2%"),
                _summary(metrics.seed_ic, "+.3f"),
                " ".join(trained),
            )
        )
    return table(("model", "CRPS, median (95 %)", "R², median (95 %)", "IC, median (95 %)", "best epochs"), rows)


def strategy(models: Sequence[StoredModel]) -> str:
    """Return what holding the sign of the forecast would have earned, beside holding the market on the same bars."""
    rows: list[tuple[str, ...]] = []
    held: dict[str, TradingMetrics] = {}
    cost = ""
    for model in models:
        metrics = model.metrics
        if metrics.earnings is None or metrics.sharpe is None:
            continue
        earned = {(point.delay, point.multiple): point.metrics for point in metrics.earnings.points}
        deflated = metrics.deflated
        rows.append(
            (
                name_of(model),
                _sharpe(earned[0, 0.0]),
                _sharpe(earned[0, 1.0]),
                percent(earned[0, 1.0].total_return, 1),
                f"{metrics.earnings.positions.turnover:,.0f}",
                f"{probabilistic_sharpe(metrics.sharpe):.3f}",
                _NONE if deflated is None else f"{deflated.probability:.3f}",
                _NONE if deflated is None else f"{deflated.trials:.0f}",
            )
        )
        held.setdefault(model.spec.features.name, metrics.earnings.hold)
        cost = f"{metrics.earnings.cost:.2%}"
    if not rows:
        return "Nothing was measured."
    for features, hold in held.items():
        name = "holding the market" + (f", bars of {features}" if len(held) > 1 else "")
        rows.append((name, _NONE, _sharpe(hold), percent(hold.total_return, 1), *[_NONE] * 4))
    heading = (
        "strategy", "Sharpe before costs (95 %)", f"after {cost} per change (95 %)", "return after costs",
        "turnover a year", "PSR", "DSR", "trials",
    )  # fmt: skip
    return table(heading, rows)


def verdicts(models: Sequence[StoredModel]) -> str:
    """Return the sentences the program printed."""
    return "\n".join(f"- {name_of(model)}: “{model.metrics.verdict}”" for model in models)


def name_of(model: StoredModel) -> str:
    """Return what tells a model from the others."""
    head = {"quantile": "quantiles", "student_t": "Student", "classes": "classes"}[model.spec.model.head]
    return f"{model.spec.model.kind.upper()}, {head}, {model.spec.features.name}"


def targets_of(models: Sequence[StoredModel], index: int) -> str:
    """Return how many forecasts were judged, by feature set."""
    found = {name.removeprefix(", "): horizon for name, horizon in baselines_of(models, index)}
    return "; ".join(
        f"{horizon.targets:,} forecasts, {horizon.effective_targets:,} without overlap{f' ({name})' if name else ''}"
        for name, horizon in found.items()
    )


def baselines_of(models: Sequence[StoredModel], index: int) -> list[tuple[str, HorizonMetrics]]:
    """Return one horizon per feature set: its baselines are those of every model of these features."""
    found: dict[str, HorizonMetrics] = {}
    for model in models:
        found.setdefault(model.spec.features.name, model.metrics.horizons[index])
    return [(f", {name}" if len(found) > 1 else "", horizon) for name, horizon in found.items()]


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(heading) + " |", "|---" * len(heading) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def percent(share: float | None, digits: int = 2) -> str:
    """Return a signed percentage."""
    return _NONE if share is None else f"{share:+.{digits}%}"


def with_range(value: float | None, low: float | None, high: float | None, form: str) -> str:
    """Return a value with its interval."""
    if value is None:
        return _NONE
    return f"{value:{form}}" if low is None or high is None else f"{value:{form}} ({low:{form}} … {high:{form}})"


def p_value(value: float) -> str:
    """Return a p-value without pretending that tiny ones are known."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _summary(summary: SeedSummary | None, form: str) -> str:
    return _NONE if summary is None else with_range(summary.median, summary.low, summary.high, form)


def _sharpe(metrics: TradingMetrics) -> str:
    return with_range(metrics.sharpe, metrics.sharpe_low, metrics.sharpe_high, "+.2f")


if __name__ == "__main__":
    sys.exit(main())
