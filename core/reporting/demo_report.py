"""The report of a demo run: what was trained, what was traded, and whether the books agree. Any thread.

`write_report` takes plain values and writes `report.json` for machines and `report.html` for people: one file without
external resources that follows the reader's dark or light setting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from core.clock import to_datetime
from core.data.frame import CandleFrame, FloatArray, IntArray
from core.domain.fills import Fill
from core.domain.orders import Order, OrderState
from core.errors import UserError

Setting = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class ReportColours:
    """Colours of one brightness as #RRGGBB; the names are those of the application's design tokens."""

    background: str
    surface: str
    line: str
    text: str
    muted: str
    accent: str
    success: str
    warning: str
    danger: str
    up: str
    down: str


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Values over time.

    Attributes:
        time_ns: int64, shape (n,), ascending, ns UTC.
        value: float64, shape (n,), in quote currency.
    """

    time_ns: IntArray
    value: FloatArray

    def __post_init__(self) -> None:
        if self.time_ns.shape != self.value.shape:
            raise ValueError(f"times {self.time_ns.shape} and values {self.value.shape} differ in shape")


@dataclass(frozen=True, slots=True)
class LossPoint:
    """Losses of one epoch."""

    epoch: int
    train: float
    valid: float


@dataclass(frozen=True, slots=True, eq=False)
class ForecastPairs:
    """Forecasts and what happened: log returns over the model's horizon, float64, shape (n,) each."""

    forecast: FloatArray
    outcome: FloatArray

    def __post_init__(self) -> None:
        if self.forecast.shape != self.outcome.shape:
            raise ValueError(f"forecasts {self.forecast.shape} and outcomes {self.outcome.shape} differ in shape")


@dataclass(frozen=True, slots=True)
class VenueComparison:
    """The journal against the exchange.

    Attributes:
        journal_orders / venue_orders: how many orders each side knows.
        differences: one sentence per difference; empty where the books agree.
    """

    orders_match: bool
    positions_match: bool
    journal_orders: int
    venue_orders: int
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class DemoReportInput:
    """Everything the report shows.

    Attributes:
        title: heading, in the reader's language.
        created_ns: when, ns UTC.
        settings: what was run, in the order to show.
        model: metrics as `ml.api.ForecastMetrics.to_json()` gives them, with `baselines` and `verdict`.
        loss: one point per epoch.
        candles: the traded bars.
        orders / fills: the journal's, oldest first.
        equity: account value in `quote`; buy_and_hold: that of buying at the start with the same money.
        dark / light: colours.
    """

    title: str
    created_ns: int
    quote: str
    settings: Mapping[str, Setting]
    model: Mapping[str, Any]
    loss: Sequence[LossPoint]
    candles: CandleFrame
    orders: Sequence[Order]
    fills: Sequence[Fill]
    equity: Curve
    buy_and_hold: Curve
    comparison: VenueComparison
    dark: ReportColours
    light: ReportColours
    language: str = "en"
    forecasts: ForecastPairs = field(
        default_factory=lambda: ForecastPairs(np.empty(0, np.float64), np.empty(0, np.float64))
    )


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """Where the report was written."""

    json: Path
    html: Path


@dataclass(frozen=True, slots=True)
class TradingFigures:
    """What trading brought; money in quote currency.

    Attributes:
        total_return / buy_and_hold_return: end value over start value, minus 1; None without a curve.
        max_drawdown: deepest fall from a high before, as a share of it; None without a curve.
        turnover: value bought and sold.
        fees: by currency.
    """

    start: float | None
    end: float | None
    total_return: float | None
    buy_and_hold_return: float | None
    max_drawdown: float | None
    turnover: Decimal
    fees: Mapping[str, Decimal]
    orders: int
    filled: int
    fills: int


def write_report(data: DemoReportInput, out_dir: Path) -> ReportPaths:
    """Write `report.json` and `report.html` into `out_dir`, which is created.

    Raises:
        UserError: the folder cannot be written.
    """
    from core.reporting.demo_page import render_page

    figures = trading_figures(data)
    paths = ReportPaths(out_dir / "report.json", out_dir / "report.html")
    document = json.dumps(report_json(data, figures), ensure_ascii=False, allow_nan=False, indent=2)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        paths.json.write_text(document + "\n", encoding="utf-8")
        paths.html.write_text(render_page(data, figures), encoding="utf-8")
    except OSError as exc:
        raise UserError(
            f"The report cannot be written to {out_dir}: {exc.strerror or exc}.", "Choose another folder with --out."
        ) from exc
    return paths


