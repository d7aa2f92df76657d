"""One recipe, one account per journal, one executor per key; and books that are checked, not believed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.config import DataPaths
from core.domain.orders import OrderDraft, OrderState, OrderType, Side, TradingMode, TradingState
from core.errors import UserError
from core.execution import process_lock
from core.execution.assembly import build_executor, key_fingerprint, open_journal
from core.execution.books import check_books
from core.execution.marks import Marks
from core.execution.process_lock import ExecutorLock, runtime_folder
from core.execution.records import TradingStateRecord
from core.signals.risk_management import RiskSettings
from tests.unit.execution.conftest import NO_MODELS, Desk
from tests.unit.execution.fake_venue import FakeVenue
from tests.unit.execution.test_unknown_orders import REST

BUY = OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal("0.5"))


def test_a_fingerprint_names_a_key_without_showing_it() -> None:
    made = key_fingerprint("binance", "my-secret-key")
    assert len(made) == 16
    assert "my-secret-key" not in made
    assert made != key_fingerprint("binance", "another")


def test_a_reset_practice_account_gets_a_new_journal_and_keeps_the_old(paths: DataPaths) -> None:
    first = open_journal(paths, TradingMode.PRACTICE, "aaaa")
    first.set_meta("mark", "old")
    first.close()
    same = open_journal(paths, TradingMode.PRACTICE, "aaaa")
    assert same.meta("mark") == "old"
    same.close()
    new = open_journal(paths, TradingMode.PRACTICE, "bbbb")
    assert new.meta("mark") is None
    new.close()
    assert len(list(paths.root.glob("journal-*.sqlite"))) == 1
    back = open_journal(paths, TradingMode.PRACTICE, "aaaa")
    assert back.meta("mark") == "old"  # with its account comes its journal
    back.close()
    assert len(list(paths.root.glob("journal-*.sqlite"))) == 1


def test_whether_trading_is_allowed_and_within_which_limits_goes_along(paths: DataPaths) -> None:
    limits = replace(RiskSettings(), max_open_orders=3)
    state = TradingStateRecord(TradingState.ACTIVE, "re-armed", 4, 100)
    first = open_journal(paths, TradingMode.PRACTICE, "aaaa")
    first.set_trading_state(state)
    first.set_risk_settings(limits, 1)
    first.close()
    new = open_journal(paths, TradingMode.PRACTICE, "bbbb")
    assert (new.trading_state(), new.risk_settings()) == (state, limits)
    halted = TradingStateRecord(TradingState.HALTED, "kill switch", 5, 200)
    new.set_trading_state(halted)
    new.close()
    back = open_journal(paths, TradingMode.PRACTICE, "aaaa")
    assert back.trading_state() == halted  # a halt is not undone by going back
    back.close()


def test_practice_and_paper_take_turns_in_a_folder(paths: DataPaths) -> None:
    halted = TradingStateRecord(TradingState.HALTED, "kill switch", 5, 200)
    for mode, other in ((TradingMode.PRACTICE, TradingMode.PAPER), (TradingMode.PAPER, TradingMode.PRACTICE)):
        first = open_journal(paths, mode, "aaaa")
        first.set_meta("mark", mode.value)
        first.set_trading_state(halted)
        first.close()
        second = open_journal(paths, other, "aaaa")
        assert second.meta("mark") in (None, other.value)
        assert second.trading_state() == halted  # a halt holds for the folder
        second.close()


def test_a_live_journal_is_never_set_aside(paths: DataPaths) -> None:
    open_journal(paths, TradingMode.LIVE, "aaaa").close()
    for mode in TradingMode:
        with pytest.raises(UserError, match="belongs to another account"):
            open_journal(paths, mode, "bbbb")


def test_no_live_account_takes_over_a_folder_of_play_money(paths: DataPaths) -> None:
    open_journal(paths, TradingMode.PAPER, "aaaa").close()
    with pytest.raises(UserError, match="belongs to another account"):
        open_journal(paths, TradingMode.LIVE, "bbbb")


async def test_the_recipe_makes_a_working_executor(
    venue: FakeVenue, paths: DataPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARU_RUNTIME_DIR", str(paths.root / "locks"))
    executor = build_executor(paths, venue, "aaaa", lambda event: None, NO_MODELS, market=venue.clock, wall=venue.clock)
    await executor.start()
    assert (await executor.place_order(BUY)).state is OrderState.FILLED
    await executor.stop()


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from core.execution.process_lock import ExecutorLock\n"
        "lock = ExecutorLock(Path(sys.argv[1]), 'k'); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    lock = ExecutorLock(tmp_path, "k")
    assert not lock.is_free()
    with pytest.raises(UserError, match=f"process {child.pid}"):
        lock.acquire()
    child.kill()
    child.communicate()
    assert lock.is_free()
    lock.acquire()
    lock.release()
    lock.release()
    assert ExecutorLock(tmp_path, "other").is_free()


def test_a_lock_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="lock file"):
        ExecutorLock(tmp_path / "file", "k").acquire()


def test_the_runtime_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MARU_RUNTIME_DIR", str(tmp_path))
    assert runtime_folder() == tmp_path


POSIX = pytest.mark.skipif(sys.platform == "win32", reason="the profile's folders are the user's alone")
# Says that it holds the lock, or why it does not; what the system says of the home is replaced by a folder of the test.
TRADE = """
import sys
from pathlib import Path
from types import SimpleNamespace
from core.errors import UserError
from core.execution import process_lock
home = sys.argv[1]
process_lock.pwd = SimpleNamespace(getpwuid=lambda user: SimpleNamespace(pw_dir=home))
folder = process_lock.runtime_folder()
assert Path(home) in folder.parents, folder
try:
    lock = process_lock.ExecutorLock(folder, "k", Path(sys.argv[2]))
    lock.acquire()
