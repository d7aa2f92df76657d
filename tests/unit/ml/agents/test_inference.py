from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.accounting.reference import AccountState, BarPrices, Target, equity_of, open_account, step
from core.accounting.rules import MarketRules
from core.clock import ManualClock
from core.domain.candles import Candle, Timeframe
from core.errors import UserError
from core.strategies.agent_policy import AccountView
from ml.agents.accounting import Accounts
from ml.agents.bars import encode_bars
from ml.agents.encoder import StreamingEncoder
from ml.agents.environment_spec import EnvironmentSpec
from ml.agents.episodes import EpisodeRules
from ml.agents.export import AgentNetwork
from ml.agents.inference import OnnxAgent, account_columns, load_policy
from ml.agents.market_tensor import MarketTensor, from_dataset, restricted
from ml.agents.run_spec import AgentSpec, EncoderSpec
from ml.api import FeatureSpec, parse_column
from ml.arrays import Float32Array
from ml.dataset import ForecastDataset, build_dataset
from ml.environment import BatchedTradingEnv, StretchPass
from ml.features import MarketHistory
from ml.model_storage import StoredModel, load_agent, load_model, save_agent
from tests.trained_model import Trained
from tests.unit.ml.agents.agent_packages import content_of, small_spec
from tests.unit.ml.agents.agent_world import random_market
from tests.unit.ml.agents.trading_agents import store_loud_agent

RULES = MarketRules(tick_size=0.01, lot_size=0.001, min_quantity=0.001, min_notional=5.0)
FIRST = 3_300  # row of the first bar that is walked through; 3_700 is missing
FLAT = AccountView(units=0.0, mark=100.0, entry_price=0.0, equity=1_000.0, peak=1_000.0, bars_since_change=0)


@dataclass(frozen=True)
class Case:
    """A stored agent and the market it was stored for.

    Attributes:
        network: what was exported.
        market: the bars as the environment takes them.
    """

    models: Path
    model_id: str
    network: AgentNetwork
    market: MarketTensor
    candles: list[Candle]

    @property
    def spec(self) -> AgentSpec:
        return load_agent(self.models, self.model_id).spec

    def walk(self) -> tuple[StretchPass, ...]:
        """Walk as the judge does."""
        spec = self.spec.environment

        def act(observation: Tensor) -> Tensor:
            weight = self.network(observation).double()
            share = (weight - spec.lowest) / (spec.highest - spec.lowest)
            if spec.is_discrete:
                return (share * (spec.levels - 1)).round().long()
            return (2.0 * share - 1.0).unsqueeze(1)

        env = BatchedTradingEnv(self.market, spec, windows=1, seed=0)
        return env.evaluate_pass(act, restricted(self.market.stretches, FIRST, len(self.candles)))


KINDS = {
    "continuous": small_spec(),
    "leverage": replace(
        small_spec(),
        environment=EnvironmentSpec(window=3, lowest=-2.0, highest=2.0, maintenance=0.05, band=0.05, cash=5_000.0),
    ),
    "discrete": small_spec(discrete=True),
    "encoder": small_spec(encoder=True),
    "embedding": replace(small_spec(encoder=True), encoder=EncoderSpec("0" * 16, quantiles=False)),
    "quantiles": replace(small_spec(encoder=True), encoder=EncoderSpec("0" * 16, embedding=False)),
}


@pytest.fixture(scope="module")
def cases(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    return cache(lambda kind: stored_case(KINDS[kind], trained, tmp_path_factory.mktemp(kind)))


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, cases: Callable[[str], Case]) -> Case:
    return cases(request.param)


@pytest.fixture
def plain(cases: Callable[[str], Case]) -> Case:
    return cases("continuous")


@pytest.fixture
def sighted(cases: Callable[[str], Case]) -> Case:
    return cases("encoder")


def stored_case(spec: AgentSpec, trained: Trained, models: Path) -> Case:
    encoder = None
    if spec.encoder.is_used:
        trained.copy_to(models)
        spec = replace(spec, encoder=replace(spec.encoder, model=trained.result.model_id))
        encoder = load_model(models, trained.result.model_id)
    data = build_dataset(trained.frame, spec.bars)
    # The last digits of a weight decide now and then about a lot, and a lot is more than what is compared.
    rules = RULES if spec.environment.is_discrete else MarketRules()
    market = replace(tensor_of(data, trained, encoder, spec.encoder), rules=(rules,))
    model_id, network = store_loud_agent(models, spec, data.scaling)
    return Case(models, model_id, network, market, trained.frame.to_candles("test"))


def tensor_of(data: ForecastDataset, trained: Trained, encoder: StoredModel | None, spec: EncoderSpec) -> MarketTensor:
    """Return the bars as an agent learns on them."""
    if encoder is None:
        return from_dataset(data, trained.frame)
    said = encode_bars(MarketHistory(trained.frame), encoder, spec)
    return from_dataset(data, trained.frame, columns=said.columns, column_names=said.names, known=said.known)


