"""Small charts as inline SVG, drawn with the page's colour variables. Pure functions, any thread.

Every chart has the same frame: a y axis with round ticks on the left, x labels below, thin grid lines. Colours are
names of CSS variables ("accent" → `var(--accent)`), so that one picture serves the dark and the light page.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.data.frame import CandleFrame, FloatArray, IntArray

WIDTH, HEIGHT = 960, 300
LEFT, RIGHT, TOP, BOTTOM = 76, 12, 12, 26
MAX_POINTS = 480
MAX_CANDLES = 180
MAX_DOTS = 900

Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: x and y of equal length, oldest first, drawn in a colour."""

    label: str
    x: FloatArray
    y: FloatArray
    colour: str


@dataclass(frozen=True, slots=True)
class Marker:
    """A trade on the price chart: an up triangle below a buy, a down triangle above a sell."""

    x: float
    y: float
    is_buy: bool
    label: str


@dataclass(frozen=True, slots=True)
class _Frame:
    """The drawing area in data units."""

    x0: float
    x1: float
    y0: float
    y1: float

    def px(self, x: float) -> float:
        return LEFT + (x - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def py(self, y: float) -> float:
        return HEIGHT - BOTTOM - (y - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)


def round_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers from `low` to `high`."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = span / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def thin(x: FloatArray, y: FloatArray, limit: int = MAX_POINTS) -> tuple[FloatArray, FloatArray]:
    """Return at most about `limit` points that keep every bucket's lowest and highest value."""
    if len(x) <= limit:
        return x, y
    picks: set[int] = {0, len(x) - 1}
    for bucket in np.array_split(np.arange(len(x)), limit // 2):
        picks.add(int(bucket[np.argmin(y[bucket])]))
        picks.add(int(bucket[np.argmax(y[bucket])]))
    order = sorted(picks)
    return x[order], y[order]


def line_chart(title: str, lines: Sequence[Line], x_text: Format, y_text: Format) -> str:
    """Draw curves over a common x axis; an empty string where there is nothing to draw."""
    drawn = [line for line in lines if len(line.x)]
    if not drawn:
        return ""
    frame = _frame(np.concatenate([line.x for line in drawn]), np.concatenate([line.y for line in drawn]))
    parts = _axes(frame, x_text, y_text)
    for line in drawn:
        xs, ys = thin(line.x, line.y)
        points = " ".join(f"{frame.px(x):.1f},{frame.py(y):.1f}" for x, y in zip(xs, ys, strict=True))
        parts.append(f'<polyline points="{points}" style="fill:none;stroke:var(--{line.colour});stroke-width:1.5"/>')
    return _svg(title, parts)


def price_chart(title: str, candles: CandleFrame, markers: Sequence[Marker], x_text: Format, y_text: Format) -> str:
    """Draw bars (joined where there are many) and trades; an empty string without bars."""
    if not len(candles):
        return ""
    times, bars = _join_bars(candles)
    frame = _frame(times.astype(np.float64), np.concatenate([bars[:, 1], bars[:, 2]]))
    parts = _axes(frame, x_text, y_text)
    width = max(1.0, (WIDTH - LEFT - RIGHT) / len(times) * 0.6)
    for time_ns, (open_, high, low, close) in zip(times.tolist(), bars.tolist(), strict=True):
        x = frame.px(time_ns)
        colour = "up" if close >= open_ else "down"
        top, bottom = frame.py(max(open_, close)), frame.py(min(open_, close))
        parts.append(
            f'<path d="M{x:.1f} {frame.py(high):.1f}V{frame.py(low):.1f}" style="stroke:var(--{colour});fill:none"/>'
            f'<rect x="{x - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" height="{max(1.0, bottom - top):.1f}" '
            f'style="fill:var(--{colour})"/>'
        )
    parts += [_triangle(frame, marker) for marker in markers if frame.x0 <= marker.x <= frame.x1]
    return _svg(title, parts)


def scatter_chart(title: str, x: FloatArray, y: FloatArray, text: Format) -> str:
    """Draw pairs with both zero lines; an empty string without pairs."""
    if not len(x):
        return ""
    picks = np.linspace(0, len(x) - 1, min(MAX_DOTS, len(x))).astype(np.int64)
    xs, ys = x[picks], y[picks]
    frame = _frame(np.append(xs, 0.0), np.append(ys, 0.0))
    parts = _axes(frame, text, text)
    parts.append(
        f'<path d="M{frame.px(0):.1f} {TOP}V{HEIGHT - BOTTOM}M{LEFT} {frame.py(0):.1f}H{WIDTH - RIGHT}" '
        'style="stroke:var(--muted);fill:none"/>'
    )
    parts += [
        f'<circle cx="{frame.px(a):.1f}" cy="{frame.py(b):.1f}" r="2" style="fill:var(--accent);fill-opacity:0.45"/>'
        for a, b in zip(xs.tolist(), ys.tolist(), strict=True)
    ]
    return _svg(title, parts)


def _frame(x: FloatArray, y: FloatArray) -> _Frame:
    x0, x1 = float(np.min(x)), float(np.max(x))
    y0, y1 = float(np.min(y)), float(np.max(y))
    margin = (y1 - y0) * 0.06 or max(abs(y0) * 0.01, 1e-9)
    return _Frame(x0, x1 if x1 > x0 else x0 + 1.0, y0 - margin, y1 + margin)


def _axes(frame: _Frame, x_text: Format, y_text: Format) -> list[str]:
    parts: list[str] = []
    for value in round_ticks(frame.y0, frame.y1):
        y = frame.py(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" style="stroke:var(--line);fill:none"/>')
        parts.append(_text(LEFT - 8, y + 4, y_text(value), "end"))
    for index in range(5):
        value = frame.x0 + (frame.x1 - frame.x0) * index / 4
        anchor = "start" if index == 0 else "end" if index == 4 else "middle"
        parts.append(_text(frame.px(value), HEIGHT - 8, x_text(value), anchor))
    return parts


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="11" style="fill:var(--muted)">'
        f"{html.escape(text)}</text>"
    )


def _join_bars(candles: CandleFrame) -> tuple[IntArray, FloatArray]:
    """Return times and (open, high, low, close) rows of at most `MAX_CANDLES` joined bars."""
    size = -(-len(candles) // MAX_CANDLES)
    groups = [np.arange(first, min(first + size, len(candles))) for first in range(0, len(candles), size)]
    times = np.array([candles.time_ns[group[0]] for group in groups], np.int64)
    rows = [(candles.open[g[0]], np.max(candles.high[g]), np.min(candles.low[g]), candles.close[g[-1]]) for g in groups]
    return times, np.array(rows, np.float64)


def _triangle(frame: _Frame, marker: Marker) -> str:
    x, y = frame.px(marker.x), frame.py(marker.y)
    offset, colour = (6, "up") if marker.is_buy else (-6, "down")
    points = f"{x:.1f},{y + offset:.1f} {x - 5:.1f},{y + 2.5 * offset:.1f} {x + 5:.1f},{y + 2.5 * offset:.1f}"
    return (
        f'<polygon points="{points}" style="fill:var(--{colour});stroke:var(--surface);stroke-width:1">'
        f"<title>{html.escape(marker.label)}</title></polygon>"
    )


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
    )
