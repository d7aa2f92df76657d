"""The log as a bounded table. GUI thread."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from PySide6.QtCore import QObject

from app.i18n import format_time, mark, tr
from app.models.record_model import Column, RecordModel, Tone

LOG_LIMIT = 5_000


class LogLevel(IntEnum):
    """Levels as the standard library numbers them."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


LEVEL_TEXT = {
    LogLevel.DEBUG: mark("Debug"),
    LogLevel.INFO: mark("Info"),
    LogLevel.WARNING: mark("Warning"),
    LogLevel.ERROR: mark("Error"),
}
_TONE = {LogLevel.DEBUG: Tone.MUTED, LogLevel.WARNING: Tone.WARNING, LogLevel.ERROR: Tone.DANGER}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line.

    Attributes:
        number: running number, the key.
        time_ns: wall time, ns UTC.
        source: part of the program that speaks.
    """

    number: int
    time_ns: int
    level: LogLevel
    source: str
    text: str


def level_of(number: int) -> LogLevel:
    """Return the named level at or below a standard library level number."""
    return max((level for level in LogLevel if level <= number), default=LogLevel.DEBUG)


class LogModel(RecordModel[LogLine]):
    """The last lines, oldest first.

    Attributes:
        paused: new lines wait instead of being shown.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        columns = (
            Column[LogLine](
                "time",
                mark("Time"),
                lambda r: format_time(r.time_ns),
                lambda r: r.number,
                tone=lambda r: Tone.MUTED,
                width=14,
            ),
            Column[LogLine](
                "level",
                mark("Level"),
                lambda r: tr(LEVEL_TEXT[r.level]),
                lambda r: int(r.level),
                tone=lambda r: _TONE.get(r.level),
                width=9,
            ),
            Column[LogLine](
                "source", mark("Source"), lambda r: r.source, lambda r: r.source, tone=lambda r: Tone.MUTED, width=14
            ),
            Column[LogLine](
                "text", mark("Message"), lambda r: r.text, lambda r: r.text, tone=lambda r: _TONE.get(r.level)
            ),
        )
        super().__init__(columns, lambda r: str(r.number), limit=LOG_LIMIT, parent=parent)
        self._next = 0
        self.paused = False

    def add(self, time_ns: int, level: LogLevel, source: str, text: str) -> None:
        """Stage one line; line breaks become spaces so that a row stays a row."""
        self._next += 1
        self.put(LogLine(self._next, time_ns, level, source, " ".join(text.split())))
        if len(self._staged) > LOG_LIMIT:  # while paused: the oldest waiting line goes, as it would on screen
            del self._staged[next(iter(self._staged))]

    def flush(self) -> bool:
        return False if self.paused else super().flush()