def trading_figures(data: DemoReportInput) -> TradingFigures:
    """Compute returns, drawdown, turnover and fees."""
    fees: dict[str, Decimal] = {}
    for fill in data.fills:
        fees[fill.fee_currency] = fees.get(fill.fee_currency, Decimal(0)) + fill.fee
    value = data.equity.value
    return TradingFigures(
        start=float(value[0]) if len(value) else None,
        end=float(value[-1]) if len(value) else None,
        total_return=_total_return(value),
        buy_and_hold_return=_total_return(data.buy_and_hold.value),
        max_drawdown=_max_drawdown(value),
        turnover=sum((fill.value for fill in data.fills), Decimal(0)),
        fees=fees,
        orders=len(data.orders),
        filled=sum(order.state is OrderState.FILLED for order in data.orders),
        fills=len(data.fills),
    )


def report_json(data: DemoReportInput, figures: TradingFigures) -> dict[str, Any]:
    """Return the report as JSON values; money as decimal strings, times in ISO 8601 UTC."""
    comparison = data.comparison
    return {
        "title": data.title,
        "created": _iso(data.created_ns),
        "quote": data.quote,
        "settings": dict(data.settings),
        "model": dict(data.model),
        "loss": [{"epoch": point.epoch, "train": point.train, "valid": point.valid} for point in data.loss],
        "trading": {
            "start": figures.start,
            "end": figures.end,
            "return": figures.total_return,
            "buy_and_hold_return": figures.buy_and_hold_return,
            "max_drawdown": figures.max_drawdown,
            "turnover": str(figures.turnover),
            "fees": {currency: str(amount) for currency, amount in figures.fees.items()},
            "bars": len(data.candles),
        },
        "comparison": {
            "orders_match": comparison.orders_match,
            "positions_match": comparison.positions_match,
            "journal_orders": comparison.journal_orders,
            "venue_orders": comparison.venue_orders,
            "differences": list(comparison.differences),
        },
        "orders": [_order_json(order) for order in data.orders],
        "fills": [_fill_json(fill) for fill in data.fills],
        "equity": [[_iso(int(t)), float(v)] for t, v in zip(data.equity.time_ns, data.equity.value, strict=True)],
    }


def _order_json(order: Order) -> dict[str, Any]:
    intent = order.intent
    return {
        "client_order_id": order.client_order_id,
        "venue_order_id": order.venue_order_id,
        "owner": intent.owner,
        "source": intent.source.value,
        "symbol": intent.symbol,
        "side": intent.side.value,
        "type": intent.order_type.value,
        "quantity": str(intent.quantity),
        "limit_price": None if intent.limit_price is None else str(intent.limit_price),
        "filled_quantity": str(order.filled_quantity),
        "average_price": None if order.average_price is None else str(order.average_price),
        "state": order.state.value,
        "reason": order.message or intent.reason,
        "created": _iso(intent.created_ns),
    }


def _fill_json(fill: Fill) -> dict[str, Any]:
    return {
        "trade_id": fill.trade_id,
        "client_order_id": fill.client_order_id,
        "symbol": fill.symbol,
        "side": fill.side.value,
        "price": str(fill.price),
        "quantity": str(fill.quantity),
        "fee": str(fill.fee),
        "fee_currency": fill.fee_currency,
        "liquidity": fill.liquidity.value,
        "time": _iso(fill.time_ns),
    }


def _iso(time_ns: int) -> str:
    return to_datetime(time_ns).isoformat()


def _total_return(value: FloatArray) -> float | None:
    if not len(value) or value[0] <= 0:
        return None
    return float(value[-1] / value[0] - 1.0)


def _max_drawdown(value: FloatArray) -> float | None:
    if not len(value) or np.min(value) <= 0:
        return None
    return float(np.max(1.0 - value / np.maximum.accumulate(value)))
