"""A model on the chart that nobody trades with: the thread that asks it, the desk between, and the strip."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QApplication

from app.look_desk import LookDesk
from app.models.model_look import ModelLook
from app.theme import ThemeChoice, ThemeManager, UpDown
from app.ui.charts.states import ChartState
from app.ui.docks.chart_dock import ChartDock
from app.workers import onlooker
from app.workers.base import WorkerThread
from app.workers.history import HistoryRequest
from core.config import DataPaths
from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.domain.candles import Candle, Timeframe
from core.domain.data_origin import BINANCE, DataOrigin
from core.errors import UserError
from core.events import StrategyState, StrategyStatus
from ml.inference import load_predictor
from ml.model_tags import TAGS_FILE
from ml.onlooker import Onlooker
from ml.outlook import LookedAt, Outlook
from tests.qt.test_chart_dock import Watcher
from tests.qt.test_chart_fan import made
from tests.trained_model import Trained
from tests.unit.ml.agents.agent_packages import store_agent
from tests.unit.ml.helpers import appended

WAIT_MS = 20_000


@pytest.fixture
def paths(tmp_path: Path, trained: Trained) -> DataPaths:
    made = DataPaths(tmp_path).create()
    shutil.copytree(trained.models_dir / trained.result.model_id, made.models / trained.result.model_id)
    return made


class Heard:
    """What the desk said."""

    def __init__(self, desk: LookDesk) -> None:
        self.looks: list[ModelLook | None] = []
        self.markets: list[tuple[str, str]] = []
        self.refusals: list[UserError] = []
        self.began = 0
        desk.changed.connect(self.looks.append)
        desk.market_wanted.connect(lambda symbol, timeframe: self.markets.append((symbol, timeframe)))
        desk.refused.connect(self.refusals.append)
        desk.began.connect(self._count)

    def _count(self) -> None:
        self.began += 1


class Load(WorkerThread):
    """A download that brings what it was given into the store, or fails."""

    completed = Signal(object)

    def __init__(self, request: HistoryRequest, root: Path, history: CandleFrame | None) -> None:
        super().__init__("load")
        self.request, self._root, self._history = request, root, history
        self.go_on = threading.Event()

    def work(self) -> None:
        assert self.go_on.wait(20)
        if self.stop_requested:
            return
        if self._history is None:
            raise UserError("The venue is out of reach.", "Try again later.")
        bars = self._history.between(self.request.start_ns, self.request.end_ns)
        CandleStore(self._root).write(BINANCE, bars, "rest")
        self.completed.emit(None)


class Loads:
    """Makes downloads; the desk's way to the venue."""

    def __init__(self, root: Path) -> None:
        self.made: list[Load] = []
        self.history: CandleFrame | None = None
        self._root = root

    def download(self, request: HistoryRequest) -> Load:
        self.made.append(Load(request, self._root, self.history))
        return self.made[-1]


@pytest.fixture
def loads(paths: DataPaths) -> Loads:
    return Loads(paths.candles)


@pytest.fixture
def markets() -> set[str]:
    return {"BTC/USDT", "ETH/USDT"}


@pytest.fixture
def desk(qapp: QApplication, paths: DataPaths, markets: set[str], loads: Loads, qtbot) -> Iterator[LookDesk]:
    made = LookDesk(paths, lambda: markets, lambda: BINANCE, loads.download)
    yield made
    made.end()
    qtbot.waitUntil(lambda: not made.workers(), timeout=WAIT_MS)


@pytest.fixture
def heard(desk: LookDesk) -> Heard:
    return Heard(desk)


def live(frame: CandleFrame) -> CandleFrame:
    """The last closed bars with a forming one, as the feed gives them."""
    final = np.ones(len(frame), np.bool_)
    final[-1] = False
    return replace(frame, final=final)


def outlook_of(desk: LookDesk) -> Outlook | None:
    return desk.look.outlook if desk.look is not None else None


def newest(desk: LookDesk) -> int:
    outlook = outlook_of(desk)
    return 0 if outlook is None or outlook.forecast is None else outlook.forecast.bar_open_ns


def begin(desk: LookDesk, heard: Heard, trained: Trained, frame: CandleFrame, qtbot) -> None:
    """Look at the model and put its market on the chart, as the chart does."""
    before = heard.began
    desk.look_at(trained.result.model_id)
    qtbot.waitUntil(lambda: heard.began > before, timeout=WAIT_MS)
    assert heard.markets[-1] == ("BTC/USDT", "1h")
    desk.on_market("BTC/USDT", "1h")
    desk.on_history(frame)
    qtbot.waitUntil(lambda: outlook_of(desk) is not None, timeout=WAIT_MS)


