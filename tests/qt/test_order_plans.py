"""Order plans in the window: the table, making one by mouse and keys, and where the panel stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QDialog,
    QDockWidget,
    QLabel,
    QLineEdit,
    QMainWindow,
)
from pytestqt.qtbot import QtBot

from app.flows.sample_session import sample_order
from app.i18n import Language
from app.models.notifications_model import NoticeRow
from app.ui.actions import ActionId
from app.ui.closing import closing_stakes
from app.ui.dialogs.plan_dialog import PlanDialog
from app.ui.layouts import DockName, Layouts, Preset
from core.domain.order_plans import ExitRules, OrderPlan, PlanDraft, PlanKind, PlanState
from core.domain.orders import OrderState, Side, TradingMode, TradingState
from core.domain.positions import Position
from core.events import (
    AccountOpened,
    BooksTold,
    PositionChanged,
    TradingStateChanged,
)
from tests.qt.conftest import settle
from tests.qt.order_kit import (
    BRACKET,
    CONTROL,
    ICEBERG,
    RULES,
    TWAP,
    child,
    click,
    hear,
    opened,
    part,
    plan,
    preview,
    write,
)
from tests.qt.window_kit import NOW_NS, WindowKit

D = Decimal


@pytest.fixture
def kit(qtbot: QtBot, qapp: QApplication, tmp_path: Path) -> Iterator[WindowKit]:
    kit = WindowKit(qapp, tmp_path)
    kit.window.show()
    qtbot.waitExposed(kit.window)
    kit.play()
    yield kit
    kit.close()


# --- order plans: the table ---------------------------------------------------------------------------------------


def plan_rows(kit: WindowKit) -> dict[str, dict[str, str]]:
    table = kit.window.plans.table
    titles = [column.key for column in kit.window.models.plans.columns]
    return {
        table.proxy.record_at(row).plan_id: {
            title: table.proxy.index(row, column).data() for column, title in enumerate(titles)
        }
        for row in range(table.proxy.rowCount())
    }


def test_plans_are_shown_with_what_they_do(kit: WindowKit) -> None:
    for each in (BRACKET, TWAP, ICEBERG):
        plan(kit, each)
    rows = plan_rows(kit)
    assert (
        rows["b1"]
        | {"kind": "Bracket", "stop": "58,000.00", "price": "market price", "target": "66,000.00", "state": "At work"}
        == rows["b1"]
    )
    assert rows["t1"] | {"kind": "TWAP", "parts": "10 in 10 min 00 s", "state": "Paused"} == rows["t1"]
    assert rows["t1"]["reason"] == "waits for you after the restart"
    assert rows["i1"] | {"price": "150.00", "parts": "3.000 shown", "trail": "—"} == rows["i1"]
    plan(kit, replace(BRACKET, stop_price=D(59_000)))
    assert plan_rows(kit)["b1"]["stop"] == "59,000.00"
    plan(kit, replace(BRACKET, state=PlanState.DONE, reason="the position is closed"))
    assert set(plan_rows(kit)) == {"t1", "i1"}
    kit.window.plans.open_only.setChecked(False)
    assert plan_rows(kit)["b1"]["state"] == "Done"


def test_plans_are_cancelled_and_resumed(qtbot: QtBot, kit: WindowKit) -> None:
    dock = kit.window.plans
    kit.window.layouts.show(DockName.PLANS)
    for each in (BRACKET, TWAP):
        plan(kit, each)
    assert not dock.cancel_plan.isEnabled()
    dock.table.select_key("b1")
    assert dock.cancel_plan.isEnabled()
    assert not dock.resume_plan.isEnabled()
    click(qtbot, dock.cancel_plan)
    dock.table.select_key("t1")
    click(qtbot, dock.resume_plan)
    assert kit.trading.calls == [("cancel_plan", "b1"), ("resume_plan", "t1")]
    actions = {action.text(): action for action in dock._menu()}
    actions["Cancel plan"].trigger()
    assert kit.trading.calls[-1] == ("cancel_plan", "t1")
    plan(kit, replace(TWAP, state=PlanState.WORKING, reason=""))
    assert not dock.resume_plan.isEnabled()
    assert not actions["Resume"].isEnabled()
    with qtbot.waitSignal(dock.market_requested) as wanted:
        actions["Show this market"].trigger()
    assert wanted.args == ["ETH/USDT"]
    qtbot.keyClick(dock.table.view, Qt.Key.Key_Return)
    assert kit.window.market[0] == "ETH/USDT"


def test_parts_of_a_plan_are_called_after_it_whichever_comes_first(kit: WindowKit) -> None:
    def origin() -> str:
        model = kit.window.models.orders
        row = next(r for r in range(model.rowCount()) if model.record_at(r).client_order_id == "maru-000090")
        return str(model.index(row, model.column_index("owner")).data())

    hear(kit, child("b1", "stop", 90))
    assert origin() == "Order plan · stop"
    plan(kit, BRACKET)
    assert origin() == "Bracket · stop"
    kit.language.set_language(Language.KOREAN)
    assert origin() == "브래킷 · 스톱"
    kit.language.set_language(Language.ENGLISH)


def test_plans_told_at_the_beginning_are_no_news_and_another_account_has_none(kit: WindowKit) -> None:
    log = kit.window.models.log
    kit.window.on_executor_event(AccountOpened("practice:a"))
    before = len(log.records())
    plan(kit, BRACKET)
    assert len(log.records()) == before
    kit.window.on_executor_event(BooksTold())
    plan(kit, TWAP)
    assert "twap" in log.records()[-1].text
    kit.window.on_executor_event(AccountOpened("practice:b"))
    assert kit.window.models.plans.records() == []


def test_what_plans_protect_is_what_the_core_counts(kit: WindowKit) -> None:
    models = kit.window.models
    exit_plan = OrderPlan("e1", PlanDraft(PlanKind.EXIT, "BTC/USDT", Side.SELL, D("0.01"), exits=RULES))
    for each in (exit_plan, BRACKET, TWAP, replace(exit_plan, plan_id="e2", state=PlanState.CANCELED)):
        plan(kit, each)
    plan(kit, replace(exit_plan, plan_id="e3", draft=replace(exit_plan.draft, owner="robot")))
    hear(kit, child("b1", "stop", 92, filled="0.004"))
    assert models.protected("BTC/USDT", "manual") == D("0.01")
    hear(kit, child("b1", "entry", 93, quantity="0.05", filled="0.02"))
    assert models.protected("BTC/USDT", "manual") == D("0.03")
    assert models.protected("BTC/USDT", "robot") == D("0.01")
    assert models.protected("ETH/USDT", "manual") == 0


def test_plans_are_at_stake_when_the_program_ends(kit: WindowKit) -> None:
    assert not any("order plan" in line for line in closing_stakes(kit.window.models))
    for each in (BRACKET, TWAP, ICEBERG):
        plan(kit, each)
    exits, parts = closing_stakes(kit.window.models)[-2:]
    assert exits.startswith("1 order plan (Bracket 0.05 BTC/USDT) sleeps meanwhile: a stop rests at the exchange")
    assert parts.startswith("2 order plans (TWAP 2 ETH/USDT, Iceberg 9 SOL/USDT) place nothing more")


# --- order plans: making one --------------------------------------------------------------------------------------


def new_plan(kit: WindowKit) -> PlanDialog:
    kit.window.actions_[ActionId.NEW_PLAN].trigger()
    return opened(kit, PlanDialog)


def field(dialog: PlanDialog, name: str) -> QLineEdit:
    return dialog.form.fields[name].edit


def test_a_bracket_is_made_by_keys(qtbot: QtBot, kit: WindowKit) -> None:
    dialog = new_plan(kit)
    assert dialog.form.kind is PlanKind.BRACKET
    assert not dialog.deed.isEnabled()
    write(qtbot, field(dialog, "quantity"), "0.05")
    write(qtbot, field(dialog, "stop"), "58000")
    write(qtbot, field(dialog, "target"), "66000")
    assert preview(dialog).startswith("Buys 0.05 BTC at the market price")
    assert "worst loss about" in preview(dialog)
    assert dialog.deed.text() == "Begin: Bracket (PRACTICE)"
    qtbot.keyClick(field(dialog, "target"), Qt.Key.Key_Return)
    assert kit.trading.calls == [], "Enter in a field begins nothing"
    qtbot.keyClick(field(dialog, "target"), Qt.Key.Key_Return, CONTROL)
    assert kit.trading.calls == [
        ("create_plan", PlanDraft(PlanKind.BRACKET, "BTC/USDT", Side.BUY, D("0.05"), exits=RULES))
    ]
    assert not dialog.isVisible()


@pytest.mark.parametrize(
    ("mode", "word"), [(TradingMode.PRACTICE, "PRACTICE"), (TradingMode.PAPER, "PAPER"), (TradingMode.LIVE, "LIVE")]
)
def test_the_button_says_which_money_is_moved(qtbot: QtBot, kit: WindowKit, mode: TradingMode, word: str) -> None:
    kit.play(mode)
    dialog = new_plan(kit)
    assert dialog.deed.text() == f"Begin: Bracket ({word})"
    assert dialog.deed.accessibleName() == dialog.deed.text()


def test_each_kind_has_its_own_fields_and_sends_only_those(qtbot: QtBot, kit: WindowKit) -> None:
    kit.window.layouts.show(DockName.PLANS)
    click(qtbot, kit.window.plans.new_plan)
    dialog = opened(kit, PlanDialog)
    write(qtbot, field(dialog, "quantity"), "0.05")
    write(qtbot, field(dialog, "stop"), "58000")
    click(qtbot, dialog.form.kinds[PlanKind.TWAP])
    shown = {name for name, each in dialog.form.fields.items() if each.isVisible()}
    assert shown == {"quantity", "price", "parts", "minutes"}
    assert dialog.form.buy.isVisible()
    click(qtbot, dialog.form.sell)
    write(qtbot, field(dialog, "parts"), "4")
    write(qtbot, field(dialog, "minutes"), "2")
    assert "Sells 0.05 BTC at the market price in 4 parts" in preview(dialog)
    click(qtbot, dialog.form.kinds[PlanKind.ICEBERG])
    assert not field(dialog, "parts").isVisible()
    assert preview(dialog) == "Enter a price."
    write(qtbot, field(dialog, "price"), "61300")
    write(qtbot, field(dialog, "visible"), "0.01")
    dialog.form.reduce_only.setChecked(False)
    click(qtbot, dialog.deed)
    assert kit.trading.calls == [
        (
            "create_plan",
            PlanDraft(PlanKind.ICEBERG, "BTC/USDT", Side.SELL, D("0.05"), D(61_300), visible=D("0.01")),
        )
    ]


def test_a_position_is_protected(qtbot: QtBot, kit: WindowKit) -> None:
    position = Position("binance", "BTC/USDT", "manual", D("0.04"), D(60_000))
    kit.window.on_executor_event(PositionChanged(position, D(61_204)))
    plan(kit, OrderPlan("e1", PlanDraft(PlanKind.EXIT, "BTC/USDT", Side.SELL, D("0.01"), exits=RULES)))
    dock = kit.window.positions
    kit.window.layouts.show(DockName.POSITIONS)
    assert dock.table.select_key("manual\nBTC/USDT")
    next(action for action in dock._menu() if action.text() == "Protect…").trigger()
    dialog = opened(kit, PlanDialog)
    assert dialog.form.kind is PlanKind.EXIT
    assert field(dialog, "quantity").text() == "0.03000"
    write(qtbot, field(dialog, "trail"), "1500")
    assert "Sells 0.03 BTC once the price falls 1,500.00 below" in preview(dialog)
    write(qtbot, field(dialog, "quantity"), "0.031")
    assert "has an exit already" in preview(dialog)
    assert not dialog.deed.isEnabled()
    write(qtbot, field(dialog, "quantity"), "0.03")
    click(qtbot, dialog.deed)
    rules = ExitRules(trail=D(1_500))
    assert kit.trading.named("create_plan") == [
        (PlanDraft(PlanKind.EXIT, "BTC/USDT", Side.SELL, D("0.03"), exits=rules),)
    ]


def test_somebody_elses_position_can_only_be_left(kit: WindowKit) -> None:
    robot = Position("binance", "BTC/USDT", "btcusdt-1h-9f41c07b", D("0.0842"), D(60_000))
    kit.window.order_dialogs.protect(robot)
    dialog = opened(kit, PlanDialog)
    assert [kind for kind, button in dialog.form.kinds.items() if button.isVisible()] == [PlanKind.EXIT]
    assert "Bitcoin hourly" in part(dialog, "plan_market").text()  # type: ignore[attr-defined]
    assert dialog.form.entry().owner == "btcusdt-1h-9f41c07b"
    kit.window.order_dialogs.protect(robot)
    kit.window.order_dialogs.new_plan()
    assert opened(kit, PlanDialog) is dialog, "one at a time"


def test_nothing_can_begin_while_halted_or_with_an_unreadable_field(qtbot: QtBot, kit: WindowKit) -> None:
    dialog = new_plan(kit)
    write(qtbot, field(dialog, "quantity"), "0.05")
    write(qtbot, field(dialog, "stop"), "58000")
    assert dialog.deed.isEnabled()
    kit.window.on_executor_event(TradingStateChanged(TradingState.HALTED, ""))
    qtbot.waitUntil(lambda: not dialog.deed.isEnabled(), timeout=5_000)
    assert "halted" in preview(dialog)
    assert "halted" in dialog.deed.toolTip()
    dialog._on_deed()
    kit.window.on_executor_event(TradingStateChanged(TradingState.ACTIVE, ""))
    write(qtbot, field(dialog, "stop"), "58,000")
    assert "ambiguous" in preview(dialog)
    qtbot.keyClick(field(dialog, "stop"), Qt.Key.Key_Return, CONTROL)
    assert kit.trading.calls == []
    click(qtbot, part(dialog, "plan_cancel"))
    assert kit.trading.calls == []


def test_without_a_market_a_notice_says_why(qtbot: QtBot, qapp: QApplication, tmp_path: Path) -> None:
    bare = WindowKit(qapp, tmp_path)
    told: list[NoticeRow] = []
    bare.window.notice_added.connect(told.append)
    bare.window.actions_[ActionId.NEW_PLAN].trigger()
    bare.window.order_dialogs.protect(Position("binance", "BTC/USDT", "manual", D(1), D(1)))
    assert bare.window.findChild(PlanDialog) is None
    assert told[0].notice.text == "The rules of this market are not known yet."
    bare.close()


@pytest.mark.parametrize("language", list(Language))
def test_everything_in_the_dialogs_has_a_name(kit: WindowKit, language: Language) -> None:
    kit.language.set_language(language)
    kit.window.order_dialogs.resolve(hear(kit, sample_order(70, NOW_NS, state=OrderState.UNKNOWN)))
    kit.window.order_dialogs.change(hear(kit, sample_order(80, NOW_NS)))
    kit.window.order_dialogs.new_plan()
    for dialog in kit.window.findChildren(QDialog):
        for each in dialog.findChildren(QAbstractButton):
            assert each.text() or each.accessibleName(), each.objectName()
        for each in dialog.findChildren(QLineEdit):
            assert each.accessibleName(), each.objectName()
    kit.language.set_language(Language.ENGLISH)


# --- where the panel stands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", list(Preset))
def test_the_panel_stands_beside_the_orders(kit: WindowKit, preset: Preset) -> None:
    layouts = kit.window.layouts
    layouts.apply(preset)
    plans, orders = layouts.dock(DockName.PLANS), layouts.dock(DockName.ORDERS)
    assert plans is not None
    assert orders is not None
    assert orders in kit.window.tabifiedDockWidgets(plans)


def bare_window(*names: DockName) -> tuple[QMainWindow, Layouts]:
    window = QMainWindow()
    window.resize(1_200, 800)
    layouts = Layouts(window)
    for name in names:
        dock = QDockWidget(name.value, window)
        dock.setWidget(QLabel(name.value))
        layouts.add(name, dock)
    layouts.apply(Preset.TRADING)
    window.show()
    settle()
    return window, layouts


def test_an_arrangement_saved_before_there_were_plans_is_kept(qtbot: QtBot) -> None:
    old, before = bare_window(*(name for name in DockName if name is not DockName.PLANS))
    qtbot.addWidget(old)
    log = before.dock(DockName.LOG)
    assert log is not None
    log.setFloating(True)
    before.show(DockName.FILLS)
    settle()
    state = before.save()

    window, layouts = bare_window(*DockName)
    qtbot.addWidget(window)
    assert layouts.restore(Preset.TRADING, {Preset.TRADING: state})
    settle()
    plans, orders, log = (layouts.dock(name) for name in (DockName.PLANS, DockName.ORDERS, DockName.LOG))
    fills = layouts.dock(DockName.FILLS)
    assert plans is not None
    assert orders is not None
    assert log is not None
    assert fills is not None
    assert log.isFloating(), "the saved arrangement holds"
    assert not plans.isFloating()
    assert not plans.isHidden()
    assert orders in window.tabifiedDockWidgets(plans)
    assert not fills.visibleRegion().isEmpty(), "what was in front stays there"
    # Once saved, a panel that was hidden stays hidden.
    plans.hide()
    assert layouts.restore(Preset.TRADING, {Preset.TRADING: layouts.save()})
    assert plans.isHidden()
