"""Notices as a bounded table with repetitions folded. GUI thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from PySide6.QtCore import QObject

from app.flows.notice_text import notice_text
from app.i18n import format_time, mark, tr
from app.models.record_model import Column, RecordModel, Tone
from core.clock import NS_PER_S
from core.events import Notice, Severity

NOTICE_LIMIT = 500
FOLD_WINDOW_NS = 60 * NS_PER_S

SEVERITY_TEXT = {
    Severity.INFO: mark("Info"),
    Severity.SUCCESS: mark("Done"),
    Severity.WARNING: mark("Warning"),
    Severity.ERROR: mark("Error"),
}
SEVERITY_TONE = {
    Severity.INFO: Tone.ACCENT,
    Severity.SUCCESS: Tone.SUCCESS,
    Severity.WARNING: Tone.WARNING,
    Severity.ERROR: Tone.DANGER,
}
SEVERITY_RANK = {severity: rank for rank, severity in enumerate(Severity)}
_MARK = {Severity.INFO: "i", Severity.SUCCESS: "✓", Severity.WARNING: "△", Severity.ERROR: "×"}


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A notice as kept in the history.

    Attributes:
        number: running number, the key.
        time_ns: when it last came, ns UTC.
        count: how often it came in a row.
    """

    number: int
    time_ns: int
    notice: Notice
    count: int = 1

    def title(self) -> str:
        """Return the title in the present language, with how often it came."""
        title = notice_text(self.notice.title)
        return title if self.count == 1 else f"{title}  ×{self.count}"

    def text(self) -> str:
        """Return the text in the present language."""
        return notice_text(self.notice.text)


class NotificationsModel(RecordModel[NoticeRow]):
    """The last notices; the same one again within a minute only counts up."""

    def __init__(self, parent: QObject | None = None) -> None:
        columns = (
            Column[NoticeRow](
                "time",
                mark("Time"),
                lambda r: format_time(r.time_ns),
                lambda r: r.time_ns,
                tone=lambda r: Tone.MUTED,
                width=14,
            ),
            Column[NoticeRow](
                "severity",
                mark("Kind"),
                lambda r: f"{_MARK[r.notice.severity]} {tr(SEVERITY_TEXT[r.notice.severity])}",
                lambda r: SEVERITY_RANK[r.notice.severity],
                tone=lambda r: SEVERITY_TONE[r.notice.severity],
                width=11,
            ),
            Column[NoticeRow](
                "title",
                mark("Title"),
                lambda r: r.title(),
                lambda r: r.notice.title,
                width=30,
            ),
            Column[NoticeRow](
                "text", mark("Message"), lambda r: r.text(), lambda r: r.notice.text, tone=lambda r: Tone.MUTED
            ),
        )
        super().__init__(columns, lambda r: str(r.number), limit=NOTICE_LIMIT, parent=parent)
        self._next = 0
        self._latest: dict[Notice, NoticeRow] = {}

    def restore(self, past: Iterable[tuple[int, Notice]]) -> None:
        """Stage notices of earlier sessions, (time in ns UTC, notice) each, oldest first; nothing is folded."""
        for time_ns, notice in past:
            self._next += 1
            self.put(NoticeRow(self._next, time_ns, notice))

    def add(self, notice: Notice, time_ns: int) -> NoticeRow:
        """Stage a notice and return its row; `count` > 1 says it was folded into an earlier one."""
        before = self._latest.get(notice)
        if before is not None and time_ns - before.time_ns < FOLD_WINDOW_NS:
            row = replace(before, time_ns=time_ns, count=before.count + 1)
        else:
            self._next += 1
            row = NoticeRow(self._next, time_ns, notice)
        if len(self._latest) > NOTICE_LIMIT:
            self._latest.clear()
        self._latest[notice] = row
        self.put(row)
        return row