def view_of(state: AccountState, rules: MarketRules, peak: float, since: int) -> AccountView:
    return AccountView(
        state.lots * rules.unit, state.mark, state.entry_price, equity_of(state, rules), peak, bars_since_change=since
    )


def live_weights(agent: OnnxAgent, case: Case, passes: tuple[StretchPass, ...]) -> Iterator[list[float]]:
    """Feed every bar, and decide in each walk with an account of the kernel."""
    environment = case.spec.environment
    rules = environment.rules(case.market.rules[0])
    first = {walk.first_row: walk for walk in passes}
    prices = case.market.prices.numpy()
    left, weights = 0, list[float]()
    state, peak, changed = open_account(environment.cash, 1.0), environment.cash, 0
    for row, candle in enumerate(case.candles):
        ready = agent.update(candle)
        if left:
            met = step(state, Target(weights[-1]), BarPrices(*prices[row].tolist()), environment.costs, rules)
            if any(fill.lots for fill in met.fills):
                changed = row
            state, left = met.state, left - 1
            peak = max(peak, equity_of(state, rules))
            if not left:
                yield weights
        if row in first:
            left, weights = len(first[row].weights), []
            state, peak, changed = open_account(environment.cash, candle.close), environment.cash, row
        if left:
            assert ready
            weights.append(agent.decide(view_of(state, rules, peak, row - changed)).weight)


def test_bar_by_bar_equals_the_judged_walk_over_a_gap(case: Case) -> None:
    """What was tested is what trades: every weight of the judge's pass, with the account of the kernel."""
    passes = case.walk()
    assert len(passes) == 2
    agent = load_policy(case.models, case.model_id)
    for walk, weights in zip(passes, live_weights(agent, case, passes), strict=True):
        assert len(weights) == len(walk.weights) > 200
        assert len(np.unique(np.round(walk.weights, 3))) >= 2  # it does change its mind
        np.testing.assert_allclose(weights, walk.weights, rtol=0, atol=1e-6)


def test_it_knows_its_market_and_range(case: Case, trained: Trained) -> None:
    agent, environment = load_policy(case.models, case.model_id), case.spec.environment
    assert (agent.model_id, agent.symbol, agent.timeframe) == (case.model_id, "BTC/USDT", Timeframe.H1)
    assert (agent.lowest, agent.highest) == (environment.lowest, environment.highest)
    assert (agent.band, agent.costs) == (environment.band, environment.costs)


def test_exactly_warm_up_bars_are_needed(case: Case) -> None:
    agent = load_policy(case.models, case.model_id)
    needed = agent.warm_up_bars
    assert not agent.warm_up([])
    assert not agent.warm_up(case.candles[: needed - 1])
    with pytest.raises(ValueError, match="still warming up"):
        agent.decide(FLAT)
    assert agent.update(case.candles[needed - 1])
    assert agent.warm_up(case.candles[:needed])


def test_after_a_gap_it_is_as_if_nothing_had_been_before(case: Case) -> None:
    agent, fresh = load_policy(case.models, case.model_id), load_policy(case.models, case.model_id)
    gap = next(
        row
        for row in range(1, len(case.candles))
        if case.candles[row].open_time_ns > case.candles[row - 1].close_time_ns
    )
    assert agent.warm_up(case.candles[gap - 200 : gap])
    ready = [agent.update(candle) for candle in case.candles[gap : gap + agent.warm_up_bars]]
    assert ready == [False] * (agent.warm_up_bars - 1) + [True]
    assert fresh.warm_up(case.candles[gap : gap + agent.warm_up_bars])
    assert agent.decide(FLAT) == fresh.decide(FLAT)


def test_open_foreign_and_old_bars_are_bugs(plain: Case) -> None:
    agent = load_policy(plain.models, plain.model_id)
    agent.warm_up(plain.candles[:100])
    candle = plain.candles[100]
    for wrong, said in (
        (replace(candle, final=False), "closed bars only"),
        (replace(candle, symbol="ETH/USDT"), "knows BTC/USDT 1h, not ETH/USDT 1h"),
        (replace(candle, timeframe=Timeframe.M1), "not BTC/USDT 1m"),
        (plain.candles[99], "does not follow"),
        (replace(candle, close=math.nan), "not finite"),
    ):
        with pytest.raises(ValueError, match=said):
            agent.update(wrong)


def test_an_account_without_numbers_trades_nothing(plain: Case) -> None:
    agent = load_policy(plain.models, plain.model_id)
    agent.warm_up(plain.candles[:100])
    with pytest.raises(ValueError, match="not finite"):
        agent.decide(replace(FLAT, equity=math.nan, units=1.0, entry_price=1.0))


