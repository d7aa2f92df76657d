"""Fields that know which entry of the training draft they edit. GUI thread only.

Each shows an entry with `show_value` and tells of a person's change with `edited(name, value)`; a page connects all of
them to one slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from PySide6.QtCore import QDate, Qt, Signal, SignalInstance, Slot
from PySide6.QtWidgets import QCheckBox, QComboBox, QDateEdit, QLineEdit, QSpinBox

from app.theme import number_font
from app.ui.widgets.spin_box import indent_text
from app.ui.wizards.fields import FIELD_WIDTH


class DraftField(Protocol):
    """What a page asks of its fields."""

    edited: SignalInstance

    def show_value(self, value: Any) -> None:
        """Show an entry; nothing is told."""
        ...


class NumberField(QSpinBox):
    """A whole number; values out of range are clamped while typing ends."""

    edited = Signal(str, object)

    def __init__(self, name: str, low: int, high: int, *, step: int = 1) -> None:
        super().__init__()
        self._name = name
        self.setObjectName(f"{name}_box")
        self.setRange(low, high)
        self.setSingleStep(step)
        self.setFixedWidth(FIELD_WIDTH)
        self.setFont(number_font())
        self.setGroupSeparatorShown(False)
        indent_text(self)
        self.valueChanged.connect(self._on_changed)

    def show_value(self, value: Any) -> None:
        self.blockSignals(True)
        self.setValue(value)
        self.blockSignals(False)

    @Slot(int)
    def _on_changed(self, value: int) -> None:
        self.edited.emit(self._name, value)


class TextField(QLineEdit):
    """A decimal number or a list of numbers; what is typed is judged by the flow, not changed by the field."""

    edited = Signal(str, object)

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.setObjectName(f"{name}_edit")
        self.setFixedWidth(FIELD_WIDTH)
        self.setFont(number_font())
        self.textEdited.connect(self._on_edited)

    def show_value(self, value: Any) -> None:
        if self.text() != value:
            self.setText(value)

    @Slot(str)
    def _on_edited(self, text: str) -> None:
        self.edited.emit(self._name, text)


class SwitchField(QCheckBox):
    """Yes or no."""

    edited = Signal(str, object)

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.setObjectName(f"{name}_box")
        self.toggled.connect(self._on_toggled)

    def show_value(self, value: Any) -> None:
        self.blockSignals(True)
        self.setChecked(value)
        self.blockSignals(False)

    @Slot(bool)
    def _on_toggled(self, checked: bool) -> None:
        self.edited.emit(self._name, checked)


class ChoiceField(QComboBox):
    """One of several values, each under a title."""

    edited = Signal(str, object)

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._values: tuple[Any, ...] = ()
        self.setObjectName(f"{name}_box")
        self.setFixedWidth(FIELD_WIDTH)
        self.currentIndexChanged.connect(self._on_changed)

    def set_choices(self, choices: Sequence[tuple[Any, str]]) -> None:
        """Offer (value, title) pairs; the present choice stays where it is among them."""
        chosen = self.value()
        values, titles = tuple(value for value, _ in choices), [title for _, title in choices]
        if values == self._values and [self.itemText(index) for index in range(self.count())] == titles:
            return
        self.blockSignals(True)
        self._values = values
        self.clear()
        self.addItems(titles)
        self.setCurrentIndex(values.index(chosen) if chosen in values else -1)
        self.blockSignals(False)

    def value(self) -> Any:
        """Return the chosen value, None where there is none."""
        index = self.currentIndex()
        return self._values[index] if 0 <= index < len(self._values) else None

    def show_value(self, value: Any) -> None:
        self.blockSignals(True)
        self.setCurrentIndex(self._values.index(value) if value in self._values else -1)
        self.blockSignals(False)

    @Slot(int)
    def _on_changed(self, index: int) -> None:
        if index >= 0:
            self.edited.emit(self._name, self._values[index])


class DayField(QDateEdit):
    """A day in UTC. An entry with a time of day shows its day and stays as it is until another day is chosen."""

    edited = Signal(str, object)

    def __init__(self, name: str, title: str) -> None:
        super().__init__()
        self._name = name
        self.setObjectName(title)
        self.setDisplayFormat("yyyy-MM-dd")
        self.setFixedWidth(FIELD_WIDTH)
        self.setKeyboardTracking(False)  # a half-typed year is no date to act on
        indent_text(self)
        self.dateChanged.connect(self._on_changed)

    def show_value(self, value: Any) -> None:
        day = QDate.fromString(value[:10], Qt.DateFormat.ISODate)
        if day.isValid():
            self.blockSignals(True)
            self.setDate(day)
            self.blockSignals(False)

    @Slot(QDate)
    def _on_changed(self, day: QDate) -> None:
        self.edited.emit(self._name, day.toString(Qt.DateFormat.ISODate))
