"""Every trial ever run, counted in a file that forgets nothing. Any thread, any process; blocks on the disk.

The more configurations were tried, the better the best of them looks by luck alone; the deflated Sharpe ratio needs to
know how many there were. So a trial is appended when it begins, since its process may be killed, and once more with
what came of it. Nothing can be changed or removed (triggers in the file refuse both); a damaged file is an error, never
a new count from zero.

Every call opens its own connection: nothing is shared between threads or inherited by children. SQLite's write-ahead
log lets readers go on while one process writes; writers wait for each other.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.data.atomic_file import exclusive_lock
from core.errors import UserError
from ml.api import ForecastSpec
from ml.arrays import FloatArray
from ml.jsonvalues import JsonValue

TRAINING = "training"
SEARCH = "search"
EVALUATION = "evaluation"
KINDS = (TRAINING, SEARCH, EVALUATION)

BEGUN = "begun"
FINISHED = "finished"
PRUNED = "pruned"
FAILED = "failed"
CANCELLED = "cancelled"
STATUSES = (BEGUN, FINISHED, PRUNED, FAILED, CANCELLED)

PARTS = ("valid", "test")

_APPLICATION_ID = 0x4D615452  # "MaTR", in the file's header
_SCHEMA_VERSION = 1
_BUSY_TIMEOUT_S = 60.0
_TAMPER = "SELECT RAISE(ABORT, 'the trial ledger only grows')"
_SCHEMA = f"""
CREATE TABLE trials (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    trial_id TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    kind TEXT NOT NULL,
    venue TEXT NOT NULL,
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    data_hash TEXT NOT NULL,
    spec_hash TEXT NOT NULL,
    seed INTEGER NOT NULL,
    status TEXT NOT NULL,
    run_id TEXT NOT NULL,
    valid_sharpe REAL,
    test_sharpe REAL,
    score REAL,
    score_name TEXT NOT NULL,
    UNIQUE (trial_id, status)
);
CREATE INDEX trials_market ON trials (venue, symbol, timeframe);
CREATE TRIGGER trials_update BEFORE UPDATE ON trials BEGIN {_TAMPER}; END;
CREATE TRIGGER trials_delete BEFORE DELETE ON trials BEGIN {_TAMPER}; END;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_SCHEMA_VERSION};
"""


@dataclass(frozen=True, slots=True)
class TrialRecord(JsonValue):
    """One trial (one configuration, one seed, one fold) as it begins, or what came of it.

    Attributes:
        trial_id: unique; the same trial keeps its id over an interruption.
        created_ns: when it got this status, ns UTC.
        kind: "training", "search" or "evaluation".
        venue / symbol / timeframe: the market, as in `DataRange`.
        data_hash / spec_hash: of the bars and of the specification, seed left out.
        seed: of the trial.
        status: "begun", "finished", "pruned", "failed" or "cancelled".
        run_id: the run or study it belongs to.
        valid_sharpe / test_sharpe: Sharpe ratio per bar of the forecast's sign, before costs; None where not measured.
        score / score_name: what a search looked at.
    """

    trial_id: str
    created_ns: int
    kind: str
    venue: str
    symbol: str
    timeframe: str
    data_hash: str
    spec_hash: str
    seed: int
    status: str
    run_id: str = ""
    valid_sharpe: float | None = None
    test_sharpe: float | None = None
    score: float | None = None
    score_name: str = ""

    @property
    def subject(self) -> tuple[str | int, ...]:
        """What was tried, whatever came of it."""
        return (
            self.kind,
            self.venue,
            self.symbol,
            self.timeframe,
            self.data_hash,
            self.spec_hash,
            self.seed,
        )


def trial_record(
    kind: str,
    spec: ForecastSpec,
    run_id: str,
    hashes: tuple[str, str],
    seed: int,
    status: str,
    now_ns: int,
    *,
    part: str = "",
) -> TrialRecord:
    """Return the record of one seed of a run, without figures.

    Args:
        kind: of `KINDS`.
        spec / run_id: of the run; its market is the trial's.
        hashes: of the bars and of what is tried, its seed left out.
        seed / status / now_ns: of the record.
        part: the fold or the trial of a run that has several of them.
    """
    return TrialRecord(
        trial_id=f"{run_id}/{part}/{seed}" if part else f"{run_id}/{seed}",
        created_ns=now_ns,
        kind=kind,
        venue=spec.data.venue,
        symbol=spec.data.symbol,
        timeframe=spec.data.timeframe,
        data_hash=hashes[0],
        spec_hash=hashes[1],
        seed=seed,
        status=status,
        run_id=run_id,
    )


@dataclass(frozen=True, slots=True)
class TrialScope(JsonValue):
    """Which trials to look at; None is any."""

    venue: str | None = None
    symbol: str | None = None
    timeframe: str | None = None
    kind: str | None = None
    data_hash: str | None = None
    spec_hash: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class LedgerSummary(JsonValue):
    """The trials of one market and timeframe.

    Attributes:
        venue / symbol / timeframe: the market.
        trials: how many different ones; finished: how many of them ended.
        configurations: different specifications.
        first_ns / last_ns: of the oldest and newest record, ns UTC.
        best_test_sharpe: highest per bar; None where none was measured.
    """

    venue: str
    symbol: str
    timeframe: str
    trials: int
    finished: int
    configurations: int
    first_ns: int
    last_ns: int
    best_test_sharpe: float | None


_COLUMNS = tuple(field.name for field in dataclasses.fields(TrialRecord))
_EVERYTHING = TrialScope()
_INSERT = (
    f"INSERT INTO trials ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "
    "ON CONFLICT (trial_id, status) DO NOTHING"
)


class TrialLedger:
    """The ledger of one data folder.

    Attributes:
        path: the file, `DataPaths.trials`.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and check it, or create it where there is none.

        Raises:
            UserError: it is damaged, no ledger, of a newer version, or cannot be read or written.
        """
        self.path = path
        with exclusive_lock(path.with_name(f".{path.name}.lock")):
            if not path.exists():
                self._create()
        with self._connection() as connection:
            self._check(connection)

    def append(self, record: TrialRecord) -> bool:
        """Add that a trial begins or what came of it; durable on return.

        A trial that was begun, interrupted and then finished has three records and counts once.

        Returns:
            Whether it was new: a record of this trial with this status is kept as it was first written.

        Raises:
            ValueError: a kind or status nobody knows, a number that is not finite, or the id of another trial.
            UserError: the file cannot be written.
        """
        return self.append_all((record,)) == 1

    def append_all(self, records: Iterable[TrialRecord]) -> int:
        """Add several in one transaction, all or none; see `append`.

        Returns:
            How many were new.
        """
        rows = [(record, _row(record)) for record in records]
        added = 0
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            for record, row in rows:
                self._check_subject(connection, record)
                added += connection.execute(_INSERT, row).rowcount
            connection.execute("COMMIT")
        return added

    def count(self, scope: TrialScope = _EVERYTHING) -> int:
        """Return how many different trials were run, whatever came of them."""
        where, values = _where(scope)
        (number,) = self._rows(f"SELECT COUNT(DISTINCT trial_id) FROM trials{where}", values)[0]
        return int(number)

    def sharpes(self, scope: TrialScope = _EVERYTHING, part: str = "test") -> FloatArray:
        """Return the Sharpe ratios per bar of trials that have one, the last measured of each, in order of id.

        Args:
            scope: which trials.
            part: "valid" or "test".
        """
        if part not in PARTS:
            raise ValueError(f"no part {part}")
        where, values = _where(scope)
        # With MAX() SQLite takes the other columns from the row that holds the maximum.
        found = self._rows(
            f"SELECT {part}_sharpe, MAX(sequence) FROM (SELECT * FROM trials{where}) "
            f"WHERE {part}_sharpe NOT NULL GROUP BY trial_id ORDER BY trial_id",
            values,
        )
        return np.array([value for value, _ in found], np.float64)

    def sharpe_variance(self, scope: TrialScope = _EVERYTHING, part: str = "test") -> float | None:
        """Return the sample variance of `sharpes`, what the deflated Sharpe ratio needs; None for fewer than two."""
        values = self.sharpes(scope, part)
        return float(values.var(ddof=1)) if len(values) > 1 else None

    def records(self, scope: TrialScope = _EVERYTHING) -> tuple[TrialRecord, ...]:
        """Return all records in the order they were written."""
        where, values = _where(scope)
        found = self._rows(f"SELECT {', '.join(_COLUMNS)} FROM trials{where} ORDER BY sequence", values)
        return tuple(TrialRecord(*row) for row in found)

    def summary(self) -> tuple[LedgerSummary, ...]:
        """Return one row per market and timeframe, in alphabetical order."""
        found = self._rows(
            "SELECT venue, symbol, timeframe, COUNT(DISTINCT trial_id), "
            f"COUNT(DISTINCT CASE WHEN status = '{FINISHED}' THEN trial_id END), COUNT(DISTINCT spec_hash), "
            "MIN(created_ns), MAX(created_ns), MAX(test_sharpe) "
            "FROM trials GROUP BY venue, symbol, timeframe ORDER BY venue, symbol, timeframe",
            (),
        )
        return tuple(LedgerSummary(*row) for row in found)

    def _rows(self, query: str, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
        with self._connection() as connection:
            return connection.execute(query, values).fetchall()

    def _create(self) -> None:
        """Make the file in one step: what lies at `path` is always a whole ledger."""
        leftover = self.path.with_name(self.path.name + "-wal")
        if leftover.exists() and leftover.stat().st_size:
            raise self._damaged()  # its main file is gone
        new = self.path.with_name(f".{self.path.name}.new")
        new.unlink(missing_ok=True)
        with self._errors(), closing(sqlite3.connect(new)) as connection:
            connection.executescript(f"PRAGMA journal_mode=WAL; {_SCHEMA}")
        new.rename(self.path)

    def _check(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application == _APPLICATION_ID and version > _SCHEMA_VERSION:
            raise UserError(
                f"{self.path} was written by a newer version of this program.",
                "Update the program, or choose another folder with --data-dir.",
            )
        # An emptied file is a new database to SQLite; it lacks the id.
        sound = connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
        if application != _APPLICATION_ID or version != _SCHEMA_VERSION or not sound:
            raise self._damaged()

    def _check_subject(self, connection: sqlite3.Connection, record: TrialRecord) -> None:
        known = connection.execute(
            "SELECT kind, venue, symbol, timeframe, data_hash, spec_hash, seed FROM trials WHERE trial_id = ? LIMIT 1",
            (record.trial_id,),
        ).fetchone()
        if known is not None and known != record.subject:
            raise ValueError(f"the trial {record.trial_id} is another one: {known}")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Open the existing file for one call; what was not committed is rolled back."""
        with (
            self._errors(),
            closing(
                sqlite3.connect(
                    self.path.absolute().as_uri() + "?mode=rw", uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None
                )
            ) as connection,
        ):
            connection.execute("PRAGMA synchronous=FULL")
            yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            name = str(getattr(exc, "sqlite_errorname", ""))
            if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                raise self._damaged() from exc
            # Imported here: it brings SQLAlchemy, which a trial that succeeds does not need.
            from core.persistence.engine import user_error

            translated = user_error(self.path, name)
            if translated is None:
                raise
            raise translated from exc

    def _damaged(self) -> UserError:
        return UserError(
            f"The ledger of trials {self.path} is damaged.",
            "Restore it from a backup: results would look better than they are if past trials did not count.",
        )


def _row(record: TrialRecord) -> tuple[Any, ...]:
    if record.kind not in KINDS or record.status not in STATUSES or not record.trial_id:
        raise ValueError(f"no such trial: {record}")
    return tuple(record.to_json()[name] for name in _COLUMNS)  # to_json refuses numbers that are not finite


def _where(scope: TrialScope) -> tuple[str, tuple[str, ...]]:
    chosen = {name: value for name, value in scope.to_json().items() if value is not None}
    return (" WHERE " + " AND ".join(f"{name} = ?" for name in chosen) if chosen else ""), tuple(chosen.values())
