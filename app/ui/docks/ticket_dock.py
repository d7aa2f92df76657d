"""The order ticket: a person overrides the machine. GUI thread only.

A thin view of `app.flows.order_flow`: what stands in the form goes into the flow, the flow's judgement is shown, its
state decides what the buttons do. Nothing is sent that was not on the button.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from PySide6.QtCore import QEvent, QObject, QSize, Qt, Slot
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QCheckBox, QGridLayout, QLabel, QPushButton, QScrollArea, QVBoxLayout, QWidget

from app.flows.order_flow import FlowState, OrderFlow, TicketContext, closing_owner, quantity_for_share
from app.i18n import MISSING, format_exact, format_number, format_price, format_quantity, mark, round_decimals, tr
from app.models.ownerships import Ownerships
from app.models.strategies_model import StrategiesModel
from app.services import TradingCommands
from app.theme import CONTROL_HEIGHT, FONT_SIZE_M, GRID, SPACE_M, SPACE_S, SPACE_XS, ThemeManager, number_font, set_look
from app.ui.docks.ticket_form import TicketForm
from app.ui.docks.ticket_head import TicketHead
from app.ui.widgets.deed_button import DeedButton
from app.ui.widgets.mode_badge import mode_word
from app.ui.widgets.panel import Panel
from core.domain.instruments import Instrument
from core.domain.money import is_multiple
from core.domain.orders import MANUAL_OWNER, Side, TradingMode
from core.domain.positions import Position
from core.events import ExecutorEvent, OwnershipChanged

MINIMUM_WIDTH = 76 * GRID
_BASE_DECIMALS = 8  # finest unit in which venues keep a balance
_SIDE_WORD = {Side.BUY: mark("BUY"), Side.SELL: mark("SELL")}
_OUTCOME_ROLE = {FlowState.DONE: "success", FlowState.DENIED: "danger", FlowState.UNKNOWN: "warning"}


class TicketDock(Panel):
    """Manual orders and taking over from strategies.

    Keys inside the panel: Up/Down a tick, Enter reviews, Ctrl+Enter sends, Esc goes back; outside the fields, where a
    letter is a slip, B and S choose the side.

    Attributes:
        head: the market and who trades it; its signals are for the window to answer.
        form: the fields.
        foot: the buttons and the answer; stands below the fields and is never scrolled away.
        flow: the order on its way from the fields to the answer.
    """

    TITLE = mark("Order ticket")
    NAME = "ticket_dock"

    def __init__(
        self,
        trading: TradingCommands,
        strategies: StrategiesModel,
        ownerships: Ownerships,
        theme: ThemeManager,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(theme)
        self._strategies = strategies
        self._ownerships = ownerships
        self._mode: TradingMode | None = None
        self._dirty = True
        self.flow = OrderFlow(trading.place_order, now_ns)
        self._build()
        self._connect()
        self.retranslate()

    # -- construction ----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        body, self.foot = QWidget(self), QWidget(self)
        layout = QVBoxLayout(body)
        layout.setContentsMargins(SPACE_M, SPACE_S, SPACE_M, SPACE_S)
        layout.setSpacing(SPACE_S)
        # Created in screen order, which is thereby tab order.
        self.head = TicketHead(body, self._strategies, self._ownerships)
        self.form = TicketForm(body, self._take_key)
        layout.addLayout(self.head.layout)
        layout.addLayout(self.form.layout)
        layout.addLayout(self._build_figures(body))
        self.warning = QLabel(body)
        self.warning.setObjectName("ticket_warning")
        self.warning.setWordWrap(True)
        set_look(self.warning, "role", "warning")
        layout.addWidget(self.warning)
        layout.addStretch(1)
        self._build_foot(self.foot)
        scroll = _Fields(body, self)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        body.setAutoFillBackground(False)
        scroll.viewport().setAutoFillBackground(False)
        self.setMinimumWidth(MINIMUM_WIDTH)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # its keys work wherever in the panel one clicked
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        outer.addWidget(scroll)
        outer.addWidget(self.foot)
        outer.addStretch(1)

    def _build_figures(self, body: QWidget) -> QGridLayout:
        grid = QGridLayout()
        grid.setVerticalSpacing(SPACE_XS)
        grid.setColumnStretch(1, 1)
        self._figure_names: dict[str, QLabel] = {}
        self.figures: dict[str, QLabel] = {}
        for number, name in enumerate(("available", "spent", "fee", "received", "position")):
            caption, figure = QLabel(body), QLabel(MISSING, body)
            set_look(caption, "role", "muted")
            figure.setFont(number_font(FONT_SIZE_M))
            figure.setObjectName(f"figure_{name}")
            figure.setAlignment(Qt.AlignmentFlag.AlignRight)
            grid.addWidget(caption, number, 0)
            grid.addWidget(figure, number, 1)
            self._figure_names[name], self.figures[name] = caption, figure
        return grid

    def _build_foot(self, foot: QWidget) -> None:
        self.deed = DeedButton(foot)
        self.deed.setObjectName("deed")
        self.back = QPushButton(foot)
        self.back.setObjectName("ticket_back")
        self.one_click = QCheckBox(foot)
        self.one_click.setObjectName("one_click")
        self.outcome = QLabel(foot)
        self.outcome.setObjectName("ticket_outcome")
        self.outcome.setWordWrap(True)
        self.outcome.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        box = QVBoxLayout(foot)
        box.setContentsMargins(SPACE_M, SPACE_XS, SPACE_M, SPACE_S)
        box.setSpacing(SPACE_S)
        for widget in (self.deed, self.back, self.one_click, self.outcome):
            box.addWidget(widget)

    def _connect(self) -> None:
        self.form.edited.connect(self._on_edited)
        self.form.share_chosen.connect(self._on_share)
        self.deed.clicked.connect(self._on_deed)
        self.back.clicked.connect(self._on_back)
        self.one_click.toggled.connect(self._on_one_click)

    # -- what the world tells --------------------------------------------------------------------------------------

    def observe(self, context: TicketContext) -> None:
        """Take over prices, balances, position, link and trading state. Redrawn at the next `tick`."""
        before = self.flow.context.instrument
        symbol = "" if context.instrument is None else context.instrument.symbol
        context = replace(
            context,
            titles={status.strategy_id: status.title for status in self._strategies.records()},
            trading=frozenset(status.strategy_id for status in self._strategies.active(symbol)),
        )
        if context == self.flow.context:
            return
        self.flow.observe(context)
        if context.instrument is not None and context.instrument != before:
            self.form.adopt(context.instrument)
        self._dirty = True

    def set_mode(self, mode: TradingMode) -> None:
        """Show which money the button moves, as the executor says."""
        self._mode = mode
        self.refresh()

    def on_event(self, event: ExecutorEvent) -> None:
        """Follow the answers to the order sent, and who trades the market."""
        if isinstance(event, OwnershipChanged):
            self._dirty = True
        if self.flow.on_event(event):
            self._end_close()
            self.refresh()

    def tick(self) -> None:
        """Called ten times a second: time-outs and figures."""
        if self.flow.tick():
            self._end_close()
            self._dirty = True
        if self._dirty and self.isVisible():
            self.refresh()

    @Slot(object)
    def pick_price(self, price: Decimal) -> None:
        """Take a price clicked in the book or the chart."""
        instrument = self.flow.context.instrument
        if instrument is None or self.flow.in_flight:
            return
        self.form.write_price(instrument.round_price(price))

    @Slot(object)
    def draft_close(self, position: Position) -> None:
        """Fill the fields with a market order that closes a position; sends nothing.

        Reduce-only, in the name of whoever holds it: a strategy's position shrinks itself.
        """
        if self.flow.in_flight:
            return
        side = Side.SELL if position.quantity > 0 else Side.BUY
        self.form.write_close(side, abs(position.quantity), position.owner)
        self.deed.setFocus(Qt.FocusReason.OtherFocusReason)

    # -- drawing ---------------------------------------------------------------------------------------------------

    def retranslate(self) -> None:
        self.head.retranslate()
        self.form.retranslate()
        names = {
            "available": tr("Available"),
            "fee": tr("Fee (estimate)"),
            "received": tr("You receive"),
            "position": tr("Position after"),
        }
        for name, text in names.items():
            self._figure_names[name].setText(text)
        self.back.setText(tr("Back (Esc)"))
        self.one_click.setText(tr("One-click orders for this session"))
        self.one_click.setToolTip(tr("Skip the review. Orders with a warning are always reviewed."))
        self.refresh()

    def refresh_look(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Show the present judgement of the flow."""
        self._dirty = False
        flow = self.flow
        editable = not flow.in_flight and flow.state is not FlowState.REVIEW
        instrument = flow.context.instrument
        self.form.set_editable(editable)
        owner = closing_owner(flow.entry, flow.context)
        self.form.show_owner("" if owner == MANUAL_OWNER else flow.context.title(owner))
        self.head.show_market("" if instrument is None else instrument.symbol)
        self._show_judgement()

    def _show_judgement(self) -> None:
        flow = self.flow
        judged = flow.assessment()
        self._show_figures()
        blocker = self.form.problem() or (judged.blocker.text() if judged.blocker is not None else "")
        live = flow.state in (FlowState.EDIT, FlowState.REVIEW)
        self.warning.setText("\n".join(f"⚠ {warning.text()}" for warning in judged.warnings) if live else "")
        self.warning.setVisible(bool(self.warning.text()))
        self.deed.set_deed(self._deed_text())
        self.deed.setEnabled(live and not blocker)
        set_look(self.deed, "variant", "buy" if self.form.side is Side.BUY else "sell")
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
        word = tr(_SIDE_WORD[self.form.side])
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
        buying = self.form.side is Side.BUY
        self._figure_names["spent"].setText(tr("You pay") if buying else tr("You sell"))
        if instrument is not None:
            free = context.free_quote if buying else context.free_base
            if free is not None:
                step = instrument.tick_size if buying else instrument.lot_size
                texts["available"] = f"{format_quantity(free, step)} {instrument.quote if buying else instrument.base}"
            if figures is not None:
                quote, base = _in_quote(instrument, 2), _in_base(instrument)
                texts["spent"] = (quote if buying else base)(figures.spent)
                fee = _in_quote(instrument, 4) if figures.fee_currency == instrument.quote else base
                texts["fee"] = fee(figures.fee)
                texts["received"] = (base if buying else quote)(figures.received)
                texts["position"] = base(figures.position)
        for name, label in self.figures.items():
            label.setText(texts[name])

    # -- input -----------------------------------------------------------------------------------------------------

    def _choose(self, side: Side) -> None:
        if not self.flow.in_flight and self.flow.state is not FlowState.REVIEW:
            self.form.choose_side(side)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if self._take_key(event):
            return
        key, plain_key = event.key(), event.modifiers() == Qt.KeyboardModifier.NoModifier
        # A field that refuses a letter passes it on to here; it was meant for the field.
        if plain_key and key in (Qt.Key.Key_B, Qt.Key.Key_S) and not self.form.has_focus():
            self._choose(Side.BUY if key == Qt.Key.Key_B else Side.SELL)
            return
        super().keyPressEvent(event)

    def _take_key(self, event: QKeyEvent) -> bool:
        """Handle the keys that mean the same in every field and outside them."""
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
        return False

    def _keep_focus(self) -> None:
        """Take the focus from a button about to be locked: Qt would give it to the box that arms one-click orders."""
        if self.deed.hasFocus() and self.flow.state not in (FlowState.EDIT, FlowState.REVIEW):
            self.setFocus(Qt.FocusReason.OtherFocusReason)

    def _review(self) -> None:
        moved = not self.form.problem() and self.flow.review()
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
        self.flow.edit(self.form.entry())
        self.refresh()

    @Slot(object)
    def _on_share(self, share: Decimal) -> None:
        quantity = quantity_for_share(self.form.entry(), self.flow.context, share)
        if quantity is not None:
            self.form.quantity.edit.set_value(quantity)

    @Slot()
    def _on_deed(self) -> None:
        self._send_or_review()

    def _end_close(self) -> None:
        """Leave "Close position…" behind once its order is out; a denied one was not sent and can be corrected."""
        if self.flow.state in (FlowState.DONE, FlowState.UNKNOWN) and self.form.end_close():
            self.flow.put_back(self.form.entry())

    @Slot()
    def _on_back(self) -> None:
        if self.flow.state is not FlowState.REVIEW:
            self.form.end_close()
        self.flow.edit(self.form.entry())
        self.refresh()

    @Slot(bool)
    def _on_one_click(self, armed: bool) -> None:
        self.flow.one_click = armed


