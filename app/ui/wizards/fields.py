"""Small parts of wizard pages: form rows, fields the mouse wheel cannot change by accident, two little pictures.

GUI thread only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QObject, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QAbstractSpinBox, QFrame, QGridLayout, QLabel, QSizePolicy, QSpinBox, QVBoxLayout, QWidget

from app.theme import (
    CONTROL_HEIGHT,
    GRID,
    RADIUS,
    SPACE_L,
    SPACE_M,
    SPACE_S,
    SPACE_XS,
    Palette,
    mix,
    number_font,
    set_look,
)

LABEL_WIDTH = 38 * GRID
FIELD_WIDTH = 48 * GRID


class WheelGuard(QObject):
    """Event filter: a field without focus passes the wheel on, so that scrolling never changes a value unseen."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()
            return True
        return super().eventFilter(watched, event)

    def watch(self, field: QWidget) -> None:
        """Guard a field; it takes focus by click and Tab only."""
        field.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        field.installEventFilter(self)


def indent_text(box: QAbstractSpinBox) -> None:
    """Indent the text like that of other fields; style sheets do not reach the line inside such a box."""
    line = box.lineEdit()
    if line is not None:
        line.setTextMargins(SPACE_S - GRID // 2, 0, 0, 0)


def spin_box(name: str, low: int, high: int, guard: WheelGuard, *, step: int = 1) -> QSpinBox:
    """Return a whole-number field of fixed width; values out of range are clamped while typing ends."""
    box = QSpinBox()
    box.setObjectName(name)
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setFixedWidth(FIELD_WIDTH)
    box.setFont(number_font())
    box.setGroupSeparatorShown(False)
    indent_text(box)
    guard.watch(box)
    return box


@dataclass(slots=True)
class FormRow:
    """A labelled field with its explanation."""

    label: QLabel
    field: QWidget
    note: QLabel

    def set_texts(self, label: str, note: str) -> None:
        """Set the visible texts; `label` may hold an `&` that marks its access key."""
        self.label.setText(label)
        self.note.setText(note)
        self.field.setAccessibleName(label.replace("&", ""))
        self.field.setAccessibleDescription(note)

    def set_visible(self, visible: bool) -> None:
        """Show or hide the whole row."""
        self.label.setVisible(visible)
        self.field.setVisible(visible)
        if self.note.parent() is not self.field:
            self.note.setVisible(visible)


class Form(QWidget):
    """Rows of label, field and explanation on one grid."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(SPACE_L)
        self._grid.setVerticalSpacing(SPACE_M)
        self._grid.setColumnMinimumWidth(0, LABEL_WIDTH)
        self._grid.setColumnMinimumWidth(1, FIELD_WIDTH)
        self._grid.setColumnStretch(2, 1)

    def add_row(self, field: QWidget, *, wide: bool = False) -> FormRow:
        """Append a row and return it; a wide field takes the place of the explanation as well."""
        row = self._grid.rowCount()
        label, note = QLabel(), wrapped_label("small")
        label.setBuddy(field)
        field.setFixedHeight(CONTROL_HEIGHT)
        label.setMinimumHeight(CONTROL_HEIGHT)
        label.setAlignment(Qt.AlignmentFlag.AlignVCenter)
        note.setMinimumHeight(CONTROL_HEIGHT)
        note.setAlignment(Qt.AlignmentFlag.AlignVCenter)
        top = Qt.AlignmentFlag.AlignTop
        self._grid.addWidget(label, row, 0, top)
        if wide:
            note.setParent(field)  # owned, never shown
            note.hide()
            self._grid.addWidget(field, row, 1, 1, 2)
        else:
            self._grid.addWidget(field, row, 1, top)
            self._grid.addWidget(note, row, 2, top)
        return FormRow(label, field, note)


def wrapped_label(role: str = "") -> QLabel:
    """Return a plain-text label that wraps and takes the height its text needs."""
    label = QLabel()
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
    policy.setHeightForWidth(True)
    label.setSizePolicy(policy)
    if role:
        set_look(label, "role", role)
    return label


def card() -> tuple[QFrame, QVBoxLayout]:
    """Return a framed area and its layout."""
    frame = QFrame()
    set_look(frame, "card", True)
    layout = QVBoxLayout(frame)
    layout.setContentsMargins(SPACE_M, SPACE_M, SPACE_M, SPACE_M)
    layout.setSpacing(SPACE_S)
    return frame, layout


class Figure(QWidget):
    """A number under its name."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE_XS)
        self._name, self._value = QLabel(), QLabel()
        set_look(self._name, "role", "small")
        set_look(self._value, "role", "number")
        self._value.setFont(number_font())
        layout.addWidget(self._name)
        layout.addWidget(self._value)

    def set_texts(self, name: str, value: str) -> None:
        """Show a name and a formatted value."""
        self._name.setText(name)
        self._value.setText(value)
        self.setAccessibleName(f"{name}: {value}")

    def value(self) -> str:
        """Return the value shown."""
        return self._value.text()


class HistoryLine(QWidget):
    """A price history as one thin line; the part outside the chosen range is muted."""

    def __init__(self, palette: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette = palette
        self._values: tuple[float, ...] = ()
        self._range = (0.0, 1.0)
        self.setMinimumHeight(16 * GRID)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of another theme."""
        self._palette = palette
        self.update()

    def set_values(self, values: Sequence[float], start: float = 0.0, end: float = 1.0) -> None:
        """Show evenly spaced prices, of which the share from `start` to `end` is chosen."""
        self._values, self._range = tuple(values), (start, end)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if len(self._values) < 2:
            return
        painter = QPainter(self)
        area = QRectF(self.rect()).adjusted(1, GRID, -1, -GRID)
        low, high = min(self._values), max(self._values)
        scale = area.height() / (high - low) if high > low else 0.0
        step = area.width() / (len(self._values) - 1)
        points = [
            QPointF(area.left() + index * step, area.bottom() - (value - low) * scale)
            for index, value in enumerate(self._values)
        ]
        first = round(self._range[0] * (len(points) - 1))
        last = round(self._range[1] * (len(points) - 1))
        painter.setPen(QPen(QColor(self._palette.line), 1))
        painter.drawPolyline(QPolygonF(points))
        painter.setPen(QPen(QColor(self._palette.accent), 1))
        painter.drawPolyline(QPolygonF(points[first : last + 1]))
        painter.end()


class SplitBar(QWidget):
    """Parts of a whole side by side, each as wide as its share."""

    def __init__(self, palette: Palette, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette = palette
        self._parts: tuple[tuple[str, float], ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(100 * GRID, CONTROL_HEIGHT)

    def set_palette(self, palette: Palette) -> None:
        """Take the colours of another theme."""
        self._palette = palette
        self.update()

    def set_parts(self, parts: Sequence[tuple[str, float]]) -> None:
        """Show (title, share) pairs; the shares add up to about 1."""
        self._parts = tuple(parts)
        self.setAccessibleName("; ".join(title for title, _ in parts))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(number_font())
        surface, accent = self._palette.surface, self._palette.accent
        fills = [QColor(mix(surface, accent, share)) for share in (0.55, 0.32, 0.14)]
        total = sum(max(0.0, share) for _, share in self._parts) or 1.0
        left = 0.0
        for (title, share), fill in zip(self._parts, fills, strict=False):
            width = self.width() * max(0.0, share) / total
            box = QRectF(left, 0, max(0.0, width - SPACE_XS / 2), self.height())
            painter.setPen(QPen(QColor(self._palette.line), 1))
            painter.setBrush(fill)
            painter.drawRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), RADIUS, RADIUS)
            painter.setPen(QColor(self._palette.text))
            room = int(max(0.0, box.width() - SPACE_S))
            text = painter.fontMetrics().elidedText(title, Qt.TextElideMode.ElideRight, room)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)
            left += width
        painter.end()
