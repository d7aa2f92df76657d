from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, Qt
from PySide6.QtWidgets import QApplication, QPushButton
from pytestqt.qtbot import QtBot

from app.flows.model_words import choice_title
from app.i18n import Language, set_language
from app.models.model_choice import ModelChoice
from app.models.precision import Precision
from app.models.strategies_model import StrategiesModel
from app.services import StrategyKind
from app.ui.dialogs.add_strategy_dialog import AddStrategyDialog, strategy_id_for
from app.ui.dialogs.change_model_dialog import ChangeModelDialog, fitting_models
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.docks.strategies_dock import StrategiesDock
from core.domain.data_origin import BINANCE, practice_origin
from core.events import StrategyState, StrategyStatus
from tests.qt.window_kit import NOW_NS, Recorder, make_theme

CHOICES = (
    ModelChoice("9f41c07be2d34a1c", "BTC/USDT", "1h", "better than persistence", NOW_NS, edge=True),
    ModelChoice("1b7e55d20c8f4e93", "ETH/USDT", "15m", "not distinguishable from persistence", NOW_NS),
)
AGENT = ModelChoice("5c20aa11be2d34a1", "BTC/USDT", "1h", "no edge", NOW_NS, kind="ppo", agent=True)


def unknown(quote: str) -> Decimal | None:
    return None


class Desk:
    def __init__(self, qtbot: QtBot, qapp: QApplication) -> None:
        self.trading = Recorder()
        self.model = StrategiesModel(Precision())
        self.holds: Decimal | None = None
        self.theme = make_theme(qapp)
        self.dock = StrategiesDock(self.model, self.trading, self.theme, self.equity)  # type: ignore[arg-type]
        qtbot.addWidget(self.dock)
        self.dock.resize(900, 300)
        self.dock.show()

    def equity(self, quote: str) -> Decimal | None:
        return self.holds if quote == "USDT" else None

    def put(self, *states: StrategyState) -> None:
        for number, state in enumerate(states):
            self.model.put(StrategyStatus(f"s{number}", f"S{number}", "BTC/USDT", "1h", "m", state))
        self.model.flush()

    def select(self, *keys: str) -> None:
        self.dock.table.view.clearSelection()
        for key in keys:
            assert self.dock.table.select_key(key)


@pytest.fixture
def desk(qtbot: QtBot, qapp: QApplication) -> Desk:
    return Desk(qtbot, qapp)


def test_the_empty_state_leads_to_the_next_step(qtbot: QtBot, desk: Desk) -> None:
    empty = desk.dock.table.empty
    assert empty.isVisible()
    with qtbot.waitSignal(desk.dock.train_requested):
        qtbot.mouseClick(empty.button, Qt.MouseButton.LeftButton)
    desk.dock.set_models(CHOICES)
    qtbot.mouseClick(empty.button, Qt.MouseButton.LeftButton)
    dialog = desk.dock.findChild(AddStrategyDialog)
    assert dialog is not None
    dialog.close()


def test_buttons_follow_the_state(qtbot: QtBot, desk: Desk) -> None:
    desk.put(StrategyState.RUNNING, StrategyState.STOPPED)
    dock = desk.dock
    assert not dock.start.isEnabled()
    desk.select("s0")
    assert (dock.start.isEnabled(), dock.stop.isEnabled(), dock.remove.isEnabled()) == (False, True, False)
    desk.select("s1")
    assert (dock.start.isEnabled(), dock.stop.isEnabled(), dock.remove.isEnabled()) == (True, False, True)
    qtbot.mouseClick(dock.start, Qt.MouseButton.LeftButton)
    assert desk.trading.calls == [("start_strategy", "s1")]
    desk.select("s0")
    qtbot.mouseClick(dock.stop, Qt.MouseButton.LeftButton)
    assert desk.trading.named("stop_strategy") == [("s0",)]


@pytest.mark.parametrize(("answer", "calls"), [("cancel", []), ("remove", [("s0",)])])
def test_removing_asks_first(qtbot: QtBot, desk: Desk, answer: str, calls: list[tuple[str]]) -> None:
    desk.put(StrategyState.STOPPED)
    desk.select("s0")
    qtbot.mouseClick(desk.dock.remove, Qt.MouseButton.LeftButton)
    dialog = desk.dock.findChild(ConfirmDialog)
    assert dialog is not None
    assert desk.trading.calls == []
    qtbot.mouseClick(dialog.findChild(QPushButton, answer), Qt.MouseButton.LeftButton)
    assert desk.trading.named("remove_strategy") == calls
    desk.model.flush()
    assert desk.model.rowCount() == (0 if calls else 1)


