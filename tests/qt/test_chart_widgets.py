"""Curve plot, sparkline and empty state."""

from __future__ import annotations

import math

import pytest
from PySide6.QtCore import QPoint, Qt

from app.theme import ThemeManager, ThemeName, UpDown, palette
from app.ui.widgets.curve_plot import Curve, CurveColour, CurvePlot, factor_ticks
from app.ui.widgets.empty_state import EmptyState
from app.ui.widgets.sparkline import Sparkline
from tests.qt.test_chart_view import pixels

DARK = palette(ThemeName.DARK, UpDown.WESTERN)


def curve(*y: float, colour: CurveColour = CurveColour.ACCENT, name: str = "validation", **more: float) -> Curve:
    return Curve(name, tuple(float(i + 1) for i in range(len(y))), y, colour, **more)


def test_curve_plot_draws_its_curves_and_says_so(qtbot) -> None:
    plot = CurvePlot(DARK)
    qtbot.addWidget(plot)
    plot.resize(300, 200)
    plot.set_empty_text("Nothing yet.")
    plot.set_curves([])
    assert plot.accessibleDescription() == "Nothing yet."
    assert pixels(plot.grab().toImage(), DARK.accent) == 0
    plot.set_curves([curve(0.6, 0.5, 0.45), curve(0.7, 0.4, 0.3, colour=CurveColour.WARNING, name="training")])
    shown = plot.grab().toImage()
    assert pixels(shown, DARK.accent) > 100
    assert pixels(shown, DARK.warning) > 100
    assert plot.accessibleDescription() == "validation 0.4500, training 0.3000"


def test_curves_of_one_name_share_an_entry_and_a_mark_and_a_title_are_drawn(qtbot) -> None:
    plot = CurvePlot(DARK)
    qtbot.addWidget(plot)
    plot.resize(300, 200)
    lines = [curve(0.6, 0.5, 0.45), curve(0.7, 0.4, 0.3), curve(0.9, 0.9, 0.9, name="")]
    plot.set_curves(lines)
    assert plot.accessibleDescription() == "validation 0.3000 … 0.4500"
    plain = plot.grab().toImage()
    plot.set_x_title("epoch")
    titled = plot.grab().toImage()
    assert titled != plain
    plot.set_curves([curve(0.6, 0.5, 0.45, mark=2.0), *lines[1:]])
    assert pixels(plot.grab().toImage(), DARK.accent) > pixels(titled, DARK.accent)
    plot.set_curves([curve(0.6, 0.5, 0.45, mark=0.0), *lines[1:]])  # no epoch is the best
    assert plot.grab().toImage() == titled


def test_curve_plot_stands_constant_missing_and_extreme_values(qtbot) -> None:
    plot = CurvePlot(DARK)
    qtbot.addWidget(plot)
    plot.resize(300, 200)
    for values in ((0.5,), (0.0, 0.0), (1e-9, 3e-9), (math.nan, 0.5, math.inf, 0.4), (-2e8, 5e8), (math.nan,)):
        plot.set_curves([curve(*values)])
        assert not plot.grab().toImage().isNull()
    plot.resize(5, 5)
    assert not plot.grab().toImage().isNull()


def test_curve_plot_reads_the_value_under_the_mouse(qtbot) -> None:
    plot = CurvePlot(DARK)
    qtbot.addWidget(plot)
    plot.resize(300, 200)
    plot.set_curves([curve(0.6, 0.5, 0.45)])
    plain = plot.grab().toImage()
    plot.show()
    qtbot.mouseMove(plot, QPoint(40, 100))
    assert plot.grab().toImage() != plain


def rows_of(plot: CurvePlot, colour: str) -> int:
    """Return over how many rows below the legend something of a colour is spread."""
    image = plot.grab().toImage()
    found = [
        y for y in range(40, image.height()) for x in range(250) if image.pixelColor(x, y).name() == colour.lower()
    ]
    return max(found) - min(found)


def test_growth_that_differs_tenfold_takes_the_same_height_for_the_same_factor(qtbot) -> None:
    plot = CurvePlot(DARK)
    qtbot.addWidget(plot)
    plot.resize(300, 200)
    lines = [curve(1.0, 2.0, 4.0), curve(1.0, 20.0, 160.0, colour=CurveColour.WARNING, name="rule")]
    plot.set_curves(lines)
    flat = rows_of(plot, DARK.accent)
    plot.set_curves(lines, growth=True)
    assert rows_of(plot, DARK.accent) > 5 * max(1, flat)
    near = [curve(1.0, 1.2, 1.4), curve(1.0, 0.9, 0.8, name="rule")]
    for unlike in (near, [curve(1.0, 0.0, 20.0)], [curve(-1.0, 20.0)]):  # near each other, or with no logarithm
        plot.set_curves(unlike)
        straight = plot.grab().toImage()
        plot.set_curves(unlike, growth=True)
        assert plot.grab().toImage() == straight


@pytest.mark.parametrize(
    ("low", "high", "pixels_", "marks"),
    [
        (-0.1, 1.1, 240, [1, 2, 5, 10]),
        (-0.4, 2.2, 200, [1, 3, 10, 30, 100]),
        (-1.1, 2.2, 120, [0.1, 1, 10, 100]),
        (-0.5, 8.5, 90, [1, 1e3, 1e6]),
    ],
)
def test_marks_of_factors_keep_their_distance(low: float, high: float, pixels_: float, marks: list[float]) -> None:
    assert factor_ticks(low, high, pixels_, 30.0) == pytest.approx(marks)


def test_sparkline_takes_the_colour_of_the_net_change(qtbot) -> None:
    line = Sparkline(DARK)
    qtbot.addWidget(line)
    line.resize(100, 24)
    line.set_values([1.0, 3.0, math.nan, 2.0])
    assert pixels(line.grab().toImage(), DARK.up) > 50
    assert line.accessibleDescription() == "3 values, change +100.00\u00a0%"
    line.set_values([2.0, 1.0])
    assert pixels(line.grab().toImage(), DARK.down) > 50
    line.set_values([])
    assert line.accessibleDescription() == "No values yet"
    line.set_values([5.0, 5.0])
    assert pixels(line.grab().toImage(), DARK.up) > 50


def test_empty_state_hides_what_it_has_no_words_for(theme: ThemeManager, qtbot) -> None:
    state = EmptyState(theme, "brain")
    qtbot.addWidget(state)
    state.set_text("Nothing here.")
    state.show()
    assert not state.button.isVisible()
    state.set_text("Nothing here.", "Do it", "Because.")
    with qtbot.waitSignal(state.triggered):
        qtbot.mouseClick(state.button, Qt.MouseButton.LeftButton)
