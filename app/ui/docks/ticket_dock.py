"""The order ticket: a person overrides the machine. GUI thread only.

A thin view of `app.flows.order_flow`: the fields are read into the flow, the flow's judgement is shown, its state
decides what the buttons do. Nothing is sent that was not on the button.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal

from PySide6.QtCore import QEvent, QObject, Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from app.flows.order_flow import FlowState, OrderFlow, TicketContext, TicketInput, quantity_for_share
from app.i18n import MISSING, format_number, format_price, format_quantity, mark, tr
from app.models.orders_model import TYPE_TEXT
from app.models.strategies_model import StrategiesModel
from app.services import TradingCommands
from app.theme import CONTROL_HEIGHT, FONT_SIZE_M, GRID, SPACE_M, SPACE_S, SPACE_XS, ThemeManager, number_font, set_look
from app.ui.widgets.decimal_edit import DecimalField
from app.ui.widgets.deed_button import DeedButton
from app.ui.widgets.elided_label import ElidedLabel
from app.ui.widgets.mode_badge import mode_word
from app.ui.widgets.panel import Panel
from core.domain.instruments import Instrument
from core.domain.orders import MANUAL_OWNER, OrderType, Side, TimeInForce, TradingMode
from core.domain.positions import Position
from core.events import ExecutorEvent

SHARES = (Decimal("0.10"), Decimal("0.25"), Decimal("0.50"), Decimal("1"))
MINIMUM_WIDTH = 76 * GRID
COMBO_LETTERS = 8
_SIDE_WORD = {Side.BUY: mark("BUY"), Side.SELL: mark("SELL")}
_FORCE_TEXT = {
    TimeInForce.GTC: mark("GTC – until cancelled"),
    TimeInForce.IOC: mark("IOC – at once, cancel the rest"),
    TimeInForce.FOK: mark("FOK – all at once or nothing"),
}
_WITH_FORCE = (OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT)
_OUTCOME_ROLE = {FlowState.DONE: "success", FlowState.DENIED: "danger", FlowState.UNKNOWN: "warning"}


class TicketDock(Panel):
    """Manual orders and taking over from strategies.

    Keys inside the panel: B and S choose the side, Up/Down a tick, Enter reviews, Ctrl+Enter sends, Esc goes back.

    Signals:
        handback_requested: ids (tuple) of the strategies taken over; the receiver asks and starts them.
    """

    TITLE = mark("Order ticket")
    NAME = "ticket_dock"
    handback_requested = Signal(object)

    def __init__(
        self,
        trading: TradingCommands,
        strategies: StrategiesModel,
        theme: ThemeManager,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(theme)
        self._trading = trading
        self._strategies = strategies
        self._mode: TradingMode | None = None
        self._taken: dict[str, tuple[str, ...]] = {}
        self._quiet: set[str] = set()  # markets whose taken strategies were seen stopped
        self._dirty = True
        self._owner = MANUAL_OWNER  # whose position a reduce-only order closes
        self.flow = OrderFlow(trading.place_order, now_ns)
        self._build()
        self._connect()
        self.retranslate()

    # -- construction ----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        body = QWidget(self)
        layout = QVBoxLayout(body)
        layout.setContentsMargins(SPACE_M, SPACE_S, SPACE_M, SPACE_M)
        layout.setSpacing(SPACE_S)
        layout.addLayout(self._build_head(body))
        layout.addLayout(self._build_sides(body))
        layout.addLayout(self._build_fields(body))
        layout.addLayout(self._build_figures(body))
        self.warning = QLabel(body)
        self.warning.setObjectName("ticket_warning")
        self.warning.setWordWrap(True)
        set_look(self.warning, "role", "warning")
        layout.addWidget(self.warning)
        layout.addLayout(self._build_buttons(body))
        self.outcome = QLabel(body)
        self.outcome.setObjectName("ticket_outcome")
        self.outcome.setWordWrap(True)
        self.outcome.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addWidget(self.outcome)
        layout.addStretch(1)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(body)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        body.setAutoFillBackground(False)
        scroll.viewport().setAutoFillBackground(False)
        self.setMinimumWidth(MINIMUM_WIDTH)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # its keys work wherever in the panel one clicked
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    def _build_head(self, body: QWidget) -> QHBoxLayout:
        self.market = QLabel(body)
        set_look(self.market, "role", "heading")
        self.manual = QLabel(body)
        self.manual.setObjectName("manual_badge")
        set_look(self.manual, "role", "manual")
        self.take_over = QPushButton(body)
        self.take_over.setObjectName("take_over")
        row = QHBoxLayout()
        row.setSpacing(SPACE_S)
        row.addWidget(self.market)
        row.addWidget(self.manual)
        row.addStretch(1)
        row.addWidget(self.take_over)
        return row

    def _build_sides(self, body: QWidget) -> QHBoxLayout:
        self.buy, self.sell = QPushButton(body), QPushButton(body)
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

    def _build_fields(self, body: QWidget) -> QGridLayout:
        self.order_type = QComboBox(body)
        self.order_type.setObjectName("order_type")
        for kind in OrderType:
            self.order_type.addItem("", kind)
        self.order_type.setCurrentIndex(list(OrderType).index(OrderType.LIMIT))
        self.quantity = DecimalField(parent=body, round_down=True)
        self.quantity.edit.setObjectName("quantity")
        self.price = DecimalField(parent=body)
        self.price.edit.setObjectName("price")
        self.stop = DecimalField(parent=body)
        self.stop.edit.setObjectName("stop_price")
        self.force = QComboBox(body)
        self.force.setObjectName("time_in_force")
        for force in TimeInForce:
            self.force.addItem("", force)
        for combo in (self.order_type, self.force):  # the longest item must not widen the panel
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(COMBO_LETTERS)
        self.reduce_only = QCheckBox(body)
        self.reduce_only.setObjectName("reduce_only")
        self._labels = {name: QLabel(body) for name in ("type", "quantity", "share", "price", "stop", "force")}
        shares = QHBoxLayout()
        shares.setSpacing(SPACE_XS)
        self.shares: list[QPushButton] = []
        for share in SHARES:
            button = QPushButton(f"{share:.0%}", body)
            button.setObjectName(f"share_{share:.0%}".rstrip("%"))
            set_look(button, "variant", "compact")
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            shares.addWidget(button, 1)
            self.shares.append(button)
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
        self.closes = ElidedLabel(parent=body)
        self.closes.setObjectName("ticket_closes")
        set_look(self.closes, "role", "warning")
        grid.addWidget(self.closes, len(rows) + 1, 0, 1, 2)
        return grid

    def _build_figures(self, body: QWidget) -> QGridLayout:
        grid = QGridLayout()
        grid.setVerticalSpacing(SPACE_XS)
        grid.setColumnStretch(1, 1)
        self._figure_names: dict[str, QLabel] = {}
        self.figures: dict[str, QLabel] = {}
        for number, name in enumerate(("available", "value", "fee", "total", "position")):
            caption, figure = QLabel(body), QLabel(MISSING, body)
            set_look(caption, "role", "muted")
            figure.setFont(number_font(FONT_SIZE_M))
            figure.setObjectName(f"figure_{name}")
            figure.setAlignment(Qt.AlignmentFlag.AlignRight)
            grid.addWidget(caption, number, 0)
            grid.addWidget(figure, number, 1)
            self._figure_names[name], self.figures[name] = caption, figure
        return grid

    def _build_buttons(self, body: QWidget) -> QVBoxLayout:
        self.deed = DeedButton(body)
        self.deed.setObjectName("deed")
        self.back = QPushButton(body)
        self.back.setObjectName("ticket_back")
        self.one_click = QCheckBox(body)
        self.one_click.setObjectName("one_click")
        box = QVBoxLayout()
        box.setSpacing(SPACE_S)
        box.addWidget(self.deed)
        box.addWidget(self.back)
        box.addWidget(self.one_click)
        return box

    def _connect(self) -> None:
        self.buy.clicked.connect(self._on_edited)
        self.sell.clicked.connect(self._on_edited)
        self.order_type.currentIndexChanged.connect(self._on_edited)
        self.force.currentIndexChanged.connect(self._on_edited)
        self.reduce_only.toggled.connect(self._on_edited)
        for field in (self.quantity, self.price, self.stop):
            field.edit.value_changed.connect(self._on_edited)
            field.edit.installEventFilter(self)
        for button in self.shares:
            button.clicked.connect(self._on_share)
        self.deed.clicked.connect(self._on_deed)
        self.back.clicked.connect(self._on_back)
        self.one_click.toggled.connect(self._on_one_click)
        self.take_over.clicked.connect(self._on_take_over)
        for combo in (self.order_type, self.force):
            combo.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            combo.installEventFilter(self)

    # -- what the world tells --------------------------------------------------------------------------------------

    def observe(self, context: TicketContext) -> None:
        """Take over prices, balances, position, link and trading state. Redrawn at the next `tick`."""
        before = self.flow.context.instrument
        if context == self.flow.context:
            return
        self.flow.observe(context)
        if context.instrument is not None and context.instrument != before:
            self._adopt(context.instrument)
        self._dirty = True

    def set_mode(self, mode: TradingMode) -> None:
        """Show which money the button moves, as the executor says."""
        self._mode = mode
        self.refresh()

    def on_event(self, event: ExecutorEvent) -> None:
        """Follow the answers to the order sent."""
        if self.flow.on_event(event):
            self.refresh()

    def tick(self) -> None:
        """Called ten times a second: time-outs and figures."""
        if self.flow.tick():
            self._dirty = True
        if self._dirty and self.isVisible():
            self.refresh()

    @Slot(object)
    def pick_price(self, price: Decimal) -> None:
        """Take a price clicked in the book or the chart."""
        instrument = self.flow.context.instrument
        if instrument is None or self.flow.in_flight:
            return
        if self._kind() is OrderType.MARKET:
            self.order_type.setCurrentIndex(list(OrderType).index(OrderType.LIMIT))
        self.price.edit.set_value(instrument.round_price(price))

    @Slot(object)
    def draft_close(self, position: Position) -> None:
        """Fill the fields with a market order that closes a position; sends nothing.

        Reduce-only, in the name of whoever holds it: a strategy's position shrinks itself.
        """
        if self.flow.in_flight:
            return
        (self.sell if position.quantity > 0 else self.buy).setChecked(True)
        self.order_type.setCurrentIndex(list(OrderType).index(OrderType.MARKET))
        self.quantity.edit.set_value(abs(position.quantity))
        self.reduce_only.setChecked(True)
        self._owner = position.owner
        self._on_edited()
        self.deed.setFocus(Qt.FocusReason.OtherFocusReason)

    # -- drawing ---------------------------------------------------------------------------------------------------

    def retranslate(self) -> None:
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
        names = {
            "available": tr("Available"),
            "value": tr("Order value"),
            "fee": tr("Fee (estimate)"),
            "total": tr("Total with fee"),
            "position": tr("Position after"),
        }
        for name, text in names.items():
            self._figure_names[name].setText(text)
        self.back.setText(tr("Back (Esc)"))
        self.one_click.setText(tr("One-click orders for this session"))
        self.one_click.setToolTip(tr("Skip the review. Orders with a warning are always reviewed."))
        self.manual.setText(tr("MANUAL"))
        self.manual.setToolTip(tr("You trade this market; its strategies are stopped."))
        for field in (self.quantity, self.price, self.stop):
            field.retranslate()
        self.refresh()

    def refresh_look(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Show the present judgement of the flow."""
        self._dirty = False
        flow = self.flow
        editable = not flow.in_flight and flow.state is not FlowState.REVIEW
        kind = self._kind()
        for name, shown in (
            ("price", kind is not OrderType.MARKET),
            ("stop", kind is OrderType.STOP_LOSS_LIMIT),
            ("force", kind in _WITH_FORCE),
        ):
            field = {"price": self.price, "stop": self.stop, "force": self.force}[name]
            field.setVisible(shown)
            self._labels[name].setVisible(shown)
        fields = (self.buy, self.sell, self.order_type, self.quantity, self.price, self.stop, self.force)
        for widget in (*fields, self.reduce_only, *self.shares):
            widget.setEnabled(editable)
        set_look(self.buy, "variant", "buy" if self.buy.isChecked() else "")
        set_look(self.sell, "variant", "sell" if self.sell.isChecked() else "")
        instrument = flow.context.instrument
        self.market.setText(instrument.symbol if instrument is not None else MISSING)
        self._show_owner()
        self._show_take_over()
        self._show_judgement()

    def _show_judgement(self) -> None:
        flow = self.flow
        judged = flow.assessment()
        self._show_figures()
        unreadable = self._unreadable()
        blocker = unreadable or (judged.blocker.text() if judged.blocker is not None else "")
        live = flow.state in (FlowState.EDIT, FlowState.REVIEW)
        self.warning.setText("\n".join(f"⚠ {warning.text()}" for warning in judged.warnings) if live else "")
        self.warning.setVisible(bool(self.warning.text()))
        self.deed.set_deed(self._deed_text())
        self.deed.setEnabled(live and not blocker)
        set_look(self.deed, "variant", "buy" if self._side() is Side.BUY else "sell")
        deed_tip = tr("Send (Ctrl+Enter)") if flow.state is FlowState.REVIEW else tr("Review (Enter)")
        self.deed.setToolTip(blocker or deed_tip)
        self.back.setVisible(flow.state not in (FlowState.EDIT, FlowState.SENDING))
        self.back.setText(tr("Back (Esc)") if flow.state is FlowState.REVIEW else tr("New order (Esc)"))
        if flow.state is FlowState.SENDING:
            text, role = tr("Sent, waiting for the answer…"), "muted"
        elif flow.outcome is not None:
            text, role = flow.outcome.text(), _OUTCOME_ROLE.get(flow.state, "muted")
        else:
            text, role = (blocker, "muted") if live else ("", "muted")
        self.outcome.setText(text)
        set_look(self.outcome, "role", role)

    def _deed_text(self) -> str:
        flow = self.flow
        if flow.state is FlowState.SENDING:
            return tr("Sending…")
        if flow.state is FlowState.UNKNOWN:
            return tr("Unknown – reconciling")
        instrument, figures = flow.context.instrument, flow.assessment().estimate
        word = tr(_SIDE_WORD[self._side()])
        if instrument is None or figures is None or self._mode is None:
            return word
        limit = figures.limit_price
        price = tr("market price") if limit is None else format_price(limit, instrument.tick_size)
        text = tr(
            "{side} {quantity} {base} @ {price} ({mode})",
            side=word,
            quantity=format_quantity(figures.quantity, instrument.lot_size),
            base=instrument.base,
            price=price,
            mode=mode_word(self._mode),
        )
        return tr("Send: {deed}", deed=text) if flow.state is FlowState.REVIEW else text

    def _show_figures(self) -> None:
        context, figures = self.flow.context, self.flow.assessment().estimate
        instrument = context.instrument
        texts = dict.fromkeys(self.figures, MISSING)
        if instrument is not None:
            buying = self._side() is Side.BUY
            free = context.free_quote if buying else context.free_base
            if free is not None:
                step = instrument.tick_size if buying else instrument.lot_size
                texts["available"] = f"{format_quantity(free, step)} {instrument.quote if buying else instrument.base}"
            if figures is not None:
                texts["value"] = f"{format_number(figures.value, 2)} {instrument.quote}"
                texts["fee"] = f"{format_number(figures.fee, 4)} {instrument.quote}"
                texts["total"] = f"{format_number(figures.total, 2)} {instrument.quote}"
                texts["position"] = f"{format_quantity(figures.position, instrument.lot_size)} {instrument.base}"
        for name, label in self.figures.items():
            label.setText(texts[name])

    def _show_owner(self) -> None:
        strategy = self._strategies.record(self._owner)
        title = strategy.title if strategy is not None and strategy.title else self._owner
        self.closes.set_full_text(tr("Closes the position of {owner}", owner=title))
        self.closes.setVisible(self._owner != MANUAL_OWNER)

    def _show_take_over(self) -> None:
        symbol = self._symbol()
        taken = self._taken.get(symbol, ())
        active = self._strategies.active(symbol) if symbol else []
        runs = any(status.strategy_id in taken for status in active)
        if taken and not runs:
            self._quiet.add(symbol)  # the stop has arrived
        elif taken and symbol in self._quiet:
            self._release(symbol)  # started again elsewhere: the badge would be a lie
            taken = ()
        self.manual.setVisible(bool(taken))
        self.take_over.setVisible(bool(taken or active))
        self.take_over.setText(tr("Hand back…") if taken else tr("Take over"))
        self.take_over.setToolTip(
            tr("Start the stopped strategies again") if taken else tr("Stop the strategies of this market")
        )

    # -- input -----------------------------------------------------------------------------------------------------

    def _side(self) -> Side:
        return Side.BUY if self.buy.isChecked() else Side.SELL

    def _kind(self) -> OrderType:
        return OrderType(self.order_type.currentData())

    def _symbol(self) -> str:
        instrument = self.flow.context.instrument
        return "" if instrument is None else instrument.symbol

    def _unreadable(self) -> str:
        for field in (self.quantity, self.price, self.stop):
            problem = field.edit.problem()
            if problem is not None and field.isVisibleTo(self):
                return problem.text()
        return ""

    def _entry(self) -> TicketInput:
        kind = self._kind()
        return TicketInput(
            side=self._side(),
            order_type=kind,
            quantity=self.quantity.edit.value(),
            limit_price=self.price.edit.value() if kind is not OrderType.MARKET else None,
            stop_price=self.stop.edit.value() if kind is OrderType.STOP_LOSS_LIMIT else None,
            time_in_force=TimeInForce(self.force.currentData()) if kind in _WITH_FORCE else TimeInForce.GTC,
            reduce_only=self.reduce_only.isChecked(),
            owner=self._owner,
        )

    def _adopt(self, instrument: Instrument) -> None:
        """Start afresh for another market: a price of one must never be sent to another."""
        self._owner = MANUAL_OWNER
        self.quantity.edit.set_step(instrument.lot_size)
        self.quantity.set_unit(instrument.base)
        for field in (self.price, self.stop):
            field.edit.set_step(instrument.tick_size)
            field.set_unit(instrument.quote)
        for field in (self.quantity, self.price, self.stop):
            field.edit.clear()
        self._on_edited()

    def _choose(self, side: Side) -> None:
        if not self.flow.in_flight and self.flow.state is not FlowState.REVIEW:
            (self.buy if side is Side.BUY else self.sell).setChecked(True)
            self._on_edited()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if not self._take_key(event):
            super().keyPressEvent(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel and isinstance(watched, QComboBox) and not watched.hasFocus():
            event.ignore()
            return True
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            return self._take_key(event)
        return False

    def _take_key(self, event: QKeyEvent) -> bool:
        """Handle the ticket's own keys; a letter is never part of an amount, so B and S are free in every field."""
        key, modifiers = event.key(), event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if modifiers == Qt.KeyboardModifier.ControlModifier:
                self._send_or_review()
            elif not self.deed.hasFocus() or self.flow.state is FlowState.EDIT:
                self._review()
            return True
        if key == Qt.Key.Key_Escape and self.flow.state is not FlowState.EDIT:
            self._on_back()
            return True
        if modifiers == Qt.KeyboardModifier.NoModifier and key in (Qt.Key.Key_B, Qt.Key.Key_S):
            self._choose(Side.BUY if key == Qt.Key.Key_B else Side.SELL)
            return True
        return False

    def _keep_focus(self) -> None:
        """Take the focus from a button about to be locked: Qt would give it to the box that arms one-click orders."""
        if self.deed.hasFocus() and self.flow.state not in (FlowState.EDIT, FlowState.REVIEW):
            self.setFocus(Qt.FocusReason.OtherFocusReason)

    def _review(self) -> None:
        moved = not self._unreadable() and self.flow.review()
        self._keep_focus()
        self.refresh()
        if moved and self.flow.state is FlowState.REVIEW:
            self.deed.setFocus(Qt.FocusReason.OtherFocusReason)  # the fields are locked now and would drop the focus

    def _send_or_review(self) -> None:
        if self.flow.state is FlowState.REVIEW:
            self.flow.send()
            self._keep_focus()
            self.refresh()
        else:
            self._review()

    @Slot()
    def _on_edited(self) -> None:
        if not self.reduce_only.isChecked():
            self._owner = MANUAL_OWNER
        self.flow.edit(self._entry())
        self.refresh()

    @Slot()
    def _on_share(self) -> None:
        sender = self.sender()
        share = next(share for share, button in zip(SHARES, self.shares, strict=True) if button is sender)
        quantity = quantity_for_share(self._entry(), self.flow.context, share)
        if quantity is not None:
            self.quantity.edit.set_value(quantity)

    @Slot()
    def _on_deed(self) -> None:
        self._send_or_review()

    @Slot()
    def _on_back(self) -> None:
        self.flow.edit(self._entry())
        self.refresh()

    @Slot(bool)
    def _on_one_click(self, armed: bool) -> None:
        self.flow.one_click = armed

    @Slot()
    def _on_take_over(self) -> None:
        symbol = self._symbol()
        taken = self._taken.get(symbol)
        if taken:
            self.handback_requested.emit(taken)
            return
        ids = tuple(status.strategy_id for status in self._strategies.active(symbol))
        for strategy_id in ids:
            self._trading.stop_strategy(strategy_id)
        if ids:
            self._taken[symbol] = ids
        self.refresh()

    @Slot(object)
    def hand_back(self, strategy_ids: tuple[str, ...]) -> None:
        """Start the strategies taken over again and drop the MANUAL badge; called after the person agreed."""
        for strategy_id in strategy_ids:
            self._trading.start_strategy(strategy_id)
        for symbol in [symbol for symbol, ids in self._taken.items() if ids == strategy_ids]:
            self._release(symbol)
        self.refresh()

    def _release(self, symbol: str) -> None:
        self._taken.pop(symbol, None)
        self._quiet.discard(symbol)

    def is_manual(self, symbol: str) -> bool:
        """Whether a market was taken over."""
        return symbol in self._taken
