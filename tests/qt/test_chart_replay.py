"""The replay of an agent: what is shown of each bar, what stays hidden, and how it moves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QDateTime, QPoint, Qt, QTimeZone
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.modeltest import ModelTester
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from app.i18n import Language
from app.language import LanguageManager
from app.models.replay import AgentReplay
from app.replay_desk import ReplayDesk
from app.runtime import prepare_data
from app.stored_episodes import read_replay
from app.theme import ThemeChoice, ThemeManager, UpDown
from app.ui.replay.player import ReplayPlayer
from app.ui.replay.seen_model import NAME, UNUSUAL, VALUE, SeenModel, observed_title
from app.ui.replay.window import ReplayWindow
from core.config import DataPaths
from core.domain.data_origin import BINANCE, practice_origin
from core.errors import UserError
from ml.model_storage import EPISODE
from tests.integration.model_desk_kit import running_desk, running_store
from tests.unit.ml.agents.agent_packages import store_agent
from tests.unit.ml.agents.episodes_kit import FIRST_NS, HOUR_NS, random_episode

NAMES = ("log_return", "rsi[-1]", "weight")


def replay_of(bars: int = 60, **changes: object) -> AgentReplay:
    episode = replace(random_episode(bars, seeds=3, names=NAMES, gap_at=bars // 2), **changes)  # type: ignore[arg-type]
    return AgentReplay.of("0123456789abcdef", BINANCE, "ppo", episode)


@pytest.fixture
def language() -> Iterator[LanguageManager]:
    manager = LanguageManager()
    yield manager
    manager.set_language(Language.ENGLISH)


@pytest.fixture
def window(theme: ThemeManager, language: LanguageManager, qapp: QApplication) -> Iterator[ReplayWindow]:
    made = ReplayWindow(theme, language)
    made.show()
    made.show_replay(replay_of())
    QApplication.processEvents()
    yield made
    if isValid(made):
        made.close()


def figure(window: ReplayWindow, name: str) -> str:
    return window.seen.figures[name].text()


def cells(window: ReplayWindow) -> list[list[str]]:
    model = window.seen.model
    return [[model.index(row, column).data() for column in range(3)] for row in range(model.rowCount())]


# --- the bars ----------------------------------------------------------------------------------------------------


def test_bars_after_the_present_one_are_hidden(window: ReplayWindow) -> None:
    replay = window.replay
    assert replay is not None
    for row in (0, 7, 8, 40, 12, 59):
        window.player.go_to(row)
        series = window.chart.series
        assert series is not None
        np.testing.assert_array_equal(series.times, replay.episode.time_ns[: row + 1])
        assert series.last_close == replay.episode.close[row]
        left, right = window.chart.visible_range
        assert left <= row <= right
        assert window.chart._scene.heat.words(row + 1) == ""


def test_all_bars_are_shown_where_they_are_wanted(window: ReplayWindow) -> None:
    window.player.go_to(10)
    window.transport.everything.setChecked(True)
    series = window.chart.series
    assert series is not None
    assert len(series) == 60
    assert window.chart._scene.heat.words(40)
    window.player.go_to(11)
    assert figure(window, "bar") == "2023-01-01 11:00 UTC"
    window.transport.everything.setChecked(False)
    assert window.chart.series is not None
    assert len(window.chart.series) == 12


def test_it_is_never_taken_for_the_market(window: ReplayWindow) -> None:
    badge, what = window.badge, window.findChild(QLabel, "replay_what")
    assert badge.text() == "REPLAY"
    assert badge.property("mode") == "replay"
    assert what is not None
    assert what.text() == "Judged on 2023-01-01 … 2023-01-03: past bars, not trading"
    assert window.windowTitle() == "Replay of BTC/USDT 1h"
    assert not window.isModal()  # the kill switch stays within reach


def test_earlier_bars_that_were_not_kept_are_told(window: ReplayWindow) -> None:
    window.show_replay(replay_of(left_out=1_234))
    assert window.what.text().endswith("past bars, not trading. 1,234 earlier bars were not kept.")
    window.show_replay(replace(replay_of(), markets=3))
    assert window.what.text().endswith("past bars, not trading. One of 3 markets, with an account of its own.")


# --- what it saw ---------------------------------------------------------------------------------------------------


def test_every_figure_is_that_of_the_bar(window: ReplayWindow) -> None:
    replay = window.replay
    assert replay is not None
    episode = replay.episode
    window.player.go_to(9)
    assert figure(window, "bar") == "2023-01-01 09:00 UTC"
    assert figure(window, "target") == f"{episode.target[9]:+.4f}".replace("-", "−")
    assert figure(window, "held") == f"{episode.held[9]:+.4f}".replace("-", "−")
    side = "▲ bought" if episode.traded[9] > 0 else "▼ sold"
    assert figure(window, "traded") == f"{side} {abs(episode.traded[9]) * 100:.2f}\u00a0%"
    assert figure(window, "cost") == f"{episode.cost[9] * 100:.4f}\u00a0%"
    assert figure(window, "costs") == f"{episode.cost[:10].sum() * 100:.2f}\u00a0%"
    assert figure(window, "equity") == f"{episode.equity[9]:.4f}"
    assert figure(window, "hold") == f"{episode.rules['hold'][9]:.4f}"
    each = " · ".join(f"{weight:+.2f}".replace("-", "−") for weight in episode.seeds[9])
    assert window.seen.networks.text() == f"Networks: {each}"


def test_every_observed_number_is_named_with_how_unusual_it_is(window: ReplayWindow) -> None:
    replay = window.replay
    assert replay is not None
    episode = replay.episode
    seen = episode.observed[episode.decided].astype(float)
    away = (episode.observed[9] - seen.mean(axis=0)) / seen.std(axis=0)
    window.player.go_to(9)
    rows = cells(window)
    assert [row[NAME] for row in rows] == ["log_return", "rsi, 1 bar earlier", "Own position"]
    for row, value, sigma in zip(rows, episode.observed[9], away, strict=True):
        assert row[VALUE] == f"{value:+.4f}".replace("-", "−")
        assert float(row[UNUSUAL].removesuffix(" σ").replace("−", "-")) == pytest.approx(sigma, abs=0.051)
    window.seen.unusual_first.setChecked(True)
    order = np.argsort(-np.abs(away))
    assert [row[NAME] for row in cells(window)] == [observed_title(NAMES[place]) for place in order]


def test_a_rare_number_stands_out_by_more_than_its_colour(theme: ThemeManager) -> None:
    model = SeenModel(theme)
    model.set_names(("a", "b"))
    model.show_values(np.array([1.0, 2.0], np.float32), np.array([0.1, -4.2]))
    assert model.index(1, UNUSUAL).data() == "! −4.2 σ"
    assert model.index(1, UNUSUAL).data(Qt.ItemDataRole.ForegroundRole).name().upper() == theme.palette.warning
    assert model.index(0, UNUSUAL).data(Qt.ItemDataRole.ForegroundRole) is None


def test_the_table_obeys_the_protocol(theme: ThemeManager, qtmodeltester: ModelTester) -> None:
    model = SeenModel(theme)
    qtmodeltester.check(model)
    model.set_names(NAMES)
    model.show_values(np.zeros(3, np.float32), np.zeros(3))
    qtmodeltester.check(model)
    model.show_values(None, np.zeros(3))
    assert model.rowCount() == 0


def test_the_end_of_a_stretch_says_that_nothing_is_decided(window: ReplayWindow) -> None:
    window.player.go_to(29)  # five bars are missing after it
    assert figure(window, "target") == "—"
    assert window.seen.why.isVisible()
    assert "Nothing is decided here" in window.seen.why.text()
    assert not window.seen.table.isVisible()
    assert window.chart._scene.heat.words(29).startswith("no decision")
    window.player.go_to(30)
    assert window.seen.table.isVisible()
    assert not window.seen.why.isVisible()


def test_what_was_not_kept_is_told(window: ReplayWindow) -> None:
    whole = random_episode(60, seeds=3, names=NAMES)
    window.show_replay(replay_of(observed=whole.observed[-20:]), row=10)
    assert window.seen.why.text() == "What it saw is kept for the last 20 bars only."
    window.show_replay(replay_of(names=(), observed=np.zeros((0, 0), np.float32)), row=10)
    assert "too much room" in window.seen.why.text()


def test_a_number_that_never_changes_is_not_unusual() -> None:
    observed = np.tile(np.array([[1.0, 2.0, 3.0]], np.float32), (60, 1))
    replay = replay_of(observed=observed)
    np.testing.assert_array_equal(replay.unusual(observed[0] + 1), np.zeros(3))


# --- moving --------------------------------------------------------------------------------------------------------


def test_keys_move_it(window: ReplayWindow, qtbot: QtBot) -> None:
    for widget in (window.chart, window.seen.table, window):
        window.player.go_to(20)
        for key, modifier, row in (
            (Qt.Key.Key_Right, Qt.KeyboardModifier.NoModifier, 21),
            (Qt.Key.Key_Left, Qt.KeyboardModifier.NoModifier, 20),
            (Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier, 44),
            (Qt.Key.Key_Home, Qt.KeyboardModifier.NoModifier, 0),
            (Qt.Key.Key_Left, Qt.KeyboardModifier.NoModifier, 0),
            (Qt.Key.Key_End, Qt.KeyboardModifier.NoModifier, 59),
        ):
            qtbot.keyClick(widget, key, modifier)
            assert window.player.row == row
        window.player.go_to(20)
        qtbot.keyClick(widget, Qt.Key.Key_Space)
        assert window.player.playing
        qtbot.keyClick(widget, Qt.Key.Key_Space)
        assert not window.player.playing


def test_buttons_slider_and_date_move_it(window: ReplayWindow, qtbot: QtBot) -> None:
    transport = window.transport
    assert not transport.back.isEnabled()
    qtbot.mouseClick(transport.forward, Qt.MouseButton.LeftButton)
    assert window.player.row == 1
    qtbot.mouseClick(transport.back, Qt.MouseButton.LeftButton)
    assert window.player.row == 0
    transport.slider.setValue(33)
    assert window.player.row == 33
    assert transport.count.text() == "34 / 60"
    at = QDateTime.fromMSecsSinceEpoch((FIRST_NS + 12 * HOUR_NS) // 10**6, QTimeZone.utc())
    transport.moment.setDateTime(at)
    assert window.player.row == 12
    # In the gap there is no bar: the one before it.
    transport.moment.setDateTime(at.addSecs(20 * 3_600))
    assert window.player.row == 29
    window.player.go_to(59)
    assert not transport.forward.isEnabled()
    assert transport.slider.value() == 59


def test_playing_shows_bar_after_bar_and_stops_at_the_end(window: ReplayWindow, qtbot: QtBot) -> None:
    window.transport.speed.setCurrentIndex(5)
    assert window.player.speed == 500
    rows: list[int] = []
    window.player.moved.connect(rows.append)
    qtbot.mouseClick(window.transport.play, Qt.MouseButton.LeftButton)
    assert window.transport.play.text() == "Pause"
    qtbot.waitUntil(lambda: not window.player.playing, timeout=10_000)
    assert rows == sorted(rows)
    assert rows[-1] == 59
    assert window.transport.play.text() == "Play"
    # From the end it begins again.
    window.player.set_speed(1)
    window.player.play()
    assert window.player.row == 0
    window.close()
    assert not window.player.playing


class Clock:
    """A clock by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("speed", [1, 5, 20, 100])
