"""The paper account on disk: one SQLite file, every change committed before anyone hears of it. Any one thread.

Several processes may have it open: `main.py kill` cancels in it while the trading program hangs. Whoever writes first
looks whether somebody else has written since it last read, and reads again instead of writing where that is so.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from core.domain.fills import Fill, Liquidity
from core.domain.orders import Side
from core.domain.positions import Balance
from core.errors import UserError
from core.execution.paper.ledger import PaperOrder

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS balances (currency TEXT PRIMARY KEY, free TEXT NOT NULL, locked TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
    order_id INTEGER PRIMARY KEY, symbol TEXT NOT NULL, client_id TEXT NOT NULL, is_open INTEGER NOT NULL,
    document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS orders_by_client ON orders (symbol, client_id);
CREATE INDEX IF NOT EXISTS orders_open ON orders (is_open) WHERE is_open = 1;
CREATE TABLE IF NOT EXISTS fills (
    trade_id INTEGER PRIMARY KEY, symbol TEXT NOT NULL, time_ns INTEGER NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS fills_by_symbol ON fills (symbol, time_ns);
CREATE TABLE IF NOT EXISTS seen (symbol TEXT PRIMARY KEY, time_ns INTEGER NOT NULL);
"""
_BUSY_S: Final = 2.0


