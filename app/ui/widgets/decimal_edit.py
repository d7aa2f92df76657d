"""The field for money: exact decimals, no locale, nothing guessed. GUI thread only.

Qt's own spin box reads "0,001" as 1 in several languages; this one refuses what it does not understand and says why.
"""

from __future__ import annotations

from decimal import Decimal

from PySide6.QtCore import QEvent, Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent, QWheelEvent
from PySide6.QtWidgets import QLabel, QLineEdit, QVBoxLayout, QWidget

from app.flows.amount import AmountError, Sentence, parse_amount
from app.i18n import mark
from app.theme import FONT_SIZE_M, SPACE_XS, number_font, set_look
from core.domain.money import ZERO, is_multiple, nearest_step, plain, truncate_to_step

BIG_STEP = 10


class DecimalEdit(QLineEdit):
    """A line edit that holds a `Decimal`.

    Up and Down move by one step, with Shift by ten; the wheel does so only while the field has the focus. A comma from
    the number pad becomes "."; any other comma stays visible and makes the field invalid.

    Args:
        round_down: values off the step are cut (quantities) instead of rounded to the nearest step (prices).
        free: values need not be on the step: it is only what Up and Down move by.

    Signals:
        value_changed: the value as `Decimal`, or None where the text is empty or refused.
    """

    value_changed = Signal(object)

    def __init__(self, parent: QWidget | None = None, *, round_down: bool = False, free: bool = False) -> None:
        super().__init__(parent)
        self._free = free
        self._step = Decimal(1)
        self._decimals = 0
        self._round_down = round_down
        self._value: Decimal | None = None
        self._problem: Sentence | None = None
        self.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.setFont(number_font(FONT_SIZE_M))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        # Full-width digits from an input method would be refused; asking for Latin digits avoids the detour.
        self.setInputMethodHints(Qt.InputMethodHint.ImhFormattedNumbersOnly | Qt.InputMethodHint.ImhPreferLatin)
        self.textChanged.connect(self._on_text_changed)

    # -- value -----------------------------------------------------------------------------------------------------

    def value(self) -> Decimal | None:
        """Return the exact value, None while empty or refused."""
        return self._value

    def problem(self) -> Sentence | None:
        """Return why the text is refused, None while it is a number or empty."""
        return self._problem

    def is_on_step(self) -> bool:
        """Whether the value is a multiple of the step (or there is none)."""
        return self._free or self._value is None or is_multiple(self._value, self._step)

    def rounded(self) -> Decimal | None:
        """Return the value on the step, as it would be sent."""
        if self._value is None or self._free:
            return self._value
        rule = truncate_to_step if self._round_down else nearest_step
        return rule(self._value, self._step)

    def set_value(self, value: Decimal | None) -> None:
        """Show a value with the decimals of the step; None empties the field."""
        if value is None:
            self.clear()
            return
        exact = is_multiple(value, self._step)
        self.setText(f"{value:.{self._decimals}f}" if exact else plain(value))

    def set_step(self, step: Decimal) -> None:
        """Set the tick or lot size: what Up and Down move by and what values are measured against.

        Raises:
            ValueError: `step` is not positive.
        """
        if step <= 0:
            raise ValueError(f"step must be positive, got {step}")
        self._step = step
        self._decimals = max(0, -int(step.normalize().as_tuple().exponent))

    def step_by(self, steps: int) -> None:
        """Move by whole steps; a value off the step moves to the next one in that direction, never below zero."""
        if self.isReadOnly() or not self.isEnabled() or self._problem is not None:
            return
        value = self._value or ZERO
        base = truncate_to_step(value, self._step)
        if base != value and steps < 0:
            base += self._step  # 10.5 with step 1: one step down is 10, not 9
        self.set_value(max(ZERO, base + steps * self._step))

    # -- events ----------------------------------------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        keypad = bool(event.modifiers() & Qt.KeyboardModifier.KeypadModifier)
        if event.key() == Qt.Key.Key_Comma and keypad:
            self.insert(".")
            return
        if event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            size = BIG_STEP if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
            self.step_by(size if event.key() == Qt.Key.Key_Up else -size)
            return
        super().keyPressEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        notches = event.angleDelta().y()
        if not self.hasFocus() or notches == 0:
            event.ignore()  # the scroll area behind takes it
            return
        self.step_by(1 if notches > 0 else -1)
        event.accept()

    @Slot(str)
    def _on_text_changed(self, text: str) -> None:
        try:
            self._value, self._problem = parse_amount(text), None
        except AmountError as exc:
            self._value, self._problem = None, exc.sentence
        set_look(self, "invalid", self._problem is not None)
        self.value_changed.emit(self._value)


class DecimalField(QWidget):
    """A `DecimalEdit` with its echo: the value as understood, what rounding makes of it, or why it was refused.

    Attributes:
        edit: the field itself.
    """

    def __init__(
        self, unit: str = "", parent: QWidget | None = None, *, round_down: bool = False, free: bool = False
    ) -> None:
        super().__init__(parent)
        self.edit = DecimalEdit(self, round_down=round_down, free=free)
        self._unit = unit
        self._echo = QLabel(self)
        self._echo.setObjectName("echo")
        self._echo.setWordWrap(True)
        self._echo.setAlignment(Qt.AlignmentFlag.AlignRight)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE_XS // 2)
        layout.addWidget(self.edit)
        layout.addWidget(self._echo)
        self.setFocusProxy(self.edit)
        self.edit.value_changed.connect(self._on_value_changed)
        self.retranslate()

    def set_unit(self, unit: str) -> None:
        """Set the currency written behind the echo."""
        self._unit = unit
        self.retranslate()

    def echo(self) -> str:
        """Return the line below the field."""
        return self._echo.text()

    @Slot()
    def retranslate(self) -> None:
        """Write the echo in the present language."""
        problem, value, rounded = self.edit.problem(), self.edit.value(), self.edit.rounded()
        if problem is not None:
            text, role = problem.text(), "danger"
        elif value is None or rounded is None:
            text, role = "", "small"
        elif rounded == value:
            text, role = f"= {plain(value)} {self._unit}".rstrip(), "small"
        else:
            values = {"value": plain(rounded), "unit": self._unit}
            text, role = Sentence(mark("rounded to {value} {unit}"), values).text().rstrip(), "warning"
        self._echo.setText(text)
        set_look(self._echo, "role", role)
        self.edit.setAccessibleDescription(text)
        self.edit.setToolTip(text if problem is not None else "")

    @Slot(object)
    def _on_value_changed(self, _value: object) -> None:
        self.retranslate()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.LanguageChange:
            self.retranslate()