def test_it_forecasts_from_history_and_at_every_closed_bar(
    desk: LookDesk, heard: Heard, trained: Trained, qtbot
) -> None:
    frame = trained.frame.slice(0, 501)
    begin(desk, heard, trained, live(frame), qtbot)
    candles = trained.frame.to_candles("test")
    strategy = load_predictor(trained.models_dir, trained.result.model_id)
    expected = strategy.warm_up(candles[:500])
    assert newest(desk) == candles[499].open_time_ns
    for candle in candles[500:505]:
        desk.on_candle(replace(candle, final=False))
        desk.on_candle(candle)
        expected = strategy.update(candle)
    qtbot.waitUntil(lambda: newest(desk) == candles[504].open_time_ns, timeout=WAIT_MS)
    outlook = outlook_of(desk)
    assert outlook is not None
    assert outlook.forecast is not None
    assert expected is not None
    np.testing.assert_allclose(outlook.forecast.quantiles, expected.quantiles, atol=1e-7)
    assert outlook.close == candles[504].close


def test_bars_twice_and_bars_of_others_change_nothing(desk: LookDesk, heard: Heard, trained: Trained, qtbot) -> None:
    candles = trained.frame.to_candles("test")
    begin(desk, heard, trained, trained.frame.slice(0, 500), qtbot)
    for candle in (
        candles[499],
        candles[300],
        replace(candles[500], symbol="ETH/USDT"),
        replace(candles[500], timeframe=Timeframe.M1),
        candles[500],
        candles[500],
    ):
        desk.on_candle(candle)
    qtbot.waitUntil(lambda: newest(desk) == candles[500].open_time_ns, timeout=WAIT_MS)
    qtbot.wait(round(3_000 * onlooker.AFTER_ORDERS_S))
    assert newest(desk) == candles[500].open_time_ns
    assert desk.look is not None
    assert desk.look.problem is None


def test_another_market_on_the_chart_makes_it_wait(desk: LookDesk, heard: Heard, trained: Trained, qtbot) -> None:
    begin(desk, heard, trained, trained.frame.slice(0, 500), qtbot)
    desk.on_market("BTC/USDT", "4h")
    assert desk.look is not None
    assert (desk.look.here, desk.look.outlook) == (False, None)
    desk.show_market()
    assert heard.markets[-1] == ("BTC/USDT", "1h")
    desk.on_market("BTC/USDT", "1h")
    assert desk.look.here
    assert desk.look.outlook is None
    desk.on_history(trained.frame.slice(100, 700))
    qtbot.waitUntil(lambda: newest(desk) == int(trained.frame.time_ns[699]), timeout=WAIT_MS)


def test_stored_bars_help_where_the_chart_has_too_few(
    desk: LookDesk, heard: Heard, trained: Trained, paths: DataPaths, loads: Loads, qtbot
) -> None:
    CandleStore(paths.candles).write(BINANCE, trained.frame.slice(0, 490), "import")
    begin(desk, heard, trained, trained.frame.slice(480, 500), qtbot)
    assert newest(desk) == int(trained.frame.time_ns[499])
    assert loads.made == []


def test_what_chart_and_store_lack_is_loaded_once(
    desk: LookDesk, heard: Heard, trained: Trained, loads: Loads, qtbot
) -> None:
    loads.history = trained.frame
    begin(desk, heard, trained, live(trained.frame.slice(480, 501)), qtbot)
    outlook = outlook_of(desk)
    assert outlook is not None
    assert (outlook.forecast, outlook.bars, outlook.needed) == (None, 20, 35)
    assert desk.look is not None
    assert desk.look.loading
    (load,) = loads.made
    assert (load.request.symbol, load.request.timeframe) == ("BTC/USDT", Timeframe.H1)
    assert load.request.end_ns == int(trained.frame.time_ns[480])
    assert load.request.start_ns <= int(trained.frame.time_ns[499 - 35])
    asked = len(heard.markets)
    load.go_on.set()
    qtbot.waitUntil(lambda: len(heard.markets) > asked, timeout=WAIT_MS)
    assert heard.markets[-1] == ("BTC/USDT", "1h")  # the chart's history comes once more
    desk.on_market("BTC/USDT", "1h")
    assert not desk.look.loading
    desk.on_history(live(trained.frame.slice(480, 501)))
    qtbot.waitUntil(lambda: newest(desk) == int(trained.frame.time_ns[499]), timeout=WAIT_MS)
    assert len(loads.made) == 1


