"""What was tested is what trades: a stored agent trades bars on paper, and the accounting kernel books the same fills.

Nothing of the program is replaced: the exported network, the strategy, risk, the order path, the journal and the paper
account are those of `main.py trade --paper`. Only the market is written: its bars, and at each opening a book whose
best prices are that opening, worsened by the spread and the slippage that the agent has learned with.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from app.runtime import model_loaders, prepare_data
from core.accounting.fast import BarArrays, TargetRun, run_targets
from core.accounting.rules import CostRates, spot_rules
from core.clock import NS_PER_S
from core.config import DataPaths
from core.data.frame import CandleFrame
from core.domain.candles import Candle, Timeframe
from core.domain.fills import Fill
from core.domain.instruments import FeeRule, Instrument
from core.domain.orders import OrderDraft, OrderType, Side
from core.events import ExecutorEvent, FillBooked, IntentDenied, OrderUpdated, SignalEmitted
from core.execution.assembly import build_executor, key_fingerprint
from core.execution.executor import Executor
from core.execution.paper.account_file import AccountFile
from core.execution.paper.gateway import PaperGateway
from core.execution.position_tracker import net_pnl
from core.signals.risk_management import RiskSettings
from core.strategies.spec import StrategyKind, StrategySpec
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.export import AgentNetwork
from ml.agents.market_tensor import Stretch, market_tensor
from ml.agents.run_spec import AgentSpec
from ml.arrays import FloatArray
from ml.environment import BatchedTradingEnv
from ml.features import FeaturePipeline
from ml.model_storage import load_agent
from tests.unit.execution.conftest import FAST
from tests.unit.execution.fake_venue import BTC, START_NS
from tests.unit.execution.paper.conftest import until
from tests.unit.execution.paper.market_double import MarketDouble
from tests.unit.ml.agents.agent_packages import small_spec
from tests.unit.ml.agents.agent_world import random_prices
from tests.unit.ml.agents.trading_agents import store_loud_agent

HOUR = Timeframe.H1
OPEN_NS = HOUR.floor(START_NS)
BARS, FIRST, LAST = 220, 100, 219  # decisions at FIRST <= row < LAST
RESTART_AT = 160
CAPITAL = Decimal(10_000)
COSTS = CostRates(taker_fee=0.001, half_spread=0.0004, slippage=0.0003)
MARKET = replace(BTC, lot_size=Decimal("0.01"), min_quantity=Decimal("0.01"), fee_rule=FeeRule.QUOTE)
LOOSE = RiskSettings(max_order_share=Decimal(10), max_quantity_multiple=Decimal(1_000_000), max_orders_per_minute=10**6)
PLENTY = 1e6


class BarMarket(MarketDouble):
    """Bars one after the other; between two of them the book of the next opening."""

    def __init__(self, candles: list[Candle], instrument: Instrument) -> None:
        super().__init__()
        self.history = candles
        self.instrument = instrument
        self.closed_bars = 0

    async def connect(self) -> None:
        self.instruments = {"BTC/USDT": self.instrument}

    async def fetch_candles(
        self, symbol: str, timeframe: Timeframe, *, since_ns: int | None = None, limit: int = 1000
    ) -> list[Candle]:
        known = self.history[: self.closed_bars] if timeframe is HOUR else []
        return [candle for candle in known if candle.open_time_ns >= (since_ns or 0)][:limit]

    async def travel(self, seconds: float) -> None:
        """Let the time of a message pass."""
        self.clock.advance(int(seconds * NS_PER_S))
        await asyncio.sleep(0)

    def show(self, row: int) -> None:
        """Let everything up to a bar have happened, and open the next one; its close is not told to streams."""
        self.closed_bars = row + 1
        self.clock.set(self.history[row].close_time_ns + NS_PER_S)
        self.last["BTC/USDT"] = self.history[row].close
        opened = Decimal(repr(self.history[row + 1].open))
        worse = Decimal(repr(COSTS.half_spread)) + Decimal(repr(COSTS.slippage))
        ask = float(self.instrument.ceil_price(opened * (1 + worse)))
        bid = float(self.instrument.floor_price(opened * (1 - worse)))
        self.set_book(((bid, PLENTY),), ((ask, PLENTY),))


@dataclass
class Desk:
    """A folder with a stored agent and a paper account, and the programs that trade there one after the other."""

    paths: DataPaths
    market: BarMarket
    spec: StrategySpec
    balance: Decimal = 3 * CAPITAL
    events: list[ExecutorEvent] = field(default_factory=list)
    done: list[int] = field(default_factory=list)  # open times of the bars that were handled completely

    @asynccontextmanager
    async def program(self) -> AsyncIterator[Executor]:
        gateway = PaperGateway(
            self.market,
            AccountFile(self.paths.paper / "fake.sqlite", {"USDT": self.balance}),
            market_clock=self.market.clock,
            wall_clock=self.market.clock,
            sleep=self.market.travel,
        )
        executor = build_executor(
            self.paths,
            gateway,
            key_fingerprint("fake", gateway.account_id),
            self.events.append,
            model_loaders(self.paths),
            market=self.market.clock,
            wall=self.market.clock,
            bar_processed=self._processed,
            options=FAST,
            risk=LOOSE,
        )
        await executor.start()
        running = asyncio.create_task(executor.run())
        try:
            yield executor
        finally:
            await executor.stop()
            await running

    async def trade(self, executor: Executor, first: int, last: int) -> None:
        """Let the bars `first` <= row < `last` close one by one, each handled before the next."""
        await until(lambda: self.market.listeners("candles") == 1)
        for row in range(first, last):
            self.market.show(row)
            await until(lambda: all(queue.empty() for queue in self.market.waiting["book", "BTC/USDT"]))
            await asyncio.sleep(0)  # who has taken the book out now acts on it
            candle = self.market.history[row]
            self.market._push("candles", "BTC/USDT", candle)
            await until(lambda candle=candle: candle.open_time_ns in self.done)

    async def _processed(self, candle: Candle) -> None:
        self.done.append(candle.open_time_ns)

    def fills(self) -> list[Fill]:
        """Return the agent's fills, in order; a program that starts tells of those before it as well."""
        found = [event for event in self.events if isinstance(event, FillBooked)]
        own = [e.fill for e in found if e.order is not None and e.order.intent.owner == self.spec.strategy_id]
        return list({fill.trade_id: fill for fill in own}.values())

    def weights(self) -> FloatArray:
        signals = [event.signal for event in self.events if isinstance(event, SignalEmitted)]
        assert [signal.bar_open_ns for signal in signals] == [c.open_time_ns for c in self.market.history[FIRST:LAST]]
        return np.array([signal.target_weight for signal in signals])