def test_a_new_strategy_is_chosen_so_that_it_can_be_started(qtbot: QtBot, desk: Desk) -> None:
    desk.put(StrategyState.RUNNING)
    desk.select("s0")
    desk.dock.set_models(CHOICES)
    desk.dock.open_add_dialog()
    dialog = desk.dock.findChild(AddStrategyDialog)
    assert dialog is not None
    dialog.capital.edit.setText("100")
    qtbot.mouseClick(dialog.add, Qt.MouseButton.LeftButton)
    ((spec,),) = desk.trading.named("add_strategy")
    desk.put(StrategyState.RUNNING, StrategyState.STOPPED)  # others may come first
    assert [s.strategy_id for s in desk.dock.table.selected()] == ["s0"]
    desk.model.put(StrategyStatus(spec.strategy_id, "New", "BTC/USDT", "1h", "m", StrategyState.STOPPED))
    desk.model.flush()
    assert [s.title for s in desk.dock.table.selected()] == ["New"]
    assert desk.dock.start.isEnabled()
    qtbot.mouseClick(desk.dock.start, Qt.MouseButton.LeftButton)
    assert desk.trading.named("start_strategy") == [(spec.strategy_id,)]


def test_double_click_and_enter_show_the_market(qtbot: QtBot, desk: Desk) -> None:
    desk.put(StrategyState.RUNNING)
    desk.select("s0")
    view = desk.dock.table.view
    with qtbot.waitSignal(desk.dock.market_requested) as asked:
        position = view.visualRect(view.currentIndex()).center()
        qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=position)  # a real one begins with a click
        qtbot.mouseDClick(view.viewport(), Qt.MouseButton.LeftButton, pos=position)
    assert asked.args == ["BTC/USDT"]
    with qtbot.waitSignal(desk.dock.market_requested):
        qtbot.keyClick(view, Qt.Key.Key_Return)


def test_the_form_gives_a_spec(qtbot: QtBot) -> None:
    dialog = AddStrategyDialog(CHOICES, {"btcusdt-1h-9f41c07b": "Other"}, unknown)
    qtbot.addWidget(dialog)
    dialog.show()
    dialog.capital.edit.clear()
    assert not dialog.add.isEnabled()
    qtbot.keyClicks(dialog.capital.edit, "2500")
    dialog.entry.edit.setText("0.1")
    dialog.exit.edit.setText("0.4")
    assert not dialog.add.isEnabled()
    assert "must not be above" in dialog.problem.text()
    dialog.exit.edit.setText("0.05")
    dialog.name.setText("My bot")
    with qtbot.waitSignal(dialog.accepted_spec) as accepted:
        qtbot.mouseClick(dialog.add, Qt.MouseButton.LeftButton)
    assert accepted.args is not None
    spec = accepted.args[0]
    assert (spec.strategy_id, spec.title, spec.capital) == ("btcusdt-1h-9f41c07b-2", "My bot", Decimal(2500))
    assert (spec.model_id, spec.entry_z, spec.exit_z) == (CHOICES[0].model_id, 0.1, 0.05)


def test_the_form_asks_nothing_of_an_agent_that_only_a_forecaster_has(qtbot: QtBot) -> None:
    dialog = AddStrategyDialog((*CHOICES, AGENT), {}, unknown)
    qtbot.addWidget(dialog)
    dialog.show()
    assert dialog.entry.isVisible()
    dialog.entry.edit.setText("0.1")
    dialog.exit.edit.setText("0.4")
    assert not dialog.add.isEnabled()
    dialog.model.setCurrentIndex(len(CHOICES))
    assert not dialog.entry.isVisible()
    assert not dialog.exit.isVisible()
    assert "its own account" in dialog.hint.text()
    spec = dialog.spec()
    assert spec is not None
    assert (spec.kind, spec.model_id, spec.capital) == (StrategyKind.AGENT, AGENT.model_id, Decimal(1000))
    assert (spec.entry_z, spec.exit_z) == (0.5, 0.0)
    dialog.model.setCurrentIndex(0)
    assert dialog.exit.isVisible()
    assert "must not be above" in dialog.problem.text()
    assert dialog.spec() is None


