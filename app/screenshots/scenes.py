"""The pictures: one function for each, grouped by what the window has been told before. GUI thread only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtGui import QPainter, QPixmap
from PySide6.QtWidgets import QListWidget, QMenu, QSystemTrayIcon, QWidget

from app.flows.risk_limits import RiskUse
from app.i18n import tr
from app.screenshots.keys_scenes import keys_scenes
from app.screenshots.market import NOW_NS
from app.screenshots.model_scenes import model_scenes
from app.screenshots.plan_scenes import plan_scenes
from app.screenshots.replay_scenes import replay_scenes
from app.screenshots.session import BTC, HOURLY, WOULD_TRADE
from app.screenshots.studio import Studio, make_tray, settle
from app.screenshots.ticket_scenes import ticket_scenes
from app.screenshots.training import FAILED, FINISHED, RUNNING, practice_data, progress, result
from app.screenshots.training_scenes import training_scenes
from app.screenshots.wizard_scenes import wizard_scenes
from app.theme import SPACE_L
from app.ui.actions import ActionId
from app.ui.dialogs.about_dialog import AboutDialog
from app.ui.dialogs.add_strategy_dialog import AddStrategyDialog
from app.ui.dialogs.guide_dialog import GuideDialog
from app.ui.dialogs.risk_dialog import RiskDialog
from app.ui.dialogs.shortcuts_dialog import ShortcutsDialog
from app.ui.layouts import DockName, Preset
from app.ui.tray import mode_icon
from app.ui.welcome import WelcomeCard
from core.clock import NS_PER_S
from core.config import VERSION
from core.domain.orders import TradingMode
from core.domain.positions import Ownership
from core.events import ConnectionState, Notice, OwnershipChanged, Severity
from core.signals.risk_management import RiskSettings

Take = Callable[[Studio], QPixmap]
# The core's own sentences, word for word: they are translated as in a real session.
_UNREACHABLE: Final = (
    "binance cannot be reached: no connection to 127.0.0.1:18080.",
    "Check the connection and try again.",
)
_TOO_FEW_BARS: Final = (
    "240 bars are too few: this configuration needs at least 2,000.",
    "Choose a longer range, a shorter timeframe or shorter segments.",
)
_TRAY_SIZES: Final = (16, 24, 32, 48, 64)


@dataclass(frozen=True, slots=True)
class Stage:
    """A window in one situation and the pictures taken of it.

    Attributes:
        prepare: brings a fresh window into the situation.
        scenes: picture name → how to take it; each leaves the window as it found it, in the order given.
    """

    prepare: Callable[[Studio], None]
    scenes: Mapping[str, Take]


def stages() -> tuple[Stage, ...]:
    """Return every picture, in the order it is taken."""
    return (
        # What the later window scenes tell must not stand in the lists of the panels.
        Stage(
            _trade,
            {"main_window": _main_window, **_panel_scenes(), **_dialog_scenes(), **plan_scenes(), **_window_scenes()},
        ),
        Stage(_nothing, _start_scenes()),
        Stage(_trade, ticket_scenes()),
        Stage(
            _halt,
            {
                "main_window_halted": Studio.picture,
                "question_rearm": _rearm_question,
                "question_new_account": _new_account_question,
            },
        ),
    )


def picture_names() -> tuple[str, ...]:
    """Return the name of every picture."""
    return tuple(name for stage in stages() for name in stage.scenes)


# --- situations ---------------------------------------------------------------------------------------------------


def _nothing(_studio: Studio) -> None:
    """Leave the window as it opens."""


def _trade(studio: Studio) -> None:
    """Trade on the practice exchange, with one training run going on, one finished and one failed."""
    studio.feed_market()
    studio.feed_session(TradingMode.PRACTICE)
    training = studio.training
    training.on_run_queued(RUNNING, practice_data(BTC, "1h"), NOW_NS - 2 * NS_PER_S * 60)
    for message in progress(17):
        training.on_progress(message)
    training.on_run_queued(FINISHED, practice_data(BTC, "1h"), NOW_NS - 50 * NS_PER_S * 60)
    training.on_result(result())
    training.on_run_queued(FAILED, practice_data("ETH/USDT", "4h"), NOW_NS - 90 * NS_PER_S * 60)
    training.on_failed(FAILED, *_TOO_FEW_BARS)
    _choose_run(studio, 0)
    studio.window.toasts.clear()


def _halt(studio: Studio) -> None:
    _trade(studio)
    studio.play(studio.materials.session.halted())


# --- an empty window ----------------------------------------------------------------------------------------------


def _start_scenes() -> dict[str, Take]:
    docks = (
        DockName.CHART,
        DockName.ORDER_BOOK,
        DockName.TRAINING,
        DockName.STRATEGIES,
        DockName.ORDERS,
        DockName.PLANS,
        DockName.POSITIONS,
        DockName.FILLS,
        DockName.LOG,
        DockName.NOTIFICATIONS,
        DockName.TICKET,
    )
    return {
        "main_window_empty": Studio.picture,
        "main_window_welcome": _welcome,
        **{f"dock_{name.value}_empty": partial(Studio.dock_picture, name=name) for name in docks},
        "dock_chart_loading": _chart_loading,
        "dock_chart_error": _chart_error,
        "dock_order_book_error": _book_error,
    }


def _welcome(studio: Studio) -> QPixmap:
    studio.window.deeds.show_welcome()
    taken = studio.picture()
    card = studio.window.findChild(WelcomeCard)
    assert card is not None
    card.hide()
    return taken


def _chart_loading(studio: Studio) -> QPixmap:
    studio.chart.show_market(BTC, "15m")
    return studio.dock_picture(DockName.CHART)


def _chart_error(studio: Studio) -> QPixmap:
    studio.chart.show_market(BTC, "15m")
    studio.chart.on_history_failed(*_UNREACHABLE)
    return studio.dock_picture(DockName.CHART)


def _book_error(studio: Studio) -> QPixmap:
    studio.choose_book()
    studio.book.clear(*_UNREACHABLE)
    return studio.dock_picture(DockName.ORDER_BOOK)


# --- a window in use ----------------------------------------------------------------------------------------------


def _window_scenes() -> dict[str, Take]:
    return {
        "main_window_paper": partial(_in_mode, mode=TradingMode.PAPER),
        "main_window_live": partial(_in_mode, mode=TradingMode.LIVE),
        "main_window_stale": _stale_window,
        "main_window_training": _training_layout,
        "toasts": _toasts,
    }


def _panel_scenes() -> dict[str, Take]:
    tables = (
        DockName.ORDERS,
        DockName.PLANS,
        DockName.FILLS,
        DockName.STRATEGIES,
        DockName.LOG,
        DockName.NOTIFICATIONS,
    )
    return {
        "dock_chart": partial(Studio.dock_picture, name=DockName.CHART),
        "dock_chart_stale": _chart_stale,
        "dock_chart_averages": _chart_averages,
        "dock_order_book": partial(Studio.dock_picture, name=DockName.ORDER_BOOK),
        "dock_order_book_stale": _book_stale,
        **{f"dock_{name.value}": partial(Studio.dock_picture, name=name) for name in tables},
        "dock_orders_all": _all_orders,
        "dock_positions": partial(Studio.dock_picture, name=DockName.POSITIONS),
        "dock_positions_all": _all_positions,
        "dock_strategies_selected": _chosen_strategy,
        "dock_training_running": partial(_training_run, row=0),
        "dock_training_finished": partial(_training_run, row=1),
        "dock_training_failed": partial(_training_run, row=2),
        **training_scenes(),
    }


def _dialog_scenes() -> dict[str, Take]:
    return {
        "dialog_error": partial(_error_dialog, details=False),
        "dialog_error_details": partial(_error_dialog, details=True),
        "dialog_about": lambda studio: _shoot_dialog(studio, AboutDialog(VERSION, studio.window)),
        "dialog_guide": _guide,
        "dialog_shortcuts": lambda studio: _shoot_dialog(studio, ShortcutsDialog(studio.window)),
        "dialog_add_strategy": partial(_add_strategy, name=tr("Bitcoin hourly")),
        "dialog_add_strategy_incomplete": partial(_add_strategy, name=""),
        **keys_scenes(),
        **model_scenes(),
        **replay_scenes(),
        "dialog_risk_limits": _risk_limits,
        "dialog_risk_limits_wrong": _risk_limits_wrong,
        "question_risk_looser": _risk_looser_question,
        "question_close": _close_question,
        "question_flatten": _flatten_question,
        "question_handback": _handback_question,
        "question_take_over": _take_over_question,
        "command_palette": partial(_palette, query=""),
        "command_palette_search": lambda studio: _palette(studio, query=tr("Strategy")[:3]),
        "command_palette_nothing": partial(_palette, query="xyzzy"),
        **{f"menu_{name}": partial(_menu, index=index) for index, name in enumerate(_MENUS)},
        "menu_kill": _kill_menu,
        "menu_tray": _tray_menu,
        "tray_icons": _tray_icons,
        **wizard_scenes(),
    }


def _main_window(studio: Studio) -> QPixmap:
    """Take the window with the newest notice still on screen."""
    studio.window.toasts.show_notice(studio.window.models.notifications.records()[-1])
    taken = studio.picture()
    studio.window.toasts.clear()
    return taken


def _in_mode(studio: Studio, mode: TradingMode) -> QPixmap:
    studio.hear_links(mode, ConnectionState.ONLINE)
    taken = studio.picture()
    studio.hear_links(TradingMode.PRACTICE, ConnectionState.ONLINE)
    studio.window.toasts.clear()
    return taken


def _stale_window(studio: Studio) -> QPixmap:
    window, seconds = studio.window, 31.0
    studio.hear_links(TradingMode.PRACTICE, ConnectionState.OFFLINE)
    studio.chart.set_stale(seconds)
    studio.book.set_stale(seconds)
    window.status.tick(studio.clock.now_ns() + round(seconds) * NS_PER_S)
    taken = studio.picture()
    studio.hear_links(TradingMode.PRACTICE, ConnectionState.ONLINE)
    studio.chart.set_stale(None)
    studio.book.set_stale(None)
    window.status.tick(studio.clock.now_ns())
    window.toasts.clear()
    return taken


def _training_layout(studio: Studio) -> QPixmap:
    studio.window.apply_layout(Preset.TRAINING)
    taken = studio.picture()
    studio.window.apply_layout(Preset.TRADING)
    return taken


_MENUS = ("file", "trade", "strategies", "view", "settings", "help")


def _chart_stale(studio: Studio) -> QPixmap:
    studio.chart.set_stale(23.0)
    taken = studio.dock_picture(DockName.CHART)
    studio.chart.set_stale(None)
    return taken


def _chart_averages(studio: Studio) -> QPixmap:
    actions = studio.chart.indicators.menu().actions()
    for action in actions:
        action.trigger()
    taken = studio.dock_picture(DockName.CHART)
    for action in actions:
        action.trigger()
    return taken


def _book_stale(studio: Studio) -> QPixmap:
    studio.book.set_stale(23.0)
    taken = studio.dock_picture(DockName.ORDER_BOOK)
    studio.book.set_stale(None)
    return taken


def _all_orders(studio: Studio) -> QPixmap:
    studio.window.orders.open_only.setChecked(False)
    taken = studio.dock_picture(DockName.ORDERS)
    studio.window.orders.open_only.setChecked(True)
    return taken


def _all_positions(studio: Studio) -> QPixmap:
    studio.window.positions.show_flat.setChecked(True)
    taken = studio.dock_picture(DockName.POSITIONS)
    studio.window.positions.show_flat.setChecked(False)
    return taken


def _chosen_strategy(studio: Studio) -> QPixmap:
    table = studio.window.strategies.table
    table.select_key(HOURLY)
    taken = studio.dock_picture(DockName.STRATEGIES)
    table.view.clearSelection()
    return taken


def _training_run(studio: Studio, row: int) -> QPixmap:
    _choose_run(studio, row)
    taken = studio.dock_picture(DockName.TRAINING)
    _choose_run(studio, 0)
    return taken


def _choose_run(studio: Studio, row: int) -> None:
    runs = studio.training.findChild(QListWidget, "training_runs")
    assert runs is not None
    runs.setCurrentRow(row)


def _toasts(studio: Studio) -> QPixmap:
    for severity, title, text in (
        (Severity.SUCCESS, f"{tr('Bought')} 0.01200 BTC @ 99,431.20", tr("Bitcoin hourly")),
        (
            Severity.WARNING,
            tr("Order without an answer: {symbol}", symbol="ETH/USDT"),
            tr("It is being reconciled; nothing is sent again."),
        ),
        (
            Severity.ERROR,
            tr("The exchange rejected an order: {symbol}", symbol="SOL/USDT"),
            WOULD_TRADE,
        ),
    ):
        studio.window.show_notice(Notice(severity, title, text))
    taken = studio.picture()
    studio.window.toasts.clear()
    return taken


def _error_dialog(studio: Studio, *, details: bool) -> QPixmap:
    dialog = studio.window.error_dialog
    trace = 'Traceback (most recent call last):\n  File "collector.py", line 118, in fetch\nTimeoutError: 10 s'
    studio.window.show_error(*_UNREACHABLE, trace)
    dialog.more.setChecked(details)
    taken = studio.shoot(dialog)
    dialog.more.setChecked(False)
    dialog.close()
    return taken


def _shoot_dialog(studio: Studio, dialog: QWidget) -> QPixmap:
    """Show a dialog that deletes itself when closed, and take it."""
    dialog.show()
    taken = studio.shoot(dialog)
    dialog.close()
    settle()
    return taken


def _guide(studio: Studio) -> QPixmap:
    return _shoot_dialog(studio, GuideDialog(studio.theme, studio.language, studio.window))


def _add_strategy(studio: Studio, *, name: str) -> QPixmap:
    dialog = AddStrategyDialog(studio.materials.session.models(), {}, studio.window.models.equity, studio.window)
    dialog.name.setText(name)
    return _shoot_dialog(studio, dialog)


def _risk_dialog() -> RiskDialog:
    use = RiskUse(Decimal("-812.40"), Decimal("2310.75"), 4, Decimal("8150.20"))
    return RiskDialog(RiskSettings, lambda: use, None)


def _risk_limits(studio: Studio) -> QPixmap:
    return _shoot_dialog(studio, _risk_dialog())


def _risk_limits_wrong(studio: Studio) -> QPixmap:
    dialog = _risk_dialog()
    dialog.fields["max_order_value"].edit.setText("")
    return _shoot_dialog(studio, dialog)


def _risk_looser_question(studio: Studio) -> QPixmap:
    dialog = _risk_dialog()
    dialog.fields["max_order_value"].edit.set_value(Decimal(50_000))
    dialog.fields["price_collar"].edit.set_value(Decimal("7.5"))
    dialog.apply.click()
    question = dialog.findChild(QWidget, "risk_looser_dialog")
    assert question is not None
    taken = _shoot_dialog(studio, question)
    dialog.close()
    return taken


def _open_question(studio: Studio, name: str) -> QPixmap:
    dialog = studio.window.findChild(QWidget, name)
    assert dialog is not None, name
    return _shoot_dialog(studio, dialog)


def _close_question(studio: Studio) -> QPixmap:
    studio.window.questions.ask_close(studio.window.stakes(), tray=True)
    return _open_question(studio, "close_dialog")


def _flatten_question(studio: Studio) -> QPixmap:
    studio.window.top_bar.kill_switch.flatten_requested.emit()
    return _open_question(studio, "flatten_dialog")


def _handback_question(studio: Studio) -> QPixmap:
    studio.window.on_executor_event(OwnershipChanged(BTC, Ownership.MANUAL, "person", (HOURLY,)))
    studio.window.ownership.ask_hand_back(BTC)
    taken = _open_question(studio, "handback_dialog")
    studio.window.on_executor_event(OwnershipChanged(BTC, Ownership.SHARED, "person"))
    return taken


def _take_over_question(studio: Studio) -> QPixmap:
    studio.window.ownership.ask_take_over(BTC)
    return _open_question(studio, "take_over_dialog")


def _rearm_question(studio: Studio) -> QPixmap:
    studio.window.questions.ask_rearm()
    return _open_question(studio, "rearm_dialog")


def _new_account_question(studio: Studio) -> QPixmap:
    studio.window.actions_[ActionId.NEW_ACCOUNT].trigger()
    return _open_question(studio, "new_account_dialog")


def _palette(studio: Studio, *, query: str) -> QPixmap:
    palette = studio.window.palette_
    palette.open()
    palette.search.setText(query)
    taken = studio.picture()
    palette.dismiss()
    return taken


def _menu(studio: Studio, *, index: int) -> QPixmap:
    menu = studio.window.menuBar().actions()[index].menu()
    assert isinstance(menu, QMenu)
    return _shoot_menu(studio, menu)


def _kill_menu(studio: Studio) -> QPixmap:
    return _shoot_menu(studio, studio.window.top_bar.kill_switch.menu)


def _shoot_menu(studio: Studio, menu: QMenu) -> QPixmap:
    """Take a menu without opening it: a platform without windows cannot grab the keyboard for it."""
    menu.ensurePolished()
    menu.resize(menu.sizeHint())
    return studio.shoot(menu)


def _tray_menu(studio: Studio) -> QPixmap:
    tray = make_tray(studio)
    icon = tray.findChild(QSystemTrayIcon)
    assert icon is not None
    taken = _shoot_menu(studio, icon.contextMenu())
    tray.close()
    tray.deleteLater()
    return taken


def _tray_icons(studio: Studio) -> QPixmap:
    """Draw the icon of every mode in every size a tray asks for."""
    pitch = max(_TRAY_SIZES) + SPACE_L
    sheet = QPixmap(pitch * len(_TRAY_SIZES) + SPACE_L, pitch * len(TradingMode) + SPACE_L)
    sheet.fill(Qt.GlobalColor.transparent)
    painter = QPainter(sheet)
    for row, mode in enumerate(TradingMode):
        icon = mode_icon(studio.theme, mode)
        for column, size in enumerate(_TRAY_SIZES):
            painter.drawPixmap(SPACE_L + column * pitch, SPACE_L + row * pitch, icon.pixmap(size, size))
    painter.end()
    return sheet
