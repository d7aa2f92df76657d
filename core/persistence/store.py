"""Everything but orders: training runs and notices. Runs on the store worker's thread, the file's only writer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from core.events import Notice, Severity
from core.persistence.engine import database_errors, open_engine
from core.persistence.models import NoticeRow, RunRow


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A training run as stored.

    Attributes:
        kind: "forecast" …
        state: "running", "finished", "failed", "cancelled" or "interrupted" (the program ended before the run did).
        spec / result: JSON objects.
        started_ns / finished_ns: ns UTC; `finished_ns` is None while running.
    """

    run_id: str
    kind: str
    state: str
    spec: dict[str, Any]
    result: dict[str, Any]
    message: str
    started_ns: int
    finished_ns: int | None


class Store:
    """Typed access to store.sqlite. The schema must be current (`core.persistence.schema.ensure_migrated`)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = open_engine(path, synchronous="NORMAL")

    def close(self) -> None:
        """Close the file; idempotent."""
        self._engine.dispose()

    def begin_run(self, run_id: str, kind: str, spec: dict[str, Any], now_ns: int) -> None:
        """Record a run that has just started, or goes on after it had ended.

        Raises:
            UserError: the file cannot be written.
        """
        values = {
            "kind": kind,
            "state": "running",
            "spec": _dump(spec),
            "result": "{}",
            "message": "",
            "started_ns": now_ns,
            "finished_ns": None,
        }
        with database_errors(self._path), self._engine.begin() as connection:
            known = connection.execute(sa.update(RunRow).where(RunRow.run_id == run_id).values(values)).rowcount
            if not known:
                connection.execute(sa.insert(RunRow), {"run_id": run_id, **values})

    def interrupt_runs(self, now_ns: int) -> int:
        """Mark runs that are still called running; to be used while none can be, as at the start of the program.

        Returns:
            How many there were.

        Raises:
            UserError: the file cannot be written.
        """
        statement = sa.update(RunRow).where(RunRow.state == "running").values(state="interrupted", finished_ns=now_ns)
        with database_errors(self._path), self._engine.begin() as connection:
            return int(connection.execute(statement).rowcount)

    def finish_run(
        self, run_id: str, state: str, now_ns: int, *, result: dict[str, Any] | None = None, message: str = ""
    ) -> None:
        """Record how a run ended.

        Raises:
            KeyError: no such run.
            UserError: the file cannot be written.
        """
        statement = (
            sa.update(RunRow)
            .where(RunRow.run_id == run_id)
            .values(state=state, result=_dump(result or {}), message=message, finished_ns=now_ns)
        )
        with database_errors(self._path), self._engine.begin() as connection:
            if connection.execute(statement).rowcount == 0:
                raise KeyError(run_id)

    def forget_run(self, run_id: str) -> None:
        """Delete the record of an ended run; an unknown or running one is left alone.

        Raises:
            UserError: the file cannot be written.
        """
        statement = sa.delete(RunRow).where(RunRow.run_id == run_id, RunRow.state != "running")
        with database_errors(self._path), self._engine.begin() as connection:
            connection.execute(statement)

    def runs(self, limit: int = 200) -> list[RunRecord]:
        """Return the newest runs, newest first."""
        table = RunRow.__table__
        statement = sa.select(table).order_by(RunRow.started_ns.desc(), RunRow.run_id).limit(limit)
        with database_errors(self._path), self._engine.connect() as connection:
            rows = connection.execute(statement).mappings().all()
        return [
            RunRecord(
                run_id=row["run_id"],
                kind=row["kind"],
                state=row["state"],
                spec=json.loads(row["spec"]),
                result=json.loads(row["result"]),
                message=row["message"],
                started_ns=row["started_ns"],
                finished_ns=row["finished_ns"],
            )
            for row in rows
        ]

    def add_notice(self, notice: Notice, now_ns: int) -> None:
        """Keep a notice.

        Raises:
            UserError: the file cannot be written.
        """
        values = {"severity": notice.severity.value, "title": notice.title, "text": notice.text, "time_ns": now_ns}
        with database_errors(self._path), self._engine.begin() as connection:
            connection.execute(sa.insert(NoticeRow), values)

    def notices(self, limit: int = 200) -> list[tuple[int, Notice]]:
        """Return (time in ns, notice), newest first."""
        statement = sa.select(NoticeRow.__table__).order_by(NoticeRow.notice_id.desc()).limit(limit)
        with database_errors(self._path), self._engine.connect() as connection:
            rows = connection.execute(statement).mappings().all()
        return [(row["time_ns"], Notice(Severity(row["severity"]), row["title"], row["text"])) for row in rows]


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True)
