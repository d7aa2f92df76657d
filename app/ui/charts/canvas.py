"""The graphics view under a chart: paints through its owner and reports gestures. GUI thread.

Mouse events are handled here and do not enter the graphics scene: searching it for an item under the mouse costs time
on every move, and a chart knows better what a drag means.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Protocol

from PySide6.QtCore import QEvent, QPoint, QRectF, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QResizeEvent, QTransform, QWheelEvent
from PySide6.QtWidgets import QFrame, QGraphicsScene, QGraphicsView, QWidget

_WHEEL_NOTCH = 120.0
_DRAG_FROM = 3  # px; less is a click with an unsteady hand


class Zone(Enum):
    """Part of a chart under the mouse."""

    PRICE = auto()
    VOLUME = auto()
    PRICE_AXIS = auto()
    TIME_AXIS = auto()
    SEPARATOR = auto()
    NONE = auto()


class CanvasOwner(Protocol):
    """What the canvas needs from the chart."""

    def paint_background(self, painter: QPainter) -> None:
        """Paint under the items, in widget pixels."""
        ...

    def paint_foreground(self, painter: QPainter) -> None:
        """Paint over the items, in widget pixels."""
        ...

    def zone_at(self, position: QPoint) -> Zone:
        """Return the part of the chart at a position."""
        ...


class ChartCanvas(QGraphicsView):
    """Graphics view with gestures.

    Signals:
        hovered(QPoint | None): mouse position, None when it left.
        dragged(Zone, dx, dy): pixels moved since the last report; the zone is where the drag began.
        wheeled(QPoint, across, along): notches, horizontal and vertical, positive right and away from the user.
        double_clicked(Zone).
        clicked(QPoint, bool): position, and whether Ctrl (⌘) was held.
        resized().
    """

    hovered = Signal(object)
    dragged = Signal(object, int, int)
    wheeled = Signal(QPoint, float, float)
    double_clicked = Signal(object)
    clicked = Signal(QPoint, bool)
    resized = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        self._owner: CanvasOwner | None = None
        super().__init__(parent)
        # The view keeps the scene alive through this reference; Qt itself does not own it for a view.
        self._scene = QGraphicsScene(self)
        self._scene.setItemIndexMethod(QGraphicsScene.ItemIndexMethod.NoIndex)
        self.setScene(self._scene)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTransformationAnchor(QGraphicsView.ViewportAnchor.NoAnchor)
        self.setViewportUpdateMode(QGraphicsView.ViewportUpdateMode.MinimalViewportUpdate)
        self._pressed: tuple[Zone, QPoint] | None = None
        self._last = QPoint()
        self._dragging = False
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setMouseTracking(True)
        self.viewport().setMouseTracking(True)

    def attach(self, owner: CanvasOwner) -> None:
        """Paint through `owner` from now on."""
        self._owner = owner

    def detach(self) -> None:
        """Forget the owner before both are destroyed; nothing is painted or reported any more."""
        self._owner = None

    def drawBackground(self, painter: QPainter, rect: Any) -> None:
        if self._owner is not None:
            self._in_pixels(painter, self._owner.paint_background)

    def drawForeground(self, painter: QPainter, rect: Any) -> None:
        if self._owner is not None:
            self._in_pixels(painter, self._owner.paint_foreground)

    @staticmethod
    def _in_pixels(painter: QPainter, paint: Any) -> None:
        painter.save()
        painter.setWorldTransform(QTransform())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        paint(painter)
        painter.restore()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        # Scene coordinates are the pixels of the viewport.
        self.setSceneRect(QRectF(self.viewport().rect()))
        if self._owner is not None:
            self.resized.emit()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton and self._owner is not None:
            position = event.position().toPoint()
            self._pressed = (self._owner.zone_at(position), position)
            self._last, self._dragging = position, False
            event.accept()
        else:
            event.ignore()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        position = event.position().toPoint()
        if self._pressed is not None:
            zone, start = self._pressed
            if not self._dragging and (position - start).manhattanLength() >= _DRAG_FROM:
                self._dragging = True
            if self._dragging:
                step = position - self._last
                self._last = position
                self.dragged.emit(zone, step.x(), step.y())
        self._show_cursor(position)
        self.hovered.emit(position)
        event.accept()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton and self._pressed is not None:
            if not self._dragging:
                held = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
                self.clicked.emit(event.position().toPoint(), held)
            self._pressed = None
            event.accept()
        else:
            event.ignore()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton and self._owner is not None:
            self.double_clicked.emit(self._owner.zone_at(event.position().toPoint()))
            event.accept()

    def wheelEvent(self, event: QWheelEvent) -> None:
        # The across part is the touchpad's sideways scroll.
        delta = event.angleDelta()
        self.wheeled.emit(event.position().toPoint(), delta.x() / _WHEEL_NOTCH, delta.y() / _WHEEL_NOTCH)
        event.accept()

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self.hovered.emit(None)

    def _show_cursor(self, position: QPoint) -> None:
        shapes = {
            Zone.PRICE_AXIS: Qt.CursorShape.SizeVerCursor,
            Zone.TIME_AXIS: Qt.CursorShape.SizeHorCursor,
            Zone.SEPARATOR: Qt.CursorShape.SplitVCursor,
        }
        zone = self._owner.zone_at(position) if self._owner is not None else Zone.NONE
        shape = shapes.get(zone, Qt.CursorShape.CrossCursor)
        if self.viewport().cursor().shape() is not shape:
            self.viewport().setCursor(shape)
