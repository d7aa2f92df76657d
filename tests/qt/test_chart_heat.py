"""The weights of an agent over the candles: colours, columns, and what is said of a bar."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QPoint
from PySide6.QtWidgets import QApplication

from app.i18n import Language, set_language
from app.theme import ThemeName, UpDown, palette
from app.ui.charts.heat import SHADES, WeightTrack, column_means, shades
from app.ui.charts.style import ChartStyle
from app.ui.charts.view import ChartView
from app.ui.widgets.heat_legend import HeatLegend
from tests.qt.test_chart_view import COLOURS, history, picture, pixels, shown_chart

BARS = 60


@pytest.fixture
def view(qapp: QApplication) -> Iterator[ChartView]:
    with shown_chart() as chart:
        chart.set_history(*history(BARS))
        yield chart


def track(*, size: int = BARS) -> WeightTrack:
    """Fully long, then flat, then fully short, with no decision at the last bar."""
    target = np.concatenate([np.ones(size // 3), np.zeros(size // 3), -np.ones(size - 2 * (size // 3))])
    target[-1] = np.nan
    return WeightTrack.of(target, np.concatenate([[0.0], target[:-1]]))


def strength(view: ChartView, colour: str) -> int:
    return pixels(picture(view), colour)


@pytest.mark.parametrize("theme", ThemeName)
def test_the_scale_goes_from_short_over_flat_to_long_and_the_ends_differ_in_lightness(theme: ThemeName) -> None:
    colours = palette(theme, UpDown.WESTERN)
    scale = shades(ChartStyle.from_palette(colours))
    assert len(scale) == len({shade.name() for shade in scale}) == 2 * SHADES + 1
    assert (scale[0].name().upper(), scale[-1].name().upper()) == (colours.short, colours.long)
    # Deuteranopes mix up red and green: what is left for them is blue and lightness.
    ends = [(shade.blueF(), shade.lightnessF()) for shade in (scale[0], scale[-1])]
    assert abs(ends[0][0] - ends[1][0]) > 0.2


def test_colour_follows_the_weight(view: ChartView) -> None:
    view.set_weights(track())
    names = [view.weight_colour(weight).name() for weight in (-1.0, -0.5, 0.0, 1e-6, 0.5, 1.0, 7.0)]
    assert names[0].upper() == COLOURS.short
    assert names[5].upper() == names[6].upper() == COLOURS.long
    assert len(set(names[:6])) == 6  # next to nothing is not nothing
    assert strength(view, COLOURS.long) > 100
    assert strength(view, COLOURS.short) > 100


def test_the_strongest_colour_is_a_round_number_beyond_every_target() -> None:
    for largest, most in ((0.07, 0.1), (0.1, 0.1), (0.3, 0.5), (1.0, 1.0), (2.4, 3.0), (300.0, 300.0)):
        target = np.array([0.0, -largest, np.nan])
        assert WeightTrack.of(target, np.zeros(3)).most == most
    assert WeightTrack.of(np.full(3, np.nan), np.zeros(3)).most > 0


def test_bars_without_a_decision_stay_empty(view: ChartView) -> None:
    view.set_weights(track())
    shown = strength(view, COLOURS.short)
    nothing = WeightTrack(np.full(BARS, np.nan), np.full(BARS, np.nan), 1.0)
    view.set_weights(nothing)
    assert strength(view, COLOURS.short) == strength(view, COLOURS.long) == 0
    view.set_weights(track())
    assert strength(view, COLOURS.short) == shown
    view.set_weights(None)
    assert strength(view, COLOURS.long) == 0


def test_it_is_hidden_and_shown(view: ChartView) -> None:
    view.set_weights(track())
    view.set_weights_shown(False)
    assert strength(view, COLOURS.long) == 0
    assert not any("target" in word.text for row in view._scene.legend_rows(3) for word in row)
    view.set_weights_shown(True)
    assert strength(view, COLOURS.long) > 100


def test_bars_to_come_are_not_coloured(view: ChartView) -> None:
    view.set_weights(track())
    view.set_done(BARS // 3, BARS // 3 - 1)
    assert strength(view, COLOURS.long) > 100
    assert strength(view, COLOURS.short) == 0
    assert view._scene.heat.words(BARS // 3) == ""


def test_it_reads_the_bar_under_the_mouse_and_else_the_one_with_the_line(view: ChartView) -> None:
    def said(hovered: int | None) -> list[str]:
        return [word.text for row in view._scene.legend_rows(hovered) for word in row]

    view.set_weights(track())
    assert "target +1.00, held 0.00" in said(0)
    assert "no decision, held −1.00" in said(BARS - 1)
    view.set_done(BARS, 1)
    assert "target +1.00, held +1.00" in said(None)
    assert "target −1.00, held −1.00" in said(BARS - 5)
    set_language(Language.KOREAN)
    try:
        assert "목표 +1.00, 보유 0.00" in said(0)
    finally:
        set_language(Language.ENGLISH)


@given(st.lists(st.floats(-2.0, 2.0) | st.just(math.nan), min_size=1, max_size=60), st.integers(1, 9))
def test_a_column_shows_the_mean_of_its_bars(values: list[float], width: int) -> None:
    array = np.array(values)
    edges = np.append(np.arange(0, len(values), width), len(values)).astype(np.int64)
    means = column_means(array, edges)
    for mean, start, stop in zip(means, edges[:-1], edges[1:], strict=True):
        known = array[start:stop][np.isfinite(array[start:stop])]
        if len(known):
            assert mean == pytest.approx(known.mean(), abs=1e-12)
        else:
            assert math.isnan(mean)


def test_fifty_thousand_bars_cost_no_more_than_the_pixels(qapp: QApplication) -> None:
    with shown_chart() as chart:
        size = 50_000
        chart.set_history(*history(size))
        chart.fit()
        QApplication.processEvents()
        plain = _paint_seconds(chart)
        rng = np.random.default_rng(0)
        target = rng.uniform(-1.0, 1.0, size)
        chart.set_weights(WeightTrack.of(target, target))
        coloured = _paint_seconds(chart)
    # A frame of a display is 16 ms; the machine of a test is slow and busy.
    assert coloured < plain + 0.1


def _paint_seconds(chart: ChartView) -> float:
    best = math.inf
    for _ in range(5):
        began = time.perf_counter()
        chart.grab()
        best = min(best, time.perf_counter() - began)
    return best


def test_trades_are_marked_where_there_is_room(view: ChartView) -> None:
    _, _, high, low, _, _ = history(BARS)
    at = np.array([50.0, 55.0])
    plain = strength(view, COLOURS.up), strength(view, COLOURS.down)
    view.set_trades(at, np.array([low[50], high[55]]), np.array([1.0, -1.0]))
    marked = strength(view, COLOURS.up), strength(view, COLOURS.down)
    assert marked[0] > plain[0]
    assert marked[1] > plain[1]
    view.set_done(52, None)
    done = strength(view, COLOURS.up), strength(view, COLOURS.down)
    assert done[0] > plain[0]
    assert done[1] == plain[1]
    view.set_trades(np.empty(0), np.empty(0), np.empty(0))
    assert (strength(view, COLOURS.up), strength(view, COLOURS.down)) == plain


def test_the_line_stands_at_its_bar(view: ChartView) -> None:
    view.set_done(BARS, 40)
    image = picture(view)
    x = view.column(40)
    column = {image.pixelColor(QPoint(x, y)).name().upper() for y in range(60, 300)}
    assert COLOURS.accent in column


def test_the_legend_names_the_ends(qapp: QApplication) -> None:
    legend = HeatLegend(COLOURS)
    legend.set_most(0.5)
    assert legend.accessibleDescription() == "short −0.50 … long +0.50"
    legend.resize(legend.sizeHint())
    image = legend.grab().toImage()
    assert pixels(image, COLOURS.short) > 10
    assert pixels(image, COLOURS.long) > 10
    legend.deleteLater()


def test_the_view_stays_where_it_is_when_bars_are_replaced(view: ChartView) -> None:
    columns = history(BARS)
    before = view.visible_range
    view.set_history(*(values[: BARS - 10] for values in columns), keep_view=True)
    assert view.visible_range == pytest.approx((before[0] - 10, before[1] - 10))  # it follows
    view.append_bars(*(values[BARS - 10 :] for values in columns))
    assert view.visible_range == pytest.approx(before)
    assert view.series is not None
    np.testing.assert_array_equal(view.series.times, columns[0])
    view.reveal(2)
    left, right = view.visible_range
    assert left <= 2 <= right
