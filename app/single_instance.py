"""One window per data folder; a second start raises the first. GUI thread.

The lock decides, the local socket only carries the wish to be raised.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject, Signal, Slot
from PySide6.QtNetwork import QLocalServer, QLocalSocket

PROTOCOL_VERSION = 1
_LIMIT = 4096  # bytes of one message
_WAIT_MS = 1000


def server_name(folder: Path) -> str:
    """Return the socket name of a data folder; differs by user, holds no path."""
    text = f"{getpass.getuser()}:{folder.resolve()}"
    return f"maru-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class SingleInstance(QObject):
    """Holds a data folder for this process.

    Signals:
        raise_requested: another start asked for the window.
    """

    raise_requested = Signal()

    def __init__(self, folder: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._name = server_name(folder)
        self._lock = QLockFile(str(folder / "window.lock"))
        self._lock.setStaleLockTime(0)  # stale only where its process is gone, however old
        self._server: QLocalServer | None = None

    def acquire(self) -> bool:
        """Take the folder; False where another process has it (see `raise_first`)."""
        if not self._lock.tryLock(0):
            return False
        QLocalServer.removeServer(self._name)  # the lock is ours: whatever is left is a dead process's
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._on_connection)
        self._server.listen(self._name)  # without it the lock still protects; only raising is lost
        return True

    def raise_first(self) -> bool:
        """Ask the process that has the folder to show its window; False where it does not answer within a second."""
        client = QLocalSocket()
        client.connectToServer(self._name)
        if not client.waitForConnected(_WAIT_MS):
            return False
        client.write(json.dumps({"version": PROTOCOL_VERSION, "command": "raise"}).encode() + b"\n")
        answered = client.waitForReadyRead(_WAIT_MS) and client.readAll().data() == b"ok\n"
        client.disconnectFromServer()
        return answered

    def release(self) -> None:
        """Give the folder free; idempotent."""
        if self._server is not None:
            self._server.close()
            self._server.deleteLater()
            self._server = None
        self._lock.unlock()

    @Slot()
    def _on_connection(self) -> None:
        while self._server is not None and (client := self._server.nextPendingConnection()) is not None:
            client.setReadBufferSize(_LIMIT)
            client.disconnected.connect(client.deleteLater)
            client.readyRead.connect(self._on_ready)
            if client.canReadLine():
                self._answer(client)

    @Slot()
    def _on_ready(self) -> None:
        client = self.sender()
        if isinstance(client, QLocalSocket) and client.canReadLine():
            self._answer(client)

    def _answer(self, client: QLocalSocket) -> None:
        try:
            message = json.loads(bytes(client.readLine().data()))
        except ValueError:
            client.abort()
            return
        if isinstance(message, dict) and message.get("command") == "raise":
            client.write(b"ok\n")
            client.flush()
            self.raise_requested.emit()
        else:
            client.abort()