def test_a_model_takes_over_from_one_of_its_kind_only() -> None:
    other = replace(AGENT, model_id="other")
    choices = (*CHOICES, AGENT, other)
    status = StrategyStatus("s", "S", "BTC/USDT", "1h", AGENT.model_id, StrategyState.STOPPED, kind=StrategyKind.AGENT)
    assert fitting_models(status, choices) == (other,)
    assert fitting_models(replace(status, state=StrategyState.RUNNING), choices) == (other,)
    model = replace(status, kind=StrategyKind.MODEL, state=StrategyState.RUNNING)
    assert fitting_models(model, choices) == CHOICES[:1]


def test_the_form_shows_the_verdict_and_keeps_the_market_of_the_model(qtbot: QtBot) -> None:
    dialog = AddStrategyDialog(CHOICES, {}, unknown)
    qtbot.addWidget(dialog)
    dialog.model.setCurrentIndex(1)
    assert dialog.verdict.text() == CHOICES[1].verdict
    spec = dialog.spec()
    assert spec is not None
    assert (spec.symbol, spec.timeframe) == ("ETH/USDT", "15m")


def test_the_form_says_whose_bars_a_model_was_trained_on(qtbot: QtBot) -> None:
    practice = practice_origin("synthetic-1")
    invented = ModelChoice(
        "9f41c07be2d34a1c", "BTC/USDT", "1h", "Better than persistence.", NOW_NS, edge=True, origin=practice
    )
    form = AddStrategyDialog((CHOICES[0], invented), {}, unknown)
    qtbot.addWidget(form)
    assert "practice" not in form.model.itemText(0)
    assert form.model.itemText(1).startswith("BTC/USDT 1h · practice market · 9f41c07be2")
    assert form.verdict.text() == "better than persistence"
    form.model.setCurrentIndex(1)
    assert form.verdict.text() == (
        "Better than persistence. Invented practice market: this says nothing about a real one."
    )
    assert form.verdict.property("role") == "warning"  # no green for what says nothing
    set_language(Language.KOREAN)
    korean = AddStrategyDialog((invented,), {}, unknown)
    qtbot.addWidget(korean)
    assert korean.model.itemText(0).startswith("BTC/USDT 1h · 연습 시장 ·")
    assert "가상으로 만든 연습 시장입니다." in korean.verdict.text()


def test_a_model_of_another_market_says_so_before_it_gets_money(desk: Desk) -> None:
    desk.dock.set_models(CHOICES)
    for origin, said in ((practice_origin("synthetic-1"), True), (BINANCE, False)):
        desk.dock.set_origin(origin)
        desk.dock.open_add_dialog()
        form = desk.dock.window().findChild(AddStrategyDialog)
        assert form is not None
        assert form.verdict.text().endswith("It learned from other bars: binance, not practice market.") is said
        form.close()
        QCoreApplication.sendPostedEvents(form, QEvent.Type.DeferredDelete)


def test_models_of_one_market_can_be_told_apart() -> None:
    first = replace(CHOICES[0], kind="lstm", tags=("champion", "keep"))
    assert choice_title(first).startswith("LSTM · 9f41c07be2 · ")
    assert choice_title(first).endswith(" · champion, keep")


def test_a_model_made_elsewhere_is_offered_with_its_makers_word_and_never_in_green(qtbot: QtBot) -> None:
    claim = ModelChoice("9f41c07be2d34a1c", "BTC/USDT", "1h", "Better than chance.", NOW_NS, edge=True, foreign=True)
    told = "Made elsewhere: its figures are its maker's word and were not measured here. Better than chance."
    form = AddStrategyDialog((claim,), {}, unknown)
    qtbot.addWidget(form)
    change = ChangeModelDialog(StrategyStatus("s0", "S0", "BTC/USDT", "1h", "m", StrategyState.RUNNING), (claim,))
    qtbot.addWidget(change)
    for dialog in (form, change):
        assert dialog.verdict.text() == told
        assert dialog.verdict.property("role") == "warning"


