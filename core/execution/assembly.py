"""Building an executor over a data folder: the one recipe for window, headless commands and tests.

Call it on the thread that will run the executor; it blocks for a moment only where databases must be created.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from core.clock import Clock, SystemClock
from core.config import DataPaths
from core.domain.orders import TradingMode
from core.errors import UserError
from core.events import EventSink
from core.execution.api.gateway import ExchangeGateway
from core.execution.executor import Executor
from core.execution.executor_options import ExecutorOptions
from core.execution.fence import Fence
from core.execution.journal import Journal
from core.execution.process_lock import ExecutorLock, runtime_folder
from core.execution.strategy_runner import BarHook
from core.persistence.schema import ensure_migrated
from core.secrets.keys import key_fingerprint as key_fingerprint  # the journal of an account is named by it
from core.signals.risk_management import RiskManager, RiskSettings
from core.strategies.making import ModelLoaders

PLAY_MONEY: Final = frozenset({TradingMode.PRACTICE.value, TradingMode.PAPER.value})


def fence_path(paths: DataPaths) -> Path:
    """Return the fence file of a data folder."""
    return paths.root / "fence.json"


def open_journal(paths: DataPaths, mode: TradingMode, fingerprint: str) -> Journal:
    """Open the journal of one account.

    A journal belongs to one account for life. Where no real money is moved every market and every reset has an account
    of its own, and so has each of the modes PRACTICE and PAPER: the journal of the other one is set aside, and brought
    back with its account. Whether trading is allowed, and within which limits, belongs to the folder and goes along.
    Where either account is a real one, another account is a mistake.

    Raises:
        UserError: the journal belongs to another account, or cannot be read.
    """
    ensure_migrated(paths)
    account = f"{mode.value}:{fingerprint}"
    journal = Journal(paths.journal_db)
    known = journal.meta("account")
    if known is None:
        journal.set_meta("account", account)
    elif known != account:
        state, limits = journal.trading_state(), journal.risk_settings()
        journal.close()
        if not {mode.value, known.partition(":")[0]} <= PLAY_MONEY:
            raise UserError(
                "The order journal in this data folder belongs to another account.",
                "Choose another folder with --data-dir: one account, one folder.",
            )
        set_aside(paths.journal_db, known, datetime.now(UTC))
        bring_back(paths.journal_db, account)
        journal = open_journal(paths, mode, fingerprint)
        if state is not None:
            journal.set_trading_state(state)
        if limits is not None:
            journal.set_risk_settings(limits, SystemClock().now_ns())
    return journal


def set_aside(path: Path, account: str, now: datetime) -> None:
    """Rename a closed database and its side files after its account, dated; nothing is deleted."""
    name = f"{path.stem}-{account.replace(':', '-')}-{now:%Y%m%d-%H%M%S-%f}{path.suffix}"
    _rename(path, path.with_name(name))


def bring_back(path: Path, account: str) -> None:
    """Put the newest database set aside for an account in its place again; without one nothing happens."""
    found = sorted(path.parent.glob(f"{path.stem}-{account.replace(':', '-')}-*{path.suffix}"))
    if found:
        _rename(found[-1], path)


def _rename(path: Path, target: Path) -> None:
    for suffix in ("-wal", "-shm", ""):  # the database last: without it the side files mean nothing
        old = path.with_name(path.name + suffix)
        if old.exists():
            old.rename(target.with_name(target.name + suffix))


def build_executor(
    paths: DataPaths,
    gateway: ExchangeGateway,
    fingerprint: str,
    sink: EventSink,
    loaders: ModelLoaders,
    *,
    market: Clock,
    wall: Clock | None = None,
    bar_processed: BarHook | None = None,
    options: ExecutorOptions | None = None,
    risk: RiskSettings | None = None,
) -> Executor:
    """Take the lock and build an executor; `Executor.start` does the rest, `Executor.stop` gives the lock back.

    Args:
        fingerprint: see `key_fingerprint`.
        risk: limits of a new journal; an existing one knows its own.

    Raises:
        UserError: another program trades over this folder, or the databases cannot be created, upgraded or read.
    """
    lock = ExecutorLock(runtime_folder(), fingerprint, paths.root)
    lock.acquire()  # before the journal: opening it may set aside one that another program writes
    try:
        journal = open_journal(paths, gateway.mode, fingerprint)
    except BaseException:
        lock.release()
        raise
    return Executor(
        gateway,
        journal,
        RiskManager(risk or RiskSettings()),
        sink,
        loaders,
        paths=paths,
        fence=Fence(fence_path(paths)),
        lock=lock,
        market=market,
        wall=wall or SystemClock(),
        bar_processed=bar_processed,
        options=options,
    )
