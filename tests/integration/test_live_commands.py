"""Trading with real money from the command line, at a venue on this machine that is not called practice.

The venue is a practice exchange; the profile says otherwise, so every check of a LIVE gateway is made.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import app.live
from app.commands.root import run_cli
from app.commands.trade import _checked
from core.clock import SystemClock
from core.config import DataPaths
from core.domain.orders import OrderType, Side, TradingMode
from core.errors import UserError
from core.execution import sentinel_child
from core.execution.api.binance_api import binance_practice_profile
from core.execution.api.gateway import OrderRequest
from core.execution.api.key_permissions import StopGuard
from core.execution.api.venue_profile import VenueProfile
from core.execution.journal import Journal
from core.execution.sentinel import SentinelRules, SentinelStart
from core.execution.sentinel_process import SentinelKeeper, live_account
from core.execution.trading_place import place_path, read_place
from core.practice.control import PracticeControl, PracticeEndpoints
from core.practice.process import PracticeProcess
from core.secrets.keys import KeyPair, KeyRecord, LoadedKey, StoreKind
from core.strategies.spec import StrategySpec
from ml.api import DataRange
from tests.conftest import REPOSITORY

PHRASE = "TRADE LIVE WITH main"
# Without the dead-man switch: as a process of its own it knows the venue's own addresses only.
TRADE = ("trade", "--live", "--key", "main", "--minutes", "0.02", "--no-sentinel")


class Live:
    """A venue, a data folder with a key for it, and commands."""

    def __init__(self, endpoints: PracticeEndpoints, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.endpoints = endpoints
        self.folder = folder
        self.paths = DataPaths(folder)
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        code = run_cli([*arguments, "--data-dir", str(self.folder), "--json"])
        out, err = self._capsys.readouterr()
        assert self.endpoints.api_secret not in out + err
        assert self.endpoints.api_key not in out + err
        return code, json.loads(out), err

    def add_key(self, **changes: str) -> None:
        file = self.folder.parent / "key.txt"
        file.write_text(f"{self.endpoints.api_key}\n{self.endpoints.api_secret}\n")
        file.chmod(0o600)
        code, shown, err = self.run("keys", "add", "main", "--store", "owner-file", "--from-file", str(file))
        assert code == 0, err
        assert shown["last4"] == self.endpoints.api_key[-4:]

    def permit(self, **rights: bool) -> None:
        async def permit() -> None:
            control = PracticeControl(self.endpoints)
            try:
                await control.permissions(**rights)
            finally:
                await control.close()

        asyncio.run(permit())

    def place_order(self) -> None:
        """Leave a working order at the venue, as a program that died would."""

        async def place() -> None:
            pair = KeyPair(self.endpoints.api_key, self.endpoints.api_secret)
            record = KeyRecord("main", "binance", "", "", StoreKind.OWNER_FILE, "", 0)
            gateway = app.live.open_live_gateway(LoadedKey(record, pair), StopGuard())
            try:
                await gateway.connect()
                instrument = gateway.instruments["BTC/USDT"]
                book = await gateway.fetch_book("BTC/USDT", 5)
                price = instrument.round_price(Decimal(repr(book.bids[0][0])) / 2)
                quantity = instrument.round_quantity(100 / price)
                request = OrderRequest("m-left", "BTC/USDT", Side.BUY, OrderType.LIMIT, quantity, price)
                await gateway.submit_order(request)
            finally:
                await gateway.close()

        asyncio.run(place())

    def open_orders(self) -> int:
        async def count() -> int:
            pair = KeyPair(self.endpoints.api_key, self.endpoints.api_secret)
            record = KeyRecord("main", "binance", "", "", StoreKind.OWNER_FILE, "", 0)
            gateway = app.live.open_live_gateway(LoadedKey(record, pair), StopGuard())
            try:
                await gateway.connect()
                return len(await gateway.fetch_open_orders())
            finally:
                await gateway.close()

        return asyncio.run(count())


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Live]:
    with PracticeProcess(data_dir=tmp_path / "exchange") as endpoints:
        profile = binance_practice_profile(rest=endpoints.rest, ws=endpoints.ws, ws_api=endpoints.ws_api)

        def at_loopback(venue: str) -> VenueProfile:
            assert venue == "binance"
            return dataclasses.replace(profile, practice=False)

        monkeypatch.setattr(app.live, "live_profile", at_loopback)
        monkeypatch.setattr("app.commands.trade_live.live_profile", at_loopback)
        yield Live(endpoints, tmp_path / "data", capsys)


def test_confirmed_and_with_a_harmless_key_it_trades_live(live: Live) -> None:
    live.add_key()
    code, result, err = live.run(*TRADE, "--confirm", PHRASE)
    assert code == 0, err
    assert result["orders_match"]
    assert result["positions_match"]
    assert "any address" in err, "the warning about the key is told"
    journal = Journal(live.paths.journal_db)
    assert (journal.meta("account") or "").startswith("live:")
    journal.close()
    place = read_place(live.paths)
    assert place is not None
    assert (place.mode, place.venue, place.key) == (TradingMode.LIVE, "binance", "main")
    for path in live.folder.rglob("*"):
        if path.is_file() and path.parent.name != "keys":
            content = path.read_bytes()
            assert live.endpoints.api_secret.encode() not in content, path
            assert live.endpoints.api_key.encode() not in content, path
    (key,) = live.run("keys", "list")[1]["keys"]
    assert key["permissions"]["allowed"] is True


@pytest.mark.parametrize("typed", ["", "TRADE LIVE WITH other", "trade live with main", "yes", "main"])
def test_unconfirmed_nothing_is_traded(typed: str, live: Live) -> None:
    live.add_key()
    code, answer, _ = live.run(*TRADE, "--confirm", typed)
    assert code == 2
    assert PHRASE in answer["remedy"]
    assert not place_path(live.paths).exists()


def test_without_a_terminal_it_asks_for_the_argument(live: Live) -> None:
    live.add_key()
    code, answer, _ = live.run(*TRADE)  # the tests have no terminal
    assert code == 2
    assert "not confirmed" in answer["error"]


@pytest.mark.parametrize(
    ("rights", "words"),
    [
        ({"withdrawals": True}, "this key can withdraw money"),
        ({"trading": False}, "this key may not trade"),
        ({"reading": False}, "this key may not read the account"),
        ({"revoked": True}, "-2015"),
    ],
)
def test_a_key_that_must_not_be_used_opens_nothing(rights: dict[str, bool], words: str, live: Live) -> None:
    live.add_key()
    live.permit(**rights)
    code, answer, err = live.run(*TRADE, "--confirm", PHRASE)
    assert code == 2
    assert words in answer["error"]
    assert "Traceback" not in err
    code, answer, err = live.run("keys", "check", "main")
    assert code == (2 if "revoked" in rights else 1)
    assert words in json.dumps(answer)


def test_kill_and_rearm_work_for_a_folder_that_trades_live(live: Live) -> None:
    live.add_key()
    assert live.run(*TRADE, "--confirm", PHRASE)[0] == 0
    live.place_order()
    assert live.open_orders() == 1
    live.permit(withdrawals=True)  # no reason not to stop
    code, report, err = live.run("kill")
    assert code == 0, err
    assert (report["complete"], len(report["cancelled"])) == (True, 1)
    assert live.open_orders() == 0
    live.permit(withdrawals=False)
    code, answer, _ = live.run(*TRADE, "--confirm", PHRASE)
    assert code == 2
    assert "rearm" in answer["remedy"]
    code, answer, _ = live.run("rearm", "--yes")
    assert (code, answer["rearmed"]) == (0, True)
    assert live.run(*TRADE, "--confirm", PHRASE)[0] == 0


def test_a_kill_whose_key_is_gone_raises_the_fence_and_says_what_it_could_not_do(live: Live) -> None:
    live.add_key()
    assert live.run(*TRADE, "--confirm", PHRASE)[0] == 0
    assert live.run("keys", "remove", "main", "--confirm", "main")[0] == 0
    code, report, _ = live.run("kill")
    assert code == 1
    assert report["complete"] is False
    assert "no key named 'main'" in report["errors"][0]
    assert (live.folder / "fence.json").exists()


def test_a_folder_belongs_to_one_account(live: Live) -> None:
    live.add_key()
    assert live.run(*TRADE, "--confirm", PHRASE)[0] == 0
    code, answer, _ = live.run("trade", "--practice", "--minutes", "0.01")
    assert code == 2
    assert "another account" in answer["error"]
    place = read_place(live.paths)
    assert place is not None
    assert place.mode is TradingMode.LIVE, "a kill still finds the real account"


@pytest.mark.parametrize(
    "arguments",
    [
        ("trade", "--live"),
        ("trade", "--live", "--practice", "--key", "main"),
        ("trade", "--practice", "--key", "main"),
        ("trade", "--practice", "--confirm", PHRASE),
        ("trade", "--live", "--key", "main", "--seed", "3", "--confirm", PHRASE),
        ("trade", "--live", "--key", "nobody", "--confirm", "TRADE LIVE WITH nobody"),
    ],
)
def test_half_a_wish_is_a_usage_error(arguments: tuple[str, ...], live: Live) -> None:
    live.add_key()
    code, answer, err = live.run(*arguments)
    assert code == 2
    assert answer["error"]
    assert "Traceback" not in err
    assert not os.path.exists(live.paths.journal_db) or not place_path(live.paths).exists()


@pytest.mark.parametrize(
    ("venue", "refused"), [("binance", False), ("practice-synthetic-1", True), ("practice-replay-0a", True)]
)
def test_a_model_of_the_practice_market_trades_no_real_money(
    venue: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = SimpleNamespace(spec=SimpleNamespace(data=DataRange(venue=venue)))
    monkeypatch.setattr("ml.model_storage.load_any", lambda folder, model_id: package)
    spec = StrategySpec("s", "S", "BTC/USDT", "1h", "m", Decimal(100))
    _checked(DataPaths(tmp_path), spec, live=False)
    if refused:
        with pytest.raises(UserError, match="practice exchange"):
            _checked(DataPaths(tmp_path), spec, live=True)
    else:
        _checked(DataPaths(tmp_path), spec, live=True)


# `main.py` in a process of its own, at the venue of the test.
PROGRAM = """
import dataclasses, sys
import app.live, app.commands.trade_live as trade_live
from app.commands.root import run_cli
from core.execution.api.binance_api import binance_practice_profile
rest, ws, ws_api = sys.argv[1:4]
profile = dataclasses.replace(binance_practice_profile(rest=rest, ws=ws, ws_api=ws_api), practice=False)
app.live.live_profile = trade_live.live_profile = lambda venue: profile
sys.exit(run_cli(sys.argv[4:]))
"""


def test_a_running_program_is_stopped_from_outside_and_its_key_is_used_once(live: Live, tmp_path: Path) -> None:
    live.add_key()
    where = (live.endpoints.rest, live.endpoints.ws, live.endpoints.ws_api)
    command = ("trade", "--live", "--key", "main", "--confirm", PHRASE, "--data-dir", str(live.folder), "--json")
    command += ("--no-sentinel",)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *where, *command],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = ""
        while "Trading." not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        other = Live(live.endpoints, tmp_path / "other", live._capsys)
        other.add_key()
        code, answer, _ = other.run(*TRADE, "--confirm", PHRASE)
        assert (code, "already trading with this key" in answer["error"]) == (2, True)
        live.place_order()
        code, report, err = live.run("kill")
        assert code == 0, err
        assert (report["complete"], live.open_orders()) == (True, 0)
        while "stopped from outside" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert json.loads(out.splitlines()[-1])["trading_state"] == "halted", err
    assert "Traceback" not in said + err
    assert live.endpoints.api_secret not in said + err + out


def test_the_dead_man_switch_cancels_at_a_real_account_whatever_its_key_may_do(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.place_order()
    live.permit(withdrawals=True)
    pair = KeyPair(live.endpoints.api_key, live.endpoints.api_secret)
    record = KeyRecord("main", "binance", "", "f", StoreKind.OWNER_FILE, "", 0)
    keeper = SentinelKeeper(live.paths, live_account(record, pair), lambda event: None, SystemClock(), None)
    start = SentinelStart.from_json(keeper.start_message(SentinelRules()))
    assert start.mode == TradingMode.LIVE.value
    assert live.endpoints.api_secret not in repr(start)
    monkeypatch.setattr(sentinel_child, "profile_of", lambda start: app.live.live_profile(start.venue))

    async def cancel() -> None:
        async with sentinel_child.connector(start)() as gateway:
            for order in await gateway.fetch_open_orders():
                await gateway.cancel_order(order.symbol, order.client_order_id)

    asyncio.run(cancel())
    assert live.open_orders() == 0
