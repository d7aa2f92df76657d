"""A second program beside the open window, on the same key: it refuses, whatever its folder, and the window goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication
from PySide6.QtTest import QSignalSpy
from PySide6.QtWidgets import QApplication

from app.bootstrap import Application
from core.domain.orders import OrderDraft, OrderType, Side
from core.practice.control import PracticeEndpoints
from tests.e2e.conftest import venue_orders
from tests.e2e.person import Person
from tests.e2e.programs import MAIN, environment
from tests.integration.test_one_key_two_programs import OVER_FOLDER, WITH_KEY
from tests.qt.conftest import _nothing_left_behind, _quick_collections  # noqa: F401 - the leak fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Trade = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture
def trade(application: Application, tmp_path: Path) -> Trade:
    """Starts `main.py trade` with the window's key over a folder."""

    def started(folder: Path) -> subprocess.Popen[str]:
        endpoints: PracticeEndpoints = application.practice.endpoints.result(0)
        file = tmp_path / "endpoints.json"
        line = {name: getattr(endpoints, name) for name in PracticeEndpoints.__slots__}
        file.write_text(json.dumps({**line, "symbols": list(line["symbols"])}))
        command = [sys.executable, str(MAIN), "trade", "--commands", "--json", "--endpoints", str(file)]
        return subprocess.Popen(
            [*command, "--data-dir", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment(tmp_path), "MARU_RUNTIME_DIR": os.environ["MARU_RUNTIME_DIR"]},
        )

    return started


def test_a_program_beside_the_window_refuses_in_every_folder(
    person: Person, application: Application, qapp: QApplication, tmp_path: Path, ready: QSignalSpy, trade: Trade
) -> None:
    person.wait(lambda: ready.count() == 1, 30, "it trades")
    for folder, sentence in ((application.paths.root, OVER_FOLDER), (tmp_path / "another", WITH_KEY)):
        process = trade(folder)
        person.wait(lambda process=process: process.poll() is not None, 60, "the second program ends")  # type: ignore[misc]
        out, err = process.communicate()
        assert process.returncode == 2, out + err
        assert json.loads(out)["error"] == f"{sentence} (process {os.getpid()})."
    assert venue_orders(application) == []
    application.executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.01")))
    person.wait(lambda: len(person.rows("fills_table")) == 1, 20, "the window goes on trading")
    assert len(venue_orders(application)) == 1

    application.lifecycle.quit()
    assert qapp.exec() == 0
    QCoreApplication.processEvents()
