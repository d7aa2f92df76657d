"""The real window for a person to work, off screen and fast: a minute of the market takes a second."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtTest import QSignalSpy
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from app.bootstrap import Application, end_qt_objects
from app.crash import CrashHandler
from app.gui_options import GuiOptions
from app.settings import FIRST_RUN_DONE, Settings
from core.config import data_paths
from core.practice.account_audit import VenueOrder, list_orders
from tests.e2e.person import Person

SHOTS = os.environ.get("MARU_E2E_SHOTS")


def shoot(person: Person, name: str, widget: QWidget | None = None) -> None:
    if SHOTS:
        (widget or person.window).grab().save(f"{SHOTS}/{name}.png")


def venue_orders(application: Application) -> list[VenueOrder]:
    return list_orders(application.practice.endpoints.result(0), "BTCUSDT")


@pytest.fixture
def options(tmp_path: Path) -> GuiOptions:
    return GuiOptions(data_dir=tmp_path / "data", seed=1, speed="60", language="en", theme="dark")


@pytest.fixture
def unstarted(qapp: QApplication, options: GuiOptions) -> Application:
    paths = data_paths(options.data_dir).create()
    settings = Settings(paths.settings_file)
    settings.set(FIRST_RUN_DONE, True)  # a person who has read the welcome
    settings.sync()
    return Application(qapp, options, paths, CrashHandler(paths.logs))


@pytest.fixture
def ready(unstarted: Application) -> QSignalSpy:
    """Counts how often trading became ready: the account is shown before, and an order is refused until then."""
    return QSignalSpy(unstarted.executor.ready)


@pytest.fixture
def application(qapp: QApplication, unstarted: Application, ready: QSignalSpy) -> Iterator[Application]:
    application = unstarted
    application.start()
    yield application
    if SHOTS:
        application.window.grab().save(f"{SHOTS}/end.png")
    if not application.lifecycle.is_quitting:  # the test failed half-way
        application.lifecycle.quit()
        qapp.exec()
    else:
        # The shutdown told Qt to end its loop; without a loop that heard it, no later test could wait for anything.
        QTimer.singleShot(0, qapp, QApplication.quit)
        qapp.exec()
    end_qt_objects(application)


@pytest.fixture
def person(qtbot: QtBot, application: Application) -> Person:
    return Person(qtbot, application.window)