class _Fields(QScrollArea):
    """As high as what it holds, so that the buttons follow below it; it scrolls only where there is no room."""

    def __init__(self, body: QWidget, parent: QWidget) -> None:
        super().__init__(parent)
        self._body = body
        self.setWidget(body)

    def sizeHint(self) -> QSize:
        hint = self._body.sizeHint()
        wraps = self._body.hasHeightForWidth()
        return QSize(hint.width(), self._body.heightForWidth(self.viewport().width()) if wraps else hint.height())

    def minimumSizeHint(self) -> QSize:
        return QSize(0, CONTROL_HEIGHT)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.updateGeometry()  # text wraps at another place

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)


def _in_quote(instrument: Instrument, decimals: int) -> Callable[[Decimal], str]:
    return lambda amount: f"{format_number(amount, decimals)} {instrument.quote}"


def _in_base(instrument: Instrument) -> Callable[[Decimal], str]:
    """Write base currency by the lot; what a fee leaves of a lot is written in full, or the fee would not show."""

    def text(amount: Decimal) -> str:
        if is_multiple(amount, instrument.lot_size):
            return f"{format_quantity(amount, instrument.lot_size)} {instrument.base}"
        return f"{format_exact(round_decimals(amount, _BASE_DECIMALS))} {instrument.base}"

    return text
