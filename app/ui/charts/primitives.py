"""Batched painting in device pixels. GUI thread.

Chart items leave the data transform and paint in whole device pixels: a body is centred on its wick at any zoom and
any display scaling, and a price of 1e-10 never meets a rounding rectangle. Rectangles travel to the painter as one
array, because thousands of Python rectangles per frame cost more than drawing them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QLineF, QRectF
from PySide6.QtGui import QPainter, QTransform
from shiboken6 import wrapInstance

FloatArray = NDArray[np.float64]

# Far outside every view, near enough for integer rasterisation.
_OUTSIDE = 1 << 14


@dataclass(frozen=True, slots=True)
class PixelMap:
    """Maps item coordinates to device pixels of the current paint device.

    Attributes:
        ratio: device pixels per logical pixel.
        line: width of a hair line in device pixels.
    """

    scale_x: float
    offset_x: float
    scale_y: float
    offset_y: float
    ratio: float

    @classmethod
    def enter(cls, painter: QPainter) -> PixelMap:
        """Put the painter into device pixels and return the map; the caller saves and restores the painter."""
        transform = painter.worldTransform()
        device = painter.device()
        ratio = device.devicePixelRatioF() if device is not None else 1.0
        painter.setWorldTransform(QTransform.fromScale(1 / ratio, 1 / ratio))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        return cls(
            transform.m11() * ratio, transform.dx() * ratio, transform.m22() * ratio, transform.dy() * ratio, ratio
        )

    @property
    def line(self) -> int:
        return max(1, int(self.ratio))

    def x(self, values: FloatArray | float) -> FloatArray:
        """Map x coordinates to whole device pixels."""
        return np.clip(np.floor(np.asarray(values) * self.scale_x + self.offset_x), -_OUTSIDE, _OUTSIDE)

    def y(self, values: FloatArray | float) -> FloatArray:
        """Map y coordinates to whole device pixels."""
        return np.clip(np.floor(np.asarray(values) * self.scale_y + self.offset_y), -_OUTSIDE, _OUTSIDE)


def draw_rects(painter: QPainter, x: FloatArray, y: FloatArray, width: FloatArray | float, height: FloatArray) -> None:
    """Draw rectangles given by columns of equal length (n,) with the painter's pen and brush."""
    if len(x) == 0:
        return
    rects = np.empty((len(x), 4))
    rects[:, 0], rects[:, 1], rects[:, 2], rects[:, 3] = x, y, width, height
    # `rects` outlives the call, the wrapper does not own its memory.
    painter.drawRects(cast(QRectF, wrapInstance(rects.ctypes.data, QRectF)), len(x))


def draw_polyline(painter: QPainter, x: FloatArray, y: FloatArray) -> None:
    """Draw a line through points given by columns (n,); a NaN interrupts it."""
    if len(x) < 2:
        return
    lines = np.empty((len(x) - 1, 4))
    lines[:, 0], lines[:, 1], lines[:, 2], lines[:, 3] = x[:-1], y[:-1], x[1:], y[1:]
    lines = np.ascontiguousarray(lines[np.isfinite(lines).all(axis=1)])
    if len(lines):
        painter.drawLines(cast(QLineF, wrapInstance(lines.ctypes.data, QLineF)), len(lines))
