"""The fields of the order ticket: what a person writes before anything is judged or sent. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from PySide6.QtCore import QEvent, QObject, QSignalBlocker, Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from app.flows.order_flow import TicketInput
from app.i18n import mark, tr
from app.models.orders_model import TYPE_TEXT
from app.theme import CONTROL_HEIGHT, SPACE_S, SPACE_XS, set_look
from app.ui.widgets.decimal_edit import DecimalField
from app.ui.widgets.elided_label import ElidedLabel
from core.domain.instruments import Instrument
from core.domain.orders import MANUAL_OWNER, OrderType, Side, TimeInForce

SHARES = (Decimal("0.10"), Decimal("0.25"), Decimal("0.50"), Decimal("1"))
COMBO_LETTERS = 8
_FORCE_TEXT = {
    TimeInForce.GTC: mark("GTC – until cancelled"),
    TimeInForce.IOC: mark("IOC – at once, cancel the rest"),
    TimeInForce.FOK: mark("FOK – all at once or nothing"),
}
_WITH_FORCE = (OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT)


class TicketForm(QObject):
    """Side, type, amounts and conditions of one order; shows the fields its type needs.

    Owns what stands in the fields and in whose name a reduce-only order is meant. Knows neither balances nor what
    becomes of the order; whoever does locks the fields with `set_editable`.

    The fields are children of the page and no widget stands between: its layout would settle one event later than
    the page's, and the panel would twitch whenever a field comes or goes.

    Args:
        page: the widget the fields stand on.
        take_key: asked about every key before a field gets it; True keeps the key from the field. Letters belong to
            the field: a slip of the finger must not turn a buy into a sell.

    Attributes:
        layout: the fields in their order, for the page to place.

    Signals:
        edited: a field changed, by hand or by one of the methods; `entry` says what stands there now.
        share_chosen: the share (`Decimal`, 0 to 1) of the free balance that the order is to use.
    """

    edited = Signal()
    share_chosen = Signal(object)

    def __init__(self, page: QWidget, take_key: Callable[[QKeyEvent], bool]) -> None:
        super().__init__(page)
        self._page = page
        self._take_key = take_key
        self._owner = MANUAL_OWNER
        self._before_close: tuple[Side, OrderType, bool] | None = None
        self.layout = QVBoxLayout()
        self.layout.setSpacing(SPACE_S)
        self.layout.addLayout(self._build_sides(page))
        self._build_fields(page)
        self.layout.addLayout(self._lay_out_fields())
        self._connect()
        self._show_choice()

    # -- construction ----------------------------------------------------------------------------------------------

    def _build_sides(self, page: QWidget) -> QHBoxLayout:
        self.buy, self.sell = QPushButton(page), QPushButton(page)
        self.buy.setObjectName("side_buy")
        self.sell.setObjectName("side_sell")
        group = QButtonGroup(self)
        row = QHBoxLayout()
        row.setSpacing(SPACE_XS)
        for button in (self.buy, self.sell):
            button.setCheckable(True)
            group.addButton(button)
            row.addWidget(button, 1)
        self.buy.setChecked(True)
        return row

    def _build_fields(self, page: QWidget) -> None:
        self.order_type = QComboBox(page)
        self.order_type.setObjectName("order_type")
        for kind in OrderType:
            self.order_type.addItem("", kind)
        self._set_kind(OrderType.LIMIT)
        self.quantity = DecimalField(parent=page, round_down=True)
        self.quantity.edit.setObjectName("quantity")
        self.price = DecimalField(parent=page)
        self.price.edit.setObjectName("price")
        self.stop = DecimalField(parent=page)
        self.stop.edit.setObjectName("stop_price")
        self._amounts = (self.quantity, self.price, self.stop)
        self.force = QComboBox(page)
        self.force.setObjectName("time_in_force")
        for force in TimeInForce:
            self.force.addItem("", force)
        self._choices = (self.order_type, self.force)
        for combo in self._choices:
            combo.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # the wheel must not take the focus, see `eventFilter`
            # The longest item must not widen the panel.
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(COMBO_LETTERS)
        self.reduce_only = QCheckBox(page)
        self.reduce_only.setObjectName("reduce_only")
        self._labels = {name: QLabel(page) for name in ("type", "quantity", "share", "price", "stop", "force")}
        self.shares: list[QPushButton] = []
        for share in SHARES:
            button = QPushButton(f"{share:.0%}", page)
            button.setObjectName(f"share_{share:.0%}".rstrip("%"))
            set_look(button, "variant", "compact")
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            self.shares.append(button)
        self.closes = ElidedLabel(parent=page)
        self.closes.setObjectName("ticket_closes")
        set_look(self.closes, "role", "warning")

    def _lay_out_fields(self) -> QGridLayout:
        shares = QHBoxLayout()
        shares.setSpacing(SPACE_XS)
        for button in self.shares:
            shares.addWidget(button, 1)
        grid = QGridLayout()
        grid.setHorizontalSpacing(SPACE_S)
        grid.setVerticalSpacing(SPACE_S)
        grid.setColumnStretch(1, 1)
        # Screen order is tab order: type, quantity, price, stop, time in force.
        rows: tuple[tuple[str, QWidget | QHBoxLayout], ...] = (
            ("type", self.order_type),
            ("quantity", self.quantity),
            ("share", shares),
            ("price", self.price),
            ("stop", self.stop),
            ("force", self.force),
        )
        for number, (name, what) in enumerate(rows):
            label = self._labels[name]
            set_look(label, "role", "muted")
            label.setFixedHeight(CONTROL_HEIGHT)
            grid.addWidget(label, number, 0, Qt.AlignmentFlag.AlignTop)
            if isinstance(what, QWidget):
                grid.addWidget(what, number, 1)
                label.setBuddy(what)
            else:
                grid.addLayout(what, number, 1)
        grid.addWidget(self.reduce_only, len(rows), 1)
        grid.addWidget(self.closes, len(rows) + 1, 0, 1, 2)
        return grid

    def _connect(self) -> None:
        self.buy.clicked.connect(self._on_edited)
        self.sell.clicked.connect(self._on_edited)
        self.order_type.currentIndexChanged.connect(self._on_edited)
        self.force.currentIndexChanged.connect(self._on_edited)
        self.reduce_only.toggled.connect(self._on_edited)
        for field in self._amounts:
            field.edit.value_changed.connect(self._on_edited)
            field.edit.installEventFilter(self)
        for combo in self._choices:
            combo.installEventFilter(self)
        for button in self.shares:
            button.clicked.connect(self._on_share)

    # -- what stands in the fields ---------------------------------------------------------------------------------

    @property
    def side(self) -> Side:
        """The side chosen."""
        return Side.BUY if self.buy.isChecked() else Side.SELL

    @property
    def kind(self) -> OrderType:
        """The type chosen."""
        return OrderType(self.order_type.currentData())

    def entry(self) -> TicketInput:
        """Return what stands in the fields, without what the type does not use."""
        kind = self.kind
        return TicketInput(
            side=self.side,
            order_type=kind,
            quantity=self.quantity.edit.value(),
            limit_price=self.price.edit.value() if kind is not OrderType.MARKET else None,
            stop_price=self.stop.edit.value() if kind is OrderType.STOP_LOSS_LIMIT else None,
            time_in_force=TimeInForce(self.force.currentData()) if kind in _WITH_FORCE else TimeInForce.GTC,
            reduce_only=self.reduce_only.isChecked(),
            owner=self._owner,
        )

    def has_focus(self) -> bool:
        """Whether what is typed goes into one of the fields."""
        return any(field.hasFocus() for field in (*(amount.edit for amount in self._amounts), *self._choices))

    def problem(self) -> str:
        """Return why a field that is used cannot be read, "" where all can."""
        for field in self._amounts:
            problem = field.edit.problem()
            if problem is not None and field.isVisibleTo(self._page):
                return problem.text()
        return ""

    # -- filling in ------------------------------------------------------------------------------------------------

    def adopt(self, instrument: Instrument) -> None:
        """Start afresh for another market: a price of one must never be sent to another."""
        self._restore()
        self.quantity.edit.set_step(instrument.lot_size)
        self.quantity.set_unit(instrument.base)
        for field in (self.price, self.stop):
            field.edit.set_step(instrument.tick_size)
            field.set_unit(instrument.quote)
        for field in self._amounts:
            field.edit.clear()
        self._on_edited()

    def choose_side(self, side: Side) -> None:
        """Choose buy or sell."""
        self._check_side(side)
        self._on_edited()

    def write_price(self, price: Decimal) -> None:
        """Write a limit price; a market order, which has none, becomes a limit order."""
        if self.kind is OrderType.MARKET:
            self._set_kind(OrderType.LIMIT)
        self.price.edit.set_value(price)

    def write_close(self, side: Side, quantity: Decimal, owner: str) -> None:
        """Write a reduce-only market order in the name of whoever holds the position."""
        if self._before_close is None:
            self._before_close = (self.side, self.kind, self.reduce_only.isChecked())
        self._check_side(side)
        self._set_kind(OrderType.MARKET)
        self.quantity.edit.set_value(quantity)
        self.reduce_only.setChecked(True)
        self._owner = owner
        self._on_edited()

    def end_close(self) -> bool:
        """Put back what `write_close` changed; the next order must not close by accident what it means to open.

        Returns:
            Whether anything was put back; nothing is told by `edited`.
        """
        if self._before_close is None:
            return False
        with QSignalBlocker(self):
            self._restore()
            self.quantity.edit.clear()
        return True

    # -- appearance ------------------------------------------------------------------------------------------------

    def set_editable(self, editable: bool) -> None:
        """Lock or unlock every field."""
        for widget in (self.buy, self.sell, self.order_type, *self._amounts, self.force, self.reduce_only):
            widget.setEnabled(editable)
        for button in self.shares:
            button.setEnabled(editable)

    def show_owner(self, title: str) -> None:
        """Say whose position the order closes; "" where it is the person's own."""
        self.closes.set_full_text(tr("Closes the position of {owner}", owner=title))
        self.closes.setVisible(bool(title))

    def retranslate(self) -> None:
        """Write every text in the present language."""
        self.buy.setText(f"▲ {tr('Buy')}")
        self.buy.setToolTip(tr("Buy (B)"))
        self.sell.setText(f"▼ {tr('Sell')}")
        self.sell.setToolTip(tr("Sell (S)"))
        captions = {
            "type": tr("Type"),
            "quantity": tr("Quantity"),
            "share": tr("of balance"),
            "price": tr("Price"),
            "stop": tr("Stop price"),
            "force": tr("Valid"),
        }
        for name, text in captions.items():
            self._labels[name].setText(text)
        for position, kind in enumerate(OrderType):
            self.order_type.setItemText(position, tr(TYPE_TEXT[kind]))
        for position, force in enumerate(TimeInForce):
            self.force.setItemText(position, tr(_FORCE_TEXT[force]))
        self.reduce_only.setText(tr("Reduce only"))
        self.reduce_only.setToolTip(
            tr("The order may shrink the position held by manual orders, never grow or turn it")
        )
        for field in self._amounts:
            field.retranslate()

    # -- inside ----------------------------------------------------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel and isinstance(watched, QComboBox) and not watched.hasFocus():
            event.ignore()
            return True
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            return self._take_key(event)
        return False

    def _restore(self) -> None:
        self._owner = MANUAL_OWNER
        if self._before_close is None:
            return
        side, kind, reduce_only = self._before_close
        self._before_close = None
        self._check_side(side)
        self._set_kind(kind)
        self.reduce_only.setChecked(reduce_only)
        self._show_choice()

    def _check_side(self, side: Side) -> None:
        (self.buy if side is Side.BUY else self.sell).setChecked(True)

    def _set_kind(self, kind: OrderType) -> None:
        self.order_type.setCurrentIndex(list(OrderType).index(kind))

    def _show_choice(self) -> None:
        """Show the fields of the type and the colour of the side."""
        kind = self.kind
        for name, field, shown in (
            ("price", self.price, kind is not OrderType.MARKET),
            ("stop", self.stop, kind is OrderType.STOP_LOSS_LIMIT),
            ("force", self.force, kind in _WITH_FORCE),
        ):
            field.setVisible(shown)
            self._labels[name].setVisible(shown)
        set_look(self.buy, "variant", "buy" if self.buy.isChecked() else "")
        set_look(self.sell, "variant", "sell" if self.sell.isChecked() else "")

    @Slot()
    def _on_edited(self) -> None:
        if not self.reduce_only.isChecked():
            self._owner = MANUAL_OWNER
        self._show_choice()
        self.edited.emit()

    @Slot()
    def _on_share(self) -> None:
        sender = self.sender()
        share = next(share for share, button in zip(SHARES, self.shares, strict=True) if button is sender)
        self.share_chosen.emit(share)