class AccountChanged(Exception):
    """Another process wrote to the account since it was last read; nothing was written."""


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What one event did to the account.

    Attributes:
        seen: market time up to which a market's trades have been matched, ns UTC, by symbol.
    """

    orders: tuple[PaperOrder, ...] = ()
    fills: tuple[Fill, ...] = ()
    balances: tuple[Balance, ...] = ()
    seen: Mapping[str, int] | None = None


class AccountFile:
    """Balances, orders and fills of one paper account.

    Attributes:
        account_id: names the account; another file or a new account has another one.
    """

    def __init__(self, path: Path, opening: Mapping[str, Decimal]) -> None:
        """Open the file, or begin an account with `opening` balances.

        Raises:
            UserError: the file is unreadable or cannot be written.
        """
        self.path = path
        with self._speaking():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S, check_same_thread=False)
            try:
                self._prepare(opening)
            except BaseException:
                self._db.close()
                raise
            self.account_id = self._meta("account_id") or ""

    def _prepare(self, opening: Mapping[str, Decimal]) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            self._db.execute(statement)
        if self._meta("account_id") is None:
            self._begin(opening)
        self._db.execute("COMMIT")
        self._version = self._data_version()

    def _begin(self, opening: Mapping[str, Decimal]) -> None:
        first = {currency: format(amount, "f") for currency, amount in sorted(opening.items())}
        meta = {
            "account_id": secrets.token_hex(16),
            "created_ns": str(time.time_ns()),
            "opening": json.dumps(first),
        }
        self._db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        self._db.executemany("INSERT INTO balances VALUES (?, ?, '0')", first.items())

    @property
    def opening(self) -> dict[str, Decimal]:
        """What the account began with, by currency."""
        return {currency: Decimal(amount) for currency, amount in json.loads(self._meta("opening") or "{}").items()}

    def close(self) -> None:
        """Release the file; idempotent."""
        self._db.close()

    # --- reading ----------------------------------------------------------------------------------------------

    def changed_outside(self) -> bool:
        """Whether another process has written since this one last read or wrote."""
        with self._speaking():
            return self._data_version() != self._version

    def catch_up(self) -> None:
        """Take what is there now as read; the caller reads it after this."""
        with self._speaking():
            self._version = self._data_version()

    def balances(self) -> tuple[Balance, ...]:
        """Return all balances."""
        with self._speaking():
            rows = self._db.execute("SELECT currency, free, locked FROM balances ORDER BY currency").fetchall()
        return tuple(Balance(currency, Decimal(free), Decimal(locked)) for currency, free, locked in rows)

    def open_orders(self) -> list[PaperOrder]:
        """Return all open orders, oldest first."""
        with self._speaking():
            rows = self._db.execute("SELECT document FROM orders WHERE is_open = 1 ORDER BY order_id").fetchall()
        return [_order(row[0]) for row in rows]

    def find_order(self, symbol: str, client_id: str) -> PaperOrder | None:
        """Return the newest order with a client id."""
        with self._speaking():
            row = self._db.execute(
                "SELECT document FROM orders WHERE symbol = ? AND client_id = ? ORDER BY order_id DESC LIMIT 1",
                (symbol, client_id),
            ).fetchone()
        return _order(row[0]) if row else None

    def order(self, order_id: int) -> PaperOrder | None:
        """Return one order."""
        with self._speaking():
            row = self._db.execute("SELECT document FROM orders WHERE order_id = ?", (order_id,)).fetchone()
        return _order(row[0]) if row else None

    def fills(self, symbol: str | None = None, since_ns: int = 0) -> list[Fill]:
        """Return own trades from a time on, oldest first; of every market where none is named."""
        with self._speaking():
            rows = self._db.execute(
                "SELECT document FROM fills WHERE (? IS NULL OR symbol = ?) AND time_ns >= ? ORDER BY trade_id",
                (symbol, symbol, since_ns),
            ).fetchall()
        return [_fill(row[0]) for row in rows]

    def seen(self) -> dict[str, int]:
        """Return up to which market time each market's trades have been matched, ns UTC."""
        with self._speaking():
            return dict(self._db.execute("SELECT symbol, time_ns FROM seen").fetchall())

    def last_ids(self) -> tuple[int, int]:
        """Return the highest order id and trade id used."""
        with self._speaking():
            order_id = self._db.execute("SELECT COALESCE(MAX(order_id), 0) FROM orders").fetchone()[0]
            trade_id = self._db.execute("SELECT COALESCE(MAX(trade_id), 0) FROM fills").fetchone()[0]
        return int(order_id), int(trade_id)

    # --- writing ----------------------------------------------------------------------------------------------

    def save(self, change: AccountChange) -> None:
        """Commit one consistent change; on return it survives a crash.

        Raises:
            AccountChanged: somebody else wrote meanwhile; read again.
            UserError: the disk does not take it; what was stored before is safe.
        """
        with self._speaking():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if self._data_version() != self._version:
                    raise AccountChanged
                self._db.executemany(
                    "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?)", map(_order_row, change.orders)
                )
                self._db.executemany(
                    "INSERT INTO fills VALUES (?, ?, ?, ?)",
                    [(int(f.trade_id), f.symbol, f.time_ns, json.dumps(_plain(f))) for f in change.fills],
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO balances VALUES (?, ?, ?)",
                    [(b.currency, format(b.free, "f"), format(b.locked, "f")) for b in change.balances],
                )
                self._db.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", (change.seen or {}).items())
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def announce(self) -> None:
        """Write, so that whatever another process was about to store is not stored before it has read again.

        Raises:
            UserError: the disk does not take it.
        """
        with self._speaking():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('announced_ns', ?)", (str(time.time_ns()),))

    # --- inside -----------------------------------------------------------------------------------------------

    def _meta(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def _data_version(self) -> int:
        """Return a number that changes whenever another connection has committed."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Turn what the database or the disk raises into one sentence."""
        try:
            yield
        except sqlite3.Error as exc:
            raise UserError(
                f"The paper account {self.path} cannot be used: {exc}.",
                "Free some space, or move the file away to begin a new account.",
            ) from exc
        except OSError as exc:
            raise UserError(
                f"The paper account {self.path} cannot be used: {exc.strerror or exc}.",
                "Free some space, or choose another folder with --data-dir.",
            ) from exc


def archive(path: Path) -> Path | None:
    """Move a closed account file aside, so that the next one opened there begins anew; returns where the old one lies.

    Raises:
        UserError: it cannot be moved.
    """
    if not path.exists():
        return None
    target = path.parent / "archive" / f"{path.stem}-{time.time_ns()}{path.suffix}"
    try:
        target.parent.mkdir(exist_ok=True, mode=0o700)
        for suffix in ("-wal", "-shm", ""):  # the database last: without it the side files mean nothing
            side = path.with_name(path.name + suffix)
            if side.exists():
                side.rename(target.with_name(target.name + suffix))
    except OSError as exc:
        raise UserError(
            f"The paper account {path} cannot be set aside: {exc.strerror or exc}.",
            "Check the permissions of the data folder.",
        ) from exc
    return target


def _order_row(order: PaperOrder) -> tuple[Any, ...]:
    return order.order_id, order.symbol, order.client_id, int(order.is_open), json.dumps(order.to_json())


def _order(document: str) -> PaperOrder:
    return PaperOrder.from_json(json.loads(document))


def _plain(fill: Fill) -> dict[str, Any]:
    return {name: format(v, "f") if isinstance(v, Decimal) else v for name, v in asdict(fill).items()}


def _fill(document: str) -> Fill:
    values = json.loads(document)
    for name in ("price", "quantity", "fee"):
        values[name] = Decimal(values[name])
    values["side"], values["liquidity"] = Side(values["side"]), Liquidity(values["liquidity"])
    return Fill(**values)