def test_a_market_without_more_history_is_not_asked_again_and_again(
    desk: LookDesk, heard: Heard, trained: Trained, loads: Loads, qtbot
) -> None:
    loads.history = trained.frame.slice(0, 0)
    begin(desk, heard, trained, trained.frame.slice(480, 500), qtbot)
    loads.made[0].go_on.set()
    qtbot.waitUntil(lambda: len(heard.markets) == 2, timeout=WAIT_MS)
    desk.on_market("BTC/USDT", "1h")
    desk.on_history(trained.frame.slice(480, 501))
    qtbot.waitUntil(lambda: outlook_of(desk) is not None, timeout=WAIT_MS)
    outlook = outlook_of(desk)
    assert outlook is not None
    assert (outlook.forecast, outlook.bars) == (None, 21)
    assert desk.look is not None
    assert not desk.look.loading
    assert len(loads.made) == 1


def test_a_download_that_fails_is_said(desk: LookDesk, heard: Heard, trained: Trained, loads: Loads, qtbot) -> None:
    begin(desk, heard, trained, trained.frame.slice(480, 500), qtbot)
    loads.made[0].go_on.set()
    qtbot.waitUntil(lambda: len(desk.workers()) == 1, timeout=WAIT_MS)
    assert desk.look is not None
    assert desk.look.problem is not None
    assert desk.look.problem.message == "The venue is out of reach."
    assert not desk.look.loading
    for candle in trained.frame.slice(500, 515).to_candles("test"):  # it goes on counting
        desk.on_candle(candle)
    qtbot.waitUntil(lambda: newest(desk) == int(trained.frame.time_ns[514]), timeout=WAIT_MS)
    assert desk.look.problem is None


def test_a_gap_among_the_bars_of_the_chart_loads_nothing(
    desk: LookDesk, heard: Heard, trained: Trained, loads: Loads, qtbot
) -> None:
    frame = trained.frame.select(np.array([*range(400, 480), *range(482, 500)]))
    begin(desk, heard, trained, frame, qtbot)
    outlook = outlook_of(desk)
    assert outlook is not None
    assert (outlook.forecast, outlook.bars) == (None, 18)
    assert loads.made == []


def test_a_download_ends_with_the_look(desk: LookDesk, heard: Heard, trained: Trained, loads: Loads, qtbot) -> None:
    begin(desk, heard, trained, trained.frame.slice(480, 500), qtbot)
    desk.end()
    loads.made[0].go_on.set()
    qtbot.waitUntil(lambda: not desk.workers(), timeout=WAIT_MS)
    assert loads.made[0].stop_requested
    assert desk.look is None
    assert heard.refusals == []


def test_stored_bars_of_another_origin_are_not_taken(
    qapp: QApplication, paths: DataPaths, trained: Trained, loads: Loads, qtbot
) -> None:
    CandleStore(paths.candles).write(BINANCE, trained.frame.slice(0, 490), "import")
    desk = LookDesk(paths, lambda: (), lambda: DataOrigin("practice-synthetic-1"), loads.download)
    begin(desk, Heard(desk), trained, trained.frame.slice(480, 500), qtbot)
    outlook = outlook_of(desk)
    assert outlook is not None
    assert outlook.forecast is None
    assert desk.look is not None
    assert desk.look.origin == "practice-synthetic-1"
    desk.end()
    loads.made[0].go_on.set()
    qtbot.waitUntil(lambda: not desk.workers(), timeout=WAIT_MS)


def test_how_its_forecasts_turned_out_is_counted_on_unseen_bars_only(
    desk: LookDesk, heard: Heard, trained: Trained, qtbot
) -> None:
    begin(desk, heard, trained, trained.frame.slice(len(trained.frame) - 400), qtbot)
    outlook = outlook_of(desk)
    assert outlook is not None
    assert outlook.outcomes is None
    for candle in appended(trained.frame, 4).to_candles("test"):
        desk.on_candle(candle)
    qtbot.waitUntil(lambda: newest(desk) == int(trained.frame.time_ns[-1]) + 4 * Timeframe.H1.ns, timeout=WAIT_MS)
    outlook = outlook_of(desk)
    assert outlook is not None
    assert outlook.outcomes is not None
    assert outlook.outcomes.judged == 3


