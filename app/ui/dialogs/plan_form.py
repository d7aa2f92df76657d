"""The fields of a new order plan: what a person writes before anything is judged or sent. GUI thread only."""

from __future__ import annotations

from decimal import Decimal

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from app.flows.plan_flow import PlanInput
from app.flows.plan_text import KIND_MEANING, KIND_TEXT
from app.i18n import mark, tr
from app.theme import CONTROL_HEIGHT, GRID, SPACE_M, SPACE_S, SPACE_XS, set_look
from app.ui.widgets.decimal_edit import DecimalField
from core.domain.instruments import Instrument
from core.domain.order_plans import PlanKind
from core.domain.orders import MANUAL_OWNER, Side

DEFAULT_PARTS, DEFAULT_MINUTES = Decimal(10), Decimal(30)
_EXITS = ("stop", "trail", "target")
# The fields of each kind in their order on screen, which is their tab order.
FIELDS = {
    PlanKind.EXIT: ("quantity", *_EXITS),
    PlanKind.BRACKET: ("quantity", "price", *_EXITS),
    PlanKind.TWAP: ("quantity", "price", "parts", "minutes"),
    PlanKind.ICEBERG: ("quantity", "price", "visible"),
}
_ORDER = ("quantity", "price", *_EXITS, "parts", "minutes", "visible")
_TITLE = {
    "quantity": mark("Quantity"),
    "price": mark("Price"),
    "stop": mark("Stop price"),
    "trail": mark("Trailing distance"),
    "target": mark("Target price"),
    "parts": mark("Parts"),
    "minutes": mark("Minutes"),
    "visible": mark("Shown at a time"),
}
_OPTIONAL = mark("optional")
_AT_MARKET = mark("empty: market price")
_IN_BASE = ("quantity", "visible")
_WITH_SIDE = (PlanKind.TWAP, PlanKind.ICEBERG)


