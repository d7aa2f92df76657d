"""`main.py kill` where the disk takes nothing: what is open is cancelled, and the answer does not say complete."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path

import pytest

from app.commands import kill
from app.commands.root import run_cli
from core.config import DataPaths
from core.domain.orders import Side
from core.errors import UserError
from core.execution.fence import Fence
from core.persistence.schema import ensure_migrated
from tests.unit.execution.fake_venue import FakeVenue


async def with_a_foreign_order(venue: FakeVenue) -> None:
    await venue.connect()
    venue.place_foreign("BTC/USDT", Side.BUY, Decimal(1), Decimal(90))


@pytest.mark.parametrize("words", [[], ["--flatten"]])
def test_a_fence_that_cannot_be_raised_keeps_no_order_at_the_venue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    venue = FakeVenue()
    asyncio.run(with_a_foreign_order(venue))
    ensure_migrated(DataPaths(tmp_path))
    monkeypatch.setenv("MARU_RUNTIME_DIR", str(tmp_path / "locks"))
    account = kill.KilledAccount("test", lambda: nullcontext(venue))
    monkeypatch.setattr(kill, "_practice_account", lambda paths, endpoints: account)

    def refuse(*args: object, **kwargs: object) -> None:
        raise UserError("The fence file cannot be written: No space left on device.", "Free some space.")

    monkeypatch.setattr(Fence, "raise_epoch", refuse)
    assert run_cli(["kill", *words, "--data-dir", str(tmp_path), "--json"]) == 1
    output = capsys.readouterr()
    answer = json.loads(output.out)
    assert venue.open_orders() == []
    assert (answer["confirmed"], answer["fenced"], answer["complete"]) == (True, False, False)
    assert "A program that runs goes on sending orders: end it." in output.err
    assert "stays halted" not in output.err