def test_a_bar_it_cannot_take_is_one_sentence_and_the_next_history_mends_it(
    desk: LookDesk, heard: Heard, trained: Trained, qtbot
) -> None:
    candles = trained.frame.to_candles("test")
    begin(desk, heard, trained, trained.frame.slice(0, 500), qtbot)
    desk.on_candle(replace(candles[500], close=float("nan")))
    qtbot.waitUntil(lambda: desk.look is not None and desk.look.problem is not None, timeout=WAIT_MS)
    assert desk.look is not None
    assert desk.look.problem is not None
    assert "failed on a bar of the chart" in desk.look.problem.message
    assert desk.look.outlook is None
    desk.on_candle(candles[501])
    qtbot.wait(round(3_000 * onlooker.AFTER_ORDERS_S))
    assert desk.look.outlook is None  # its state is not to be trusted any more
    desk.on_history(trained.frame.slice(0, 502))
    qtbot.waitUntil(lambda: newest(desk) == candles[501].open_time_ns, timeout=WAIT_MS)
    assert desk.look.problem is None


def test_after_a_failure_no_bar_is_fed_before_the_next_history(
    desk: LookDesk, heard: Heard, trained: Trained, monkeypatch: pytest.MonkeyPatch, qtbot
) -> None:
    candles, fed = trained.frame.to_candles("test"), []
    begin(desk, heard, trained, trained.frame.slice(0, 500), qtbot)

    def update(self: Onlooker, candle: Candle) -> Outlook:
        fed.append(candle)
        raise UserError("It failed.", "")

    monkeypatch.setattr(Onlooker, "update", update)
    desk.on_candle(candles[500])
    qtbot.waitUntil(lambda: desk.look is not None and desk.look.problem is not None, timeout=WAIT_MS)
    desk.on_candle(candles[501])
    qtbot.wait(round(3_000 * onlooker.AFTER_ORDERS_S))
    assert fed == [candles[500]]


def test_a_model_that_cannot_be_used_is_refused_and_the_former_stays(
    desk: LookDesk, heard: Heard, trained: Trained, paths: DataPaths, markets: set[str], qtbot
) -> None:
    begin(desk, heard, trained, trained.frame.slice(0, 500), qtbot)
    former = desk.look
    desk.look_at("0" * 16)
    qtbot.waitUntil(lambda: len(heard.refusals) == 1, timeout=WAIT_MS)
    assert "There is no model" in heard.refusals[-1].message
    onnx = paths.models / trained.result.model_id / "model.onnx"
    good = onnx.read_bytes()
    onnx.write_bytes(good[:-1] + b"x")
    desk.look_at(trained.result.model_id)
    qtbot.waitUntil(lambda: len(heard.refusals) == 2, timeout=WAIT_MS)
    assert "model.onnx" in heard.refusals[-1].message
    onnx.write_bytes(good)
    (paths.models / TAGS_FILE).write_text("{")  # nobody knows any more what was made elsewhere
    desk.look_at(trained.result.model_id)
    qtbot.waitUntil(lambda: len(heard.refusals) == 3, timeout=WAIT_MS)
    assert TAGS_FILE in heard.refusals[-1].message
    (paths.models / TAGS_FILE).unlink()
    markets.discard("BTC/USDT")
    desk.look_at(trained.result.model_id)
    qtbot.waitUntil(lambda: len(heard.refusals) == 4, timeout=WAIT_MS)
    assert heard.refusals[-1].message == "The model knows BTC/USDT, which is not traded here."
    assert desk.look is former
    assert heard.began == 1
    qtbot.waitUntil(lambda: len(desk.workers()) == 1, timeout=WAIT_MS)


def test_the_last_of_several_wishes_counts_and_no_thread_is_left(
    desk: LookDesk, heard: Heard, trained: Trained, qtbot
) -> None:
    for _ in range(3):
        desk.look_at(trained.result.model_id)
    qtbot.waitUntil(lambda: heard.began == 1 and len(desk.workers()) == 1, timeout=WAIT_MS)
    desk.look_at(trained.result.model_id)
    qtbot.waitUntil(lambda: heard.began == 2 and len(desk.workers()) == 1, timeout=WAIT_MS)
    desk.end()
    assert desk.look is None
    assert heard.looks[-1] is None
    qtbot.waitUntil(lambda: not desk.workers(), timeout=WAIT_MS)
    desk.on_history(trained.frame)  # nobody is there to take it
    assert desk.look is None


