"""The chance in pauses: another in every process, the same again where a seed is given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.domain.orders import TradingMode
from core.execution.api.binance_api import binance_profile
from core.execution.api.ccxt_gateway import CcxtGateway
from core.jitter import new_jitter

_PAUSES = """
from core.domain.candles import Timeframe
from core.data.real_time_collector import MarketFeed
from core.clock import SystemClock
from core.domain.orders import TradingMode
from core.execution.api.ccxt_gateway import CcxtGateway
from core.execution.api.binance_api import binance_profile
gateway = CcxtGateway(binance_profile(), TradingMode.PAPER, None, market_clock=SystemClock())
feed = MarketFeed(gateway, "BTC/USDT", Timeframe.M1, None)
print(gateway._probe._backoff.next_s(), feed._random.random())
"""


def test_two_processes_draw_other_pauses() -> None:
    root = Path(__file__).parents[2]
    running = [
        subprocess.Popen([sys.executable, "-c", _PAUSES], cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    drawn = [process.communicate(timeout=60)[0].split() for process in running]
    assert [len(pauses) for pauses in drawn] == [2, 2]
    assert len({*drawn[0], *drawn[1]}) == 4


def test_a_seed_repeats_itself(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "core.jitter")
    assert new_jitter(3).random() == new_jitter(3).random()
    assert caplog.messages == []
    drawn = new_jitter().random()
    (message,) = caplog.messages
    assert new_jitter(int(message.split()[-1])).random() == drawn  # what happened can be repeated


def test_a_gateway_with_a_seed_repeats_itself() -> None:
    def pause() -> float:
        clock = SystemClock()
        return CcxtGateway(
            binance_profile(), TradingMode.PAPER, None, market_clock=clock, seed=4
        )._probe._backoff.next_s()

    assert pause() == pause()