def test_ids_are_unique() -> None:
    first = strategy_id_for(CHOICES[0], [])
    second = strategy_id_for(CHOICES[0], [first])
    assert strategy_id_for(CHOICES[0], [first, second]) == "btcusdt-1h-9f41c07b-3"


def test_the_form_reaches_the_executor(qtbot: QtBot, desk: Desk) -> None:
    desk.dock.set_models(CHOICES)
    qtbot.mouseClick(desk.dock.add, Qt.MouseButton.LeftButton)
    dialog = desk.dock.findChild(AddStrategyDialog)
    assert dialog is not None
    qtbot.mouseClick(dialog.add, Qt.MouseButton.LeftButton)
    assert [spec.symbol for (spec,) in desk.trading.named("add_strategy")] == ["BTC/USDT"]


def test_a_capital_is_taken_as_written(qtbot: QtBot) -> None:
    dialog = AddStrategyDialog(CHOICES, {}, unknown)
    qtbot.addWidget(dialog)
    dialog.capital.edit.setText("1234567")
    dialog.entry.edit.setText("0.25")
    assert dialog.capital.echo() == "= 1234567 USDT"
    assert dialog.entry.echo() == "= 0.25"
    spec = dialog.spec()
    assert spec is not None
    assert (spec.capital, spec.entry_z) == (Decimal(1234567), 0.25)
    dialog.capital.edit.step_by(1)
    assert dialog.capital.edit.value() == Decimal(1234570)  # the arrows keep their step


def test_no_strategy_gets_more_than_the_account_is_worth(qtbot: QtBot, desk: Desk) -> None:
    desk.holds = Decimal("9000")
    desk.dock.set_models(CHOICES)
    desk.dock.open_add_dialog()
    dialog = desk.dock.findChild(AddStrategyDialog)
    assert dialog is not None
    dialog.capital.edit.setText("9999999")
    assert not dialog.add.isEnabled()
    assert dialog.spec() is None
    assert "9,000.00 USDT" in dialog.problem.text()
    assert dialog.problem.property("role") == "warning"
    dialog.capital.edit.setText("9000")
    assert dialog.add.isEnabled()
    desk.holds = None  # nobody knows: nothing to object
    dialog.capital.edit.setText("9999999")
    assert dialog.add.isEnabled()
    dialog.close()


def test_two_strategies_have_two_names(qtbot: QtBot, desk: Desk) -> None:
    desk.model.put(StrategyStatus("s", "BTC/USDT 1h", "BTC/USDT", "1h", "m", StrategyState.STOPPED))
    desk.dock.set_models(CHOICES)
    desk.dock.open_add_dialog()
    dialog = desk.dock.findChild(AddStrategyDialog)
    assert dialog is not None
    assert dialog.name.text() == "BTC/USDT 1h (2)"  # what is proposed is free
    assert dialog.add.isEnabled()
    dialog.name.setText(" btc/usdt 1H ")
    assert not dialog.add.isEnabled()
    assert "already" in dialog.problem.text()
    assert dialog.spec() is None
    dialog.close()


def test_a_verdict_has_the_colour_of_what_it_says(qtbot: QtBot) -> None:
    dialog = AddStrategyDialog(CHOICES, {}, unknown)
    qtbot.addWidget(dialog)
    assert dialog.verdict.property("role") == "success"
    dialog.model.setCurrentIndex(1)
    assert dialog.verdict.property("role") == "warning"


def test_another_model_of_the_same_market_can_take_over(desk: Desk, qapp: QApplication) -> None:
    other = ModelChoice("77aa", "BTC/USDT", "1h", "No evidence of an edge", NOW_NS)
    desk.dock.set_models((*CHOICES, other))
    desk.put(StrategyState.RUNNING)
    desk.select("s0")
    action = desk.dock._actions["model"]
    assert action.isEnabled()
    action.trigger()
    dialog = desk.dock.window().findChild(ChangeModelDialog)
    assert dialog is not None
    assert dialog.model.count() == 2  # not the one of ether
    dialog.model.setCurrentIndex(1)
    assert "No evidence" in dialog.verdict.text()
    dialog.change.click()
    assert desk.trading.calls[-1] == ("change_model", "s0", "77aa")
    desk.dock.set_models(CHOICES[1:])
    assert not action.isEnabled()
