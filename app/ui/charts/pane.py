"""A pane: a clipped rectangle that maps bar index and price to pixels for the items in it. GUI thread.

Plain Qt instead of a plotting library: a pane needs one transform, and importing a library for it would stall the
first window by a third of a second.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QRect, QRectF
from PySide6.QtGui import QPainter, QTransform
from PySide6.QtWidgets import QGraphicsItem, QGraphicsScene


class Pane(QGraphicsItem):
    """Clips its items and gives them data coordinates: x to the right, y upwards."""

    def __init__(self, scene: QGraphicsScene) -> None:
        super().__init__()
        self.setFlag(QGraphicsItem.GraphicsItemFlag.ItemClipsChildrenToShape, True)
        self.setFlag(QGraphicsItem.GraphicsItemFlag.ItemHasNoContents, True)
        self._size = QRectF(0, 0, 1, 1)
        self._x = (0.0, 1.0)
        self._y = (0.0, 1.0)
        self._items: list[PaneItem] = []
        scene.addItem(self)

    @property
    def x_range(self) -> tuple[float, float]:
        """Visible bar indices."""
        return self._x

    @property
    def y_range(self) -> tuple[float, float]:
        """Visible values."""
        return self._y

    def add(self, item: PaneItem) -> None:
        """Paint an item in this pane, over those added before."""
        item.setParentItem(self)
        item.setTransform(self._transform())
        self._items.append(item)

    def set_geometry(self, rect: QRect) -> None:
        """Place the pane, in pixels of the view."""
        size = QRectF(0, 0, rect.width(), rect.height())
        self.setPos(rect.topLeft())
        if size != self._size:
            self.prepareGeometryChange()
            self._size = size
            self._apply()

    def set_range(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        """Show this range of bar indices and values; both finite and ascending."""
        if (x, y) != (self._x, self._y):
            self._x, self._y = x, y
            self._apply()

    def boundingRect(self) -> QRectF:
        return self._size

    def paint(self, painter: QPainter, option: Any, widget: Any = None) -> None:
        """Paint nothing; the items do."""

    def _apply(self) -> None:
        transform = self._transform()
        for item in self._items:
            item.range_changed()
            item.setTransform(transform)

    def _transform(self) -> QTransform:
        across = self._size.width() / (self._x[1] - self._x[0])
        upwards = self._size.height() / (self._y[1] - self._y[0])
        return QTransform(across, 0.0, 0.0, -upwards, -self._x[0] * across, self._y[1] * upwards)


class PaneItem(QGraphicsItem):
    """Base of what is painted in a pane, in data coordinates."""

    @property
    def pane(self) -> Pane:
        """The pane it was added to."""
        parent = self.parentItem()
        assert isinstance(parent, Pane)
        return parent

    def range_changed(self) -> None:
        """Take note that the visible range is about to change; for items whose extent depends on it."""


class ViewItem(PaneItem):
    """Base of items bounded by what is visible.

    For those drawn in pixels it is the only honest bound in data units, and it never has to be told of a change of what
    they show.
    """

    def boundingRect(self) -> QRectF:
        if self.parentItem() is None:
            return QRectF()
        (left, right), (low, high) = self.pane.x_range, self.pane.y_range
        return QRectF(left, low, right - left, high - low)

    def range_changed(self) -> None:
        self.prepareGeometryChange()
