"""One window per data folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from PySide6.QtCore import QObject, Slot
from PySide6.QtNetwork import QLocalSocket
from pytestqt.qtbot import QtBot

from app.single_instance import SingleInstance, server_name
from tests.conftest import REPOSITORY


class Window(QObject):
    def __init__(self) -> None:
        super().__init__()
        self.raised = 0

    @Slot()
    def raise_me(self) -> None:
        self.raised += 1


_SECOND = """
import sys
from pathlib import Path
from PySide6.QtCore import QCoreApplication
from app.single_instance import SingleInstance
app = QCoreApplication([])
second = SingleInstance(Path(sys.argv[1]))
acquired = second.acquire()
print(acquired, False if acquired else second.raise_first())
if sys.argv[2] == "die":
    import os
    sys.stdout.flush()
    os._exit(1)
second.release()
"""


def _start(folder: Path, how: str = "end") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _SECOND, str(folder), how],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )


def test_second_start_raises_the_first(qtbot: QtBot, tmp_path: Path) -> None:
    first, window = SingleInstance(tmp_path), Window()
    first.raise_requested.connect(window.raise_me)
    assert first.acquire()
    with _start(tmp_path) as second:
        qtbot.waitUntil(lambda: second.poll() is not None, timeout=20_000)
        assert second.stdout is not None
        assert second.stdout.read() == "False True\n"
    assert window.raised == 1
    first.release()
    first.release()
    with _start(tmp_path) as third:
        assert third.communicate(timeout=20)[0] == "True False\n"


def test_folder_of_a_dead_process_is_taken_over(qtbot: QtBot, tmp_path: Path) -> None:
    with _start(tmp_path, "die") as dead:
        assert dead.communicate(timeout=20)[0] == "True False\n"
    assert (tmp_path / "window.lock").exists()
    heir = SingleInstance(tmp_path)
    assert heir.acquire()
    heir.release()


def test_other_folders_are_independent(qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = SingleInstance(tmp_path / "a"), SingleInstance(tmp_path / "b")
    assert first.acquire()
    assert second.acquire()
    assert server_name(tmp_path / "a") != server_name(tmp_path / "b")
    assert str(tmp_path) not in server_name(tmp_path / "a")
    first.release()
    second.release()


def test_nobody_to_raise(qtbot: QtBot, tmp_path: Path) -> None:
    assert not SingleInstance(tmp_path).raise_first()


def test_rubbish_on_the_socket_is_refused(qtbot: QtBot, tmp_path: Path) -> None:
    first, window = SingleInstance(tmp_path), Window()
    first.raise_requested.connect(window.raise_me)
    assert first.acquire()
    for rubbish in (b"hello\n", b'{"command": "sell"}\n', b"[]\n"):
        client = QLocalSocket()
        client.connectToServer(server_name(tmp_path))
        assert client.waitForConnected(1000)
        client.write(rubbish)
        qtbot.waitUntil(lambda c=client: c.state() is QLocalSocket.LocalSocketState.UnconnectedState, timeout=5000)
    assert window.raised == 0
    first.release()