@pytest.fixture(scope="module")
def candles() -> list[Candle]:
    """Bars that do not open where the one before has closed."""
    prices = random_prices(BARS, 7)
    return [
        Candle("BTC/USDT", HOUR, OPEN_NS + row * HOUR.ns, *prices[row, :5].tolist(), final=True) for row in range(BARS)
    ]


def agent_spec() -> AgentSpec:
    # Up to 0.9: the kernel knows at the opening what the cash pays, a live order has to know it at the close.
    environment = EnvironmentSpec(window=3, lowest=0.0, highest=0.9, costs=COSTS, cash=float(CAPITAL), band=0.01)
    return replace(small_spec(), environment=environment)


def all_in_spec() -> AgentSpec:
    """Return an agent that always wants all of it in the market, and knows of no costs but the fee."""
    environment = EnvironmentSpec(window=3, lowest=0.9999, highest=1.0, cash=float(CAPITAL))
    return replace(small_spec(), environment=environment)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, AgentNetwork]:
    models = tmp_path_factory.mktemp("agents")
    return models, *store_loud_agent(models, agent_spec())


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, candles: list[Candle], stored: tuple[Path, str, AgentNetwork]
) -> Desk:
    monkeypatch.setenv("MARU_RUNTIME_DIR", str(tmp_path / "locks"))
    paths = prepare_data(tmp_path / "data")
    paths.models.symlink_to(stored[0])
    spec = StrategySpec("a", "Agent", "BTC/USDT", "1h", stored[1], CAPITAL, kind=StrategyKind.AGENT)
    return Desk(paths, BarMarket(candles, MARKET), spec)


def bar_arrays(candles: list[Candle]) -> BarArrays:
    columns = (np.array([getattr(c, name) for c in candles]) for name in ("open", "high", "low", "close", "volume"))
    return BarArrays(*columns, funding_rate=np.zeros(len(candles)))


def booked_by_kernel(weights: FloatArray, candles: list[Candle]) -> TargetRun:
    rules = replace(spot_rules(MARKET), band=0.01)
    return run_targets(weights, bar_arrays(candles[FIRST : LAST + 1]), COSTS, rules, cash=float(CAPITAL))