class PlanForm(QWidget):
    """Kind, side, amounts and conditions of one plan; shows the fields its kind needs.

    Signals:
        edited: a field changed; `entry` says what stands there now.
    """

    edited = Signal()

    def __init__(self, instrument: Instrument, owner: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._owner = owner
        self.kinds: dict[PlanKind, QRadioButton] = {}
        self.fields: dict[str, DecimalField] = {}
        self._labels: dict[str, QLabel] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE_M)
        layout.addLayout(self._build_kinds())
        layout.addLayout(self._build_sides())
        layout.addLayout(self._build_fields(instrument))
        self.reduce_only = QCheckBox(tr("Reduce only"), self)
        self.reduce_only.setObjectName("plan_reduce_only")
        self.reduce_only.toggled.connect(self._on_edited)
        layout.addWidget(self.reduce_only)
        for button in self.kinds.values():
            button.toggled.connect(self._on_kind)
        self.choose(PlanKind.BRACKET if owner == MANUAL_OWNER else PlanKind.EXIT)

    @property
    def kind(self) -> PlanKind:
        """The kind chosen."""
        return next(kind for kind, button in self.kinds.items() if button.isChecked())

    @property
    def side(self) -> Side:
        """The side chosen, for the kinds that have a choice."""
        return Side.BUY if self.buy.isChecked() else Side.SELL

    def choose(self, kind: PlanKind) -> None:
        """Choose a kind."""
        self.kinds[kind].setChecked(True)

    def entry(self) -> PlanInput:
        """Return what stands in the fields, without what the kind does not use."""
        kind, shown = self.kind, FIELDS[self.kind]

        def value(name: str) -> Decimal | None:
            return self.fields[name].edit.rounded() if name in shown else None

        return PlanInput(
            kind=kind,
            side=self.side,
            quantity=value("quantity"),
            limit_price=value("price"),
            stop_price=value("stop"),
            trail=value("trail"),
            target_price=value("target"),
            parts=value("parts"),
            minutes=value("minutes"),
            visible=value("visible"),
            reduce_only=kind in _WITH_SIDE and self.reduce_only.isChecked(),
            owner=self._owner,
        )

    def problem(self) -> str:
        """Return why a field that is used cannot be read, "" where all can."""
        problems = (self.fields[name].edit.problem() for name in FIELDS[self.kind])
        return next((problem.text() for problem in problems if problem is not None), "")

    # -- construction ----------------------------------------------------------------------------------------------

    def _build_kinds(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(SPACE_M)
        grid.setVerticalSpacing(SPACE_XS)
        grid.setColumnStretch(1, 1)
        group = QButtonGroup(self)
        for row, kind in enumerate(PlanKind):
            button, meaning = QRadioButton(tr(KIND_TEXT[kind]), self), QLabel(tr(KIND_MEANING[kind]), self)
            button.setObjectName(f"plan_kind_{kind.value}")
            button.setAccessibleDescription(tr(KIND_MEANING[kind]))
            meaning.setWordWrap(True)
            meaning.setBuddy(button)
            set_look(meaning, "role", "muted")
            group.addButton(button)
            grid.addWidget(button, row, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(meaning, row, 1)
            for part in (button, meaning):  # somebody else's position can only be reduced
                part.setVisible(kind is PlanKind.EXIT or self._owner == MANUAL_OWNER)
            self.kinds[kind] = button
        return grid

    def _build_sides(self) -> QHBoxLayout:
        self.buy, self.sell = QPushButton(f"▲ {tr('Buy')}", self), QPushButton(f"▼ {tr('Sell')}", self)
        group = QButtonGroup(self)
        row = QHBoxLayout()
        row.setSpacing(SPACE_XS)
        for button, name in ((self.buy, "plan_buy"), (self.sell, "plan_sell")):
            button.setObjectName(name)
            button.setCheckable(True)
            button.setAutoDefault(False)
            group.addButton(button)
            row.addWidget(button, 1)
            button.clicked.connect(self._on_edited)
        self.buy.setChecked(True)
        return row

    def _build_fields(self, instrument: Instrument) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(SPACE_M)
        grid.setVerticalSpacing(SPACE_S)
        grid.setColumnMinimumWidth(0, 34 * GRID)
        grid.setColumnStretch(1, 1)
        for row, name in enumerate(_ORDER):
            field = DecimalField(parent=self, round_down=name in _IN_BASE or name == "parts", free=name == "minutes")
            field.edit.setObjectName(f"plan_{name}")
            field.edit.setAccessibleName(tr(_TITLE[name]))
            if name in _IN_BASE:
                field.edit.set_step(instrument.lot_size)
                field.set_unit(instrument.base)
            elif name not in ("parts", "minutes"):
                field.edit.set_step(instrument.tick_size)
                field.set_unit(instrument.quote)
            if name in _EXITS:
                field.edit.setPlaceholderText(tr(_OPTIONAL))
            label = QLabel(tr(_TITLE[name]), self)
            label.setFixedHeight(CONTROL_HEIGHT)
            label.setBuddy(field)
            set_look(label, "role", "muted")
            grid.addWidget(label, row, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(field, row, 1)
            field.edit.value_changed.connect(self._on_edited)
            self.fields[name], self._labels[name] = field, label
        self.fields["parts"].edit.set_value(DEFAULT_PARTS)
        self.fields["minutes"].edit.set_value(DEFAULT_MINUTES)
        return grid

    # -- slots -----------------------------------------------------------------------------------------------------

    @Slot(bool)
    def _on_kind(self, chosen: bool) -> None:
        if not chosen:
            return
        kind = self.kind
        for name, field in self.fields.items():
            field.setVisible(name in FIELDS[kind])
            self._labels[name].setVisible(name in FIELDS[kind])
        for widget in (self.buy, self.sell, self.reduce_only):
            widget.setVisible(kind in _WITH_SIDE)
        price = self.fields["price"].edit
        price.setPlaceholderText("" if kind is PlanKind.ICEBERG else tr(_AT_MARKET))
        self._on_edited()

    @Slot()
    def _on_edited(self) -> None:
        set_look(self.buy, "variant", "buy" if self.buy.isChecked() else "")
        set_look(self.sell, "variant", "sell" if self.sell.isChecked() else "")
        self.edited.emit()
