"""The batched environment: what it does to accounts, where it may go, what it shows and when."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from core.accounting import reference
from core.accounting.fast import BarArrays, run_targets
from core.accounting.reference import AccountState, Target, equity_of, open_account
from core.accounting.rules import CostRates, MarketRules
from core.errors import UserError
from ml.agents.environment_spec import REWARDS, EnvironmentSpec
from ml.agents.market_tensor import MarketTensor, Stretch
from ml.environment import BatchedTradingEnv, Transition
from tests.unit.ml.agents.agent_world import ALL_COSTS, bar_at, random_market

FREE = CostRates(taker_fee=0.0, maker_fee=0.0)
LEVERED = EnvironmentSpec(window=3, lowest=-3.0, highest=3.0, episode=60, costs=ALL_COSTS, maintenance=0.05)


def _env(
    market: MarketTensor, spec: EnvironmentSpec, windows: int = 16, seed: int = 1, **given: object
) -> BatchedTradingEnv:
    return BatchedTradingEnv(market, spec, windows=windows, seed=seed, **given)  # type: ignore[arg-type]


def _actions(env: BatchedTradingEnv, generator: torch.Generator) -> Tensor:
    if env.spec.is_discrete:
        return torch.randint(0, env.spec.levels, (env.num_envs,), generator=generator)
    return torch.rand((env.num_envs, 1), generator=generator) * 2 - 1


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Accounts


@pytest.mark.parametrize(
    "rules",
    [
        MarketRules(max_leverage=3.0, maintenance=0.05),
        MarketRules(tick_size=0.01, lot_size=0.001, min_notional=5.0, max_leverage=3.0, maintenance=0.05, band=0.05),
    ],
    ids=["continuous", "rounded"],
)
@pytest.mark.parametrize("reward", ["log_return", "differential_sharpe"])
def test_steps_are_those_of_the_reference(rules: MarketRules, reward: str) -> None:
    market = random_market(300, sigma=0.05, rules=rules)
    spec = replace(LEVERED, cost_jitter=1.0, reward=reward, random_position=True)
    env = _env(market, spec, rules=rules)
    env.reset_tensor()
    generator = _generator(3)
    states = _states(env)
    ends = 0
    for _ in range(150):
        factors = env.episodes.cost_factor.tolist()
        rows, actions = env.rows.tolist(), _actions(env, generator)
        weights = env.weights_of(actions).tolist()
        step = env.step_tensor(actions)
        following = _states(env)
        for index, state in enumerate(states):
            bar, costs = bar_at(market, rows[index] + 1), ALL_COSTS.times(factors[index])
            met = reference.step(state, Target(weights[index]), bar, costs, rules)
            assert float(step.log_return[index]) == pytest.approx(met.log_return, rel=1e-9, abs=1e-12)
            assert bool(step.terminated[index]) == met.state.liquidated
            if step.terminated[index] or step.truncated[index]:
                ends += 1
                states[index] = following[index]
                continue
            states[index] = met.state
            assert equity_of(following[index], rules) == pytest.approx(equity_of(met.state, rules), rel=1e-9)
            assert following[index].lots == pytest.approx(met.state.lots, rel=1e-9, abs=1e-9)
            assert following[index].entry_price == pytest.approx(met.state.entry_price, rel=1e-9)
    assert ends > 20


def _states(env: BatchedTradingEnv) -> list[AccountState]:
    columns = (column.tolist() for column in env.episodes.accounts)
    return [AccountState(*values) for values in zip(*columns, strict=True)]


def test_buying_and_holding_has_the_closed_form() -> None:
    market = random_market(200, gaps=False)
    market.prices[:, 5] = 0.0
    fee = 0.001
    env = _env(market, EnvironmentSpec(lowest=0.0, costs=CostRates(taker_fee=fee), window=1), seed=2)
    (walk,) = env.evaluate_pass(lambda obs: torch.ones(len(obs), 1))
    close = market.prices[:, 3].numpy()
    expected = env.spec.cash / (1.0 + fee) * close / close[0]
    assert walk.equity[0] == env.spec.cash
    np.testing.assert_allclose(walk.equity[1:], expected[1:], rtol=1e-9)


def test_a_constant_short_weight_has_the_closed_form() -> None:
    market = random_market(200, gaps=False)
    market.prices[:, 5] = 0.0
    env = _env(market, EnvironmentSpec(costs=FREE))
    (walk,) = env.evaluate_pass(lambda obs: -torch.ones(len(obs), 1))
    close = market.prices[:, 3].numpy()
    growth = 1.0 - np.diff(close) / close[:-1]
    np.testing.assert_allclose(walk.equity[1:], env.spec.cash * np.cumprod(growth), rtol=1e-9)


def test_rewards_are_the_scaled_gain_of_the_account() -> None:
    market = random_market(300)
    env = _env(market, replace(LEVERED, episode=40, maintenance=0.0), stagger=False)
    env.reset_tensor()
    generator = _generator(1)
    for _ in range(60):
        before = env.episodes
        worth = torch.stack([before.cash + before.lots * before.mark]).clone()[0]
        step = env.step_tensor(_actions(env, generator))
        now = env.episodes
        running = ~(step.terminated | step.truncated)
        gain = torch.log((now.cash + now.lots * now.mark) / worth)
        torch.testing.assert_close(gain[running], step.log_return[running], rtol=1e-9, atol=1e-12)
        assert torch.equal(step.reward, (step.log_return * env.reward_scale).float())
    assert env.reward_scale == pytest.approx(1.0 / float(market.volatility.median()))


# What is seen, and when


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), reward=st.sampled_from(REWARDS), cut=st.integers(100, 240))
def test_nothing_up_to_a_bar_depends_on_a_later_one(seed: int, reward: str, cut: int) -> None:
    size, spec = (
        300,
        EnvironmentSpec(
            window=4,
            reward=reward,
            episode=40,
            costs=ALL_COSTS,
            cost_jitter=1.0,
            random_position=True,
            lowest=-2.0,
            highest=2.0,
        ),
    )
    honest = random_market(size, seed=seed % 1_000)
    other = random_market(size, seed=seed % 1_000 + 1)
    features, prices, volatility = honest.features.clone(), honest.prices.clone(), honest.volatility.clone()
    features[cut + 1 :], volatility[cut + 1 :] = other.features[cut + 1 :] - 1e6, other.volatility[cut + 1 :] * 7
    prices[cut + 1 :] = other.prices[cut + 1 :] * 3
    changed = replace(honest, features=features, prices=prices, volatility=volatility)
    runs = [_recorded(market, spec, seed) for market in (honest, changed)]
    unseen = (
        torch.cummax((torch.maximum(runs[0][0], runs[0][1]) > cut).long(), dim=0).values == 0
    )  # (steps, N): no later bar was met yet
    assert unseen.sum() > 20
    assert (~unseen).sum() > 20
    for ours, theirs in zip(*runs, strict=True):
        assert torch.equal(ours[unseen], theirs[unseen])
    assert not torch.equal(runs[0][2], runs[1][2])


def _recorded(market: MarketTensor, spec: EnvironmentSpec, seed: int) -> list[Tensor]:
    """Return rows, those the last steps led to, observations, accounts, weights and rewards; the policy sees it all."""
    env = _env(market, spec, windows=128, seed=seed, typical_volatility=0.01)
    obs, reward = env.reset_tensor(), torch.zeros(128)
    reached = env.rows
    mixture = torch.linspace(-1.0, 1.0, obs.shape[1])
    seen = list[list[Tensor]]()
    for _ in range(50):
        actions = torch.sin(obs @ mixture).unsqueeze(1)
        seen.append([env.rows, reached, obs, env.account, env.weights_of(actions), reward])
        step = env.step_tensor(actions)
        obs, reward, reached = step.obs, step.reward, step.rows
    return [torch.stack(column) for column in zip(*seen, strict=True)]


@pytest.mark.parametrize("window", [1, 5])
def test_observations_are_the_window_and_the_account(window: int) -> None:
    market = random_market(100, features=4)
    env = _env(market, EnvironmentSpec(window=window, episode=20))
    obs = env.reset_tensor()
    generator = _generator(5)
    for _ in range(30):
        for index, row in enumerate(env.rows.tolist()):
            expected = torch.cat([market.features[row - window + 1 : row + 1].reshape(-1), env.account[index]])
            assert torch.equal(obs[index], expected)
        assert torch.equal(obs, env.observe(env.rows, env.account))
        obs = env.step_tensor(_actions(env, generator)).obs
    some = torch.tensor([window - 1, 50, 99, 50])
    account = torch.rand(4, env.account_size)
    seen = env.observe(some, account)
    assert torch.equal(seen[1, : env.market_size], seen[3, : env.market_size])
    assert torch.equal(seen[:, env.market_size :], account)


def test_the_account_is_described_in_a_fixed_order() -> None:
    market = random_market(200, gaps=False, sigma=0.02)
    env = _env(
        market, EnvironmentSpec(lowest=-2.0, highest=2.0, maintenance=0.1, costs=FREE, episode=30), stagger=False
    )
    assert env.account_names == ("weight", "unrealised", "bars_since_change", "drawdown", "margin_left")
    env.reset_tensor()
    assert torch.equal(env.account, torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]]).expand(16, 5))
    held = 0.75
    env.step_tensor(torch.full((16, 1), held))  # weight 1.5
    worths, states = [[env.spec.cash] * 16], _states(env)
    worths.append([equity_of(state, env.episode_rules.rules[0]) for state in states])
    for index, row in enumerate(env.rows.tolist()):
        state, worth = states[index], worths[-1][index]
        weight = state.lots * state.mark / worth
        gone = math.log(state.mark / state.entry_price) / float(market.volatility[row])
        liquidated = -state.cash / (state.lots * 0.9)  # price without margin
        expected = [weight, max(-10, min(10, gone)), 0.0, max(0.0, 1 - worth / 10_000), 1 - liquidated / state.mark]
        assert env.account[index].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_bars_since_the_last_change_are_counted() -> None:
    env = _env(random_market(200, gaps=False), EnvironmentSpec(lowest=0.0, costs=FREE, episode=50), stagger=False)
    env.reset_tensor()
    running = torch.ones(16, dtype=torch.bool)
    for bars in range(1, 6):
        step = env.step_tensor(torch.full((16, 1), -1.0))
        running &= ~step.truncated
        assert step.account[running, 2].exp().round().tolist() == [bars + 1] * int(running.sum())
    step = env.step_tensor(torch.ones(16, 1))
    assert (step.account[running, 2] == 0.0).all()


# Where it may go


@st.composite
def _markets(draw: st.DrawFn) -> tuple[MarketTensor, EnvironmentSpec]:
    window, episode = draw(st.integers(1, 6)), draw(st.integers(2, 15))
    row, stretches = draw(st.integers(0, 3)), list[Stretch]()
    for symbol in range(draw(st.integers(1, 4))):
        length = draw(st.integers(1, 30))
        stretches.append(Stretch(row, row + length, symbol % 2))
        row += length + draw(st.integers(0, 3))
    stretches.append(Stretch(row, row + window + episode + draw(st.integers(0, 4))))
    market = random_market(row + 40, stretches=stretches)
    return market, EnvironmentSpec(window=window, episode=episode, close_out=draw(st.booleans()))


@settings(max_examples=40, deadline=None)
@given(_markets(), st.integers(0, 2**31))
def test_no_window_and_no_step_leaves_its_stretch(world: tuple[MarketTensor, EnvironmentSpec], seed: int) -> None:
    market, spec = world
    home = np.full(len(market), -1)
    for index, stretch in enumerate(market.stretches):
        home[stretch.start : stretch.stop] = index
    env = _env(market, spec, windows=32, seed=seed)
    env.reset_tensor()
    generator = _generator(0)
    for _ in range(40):
        rows = env.rows.numpy()
        assert (rows - spec.window + 1 >= 0).all()
        assert (home[rows] >= 0).all()
        assert (home[rows - spec.window + 1] == home[rows]).all()
        assert (home[rows + 1] == home[rows]).all()  # there is a next bar to meet
        step = env.step_tensor(_actions(env, generator))
        assert (home[step.rows.numpy()] == home[rows]).all()
        assert (step.rows.numpy() == rows + 1).all()


def test_every_start_is_equally_likely() -> None:
    stretches = (Stretch(0, 9), Stretch(9, 12), Stretch(12, 16), Stretch(20, 40))
    env = _env(random_market(50, stretches=stretches), EnvironmentSpec(window=3), windows=25_000, stagger=False)
    env.reset_tensor()
    rows, counts = np.unique(env.rows.numpy(), return_counts=True)
    assert rows.tolist() == [*range(2, 8), 14, *range(22, 39)]
    assert np.abs(counts * len(rows) / 25_000 - 1).max() < 0.15  # five standard deviations


def test_a_part_without_room_for_an_episode_is_refused() -> None:
    market = random_market(50, stretches=(Stretch(0, 4), Stretch(10, 20)))
    _env(market, EnvironmentSpec(window=9))
    with pytest.raises(UserError, match="No stretch"):
        _env(market, EnvironmentSpec(window=10))
    with pytest.raises(UserError, match="No stretch"):
        _env(market, EnvironmentSpec(window=2, episode=9, close_out=True))


def test_weights_beyond_what_the_market_allows_are_refused() -> None:
    market = random_market(50)
    with pytest.raises(UserError, match="leverage"):
        _env(market, EnvironmentSpec(highest=2.0), rules=MarketRules())
    with pytest.raises(UserError, match="short"):
        _env(market, EnvironmentSpec(), rules=MarketRules(allows_short=False))


# Episodes


def test_what_ended_and_what_begins_are_told_apart() -> None:
    market = random_market(200)
    spec = EnvironmentSpec(window=2, episode=7, costs=ALL_COSTS)
    env = _env(market, spec, windows=64)
    env.reset_tensor()
    generator, seen, lengths = _generator(9), 0, list[int]()
    for _ in range(40):
        rows = env.rows
        step = env.step_tensor(_actions(env, generator))
        over = step.terminated | step.truncated
        assert torch.equal(step.rows, rows + 1)
        assert torch.equal(step.next_rows, env.rows)
        assert torch.equal(step.next_account, env.account)
        assert torch.equal(step.next_rows[~over], step.rows[~over])
        assert torch.equal(step.next_account[~over], step.account[~over])
        assert torch.equal(step.obs, env.observe(step.next_rows, step.next_account))
        fresh = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0]).expand(int(over.sum()), 5)
        assert torch.equal(step.next_account[over], fresh)
        assert not torch.equal(step.account[over], fresh) or not over.any()
        assert (env.episodes.rewarded[over] == 0.0).all()
        assert not (step.terminated & step.truncated).any()
        seen += int(over.sum())
        lengths += step.episode_length[over].tolist()
    assert seen > 200
    assert max(lengths) == 7


def test_returned_tensors_are_not_written_to_by_later_steps() -> None:
    env = _env(random_market(200), EnvironmentSpec(episode=5))
    env.reset_tensor()
    generator = _generator(2)
    rows, account, step = env.rows, env.account, env.step_tensor(_actions(env, generator))
    kept = [tensor.clone() for tensor in (rows, account, *step)]
    for _ in range(10):
        env.step_tensor(_actions(env, generator))
    for tensor, before in zip((rows, account, *step), kept, strict=True):
        assert torch.equal(tensor, before)


def test_the_state_keeps_its_place() -> None:
    env = _env(random_market(200), replace(LEVERED, reward="differential_sharpe", cost_jitter=1.0))
    env.reset_tensor()
    places = [tensor.data_ptr() for tensor in env.episodes]
    env.step_tensor(torch.zeros(16, 1))
    env.reset_tensor()
    env.step_tensor(torch.zeros(16, 1))
    assert [tensor.data_ptr() for tensor in env.episodes] == places


def test_staggered_episodes_do_not_end_at_once() -> None:
    market = random_market(5_000)

    def most_ends(stagger: bool) -> int:
        env = _env(market, EnvironmentSpec(episode=50), windows=256, stagger=stagger)
        env.reset_tensor()
        return max(int(env.step_tensor(torch.zeros(256, 1)).truncated.sum()) for _ in range(60))

    assert most_ends(stagger=False) > 200
    assert most_ends(stagger=True) < 25


def test_only_a_liquidation_ends_for_good() -> None:
    market = random_market(400, sigma=0.12)
    env = _env(market, EnvironmentSpec(lowest=-5.0, highest=5.0, episode=30, maintenance=0.02), windows=64)
    env.reset_tensor()
    wiped = cut = 0
    for _ in range(60):
        until = env.episodes.until.clone()
        step = env.step_tensor(torch.ones(64, 1))
        wiped += int(step.terminated.sum())
        cut += int(step.truncated.sum())
        assert (step.account[step.terminated, 0] == 0.0).all()  # nothing is held any more
        assert torch.equal(step.truncated, (step.rows >= until) & ~step.terminated)
    assert wiped > 20
    assert cut > 20


def test_first_positions_are_drawn_and_cost_nothing() -> None:
    market = random_market(300)
    env = _env(market, replace(LEVERED, random_position=True), windows=4_000)
    env.reset_tensor()
    held = env.account[:, 0]
    assert -3.0 <= float(held.min()) < -2.9
    assert 2.9 < float(held.max()) <= 3.0
    assert abs(float(held.mean())) < 0.15
    worth = env.episodes.cash + env.episodes.lots * env.episodes.mark
    torch.testing.assert_close(worth, torch.full_like(worth, env.spec.cash), rtol=1e-12, atol=0.0)
    discrete = replace(LEVERED, random_position=True, actions="discrete", levels=4)
    env = _env(market, discrete, windows=500)
    env.reset_tensor()
    assert sorted(set(env.account[:, 0].double().round(decimals=6).tolist())) == [-3.0, -1.0, 1.0, 3.0]


def test_costs_are_drawn_between_half_and_double_on_a_logarithmic_scale() -> None:
    market = random_market(300, gaps=False)
    env = _env(market, EnvironmentSpec(cost_jitter=1.0, episode=5), windows=8_000, stagger=False)
    env.reset_tensor()
    factor = env.episodes.cost_factor.clone()
    assert 0.5 <= float(factor.min()) < 0.51
    assert 1.96 < float(factor.max()) <= 2.0
    assert abs(float(factor.log().mean())) < 0.025
    step = env.step_tensor(torch.full((8_000, 1), 0.5))
    assert torch.equal(env.episodes.cost_factor[~step.truncated], factor[~step.truncated])
    for _ in range(5):
        env.step_tensor(torch.full((8_000, 1), 0.5))
    assert not (env.episodes.cost_factor == factor).any()


def test_a_task_with_an_end_sells_what_is_held_there() -> None:
    rules = MarketRules(allows_short=False, min_notional=50.0)
    market = random_market(200, rules=rules)
    costs = replace(ALL_COSTS, impact=0.2, borrow_base=0.0, borrow_quote=0.0)
    spec = EnvironmentSpec(
        lowest=0.0, start_weight=1.0, episode=6, close_out=True, costs=costs, cash=1_000.0, band=0.02, reward_scale=1.0
    )
    env = _env(market, spec)
    env.reset_tensor()
    rules = env.episode_rules.rules[0]
    assert env.account_names[-1] == "time_left"
    weights = torch.tensor([0.8, 0.6, 0.5, 0.4, 0.3, 0.01])
    states, total = _states(env), [0.0] * 16
    for count, weight in enumerate(weights.tolist()):
        assert (env.account[:, -1] == torch.tensor(1 - count / 6)).all()
        rows = env.rows.tolist()
        step = env.step_tensor(torch.full((16, 1), 2 * weight - 1))
        for index, row in enumerate(rows):
            target = float(env.weights_of(torch.full((1, 1), 2 * weight - 1)))
            met = reference.step(states[index], Target(target), bar_at(market, row + 1), costs, rules)
            states[index], total[index] = met.state, total[index] + met.log_return
            if count == 5:
                closing = reference.close_out(met.state, float(market.prices[row + 1, 4]), costs, rules)
                total[index] += closing.log_return
                assert closing.state.lots == 0.0
                assert met.state.lots > 0.0
    assert step.terminated.all()
    assert not step.truncated.any()
    assert (step.account[:, 0] == 0.0).all()
    assert step.episode_reward.tolist() == pytest.approx(total, rel=1e-9)


# Actions


def test_actions_are_weights() -> None:
    market = random_market(50)
    wide = _env(market, EnvironmentSpec(lowest=-0.5, highest=1.5, maintenance=0.1))
    got = wide.weights_of(torch.tensor([[-1.0], [0.0], [0.25], [1.0], [9.0]]))
    assert got.tolist() == [-0.5, 0.5, 0.75, 1.5, 1.5]
    plain = _env(market, EnvironmentSpec())
    actions = torch.rand(100, 1) * 2 - 1
    assert torch.equal(plain.weights_of(actions), actions[:, 0].double())
    grid = _env(market, EnvironmentSpec(actions="discrete", levels=5, lowest=0.0))
    assert grid.weights_of(torch.arange(5)).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(("lowest", "highest", "levels"), [(-1.0, 1.0, 11), (-1.0, 1.0, 7), (-0.3, 1.0, 14)])
def test_a_level_that_holds_nothing_holds_nothing(lowest: float, highest: float, levels: int) -> None:
    spec = EnvironmentSpec(actions="discrete", lowest=lowest, highest=highest, levels=levels, episode=50)
    env = _env(random_market(200), spec, stagger=False)
    flat = int(np.abs(np.linspace(lowest, highest, levels)).argmin())
    env.reset_tensor()
    running = torch.ones(16, dtype=torch.bool)
    for bars in range(1, 6):
        step = env.step_tensor(torch.full((16,), flat))
        running &= ~step.truncated
        assert (step.account[running, 0] == 0.0).all()
        assert step.account[running, 2].exp().round().tolist() == [bars + 1] * int(running.sum())
    assert running.sum() > 8


# Passes


@pytest.mark.parametrize("cost_factor", [0.0, 1.0, 3.0])
def test_a_pass_is_a_straight_run_of_the_compiled_kernel(cost_factor: float) -> None:
    stretches = (Stretch(0, 60), Stretch(60, 63), Stretch(70, 190))
    market = random_market(200, stretches=stretches)
    env = _env(market, replace(LEVERED, random_position=True, cost_jitter=2.0))
    env.reset_tensor()
    before = [tensor.clone() for tensor in env.episodes]
    walks = env.evaluate_pass(lambda obs: torch.sin(obs.sum(1, keepdim=True)), cost_factor=cost_factor)
    assert [walk.stretch for walk in walks] == [Stretch(0, 60), Stretch(70, 190)]
    for walk in walks:
        rows = slice(walk.first_row, walk.stretch.stop)
        bars = BarArrays(*(np.ascontiguousarray(column) for column in market.prices[rows].numpy().T))
        costs = ALL_COSTS.times(cost_factor)
        run = run_targets(walk.weights, bars, costs, env.episode_rules.rules[0], cash=env.spec.cash)
        np.testing.assert_allclose(walk.equity, run.equity, rtol=1e-9)
        assert walk.first_row == walk.stretch.start + 2
        assert walk.account[0].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert all(torch.equal(now, then) for now, then in zip(env.episodes, before, strict=True))


@pytest.mark.parametrize("reward", REWARDS)
def test_a_pass_pays_what_its_steps_would(reward: str) -> None:
    spec = replace(LEVERED, reward=reward, episode=199, maintenance=0.0)
    env = _env(random_market(200), spec, windows=1, stagger=False)
    (walk,) = env.evaluate_pass(lambda obs: torch.sin(obs.sum(1, keepdim=True)))
    obs = env.reset_tensor()
    while int(env.rows) != walk.first_row:
        obs = env.reset_tensor()
    for paid in walk.rewards.tolist():
        step = env.step_tensor(torch.sin(obs.sum(1, keepdim=True)))
        obs = step.obs
        assert float(step.reward) == pytest.approx(paid * env.reward_scale, rel=1e-6)
    if reward == "log_return":
        assert walk.rewards.sum() == pytest.approx(math.log(walk.equity[-1] / walk.equity[0]), rel=1e-9)


def test_a_pass_without_bars_is_empty() -> None:
    market = random_market(200)
    assert _env(market, LEVERED).evaluate_pass(lambda obs: obs[:, :1], [Stretch(0, 3)]) == ()


# The device


class _NoLook(TorchDispatchMode):
    """Refuses every operation that must wait for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = str(func)
        assert not any(word in name for word in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero")), name
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_a_step_never_looks_at_a_value(reward: str, actions: str) -> None:
    stretches = (Stretch(0, 60), Stretch(70, 190))
    spec = replace(LEVERED, reward=reward, actions=actions, random_position=True, cost_jitter=1.0, close_out=True)
    env = _env(random_market(200, stretches=stretches), replace(spec, episode=20))
    env.reset_tensor()
    given = _actions(env, _generator(0))
    with _NoLook():
        step = env.step_tensor(given)
    assert isinstance(step, Transition)
    with pytest.raises(AssertionError), _NoLook():
        float(step.reward[0])


def test_the_same_seed_is_the_same_run() -> None:
    market = random_market(300)

    def run(seed: int) -> list[Tensor]:
        env = _env(market, replace(LEVERED, random_position=True, cost_jitter=1.0), seed=seed)
        generator = _generator(4)
        first = env.reset_tensor()
        return [first, *(env.step_tensor(_actions(env, generator)).obs for _ in range(70))]

    assert all(torch.equal(a, b) for a, b in zip(run(5), run(5), strict=True))
    assert not torch.equal(run(5)[0], run(6)[0])


def test_a_run_goes_on_exactly_where_it_was_put_aside() -> None:
    market = random_market(300)
    spec = replace(LEVERED, random_position=True, cost_jitter=1.0, reward="differential_sharpe", episode=20)
    env, later = _env(market, spec), _env(market, spec, seed=8)
    obs, generator = env.reset_tensor(), _generator(1)
    for _ in range(15):
        obs = env.step_tensor(_actions(env, generator)).obs
    state = env.state()
    actions = [_actions(env, generator) for _ in range(40)]
    ahead = [env.step_tensor(each) for each in actions]
    assert torch.equal(later.restore(state), obs)
    for first, each in zip(ahead, actions, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, later.step_tensor(each), strict=True))
    with pytest.raises(ValueError, match="another"):
        _env(market, spec, windows=15).restore(state)
    with pytest.raises(ValueError, match="another"):
        _env(market, replace(spec, close_out=True)).restore(state)