def test_it_waits_for_orders_and_is_told_once_for_bars_that_close_together(
    desk: LookDesk, heard: Heard, trained: Trained, qtbot
) -> None:
    candles: list[Candle] = trained.frame.to_candles("test")
    begin(desk, heard, trained, trained.frame.slice(0, 500), qtbot)
    heard.looks.clear()
    for candle in candles[500:520]:
        desk.on_candle(candle)
    qtbot.waitUntil(lambda: newest(desk) == candles[519].open_time_ns, timeout=WAIT_MS)
    assert len(heard.looks) <= 2


# --- the chart ------------------------------------------------------------------------------------------------------


@pytest.fixture
def dock(qapp: QApplication) -> Iterator[ChartDock]:
    from tests.qt.test_chart_dock import frame

    theme = ThemeManager(qapp)
    theme.set_theme(ThemeChoice.DARK, UpDown.WESTERN)
    panel = ChartDock(Watcher(), theme, ZoneInfo("UTC"))
    panel.resize(800, 500)
    panel.show()
    panel.show_market("BTC/USDT", "1h")
    panel.on_history(frame(60))
    assert panel.chart.state is ChartState.READY
    yield panel
    panel.shutdown()
    panel.close()
    panel.deleteLater()
    qapp.setStyleSheet("")


def looked(model: str = "m2", *, here: bool = True) -> ModelLook:
    event = made(59, model=model, far=0.03)
    outlook = Outlook(event.forecast.bar_open_ns, event.close, event.forecast, 9, 9)
    about = LookedAt(model, "BTC/USDT", "1h", BINANCE, foreign=False)
    return ModelLook(about, here, BINANCE, outlook if here else None)


def running(model: str, state: StrategyState = StrategyState.RUNNING) -> StrategyStatus:
    return StrategyStatus("s1", "My strategy", "BTC/USDT", "1h", model, state)


def test_a_looked_at_model_stands_beside_that_of_a_strategy(dock: ChartDock, qtbot) -> None:
    assert not dock.look.isVisibleTo(dock)
    dock.on_event(running("m1"))
    dock.on_event(made(59))
    dock.show_look(looked())
    qtbot.waitUntil(lambda: dock.chart.looked_fan is not None and dock.chart.fan is not None)
    assert dock.look.title.full_text() == "Only looking at model m2: nothing trades with it"
    said = dock.chart.accessibleDescription()
    assert "Forecast m1, from the last close" in said
    assert "Looked at: m2, from the last close" in said
    dock.fan_action.trigger()  # hides what strategies forecast, and nothing else
    assert dock.chart.fan is None
    assert dock.chart.looked_fan is not None


def test_the_two_are_drawn_differently(dock: ChartDock, qtbot) -> None:
    scene = dock.chart._scene
    assert scene.fan.colour == scene.style.accent
    assert scene.looked_fan.colour == scene.style.text
    dock.show_look(looked())
    qtbot.waitUntil(lambda: dock.chart.looked_fan is not None)
    alone = dock.chart.grab().toImage()
    dock.show_look(None)
    qtbot.waitUntil(lambda: dock.chart.looked_fan is None)
    dock.chart.set_forecast(looked().forecast)
    assert dock.chart.grab().toImage() != alone


def test_what_a_strategy_says_already_is_not_drawn_twice(dock: ChartDock, qtbot) -> None:
    dock.on_event(running("m2"))
    dock.show_look(looked())
    qtbot.waitUntil(lambda: dock.chart.looked_fan is not None)
    assert dock.look.title.full_text() == "Model m2: a running strategy trades with it"
    dock.on_event(made(59, model="m2"))
    qtbot.waitUntil(lambda: dock.chart.fan is not None)
    assert dock.chart.looked_fan is None
    dock.fan_action.trigger()
    assert (dock.chart.fan, dock.chart.looked_fan is None) == (None, False)
    dock.fan_action.trigger()
    dock.on_event(running("m2", StrategyState.STOPPED))
    qtbot.waitUntil(lambda: dock.chart.fan is None and dock.chart.looked_fan is not None)
    assert dock.look.title.full_text() == "Only looking at model m2: nothing trades with it"