def judged_weights(desk: Desk, network: AgentNetwork) -> FloatArray:
    """Return the targets of the judge's walk through the environment over the same bars."""
    agent, candles = load_agent(desk.paths.models, desk.spec.model_id), desk.market.history
    pipeline = FeaturePipeline(agent.spec.features, HOUR)
    matrix = pipeline.compute(CandleFrame.from_candles(candles, "BTC/USDT", HOUR))
    bars = bar_arrays(candles)
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume, bars.funding_rate)
    stretch = Stretch(FIRST - agent.spec.environment.window + 1, LAST + 1)
    market = market_tensor(
        agent.scaling.inputs.transform(matrix),
        np.stack(columns, axis=1),
        pipeline.volatility(matrix),
        names=pipeline.names,
        stretches=[stretch],
        rules=spot_rules(MARKET),
    )
    env = BatchedTradingEnv(market, agent.spec.environment, windows=1, seed=0)
    with torch.no_grad():
        (walk,) = env.evaluate_pass(lambda seen: action_of(network(seen), agent.spec.environment))
    return walk.weights


def action_of(weight: Tensor, spec: EnvironmentSpec) -> Tensor:
    return (2.0 * (weight.double() - spec.lowest) / (spec.highest - spec.lowest) - 1.0).unsqueeze(1)


async def test_paper_books_what_the_kernel_books(desk: Desk, stored: tuple[Path, str, AgentNetwork]) -> None:
    """The same sides, quantities and prices, bar by bar, over a restart and beside a person in the same market."""
    desk.market.show(FIRST - 1)
    async with desk.program() as executor:
        await executor.place_order(OrderDraft("BTC/USDT", Side.BUY, OrderType.MARKET, Decimal(20)))
        await executor.add_strategy(desk.spec)
        await executor.start_strategy("a")
        await desk.trade(executor, FIRST, RESTART_AT)
    async with desk.program() as executor:
        await desk.trade(executor, RESTART_AT, LAST)
        check, _ = await executor.audit()
        position = executor.position("BTC/USDT", "a")
        assert executor.position("BTC/USDT", "manual").quantity == 20
    assert check.differences == ()

    weights = desk.weights()
    run = booked_by_kernel(weights, desk.market.history)
    rows = np.flatnonzero(run.fill_lots)
    fills = desk.fills()
    assert len(fills) == len(rows) > 40
    assert {fill.side for fill in fills} == {Side.BUY, Side.SELL}
    for fill, row in zip(fills, rows, strict=True):
        lots = fill.side.sign * fill.quantity / MARKET.lot_size
        assert lots == Decimal(int(run.fill_lots[row]))
        assert float(fill.price) == pytest.approx(run.fill_price[row], rel=1e-12)
        assert float(fill.fee) == pytest.approx(run.fee[row], abs=1e-8)
        closed = desk.market.history[FIRST + int(row) - 1].close_time_ns
        assert closed < fill.time_ns < closed + 2 * NS_PER_S  # within the latency of the bar that was decided on
    mark = desk.market.history[LAST].close
    assert position.quantity / MARKET.lot_size == Decimal(int(run.lots[-1]))
    assert float(CAPITAL + net_pnl(position, Decimal(repr(mark)))) == pytest.approx(run.equity[-1], rel=1e-9)

    # A lot may fall to the other side of a rounding; what the agent wants is what the judge was shown.
    np.testing.assert_allclose(weights, judged_weights(desk, stored[2]), rtol=0, atol=2e-3)


@pytest.mark.parametrize("rule", [FeeRule.QUOTE, FeeRule.RECEIVED])
async def test_all_the_money_there_is_is_invested_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, candles: list[Candle], rule: FeeRule
) -> None:
    """Where the account holds the capital and no more, an agent that wants 100 % gets in, and then trades no more."""
    monkeypatch.setenv("MARU_RUNTIME_DIR", str(tmp_path / "locks"))
    paths = prepare_data(tmp_path / "data")
    model_id, _ = store_loud_agent(paths.models, all_in_spec())
    spec = StrategySpec("a", "Agent", "BTC/USDT", "1h", model_id, CAPITAL, kind=StrategyKind.AGENT)
    calm = [replace(candle, open=before.close) for before, candle in itertools.pairwise(candles)]
    calm = [replace(c, high=max(c.open, c.high), low=min(c.open, c.low)) for c in [candles[0], *calm]]
    desk = Desk(paths, BarMarket(calm, replace(MARKET, fee_rule=rule)), spec, balance=CAPITAL)
    desk.market.show(FIRST - 1)
    async with desk.program() as executor:
        await executor.add_strategy(desk.spec)
        await executor.start_strategy("a")
        await desk.trade(executor, FIRST, FIRST + 40)
        position = executor.position("BTC/USDT", "a")
        check, _ = await executor.audit()
    assert check.differences == ()
    assert not [event for event in desk.events if isinstance(event, IntentDenied)]
    orders = {event.order.client_order_id for event in desk.events if isinstance(event, OrderUpdated)}
    assert len(orders) == len(desk.fills()) == 1
    bought = position.quantity * Decimal(repr(calm[FIRST + 1].open))
    assert Decimal("0.995") * CAPITAL < bought < CAPITAL
