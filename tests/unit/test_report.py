"""The demo report: honest figures, a page that stands alone, pictures that are well-formed."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ET
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.tokens import ThemeName, palette
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.domain.fills import Fill, Liquidity
from core.domain.orders import Intent, IntentSource, Order, OrderState, OrderType, Side
from core.errors import UserError
from core.reporting import (
    Curve,
    DemoReportInput,
    ForecastPairs,
    LossPoint,
    ReportColours,
    VenueComparison,
    write_report,
)
from core.reporting.demo_report import trading_figures
from core.reporting.svg import Line, line_chart, price_chart, round_ticks, thin

START = 1_704_067_200_000_000_000
HOUR = Timeframe.H1.ns


def colours(theme: ThemeName) -> ReportColours:
    tokens = palette(theme)
    return ReportColours(**{item.name: getattr(tokens, item.name) for item in dataclasses.fields(ReportColours)})


def candles(count: int = 400) -> CandleFrame:
    steps = np.random.default_rng(3).normal(0, 0.004, count)
    close = 60_000 * np.exp(np.cumsum(steps))
    open_ = np.concatenate([[60_000.0], close[:-1]])
    high, low = np.maximum(open_, close) * 1.002, np.minimum(open_, close) * 0.998
    times = START + np.arange(count, dtype=np.int64) * HOUR
    return CandleFrame(
        times, open_, high, low, close, np.ones(count), np.ones(count, np.bool_), "BTC/USDT", Timeframe.H1
    )


def order(index: int, side: Side, price: float, state: OrderState = OrderState.FILLED) -> Order:
    intent = Intent(
        f"i{index}",
        IntentSource.STRATEGY,
        "lstm-1",
        "BTC/USDT",
        side,
        Decimal("0.01"),
        OrderType.MARKET,
        reason="forecast <strong>",
        created_ns=START + index * 40 * HOUR,
    )
    filled = Decimal("0.01") if state is OrderState.FILLED else Decimal(0)
    return Order(f"c{index}", intent, state, f"v{index}", filled, Decimal(str(round(price, 2))))


def fill(index: int, side: Side, price: float) -> Fill:
    return Fill(
        "binance",
        "BTC/USDT",
        f"t{index}",
        f"v{index}",
        f"c{index}",
        side,
        Decimal(str(round(price, 2))),
        Decimal("0.01"),
        Decimal("0.6"),
        "USDT",
        Liquidity.TAKER,
        START + index * 40 * HOUR,
    )


def point(name: str, skill: float) -> dict[str, Any]:
    return {"name": name, "mae": 0.004, "rmse": 0.006, "skill": skill, "r2": -0.001, "ic": 0.01, "hit_rate": 0.51}


def report_input(**changes: Any) -> DemoReportInput:
    bars = candles()
    rng = np.random.default_rng(5)
    sides = [Side.BUY if index % 2 == 0 else Side.SELL for index in range(10)]
    values: dict[str, Any] = {
        "title": "Demo <run>",
        "created_ns": START,
        "quote": "USDT",
        "settings": {"symbol": "BTC/USDT", "seed": 1, "data": None},
        "model": {
            "targets": 1_200,
            "coverage": 0.88,
            "nominal_coverage": 0.9,
            "edge_p_value": 0.37,
            "verdict": "No advantage over persistence & co. can be shown.",
            "model": point("model", 0.001),
            "baselines": [point("persistence", 0.0), {**point("ridge", -0.002), "ic": None, "hit_rate": None}],
        },
        "loss": [LossPoint(epoch, 1.0 / epoch, 1.1 / epoch) for epoch in range(1, 21)],
        "candles": bars,
        "orders": [order(index, side, bars.close[index * 40]) for index, side in enumerate(sides)],
        "fills": [fill(index, side, bars.close[index * 40]) for index, side in enumerate(sides)],
        "equity": Curve(bars.time_ns, 10_000 + np.cumsum(rng.normal(0, 5, len(bars)))),
        "buy_and_hold": Curve(bars.time_ns, 10_000 * bars.close / bars.close[0]),
        "comparison": VenueComparison(True, True, 10, 10),
        "dark": colours(ThemeName.DARK),
        "light": colours(ThemeName.LIGHT),
        "forecasts": ForecastPairs(rng.normal(0, 0.001, 2_000), rng.normal(0, 0.005, 2_000)),
    }
    return DemoReportInput(**{**values, **changes})


class _Page(HTMLParser):
    """Collects tags and checks that they close in order."""

    VOID = frozenset({"meta", "br", "path", "rect", "circle", "polygon", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_report_is_written_and_stands_alone(tmp_path: Path) -> None:
    paths = write_report(report_input(), tmp_path / "deep" / "out")
    page = paths.html.read_text(encoding="utf-8")
    parser = _Page()
    parser.feed(page)
    assert parser.open == []
    assert parser.links == []
    assert parser.seen.count("svg") == 4
    assert "script" not in parser.seen
    assert "url(" not in page
    assert "@import" not in page
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page) == []
    assert "Demo &lt;run&gt;" in page
    assert "forecast &lt;strong&gt;" in page
    assert "No advantage over persistence &amp; co. can be shown." in page
    assert "one-sided p-value 0.370" in page
    assert "88.0 % of 1,200 outcomes" in page
    assert "The books agree" in page
    assert page.count("▲ buy") == 10
    assert "prefers-color-scheme: light" in page
    assert colours(ThemeName.LIGHT).background in page


def test_json_holds_everything(tmp_path: Path) -> None:
    data = report_input()
    result = json.loads(write_report(data, tmp_path).json.read_text(encoding="utf-8"))
    assert len(result["orders"]) == 10
    assert result["orders"][0]["quantity"] == "0.01"
    assert result["fills"][0]["fee"] == "0.6"
    assert result["comparison"]["orders_match"] is True
    assert result["trading"]["fees"] == {"USDT": "6.0"}
    assert Decimal(result["trading"]["turnover"]) == sum(fill.value for fill in data.fills)
    assert result["model"]["baselines"][0]["name"] == "persistence"
    assert len(result["equity"]) == 400


def test_differences_are_shown_in_full(tmp_path: Path) -> None:
    comparison = VenueComparison(False, True, 10, 9, ("Order c3 is unknown to the exchange.",))
    page = write_report(report_input(comparison=comparison), tmp_path).html.read_text(encoding="utf-8")
    assert "The books do not agree" in page
    assert "Order c3 is unknown to the exchange." in page
    assert "orders differ, positions match" in page


def test_empty_run_makes_a_report_without_invented_numbers(tmp_path: Path) -> None:
    nothing = np.empty(0, np.float64)
    curve = Curve(np.empty(0, np.int64), nothing)
    data = report_input(
        model={},
        loss=[],
        candles=CandleFrame.empty("BTC/USDT", Timeframe.H1),
        orders=[],
        fills=[],
        equity=curve,
        buy_and_hold=curve,
        forecasts=ForecastPairs(nothing, nothing),
    )
    paths = write_report(data, tmp_path)
    page = paths.html.read_text(encoding="utf-8")
    assert "<svg" not in page
    assert "No figures." in page
    assert "None." in page
    assert json.loads(paths.json.read_text(encoding="utf-8"))["trading"]["return"] is None


def test_figures() -> None:
    times = START + np.arange(4, dtype=np.int64) * HOUR
    curve = Curve(times, np.array([100.0, 120.0, 90.0, 110.0]))
    figures = trading_figures(report_input(equity=curve))
    assert figures.total_return == pytest.approx(0.1)
    assert figures.max_drawdown == pytest.approx(0.25)
    assert (figures.orders, figures.filled, figures.fills) == (10, 10, 10)
    with pytest.raises(ValueError, match="differ in shape"):
        Curve(times, np.array([1.0]))
    with pytest.raises(ValueError, match="differ in shape"):
        ForecastPairs(np.zeros(2), np.zeros(3))


def test_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(report_input(), blocked / "out")


def test_metrics_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_report(report_input(model={"coverage": float("nan")}), tmp_path)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (59_000.0, 63_000.0), (-0.002, 0.003), (1e-8, 3e-8)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    ticks = round_ticks(low, high)
    assert 3 <= len(ticks) <= 7
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)
    assert len({f"{tick:.10g}" for tick in ticks}) == len(ticks)


def test_thinning_keeps_the_extremes() -> None:
    x = np.arange(100_000, dtype=np.float64)
    y = np.sin(x / 500)
    y[54_321] = 9.0
    thin_x, thin_y = thin(x, y)
    assert len(thin_x) <= 482
    assert thin_y.max() == 9.0
    assert (np.diff(thin_x) > 0).all()
    assert thin(x[:5], y[:5])[0].tolist() == [0, 1, 2, 3, 4]


def test_pictures_are_well_formed_xml_with_escaped_text() -> None:
    flat = Line("a", np.array([1.0]), np.array([5.0]), "accent")
    picture = line_chart('a "<b>" & c', (flat,), str, lambda value: f"<{value:.0f}>")
    assert ET.fromstring(picture).get("aria-label") == 'a "<b>" & c'
    assert "nan" not in picture
    bars = ET.fromstring(price_chart("p", candles(5_000), (), str, str))
    assert len([item for item in bars if item.tag.endswith("rect")]) == 179  # 5,000 bars, 28 joined in each


def test_long_tables_are_cut_and_say_so(tmp_path: Path) -> None:
    many = [fill(index % 10, Side.BUY, 60_000.0) for index in range(600)]
    page = write_report(report_input(fills=many), tmp_path).html.read_text(encoding="utf-8")
    assert "The first 500 of 600" in page