def test_the_strip_takes_it_off_shows_its_market_and_its_card(dock: ChartDock, qtbot) -> None:
    told: list[str] = []
    dock.look.ended.connect(lambda: told.append("ended"))
    dock.look.market_wanted.connect(lambda: told.append("market"))
    dock.look.card_wanted.connect(told.append)
    dock.show_look(looked())
    qtbot.waitUntil(lambda: dock.look.isVisibleTo(dock))
    assert not dock.look.market.isVisibleTo(dock)
    dock.show_look(looked(here=False))
    qtbot.waitUntil(lambda: dock.look.market.isVisibleTo(dock))
    assert dock.look.state.full_text() == "It waits: its market is BTC/USDT 1h."
    for button in (dock.look.market, dock.look.card, dock.look.end):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert told == ["market", "m2", "ended"]
    dock.look.end.setFocus()
    dock.show_look(None)
    qtbot.waitUntil(lambda: not dock.look.isVisibleTo(dock))


def test_it_goes_with_the_bars_and_comes_back_with_the_next_word(dock: ChartDock, qtbot) -> None:
    from tests.qt.test_chart_dock import frame

    dock.show_look(looked())
    qtbot.waitUntil(lambda: dock.chart.looked_fan is not None)
    dock.show_market("ETH/USDT", "1h")
    dock.show_look(looked(here=False))
    dock.on_history(frame(60, symbol="ETH/USDT"))
    assert dock.chart.looked_fan is None
    dock.show_market("BTC/USDT", "1h")
    dock.on_history(frame(60))
    dock.show_look(looked())
    qtbot.waitUntil(lambda: dock.chart.looked_fan is not None)
    assert dock.chart.visible_range[1] >= 59 + 4


def test_a_bar_length_without_a_button_leaves_none_checked(dock: ChartDock) -> None:
    dock.show_market("BTC/USDT", "2h")
    assert not any(button.isChecked() for button in dock._timeframe_buttons)
    dock.show_market("BTC/USDT", "4h")
    assert [t.value for button, t in dock._timeframe_buttons.items() if button.isChecked()] == ["4h"]


# --- agents --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with one agent; never written to."""
    folder = tmp_path_factory.mktemp("agents")
    return folder, store_agent(folder)


def test_what_an_agent_wants_to_hold_colours_the_chart(
    desk: LookDesk,
    heard: Heard,
    paths: DataPaths,
    agents: tuple[Path, str],
    trained: Trained,
    theme: ThemeManager,
    qtbot,
) -> None:
    shutil.copytree(agents[0] / agents[1], paths.models / agents[1])
    panel = ChartDock(Watcher(), theme, ZoneInfo("UTC"))
    panel.resize(900, 500)
    panel.show()
    panel.show_market("BTC/USDT", "1h")
    desk.changed.connect(panel.show_look)
    desk.look_at(agents[1])
    qtbot.waitUntil(lambda: heard.began == 1, timeout=WAIT_MS)
    frame = trained.frame.slice(0, 400)
    panel.on_history(frame)
    desk.on_market("BTC/USDT", "1h")
    desk.on_history(frame)
    qtbot.waitUntil(lambda: desk.look is not None and desk.look.weights is not None, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: panel.look.scale.isVisible(), timeout=WAIT_MS)
    assert desk.look is not None
    weights = desk.look.weights
    assert weights is not None
    item = panel.chart._scene.heat
    assert item.words(399).startswith("target ")
    assert item.words(0) == ""  # it has decided on the last bars only
    assert panel.look.state.toolTip() or panel.look.state.text().startswith("It wants to hold")
    # A closed bar more, a decision more.
    candle = trained.frame.slice(400, 401).to_candles("test")[0]
    panel.on_candle(candle)
    desk.on_candle(candle)
    qtbot.waitUntil(lambda: item.words(400).startswith("target "), timeout=WAIT_MS)
    panel.weights_action.trigger()
    assert item.words(400) == ""
    panel.weights_action.trigger()
    # Another market: nothing of it is on the chart.
    panel.show_market("ETH/USDT", "1h")
    desk.on_market("ETH/USDT", "1h")
    qtbot.waitUntil(lambda: not panel.look.scale.isVisible(), timeout=WAIT_MS)
    assert not item.shown
    desk.end()
    panel.shutdown()
    panel.close()
    panel.deleteLater()