class Saying:
    """A network that says something written down."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def run(self, outputs: object, values: object) -> list[Float32Array]:
        return [np.array([self.weight], np.float32)]


def test_only_weights_of_its_range_leave_it(plain: Case) -> None:
    agent = load_policy(plain.models, plain.model_id)
    agent.warm_up(plain.candles[:100])
    agent._session = Saying(1.0000001)
    assert agent.decide(FLAT).weight == 1.0
    agent._session = Saying(math.nan)
    with pytest.raises(ValueError, match="a weight that is not finite"):
        agent.decide(FLAT)


def test_the_evidence_is_of_everything_it_saw(plain: Case) -> None:
    agent = load_policy(plain.models, plain.model_id)
    agent.warm_up(plain.candles[:100])
    first, other = agent.decide(FLAT), agent.decide(replace(FLAT, bars_since_change=1))
    assert first.feature_hash != other.feature_hash
    assert agent.decide(FLAT) == first


def test_an_encoder_that_runs_out_of_numbers_says_nothing(sighted: Case) -> None:
    encoder = load_model(sighted.models, sighted.spec.encoder.model)
    streaming = StreamingEncoder(encoder, sighted.spec.encoder)
    for candle in sighted.candles[:60]:
        streaming.push(candle)
    streaming._state = tuple(np.full_like(part, np.nan) for part in streaming._state)
    with pytest.raises(ValueError, match="what is not finite"):
        streaming.push(sighted.candles[60])


def test_without_its_encoder_it_is_refused(sighted: Case, tmp_path: Path) -> None:
    stored = load_agent(sighted.models, sighted.model_id)
    with pytest.raises(ValueError, match="names the encoder"):
        OnnxAgent(stored)
    (tmp_path / sighted.model_id).symlink_to(sighted.models / sighted.model_id)
    with pytest.raises(UserError, match=f"forecaster {stored.encoder_id}, which is not stored"):
        load_policy(tmp_path, sighted.model_id)


def test_an_encoder_that_says_other_things_is_refused(sighted: Case) -> None:
    stored = load_agent(sighted.models, sighted.model_id)
    encoder = load_model(sighted.models, stored.encoder_id)
    elsewhere = replace(encoder, spec=replace(encoder.spec, data=replace(encoder.spec.data, symbol="ETH/USDT")))
    for agent, forecaster in ((replace(stored, encoder_names=("state_0",)), encoder), (stored, elsewhere)):
        with pytest.raises(UserError, match="does not say what the agent"):
            OnnxAgent(agent, forecaster)


def test_what_strategies_do_not_receive_is_refused(plain: Case, trained: Trained, tmp_path: Path) -> None:
    features = FeatureSpec("price", columns=(parse_column("log_return@ETH/USDT"),))
    spec = replace(plain.spec, features=features, data=replace(plain.spec.data, markets=("ETH/USDT",)))
    model_id = save_agent(tmp_path, content_of(spec), ManualClock(1))
    with pytest.raises(UserError, match="also looks at ETH/USDT, which strategies do not receive"):
        load_policy(tmp_path, model_id)


def test_a_network_of_another_shape_is_refused(plain: Case, trained: Trained) -> None:
    stored = load_agent(plain.models, plain.model_id)
    forecaster = load_model(trained.models_dir, trained.result.model_id)
    wider = replace(stored, spec=replace(stored.spec, environment=replace(stored.spec.environment, window=5)))
    for wrong in (wider, replace(stored, onnx=forecaster.onnx)):
        with pytest.raises(UserError, match="network of this agent cannot be run"):
            OnnxAgent(wrong)


@given(
    weight=st.one_of(st.just(0.0), st.floats(0.01, 3.0), st.floats(-3.0, -0.01)),
    entry=st.floats(50.0, 200.0),
    since=st.integers(0, 10_000),
    drawdown=st.floats(0.0, 0.9),
    maintenance=st.sampled_from([0.0, 0.05, 0.2]),
)
def test_it_sees_its_account_as_in_training(
    weight: float, entry: float, since: int, drawdown: float, maintenance: float
) -> None:
    """The same numbers as `ml.agents.episodes`, which decides what training shows."""
    spec = EnvironmentSpec(lowest=-3.0, highest=3.0, maintenance=maintenance, cash=1_000.0)
    market = random_market(64, rules=MarketRules())
    rules = EpisodeRules(market, spec)
    row = torch.tensor([20])
    mark = float(market.prices[20, 3])
    units = weight * spec.cash / mark
    peak = spec.cash / (1.0 - drawdown)
    episode = rules.at(row, row + 30, None, torch.ones(1, dtype=torch.float64))
    numbers = (spec.cash - units * mark, units, mark, entry if units else 0.0)
    accounts = Accounts(*(torch.tensor([n], dtype=torch.float64) for n in numbers), liquidated=torch.tensor([False]))
    episode = episode._replace(**accounts._asdict(), changed=row - since, peak=torch.tensor([peak]).double())
    view = AccountView(units, mark, entry if units else 0.0, spec.cash, peak, since)
    seen = account_columns(view, float(market.volatility[20]), maintenance)
    np.testing.assert_allclose(seen, rules.account_of(episode)[0].numpy(), rtol=1e-6, atol=1e-6)


def test_an_account_that_is_ruined_or_flat_has_no_weight() -> None:
    ruined = account_columns(replace(FLAT, units=1.0, entry_price=100.0, equity=-5.0), 0.01, 0.0)
    assert ruined[0] == 0.0
    assert account_columns(FLAT, 0.01, 0.1).tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]