def test_it_keeps_its_speed_whatever_the_frames_do(qapp: QApplication, speed: int) -> None:
    clock = Clock()
    player = ReplayPlayer(clock)
    player.begin(10_000)
    player.set_speed(speed)
    player.play()
    rng = np.random.default_rng(1)
    while clock.now < 20.0:
        clock.now += float(rng.uniform(0.01, 0.2))
        player._on_frame()
    assert player.row == pytest.approx(speed * clock.now, abs=1.0 + speed * 0.01)
    player.pause()
    at = player.row
    clock.now += 100.0
    player.play()
    player._on_frame()
    assert player.row - at <= 1  # the pause is not caught up with
    clock.now += 100.0
    player._on_frame()
    assert player.row - at <= max(3, speed * 0.3 + 2)  # neither is a stall
    player.pause()


def test_nothing_plays_where_there_is_one_bar(qapp: QApplication) -> None:
    player = ReplayPlayer()
    player.begin(1)
    player.toggle()
    assert not player.playing
    player.go_to(5)
    assert player.row == 0


def test_fifty_thousand_bars_move_at_once(window: ReplayWindow, qtbot: QtBot) -> None:
    import time

    window.show_replay(replay_of(50_000), row=40_000)
    QApplication.processEvents()
    seconds = []
    for row in (10_000, 49_999, 30_000, 30_001, 30_002, 29_999):
        began = time.perf_counter()
        window.player.go_to(row)
        window.chart.grab()
        seconds.append(time.perf_counter() - began)
    assert window.chart.series is not None
    assert len(window.chart.series) == 30_000
    assert sorted(seconds)[len(seconds) // 2] < 0.25  # a slow and busy machine; a few ms otherwise


# --- look ----------------------------------------------------------------------------------------------------------


def test_language_and_theme_change_while_it_is_open(
    window: ReplayWindow, language: LanguageManager, theme: ThemeManager
) -> None:
    window.player.go_to(9)
    language.set_language(Language.KOREAN)
    assert window.badge.text() == "다시 보기"
    assert window.seen.captions["held"].text() == "그때까지의 보유"
    assert cells(window)[1][NAME] == "rsi, 1봉 전"
    theme.set_theme(ThemeChoice.LIGHT, UpDown.WESTERN)
    QApplication.processEvents()
    background = theme.palette.surface
    image = window.equity.grab().toImage()
    assert image.pixelColor(QPoint(image.width() - 2, image.height() - 2)).name().upper() == background


def test_the_name_of_an_invented_market_follows_the_language(window: ReplayWindow, language: LanguageManager) -> None:
    window.show_replay(replace(replay_of(), origin=practice_origin("synthetic-1")))
    assert "practice market" in window.heading.text()
    language.set_language(Language.KOREAN)
    for text in (window.heading.text(), window.windowTitle()):
        assert "연습 시장" in text
        assert "practice" not in text


def test_the_equity_stands_under_its_bars(window: ReplayWindow) -> None:
    window.player.go_to(40)
    assert window.equity.accessibleDescription().startswith("Agent ")
    assert "Buy and hold" in window.equity.accessibleDescription()
    image = window.equity.grab().toImage()
    x = window.chart.column(40)
    column = {image.pixelColor(QPoint(x, y)).name().upper() for y in range(2, image.height() - 1)}
    assert window._theme.palette.accent in column
    beyond = {
        image.pixelColor(QPoint(x + 3, y)).name().upper() for y in range(2, image.height() - 1)
    }  # no line goes on after the present bar
    assert window._theme.palette.accent not in beyond


# --- the desk ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A folder with an agent that has an episode of 40 bars, and one that has none; never written to."""
    folder = tmp_path_factory.mktemp("agents")
    return folder, store_agent(folder, episode=40), store_agent(folder)


@pytest.fixture
def paths(tmp_path: Path, stored: tuple[Path, str, str]) -> DataPaths:
    made = DataPaths(tmp_path).create()
    shutil.copytree(stored[0], made.models, dirs_exist_ok=True)
    return made


@pytest.fixture
def agent(stored: tuple[Path, str, str]) -> str:
    return stored[1]


@pytest.fixture
def bare(stored: tuple[Path, str, str]) -> str:
    return stored[2]


def test_a_stored_agent_is_read_with_its_market(paths: DataPaths, agent: str) -> None:
    replay = read_replay(paths, agent)
    assert (replay.model_id, replay.title, replay.algorithm, len(replay)) == (agent, "BTC/USDT 1h", "ppo", 40)
    rows, price, sign = replay.trades()
    episode = replay.episode
    assert rows.tolist() == np.flatnonzero(episode.traded).tolist()
    for row, end, side in zip(rows.astype(int), price, sign, strict=True):
        assert end == (episode.low[row] if side > 0 else episode.high[row])
        assert side == np.sign(episode.traded[row])


def test_an_agent_without_an_episode_is_refused_in_words(paths: DataPaths, bare: str) -> None:
    with pytest.raises(UserError, match="without the bars it was judged on"):
        read_replay(paths, bare)


def test_the_desk_opens_one_window_for_each_agent(
    paths: DataPaths, agent: str, theme: ThemeManager, language: LanguageManager, qtbot: QtBot
) -> None:
    with running_store(paths) as store:
        desk = ReplayDesk(paths, store, theme, language)
        desk.open(agent)
        desk.open(agent)
        qtbot.waitUntil(lambda: bool(desk.windows), timeout=10_000)
        (window,) = desk.windows
        assert window.isVisible()
        assert window.replay is not None
        assert window.replay.model_id == agent
        desk.open(agent)
        assert desk.windows == (window,)
        window.close()
        assert desk.windows == ()
        desk.open(agent)
        qtbot.waitUntil(lambda: bool(desk.windows), timeout=10_000)
        desk.close()
        assert desk.windows == ()
        desk.deleteLater()


@pytest.mark.parametrize("damage", ["none", "changed"])
def test_what_cannot_be_replayed_is_a_dialog_with_a_remedy(
    paths: DataPaths,
    agent: str,
    bare: str,
    theme: ThemeManager,
    language: LanguageManager,
    qtbot: QtBot,
    damage: str,
) -> None:
    if damage == "changed":
        path = paths.models / agent / EPISODE
        data = bytearray(path.read_bytes())
        data[-500] ^= 1
        path.write_bytes(data)
    with running_store(paths) as store:
        desk = ReplayDesk(paths, store, theme, language)
        desk.open(bare if damage == "none" else agent)
        qtbot.waitUntil(lambda: desk.errors is not None and desk.errors.isVisible(), timeout=10_000)
        assert desk.errors is not None
        wanted = "without the bars" if damage == "none" else "episode.npz"
        assert wanted in desk.errors.message.text()
        assert desk.errors.remedy.text()
        assert desk.windows == ()
        desk.close()
        desk.errors.deleteLater()
        desk.deleteLater()


def test_the_button_of_the_card_opens_it(
    paths: DataPaths, agent: str, theme: ThemeManager, language: LanguageManager, qtbot: QtBot
) -> None:
    prepare_data(paths.root)
    with running_store(paths) as store, running_desk(paths, store, theme, language) as desk:
        desk.show(agent)
        dialog = desk.dialog
        assert dialog is not None
        qtbot.waitUntil(dialog.replay_button.isEnabled, timeout=20_000)
        qtbot.mouseClick(dialog.replay_button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: bool(desk.replays.windows), timeout=20_000)
        (window,) = desk.replays.windows
        assert window.windowTitle() == "Replay of BTC/USDT 1h"
        desk.close()
        assert desk.replays.windows == ()
