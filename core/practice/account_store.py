"""The practice account on disk: one SQLite file per market, every change committed before it is answered.

Event-loop thread of the exchange; the file is locked for one exchange at a time.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.practice.bars import Ints
from core.practice.orders import Fill, Order
from core.practice.tape import StoredCell

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS balances (asset TEXT PRIMARY KEY, free INTEGER NOT NULL, locked INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
    order_id INTEGER PRIMARY KEY, symbol TEXT NOT NULL, client_id TEXT NOT NULL, is_open INTEGER NOT NULL,
    created_ms INTEGER NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS orders_by_client ON orders (symbol, client_id);
CREATE INDEX IF NOT EXISTS orders_open ON orders (is_open) WHERE is_open = 1;
CREATE TABLE IF NOT EXISTS fills (
    symbol TEXT NOT NULL, trade_id INTEGER NOT NULL, order_id INTEGER NOT NULL, time_ms INTEGER NOT NULL,
    document TEXT NOT NULL, PRIMARY KEY (symbol, trade_id));
CREATE INDEX IF NOT EXISTS fills_by_order ON fills (symbol, order_id);
CREATE TABLE IF NOT EXISTS cells (
    symbol TEXT NOT NULL, open_ms INTEGER NOT NULL, played INTEGER NOT NULL, tape BLOB NOT NULL, bar BLOB NOT NULL,
    PRIMARY KEY (symbol, open_ms));
"""


