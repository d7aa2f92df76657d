"""Small parts of wizard pages: form rows, fields the mouse wheel cannot change by accident, two little pictures.

GUI thread only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QObject, QPointF, QRectF, QSize, Qt, Slot
from PySide6.QtGui import QColor, QKeyEvent, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.i18n import tr, tr_count
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


def keep_return(event: QKeyEvent) -> None:
    """Keep the return key from the window, whose default button it would press as well."""
    if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
        event.accept()


class EntryLine(QLineEdit):
    """A line whose return key takes the text and does not press the window's default button as well."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        super().keyPressEvent(event)
        keep_return(event)


@dataclass(slots=True)
class FormRow:
    """A labelled field with its explanation, or the sentence that says what is wrong with it."""

    label: QLabel
    field: QWidget
    note: QLabel
    explanation: str = ""
    problem: str = ""

    def set_texts(self, label: str, note: str) -> None:
        """Set the visible texts; `label` may hold an `&` that marks its access key."""
        self.label.setText(label)
        self.explanation = note
        self.field.setAccessibleName(label.replace("&", ""))
        self._show()

    def set_problem(self, problem: str) -> None:
        """Say what is wrong with the entry; "" brings the explanation back."""
        self.problem = problem
        self._show()

    def set_visible(self, visible: bool) -> None:
        """Show or hide the whole row."""
        for part in (self.label, self.field, self.note):
            part.setVisible(visible)

    def _show(self) -> None:
        text = self.problem or self.explanation
        if self.note.text() != text:
            self.note.setText(text)
            self.field.setAccessibleDescription(text)
        if self.note.property("role") != (role := "warning" if self.problem else "small"):
            set_look(self.note, "role", role)
        wrong = self.field.property("invalid") == "true"
        if isinstance(self.field, QLineEdit) and wrong != bool(self.problem):  # drawing anew costs
            set_look(self.field, "invalid", bool(self.problem))


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

    def add_row(self, field: QWidget, *, wide: bool = False, tall: bool = False) -> FormRow:
        """Append a row and return it.

        Args:
            field: the control.
            wide: the explanation stands below instead of beside it.
            tall: the field has a height of its own.
        """
        row = self._grid.rowCount()
        label, note = QLabel(), wrapped_label("small")
        label.setBuddy(field)
        if not tall:
            field.setFixedHeight(CONTROL_HEIGHT)
        label.setMinimumHeight(CONTROL_HEIGHT)
        label.setAlignment(Qt.AlignmentFlag.AlignVCenter)
        note.setAlignment(Qt.AlignmentFlag.AlignVCenter)
        top = Qt.AlignmentFlag.AlignTop
        self._grid.addWidget(label, row, 0, top)
        if wide:
            self._grid.addWidget(field, row, 1, 1, 2)
            self._grid.addWidget(note, row + 1, 1, 1, 2)
        else:
            note.setMinimumHeight(CONTROL_HEIGHT)
            self._grid.addWidget(field, row, 1, top)
            self._grid.addWidget(note, row, 2, top)
        return FormRow(label, field, note)


class Expander(QWidget):
    """Settings that a first run does without, behind a button that opens and closes them.

    Attributes:
        form: the rows inside.
    """

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE_M)
        self._button = QToolButton()
        self._button.setObjectName(name)
        self._button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        set_look(self._button, "variant", "quiet")
        self._button.clicked.connect(self._on_clicked)
        layout.addWidget(self._button, 0, Qt.AlignmentFlag.AlignLeft)
        self.form = Form()
        layout.addWidget(self.form)
        self.set_open(False)

    @property
    def is_open(self) -> bool:
        """Whether the settings are shown."""
        return not self.form.isHidden()

    def set_open(self, shown: bool) -> None:
        """Show or hide the settings."""
        self.form.setVisible(shown)
        self._button.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)

    def set_changed(self, changed: int) -> None:
        """Name the button, with how many settings differ from the defaults."""
        title = tr("Advanced settings")
        if changed:
            title += " · " + tr_count("{n} changed", "{n} changed", changed)
        self._button.setText(title)
        self._button.setAccessibleName(title)

    @Slot()
    def _on_clicked(self) -> None:
        self.set_open(not self.is_open)


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
