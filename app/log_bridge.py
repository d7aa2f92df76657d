"""From the logs of all threads to the log panel. `take` belongs to any thread, the signal arrives in the GUI thread."""

from __future__ import annotations

import logging

from PySide6.QtCore import QObject, Signal

from app.stall_watch import StallWatch


class LogBridge(QObject):
    """Carries log records of any thread to the GUI thread.

    Signals:
        line_logged(int, str, str): level, logger, text.
    """

    line_logged = Signal(int, str, str)

    def take(self, record: logging.LogRecord) -> None:
        """Take one record. Any thread. Stalls are for the log file; the status bar shows the longest."""
        if record.name == StallWatch.__module__:
            return
        self.line_logged.emit(record.levelno, record.name.rpartition(".")[2], record.getMessage())
