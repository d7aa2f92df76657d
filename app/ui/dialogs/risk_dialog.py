"""Every risk limit with its unit, its meaning and what is used of it; the executor decides on changes. GUI thread only.

Nothing here is in force: what the executor accepts comes back as an event.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app.flows.risk_limits import (
    LIMIT_TEXTS,
    RiskUse,
    loosened_lines,
    read_form,
    shown_value,
    step_of,
    unit_text,
    use_text,
)
from app.i18n import tr
from app.theme import GRID, SPACE_L, SPACE_M, SPACE_S, SPACE_XS, set_look
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.widgets.decimal_edit import DecimalField
from core.errors import UserError
from core.signals.risk.settings import UNITS
from core.signals.risk_management import RiskSettings

USE_PERIOD_MS = 1_000


class RiskDialog(QDialog):
    """A form for `RiskSettings`.

    Args:
        present: returns the limits in force, None while no executor has told them.
        use: returns how much of them is used.

    Signals:
        accepted_settings: the `RiskSettings` to put in force; a looser one was confirmed.
    """

    accepted_settings = Signal(object)

    def __init__(
        self,
        present: Callable[[], RiskSettings | None],
        use: Callable[[], RiskUse],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._present = present
        self._use = use
        self._filled: RiskSettings | None = None  # what the fields were filled with
        self.fields: dict[str, DecimalField] = {}
        self._uses: dict[str, QLabel] = {}
        self.setObjectName("risk_dialog")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Risk limits"))
        self.problem = QLabel(self)
        self.problem.setObjectName("risk_problem")
        self.problem.setWordWrap(True)
        set_look(self.problem, "role", "warning")
        self.defaults = self._button("risk_defaults", tr("Defaults"))
        self.cancel = self._button("risk_cancel", tr("Cancel"))
        self.apply = self._button("risk_apply", tr("Apply"))
        self.apply.setDefault(True)
        set_look(self.apply, "variant", "primary")
        self._lay_out()
        self.setMinimumWidth(130 * GRID)
        self.resize(150 * GRID, 160 * GRID)
        self.defaults.clicked.connect(self._on_defaults)
        self.cancel.clicked.connect(self.reject)
        self.apply.clicked.connect(self._on_apply)
        self._clock = QTimer(self)
        self._clock.setInterval(USE_PERIOD_MS)
        self._clock.timeout.connect(self.refresh)
        self._clock.start()
        self.refresh()
        next(iter(self.fields.values())).edit.setFocus()

    @Slot()
    def refresh(self) -> None:
        """Show what is used now; limits that changed meanwhile fill the form unless somebody has begun to edit it."""
        present = self._present()
        if present is not None and present != self._filled and not self._is_edited():
            self._filled = present
            self._fill(present)
        use = self._use()
        for name, label in self._uses.items():
            text = "" if present is None else use_text(name, present, use)
            label.setText(text)
            label.setVisible(bool(text))
        self._judge()

    def entered(self) -> RiskSettings | None:
        """Return what stands in the form, None while something is missing or wrong."""
        try:
            return self._read()
        except UserError:
            return None

    def _read(self) -> RiskSettings:
        return read_form({name: field.edit.value() for name, field in self.fields.items()})

    def _is_edited(self) -> bool:
        return self._filled is not None and self.entered() != self._filled

    def _fill(self, settings: RiskSettings) -> None:
        for name, field in self.fields.items():
            field.edit.set_value(shown_value(name, settings))

    def _lay_out(self) -> None:
        inside = QWidget(self)
        grid = QGridLayout(inside)
        grid.setContentsMargins(SPACE_S, SPACE_S, SPACE_M, SPACE_S)
        grid.setHorizontalSpacing(SPACE_L)
        grid.setVerticalSpacing(SPACE_M)
        grid.setColumnStretch(0, 1)
        grid.setColumnMinimumWidth(1, 44 * GRID)
        for row, name in enumerate(UNITS):
            grid.addLayout(self._words(name, inside), row, 0)
            grid.addWidget(self._field(name, inside), row, 1, Qt.AlignmentFlag.AlignTop)
        area = QScrollArea(self)
        area.setObjectName("risk_limits")
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE_S)
        buttons.addWidget(self.defaults)
        buttons.addWidget(self.problem, 1)
        buttons.addWidget(self.cancel)
        buttons.addWidget(self.apply)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(SPACE_L, SPACE_L, SPACE_L, SPACE_L)
        layout.setSpacing(SPACE_M)
        layout.addWidget(area, 1)
        layout.addLayout(buttons)

    def _words(self, name: str, parent: QWidget) -> QVBoxLayout:
        text = LIMIT_TEXTS[name]
        title, meaning, use = QLabel(tr(text.title), parent), QLabel(tr(text.meaning), parent), QLabel(parent)
        title.setWordWrap(True)
        meaning.setWordWrap(True)
        set_look(meaning, "role", "small")
        set_look(use, "role", "muted")
        use.setObjectName(f"use_{name}")
        self._uses[name] = use
        column = QVBoxLayout()
        column.setSpacing(SPACE_XS // 2)
        for label in (title, meaning, use):
            column.addWidget(label)
        column.addStretch(1)
        return column

    def _field(self, name: str, parent: QWidget) -> DecimalField:
        field = DecimalField(unit_text(name), parent, free=True)
        field.edit.setObjectName(name)
        field.edit.setAccessibleName(tr(LIMIT_TEXTS[name].title))
        field.edit.set_step(step_of(name))
        field.edit.value_changed.connect(self._judge)
        self.fields[name] = field
        return field

    def _button(self, name: str, text: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setObjectName(name)
        button.setAutoDefault(False)
        return button

    @Slot()
    def _judge(self) -> None:
        """Say what is wrong; the button works where something readable would change."""
        present = self._present()
        if present is None:
            self.problem.setText(tr("Trading has not begun yet; the limits are not known."))
            self.apply.setEnabled(False)
            return
        try:
            entered = self._read()
        except UserError as exc:
            self.problem.setText(exc.message)
            self.apply.setEnabled(False)
            return
        self.problem.setText("")
        self.apply.setEnabled(entered != present)

    @Slot()
    def _on_defaults(self) -> None:
        self._fill(RiskSettings())

    @Slot()
    def _on_apply(self) -> None:
        present, entered = self._present(), self.entered()
        if present is None or entered is None:
            return
        looser = loosened_lines(present, entered)
        if not looser:
            self._send(entered)
            return
        question = ConfirmDialog(
            self,
            name="risk_looser_dialog",
            title=tr("Let more through?"),
            text=tr("These limits protect less than before:"),
            stakes=looser,
        )
        question.offer("loosen", tr("Loosen them"), keep=tr("Keep the limits"), subject=entered)
        question.agreed.connect(self._send)
        question.setModal(True)  # what is confirmed is what stands in the form
        question.show()

    @Slot(object)
    def _send(self, settings: RiskSettings) -> None:
        self.accepted_settings.emit(settings)
        self.accept()