except UserError as exc:
    print(exc.message, flush=True)
else:
    print("held", flush=True)
    sys.stdin.read()
"""


@POSIX
def test_one_key_has_one_lock_whatever_session_a_program_was_started_in(tmp_path: Path) -> None:
    """From the desktop, and by cron or a service: other variables, other data folders, the same key."""
    for name in ("home", "session", "other", "a", "b"):
        (tmp_path / name).mkdir()
    home, other = str(tmp_path / "home"), str(tmp_path / "other")
    named = ("MARU_RUNTIME_DIR", "XDG_RUNTIME_DIR", "TMPDIR", "HOME")
    bare = {name: value for name, value in os.environ.items() if name not in named}
    desktop = bare | {"XDG_RUNTIME_DIR": str(tmp_path / "session"), "TMPDIR": other, "HOME": home}
    elsewhere = bare | {"HOME": other, "XDG_STATE_HOME": other}

    def start(environment: dict[str, str], data: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", TRADE, home, str(tmp_path / data)],
            cwd=Path(__file__).parents[3],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    first = start(desktop, "a")
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        for environment in (bare, elsewhere):
            out, _ = start(environment, "b").communicate(timeout=60)
            assert out == f"Another program is already trading with this key (process {first.pid}).\n"
    finally:
        first.kill()
        first.communicate()
    again = start(bare, "b")
    assert again.communicate(timeout=60)[0] == "held\n"


@POSIX
def test_a_user_without_a_home_has_one_folder_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MARU_RUNTIME_DIR")
    known: dict[int, object] = {}
    monkeypatch.setattr(process_lock, "pwd", SimpleNamespace(getpwuid=known.__getitem__))
    monkeypatch.setattr(process_lock, "_SHARED", str(tmp_path))
    found = set()
    for name in ("XDG_RUNTIME_DIR", "TMPDIR", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
        found.add(runtime_folder())
    assert found == {tmp_path / f"maru-runtime-{os.getuid()}"}
    lock = ExecutorLock(runtime_folder(), "k")
    lock.acquire()
    lock.release()
    assert runtime_folder().stat().st_mode & 0o777 == 0o700


@POSIX
def test_a_lock_that_may_not_be_looked_at_counts_as_held(tmp_path: Path) -> None:
    (tmp_path / "executor-k.lock").mkdir()
    assert not ExecutorLock(tmp_path, "k").is_free()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_the_runtime_folder_is_owner_only_and_ours(tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    wide.mkdir(mode=0o777)
    wide.chmod(0o777)
    lock = ExecutorLock(wide, "k")
    lock.acquire()
    lock.release()
    assert wide.stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(wide, target_is_directory=True)
    with pytest.raises(UserError, match="cannot be written"):
        ExecutorLock(tmp_path / "link", "k").acquire()


def test_one_data_folder_has_one_executor_whatever_the_key(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = ExecutorLock(tmp_path / "locks", "aaaa", data)
    second = ExecutorLock(tmp_path / "locks", "bbbb", data)
    first.acquire()
    first.acquire()
    assert not second.is_free()
    with pytest.raises(UserError, match="over this data folder"):
        second.acquire()
    third = ExecutorLock(tmp_path / "locks", "aaaa", tmp_path / "other")
    with pytest.raises(UserError, match="with this key"):
        third.acquire()
    assert ExecutorLock(tmp_path / "locks", "cccc", tmp_path / "other").is_free()  # nothing of the failed try is held
    first.release()
    second.acquire()
    second.release()


async def test_a_second_executor_leaves_the_journal_of_the_first_alone(
    venue: FakeVenue, paths: DataPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARU_RUNTIME_DIR", str(paths.root / "locks"))
    first = build_executor(paths, venue, "aaaa", lambda event: None, NO_MODELS, market=venue.clock, wall=venue.clock)
    with pytest.raises(UserError, match="already trading"):
        build_executor(paths, venue, "bbbb", lambda event: None, NO_MODELS, market=venue.clock, wall=venue.clock)
    assert list(paths.root.glob("journal-*.sqlite")) == []
    await first.stop()


async def test_every_difference_between_books_and_venue_is_found(desk: Desk) -> None:
    executor = await desk.start()
    filled = await executor.place_order(BUY)
    resting = await executor.place_order(REST)
    desk.venue.submit_faults.append("reject")
    await executor.place_order(OrderDraft("ETH/USDT", Side.BUY, OrderType.MARKET, Decimal(1)))

    async def differences() -> str:
        return "\n".join((await check_books(desk.venue, desk.journal, executor.first_balances)).differences)

    assert await differences() == ""
    ours = desk.venue.orders[filled.client_order_id]
    ours.fills[0] = replace(ours.fills[0], price=Decimal(101))
    assert "is booked differently" in await differences()
    ours.fills[0] = replace(ours.fills[0], trade_id="777")
    assert "trade 777 in BTC/USDT is not booked" in await differences()
    assert "is not at the venue" in await differences()
    desk.venue.orders[resting.client_order_id].state = OrderState.CANCELED
    assert "accepted 0 here and canceled 0 at the venue" in await differences()
    del desk.venue.orders[resting.client_order_id]
    assert f"order {resting.client_order_id} is accepted here and not at the venue" in await differences()
    desk.venue.free["BTC"] += 1
    assert "1 BTC came in that no trade explains." in await differences()


def test_marks_convert_in_both_directions(venue: FakeVenue) -> None:
    marks = Marks(venue.clock)
    marks.update("BNB/USDT", 600.0)
    marks.update("BAD/USDT", float("nan"))
    assert marks.price("BAD/USDT") is None
    assert marks.convert("BNB", "USDT") == 600
    assert marks.convert("USDT", "USDT") == 1
    converted = marks.convert("USDT", "BNB")
    assert converted is not None
    assert abs(converted * 600 - 1) < Decimal("1e-30")
    assert marks.convert("XRP", "USDT") is None
    assert marks.age_ns("BNB/USDT") == 0
    marks.forget("BNB/USDT")
    assert marks.age_ns("BNB/USDT") is None