def test_a_step_before_the_first_reset_is_a_bug() -> None:
    with pytest.raises(RuntimeError, match="reset"):
        _env(random_market(50), EnvironmentSpec()).step_tensor(torch.zeros(16, 1))


def test_opened_accounts_are_those_of_the_reference() -> None:
    market = random_market(50)
    env = _env(market, EnvironmentSpec())
    env.reset_tensor()
    marks = market.prices[env.rows, 3].tolist()
    assert _states(env) == [open_account(env.spec.cash, mark) for mark in marks]


@pytest.mark.parametrize("reward", ["vol_scaled", "mean_variance", "drawdown"])
def test_rewards_take_what_was_known_at_the_decision(reward: str) -> None:
    market = random_market(300, sigma=0.03)
    spec = replace(LEVERED, reward=reward, maintenance=0.0, risk_aversion=2.0, drawdown_penalty=3.0, costs=FREE)
    env = _env(market, spec, stagger=False)
    env.reset_tensor()
    generator, typical, worth = _generator(6), env.typical_volatility, torch.full((16,), env.spec.cash).double()
    peak = worth.clone()
    alive = torch.ones(16, dtype=torch.bool)
    for _ in range(20):
        known, before = market.volatility[env.rows], 1 - worth / peak
        mark = env.episodes.mark.clone()
        step = env.step_tensor(_actions(env, generator))
        alive &= ~(step.terminated | step.truncated)
        gained = torch.expm1(step.log_return)
        held = env.episodes.lots * mark / worth
        worth = env.episodes.cash + env.episodes.lots * env.episodes.mark
        peak = torch.maximum(peak, worth)
        expected = {
            "vol_scaled": gained * typical / known,
            "mean_variance": gained - (held * known).square(),
            "drawdown": step.log_return - 3.0 * (1 - worth / peak - before).clamp(min=0.0),
        }[reward]
        torch.testing.assert_close(step.reward[alive].double(), (expected / typical)[alive], rtol=1e-5, atol=1e-6)
    assert alive.sum() > 8