class AccountStore:
    """Balances, orders, fills, touched cells and the market clock of one account."""

    def __init__(self, path: Path, opening_balances: Mapping[str, int]) -> None:
        """Open or create the account file.

        Raises:
            UserError: the file is in use, unreadable or cannot be written.
        """
        self._path = path
        self._opening = dict(opening_balances)
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            db = sqlite3.connect(self._path, isolation_level=None, timeout=0.5, check_same_thread=False)
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            if db.execute("SELECT 1 FROM meta WHERE key = 'created'").fetchone() is None:
                db.execute("INSERT INTO meta VALUES ('created', ?)", (str(time.time_ns()),))
                rows = [(asset, units, 0) for asset, units in self._opening.items()]
                db.executemany("INSERT INTO balances VALUES (?, ?, ?)", rows)
            db.execute("COMMIT")
            return db
        except sqlite3.DatabaseError as exc:
            if "locked" in str(exc):
                raise UserError(
                    f"The practice account {self._path.name} is in use by another practice exchange.",
                    "Stop the other one or choose another folder with --data-dir.",
                ) from exc
            raise UserError(
                f"The practice account {self._path} cannot be opened: {exc}.",
                "Move the file away to begin a new account, or choose another folder with --data-dir.",
            ) from exc
        except OSError as exc:
            raise UserError(
                f"The practice account {self._path} cannot be written: {exc.strerror or exc}.",
                "Free some space or choose another folder with --data-dir.",
            ) from exc

    def close(self) -> None:
        """Release the file; idempotent."""
        self._db.close()

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever stored in this account."""
        return self.clock_ms() is None

    def archive(self, opening_balances: Mapping[str, int] | None = None) -> Path:
        """Move the account's file aside and begin a new one; returns where the old one lies.

        Args:
            opening_balances: units by asset of the new account; None begins as the first one did.
        """
        if opening_balances is not None:
            self._opening = dict(opening_balances)
        self._db.close()
        folder = self._path.parent / "archive"
        folder.mkdir(exist_ok=True, mode=0o700)
        target = folder / f"{self._path.stem}-{time.time_ns()}{self._path.suffix}"
        self._path.rename(target)
        for suffix in ("-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._db = self._open()
        return target

    # --- reading ----------------------------------------------------------------------------------------------

    def balances(self) -> dict[str, tuple[int, int]]:
        """Return (free, locked) units by asset."""
        return {asset: (free, locked) for asset, free, locked in self._db.execute("SELECT * FROM balances")}

    def clock_ms(self) -> int | None:
        """Return the market time last stored."""
        row = self._db.execute("SELECT value FROM meta WHERE key = 'market_ms'").fetchone()
        return int(row[0]) if row else None

    def last_order_id(self) -> int:
        """Return the highest order id used."""
        return int(self._db.execute("SELECT COALESCE(MAX(order_id), 0) FROM orders").fetchone()[0])

    def open_orders(self) -> list[Order]:
        """Return all open orders, oldest first."""
        rows = self._db.execute("SELECT document FROM orders WHERE is_open = 1 ORDER BY order_id")
        return [_order(row[0]) for row in rows]

    def find_order(self, symbol: str, order_id: int | None, client_id: str | None) -> Order | None:
        """Return an order by id, or the newest with a client id."""
        if order_id is not None:
            row = self._db.execute(
                "SELECT document FROM orders WHERE order_id = ? AND symbol = ?", (order_id, symbol)
            ).fetchone()
        else:
            row = self._db.execute(
                "SELECT document FROM orders WHERE symbol = ? AND client_id = ? ORDER BY order_id DESC LIMIT 1",
                (symbol, client_id),
            ).fetchone()
        return _order(row[0]) if row else None

    def orders(
        self, symbol: str, *, from_id: int | None, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[Order]:
        """Return orders by ascending id: from an id or a time on, else the newest `limit`."""
        newest = from_id is None and start_ms is None
        rows = self._db.execute(
            "SELECT document FROM orders WHERE symbol = ? AND order_id >= ? AND created_ms >= ? AND created_ms <= ? "
            f"ORDER BY order_id {'DESC' if newest else 'ASC'} LIMIT ?",
            (symbol, from_id or 0, start_ms or 0, end_ms or 2**62, limit),
        ).fetchall()
        return [_order(row[0]) for row in (reversed(rows) if newest else rows)]

    def fills(
        self,
        symbol: str,
        *,
        from_id: int | None = None,
        order_id: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 500,
    ) -> list[Fill]:
        """Return own trades by ascending id: from an id or a time on, else the newest `limit`."""
        newest = from_id is None and start_ms is None
        rows = self._db.execute(
            "SELECT document FROM fills WHERE symbol = ? AND trade_id >= ? AND time_ms >= ? AND time_ms <= ? "
            f"AND (? IS NULL OR order_id = ?) ORDER BY trade_id {'DESC' if newest else 'ASC'} LIMIT ?",
            (symbol, from_id or 0, start_ms or 0, end_ms or 2**62, order_id, order_id, limit),
        ).fetchall()
        return [Fill(**json.loads(row[0])) for row in (reversed(rows) if newest else rows)]

    def load_cell(self, symbol: str, open_ms: int) -> StoredCell | None:
        """Return a touched cell."""
        row = self._db.execute(
            "SELECT played, tape, bar FROM cells WHERE symbol = ? AND open_ms = ?", (symbol, open_ms)
        ).fetchone()
        if row is None:
            return None
        rows = np.frombuffer(row[1], np.int64).reshape(-1, 4)
        return StoredCell(open_ms, row[0], rows, np.frombuffer(row[2], np.int64))

    def load_bars(self, symbol: str) -> dict[int, Ints]:
        """Return the bars of all touched cells by open time."""
        rows = self._db.execute("SELECT open_ms, bar FROM cells WHERE symbol = ? ORDER BY open_ms", (symbol,))
        return {open_ms: np.frombuffer(bar, np.int64) for open_ms, bar in rows}

    # --- writing ----------------------------------------------------------------------------------------------

    def save(
        self,
        *,
        market_ms: int,
        orders: Iterable[Order] = (),
        fills: Iterable[Fill] = (),
        balances: Mapping[str, tuple[int, int]] | None = None,
        cells: Iterable[tuple[str, StoredCell]] = (),
    ) -> None:
        """Commit one consistent change; on return it survives a crash.

        Raises:
            UserError: the disk does not take it; the exchange must end, since memory is ahead of the account now.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('market_ms', ?)", (str(market_ms),))
            self._db.executemany("INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?, ?)", map(_order_row, orders))
            self._db.executemany(
                "INSERT INTO fills VALUES (?, ?, ?, ?, ?)",
                [(f.symbol, f.trade_id, f.order_id, f.time_ms, json.dumps(f.to_json())) for f in fills],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO balances VALUES (?, ?, ?)",
                [(asset, free, locked) for asset, (free, locked) in (balances or {}).items()],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?)",
                [(s, c.open_ms, c.played, c.rows.tobytes(), c.bar.tobytes()) for s, c in cells],
            )
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as exc:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise UserError(
                f"The practice account cannot be written: {exc}.",
                "Free some space and start the practice exchange again; what was stored before is safe.",
            ) from exc


def _order_row(order: Order) -> tuple[Any, ...]:
    document = json.dumps(order.to_json())
    return order.order_id, order.symbol, order.client_id, int(order.is_open), order.created_ms, document


def _order(document: str) -> Order:
    return Order(**json.loads(document))
