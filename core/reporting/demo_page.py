"""The page of a demo report: one HTML file with inline style and pictures. Pure functions, any thread."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from core.clock import to_datetime
from core.domain.orders import Side
from core.reporting.demo_report import DemoReportInput, ReportColours, TradingFigures
from core.reporting.svg import Line, Marker, line_chart, price_chart, scatter_chart

MISSING = "—"
MAX_ROWS = 500  # rows of a table; report.json has them all

# Layout only; every colour is a variable set from the design tokens.
_STYLE = """
*{box-sizing:border-box}
body{margin:0;background:var(--background);color:var(--text);line-height:1.45;
font:14px/1.45 Pretendard,"Noto Sans KR",system-ui,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1040px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:32px 0 8px}
p{margin:8px 0}.muted,figcaption,th{color:var(--muted)}
.card{background:var(--surface);border:1px solid var(--line);border-radius:6px;padding:16px}
.verdict{border-left:4px solid var(--accent);font-size:16px}
.good{border-left:4px solid var(--success)}.bad{border-left:4px solid var(--danger)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:12px 0}
.figures b{display:block;font-size:19px;font-weight:600}
figure{margin:12px 0}svg{width:100%;height:auto;display:block}
.key{display:inline-block;width:12px;height:3px;margin:0 6px 3px 14px;vertical-align:middle}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{padding:5px 10px;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}
th{font-weight:500}.n{text-align:right}.up{color:var(--up)}.down{color:var(--down)}
ul{margin:8px 0;padding-left:20px}
"""


def render_page(data: DemoReportInput, figures: TradingFigures) -> str:
    """Return the whole page; it needs no other file and no network."""
    sections = (
        _head_section(data, figures),
        _comparison_section(data),
        _trading_section(data, figures),
        _model_section(data),
        _settings_section(data.settings),
        _orders_section(data),
        _fills_section(data),
    )
    return (
        f'<!doctype html>\n<html lang="{html.escape(data.language)}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="dark light">'
        f"<title>{html.escape(data.title)}</title>\n<style>\n"
        f":root{{{_variables(data.dark)}}}\n"
        f"@media (prefers-color-scheme: light){{:root{{{_variables(data.light)}}}}}"
        f"{_STYLE}</style></head>\n<body><main>\n{''.join(sections)}</main></body></html>\n"
    )


def number(value: float | Decimal | int | None, decimals: int | None = 2) -> str:
    """Return a number with thousands separators, "—" for None; `decimals` None shows a Decimal as it is."""
    if value is None:
        return MISSING
    text = f"{value:,}" if decimals is None else f"{value:,.{decimals}f}"
    return text.replace("-", "\u2212")


def percent(value: float | None, decimals: int = 2) -> str:
    """Return a share as a signed percentage, "—" for None."""
    return MISSING if value is None else f"{value * 100:+,.{decimals}f} %".replace("-", "\u2212")


def moment(time_ns: float) -> str:
    """Return a UTC time to the minute."""
    return to_datetime(int(time_ns)).strftime("%Y-%m-%d %H:%M")


def _variables(colours: ReportColours) -> str:
    return "".join(f"--{item.name}:{getattr(colours, item.name)};" for item in dataclasses.fields(colours))


def _head_section(data: DemoReportInput, figures: TradingFigures) -> str:
    verdict = data.model.get("verdict")
    span = ""
    if len(data.candles):
        span = (
            f"{html.escape(data.candles.symbol)}, {len(data.candles):,} bars of {data.candles.timeframe.value}, "
            f"{moment(data.candles.time_ns[0])} to {moment(data.candles.time_ns[-1])} UTC. "
        )
    return (
        f"<h1>{html.escape(data.title)}</h1>"
        f'<p class="muted">{span}Written {moment(data.created_ns)} UTC.</p>'
        + (f'<p class="card verdict">{html.escape(str(verdict))}</p>' if verdict else "")
        + _figures(
            (
                (f"Account at the end, {data.quote}", number(figures.end)),
                ("Result", percent(figures.total_return)),
                ("Buy and hold", percent(figures.buy_and_hold_return)),
                ("Deepest drawdown", percent(None if figures.max_drawdown is None else -figures.max_drawdown)),
                ("Orders / fills", f"{figures.orders:,} / {figures.fills:,}"),
            )
        )
        + '<p class="muted">Practice money on a simulated or replayed market, fees included. A stretch this short '
        "cannot tell skill from luck; the comparison on the test part below says more.</p>"
    )


def _comparison_section(data: DemoReportInput) -> str:
    comparison = data.comparison
    agree = comparison.orders_match and comparison.positions_match
    counts = f"{comparison.journal_orders:,} orders in the journal, {comparison.venue_orders:,} on the exchange"
    sentence = "The books agree" if agree else "The books do not agree"
    listed = "".join(f"<li>{html.escape(text)}</li>" for text in comparison.differences)
    return (
        f'<h2>Journal and exchange</h2><div class="card {"good" if agree else "bad"}"><b>{sentence}</b>: {counts}; '
        f"orders {_match(comparison.orders_match)}, positions {_match(comparison.positions_match)}."
        + (f"<ul>{listed}</ul>" if listed else "")
        + "</div>"
    )


def _match(value: bool) -> str:
    return "match" if value else "differ"


def _trading_section(data: DemoReportInput, figures: TradingFigures) -> str:
    markers = [
        Marker(
            float(fill.time_ns),
            float(fill.price),
            fill.side is Side.BUY,
            f"{fill.side.value} {fill.quantity} at {fill.price}, {moment(fill.time_ns)}",
        )
        for fill in data.fills
    ]
    price = price_chart("Price and own trades", data.candles, markers, moment, lambda value: f"{value:,.10g}")
    equity = line_chart(
        "Account value and buy and hold",
        (
            Line("Account", data.equity.time_ns.astype(np.float64), data.equity.value, "accent"),
            Line("Buy and hold", data.buy_and_hold.time_ns.astype(np.float64), data.buy_and_hold.value, "muted"),
        ),
        moment,
        lambda value: number(value, 0),
    )
    fees = ", ".join(f"{number(amount, None)} {html.escape(currency)}" for currency, amount in figures.fees.items())
    return (
        "<h2>Trading</h2>"
        + _figure(price, f"Price in {html.escape(data.quote)}; ▲ own buys, ▼ own sells; times in UTC.")
        + _figure(
            equity,
            f"Account value in {html.escape(data.quote)}: {_key('accent')}account {_key('muted')}buy and hold "
            "with the same money.",
        )
        + f"<p>Turnover {number(figures.turnover)} {html.escape(data.quote)}; fees {fees or '0'}.</p>"
    )


def _model_section(data: DemoReportInput) -> str:
    model = data.model
    rows = [row for row in (model.get("model"), *model.get("baselines", ())) if isinstance(row, Mapping)]
    table = _table(
        ("Forecast", "MAE", "RMSE", "Skill", "R²", "IC", "Hit rate"),
        [
            (
                str(row.get("name", MISSING)),
                _scientific(row.get("mae")),
                _scientific(row.get("rmse")),
                percent(row.get("skill")),
                percent(row.get("r2")),
                number(row.get("ic"), 3),
                MISSING if row.get("hit_rate") is None else f"{row['hit_rate'] * 100:.1f} %",
            )
            for row in rows
        ],
        numbers_from=1,
    )
    epochs = np.array([point.epoch for point in data.loss], np.float64)
    loss = line_chart(
        "Loss by epoch",
        (
            Line("Training", epochs, np.array([point.train for point in data.loss], np.float64), "muted"),
            Line("Validation", epochs, np.array([point.valid for point in data.loss], np.float64), "accent"),
        ),
        lambda value: f"{value:.0f}",
        lambda value: f"{value:.4g}",
    )
    pairs = scatter_chart(
        "Forecast and outcome",
        data.forecasts.forecast,
        data.forecasts.outcome,
        lambda value: f"{value * 100:.2f} %".replace("-", "\u2212"),
    )
    return (
        "<h2>Model on the test part</h2>"
        '<p class="muted">Bars the model never saw. Skill is 1 minus its mean error over that of the forecast '
        "“no change”; R² is measured against the zero forecast; errors are log returns over the horizon.</p>"
        + (table if rows else "<p>No figures.</p>")
        + _coverage(model)
        + _p_value(model)
        + _figure(
            loss,
            f"Pinball loss in units of volatility: {_key('muted')}training {_key('accent')}validation.",
        )
        + _figure(pairs, "Forecast (across) and outcome (up), log returns. Without skill the cloud has no slope.")
    )


def _coverage(model: Mapping[str, Any]) -> str:
    if model.get("coverage") is None or model.get("nominal_coverage") is None:
        return ""
    targets = model.get("targets")
    count = f" of {targets:,} outcomes" if isinstance(targets, int) else " of the outcomes"
    return (
        f"<p>{model['coverage'] * 100:.1f} %{count} lie inside the outer quantiles; "
        f"{model['nominal_coverage'] * 100:.0f} % should.</p>"
    )


def _p_value(model: Mapping[str, Any]) -> str:
    value = model.get("edge_p_value")
    if value is None:
        return ""
    return (
        f"<p>If the model were no better than “no change”, figures at least this good would come up with a probability "
        f"of {value * 100:.1f} % (one-sided p-value {value:.3f}).</p>"
    )


def _scientific(value: float | None) -> str:
    return MISSING if value is None else f"{value:.6f}"


def _settings_section(settings: Mapping[str, Any]) -> str:
    rows = [(str(name), MISSING if value is None else str(value)) for name, value in settings.items()]
    return "<h2>Settings</h2>" + _table(("Setting", "Value"), rows)


def _orders_section(data: DemoReportInput) -> str:
    rows = [
        (
            moment(order.intent.created_ns),
            order.intent.side.value,
            order.intent.order_type.value,
            str(order.intent.quantity),
            MISSING if order.average_price is None else number(order.average_price, None),
            order.state.value,
            order.message or order.intent.reason or MISSING,
        )
        for order in data.orders[:MAX_ROWS]
    ]
    head = ("Time (UTC)", "Side", "Type", "Quantity", "Average price", "State", "Reason")
    return f"<h2>Orders</h2>{_limited(len(data.orders))}" + _table(head, rows, side_column=1, number_columns=(3, 4))


def _fills_section(data: DemoReportInput) -> str:
    rows = [
        (
            moment(fill.time_ns),
            fill.side.value,
            str(fill.quantity),
            number(fill.price, None),
            f"{number(fill.fee, None)} {fill.fee_currency}",
            fill.liquidity.value,
        )
        for fill in data.fills[:MAX_ROWS]
    ]
    head = ("Time (UTC)", "Side", "Quantity", f"Price, {data.quote}", "Fee", "Liquidity")
    return f"<h2>Fills</h2>{_limited(len(data.fills))}" + _table(head, rows, side_column=1, number_columns=(2, 3, 4))


def _limited(count: int) -> str:
    if count == 0:
        return '<p class="muted">None.</p>'
    if count <= MAX_ROWS:
        return ""
    return f'<p class="muted">The first {MAX_ROWS:,} of {count:,}; report.json has them all.</p>'


def _table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers_from: int | None = None,
    number_columns: Sequence[int] = (),
    side_column: int | None = None,
) -> str:
    if not rows:
        return ""

    def kind(column: int) -> str:
        is_number = column in number_columns or (numbers_from is not None and column >= numbers_from)
        return ' class="n"' if is_number else ""

    def cell(column: int, text: str) -> str:
        if column == side_column:
            is_buy = text == Side.BUY.value
            return f'<td class="{"up" if is_buy else "down"}">{"▲" if is_buy else "▼"} {html.escape(text)}</td>'
        return f"<td{kind(column)}>{html.escape(text)}</td>"

    header = "".join(f"<th{kind(index)}>{html.escape(text)}</th>" for index, text in enumerate(head))
    body = "".join(f"<tr>{''.join(cell(index, text) for index, text in enumerate(row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>'


def _figures(items: Sequence[tuple[str, str]]) -> str:
    cells = "".join(
        f'<div class="card"><span class="muted">{html.escape(name)}</span><b>{html.escape(value)}</b></div>'
        for name, value in items
    )
    return f'<div class="figures">{cells}</div>'


def _figure(picture: str, caption: str) -> str:
    return f'<figure class="card">{picture}<figcaption>{caption}</figcaption></figure>' if picture else ""


def _key(colour: str) -> str:
    return f'<span class="key" style="background:var(--{colour})"></span>'
