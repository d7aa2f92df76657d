"""An agent is judged by the very kernel that trades, and agents whose worth is known get what they deserve."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from core.accounting.fast import BarArrays, run_targets
from core.accounting.reference import BarPrices, Target, equity_of, open_account, step
from core.accounting.rules import CostRates, MarketRules
from ml.agents.accounts import JudgedMarket, JudgedPart, MarketRows, bars_between, delayed, follow, log_returns
from ml.agents.baselines import MOMENTUM, REVERSION, baseline_rules
from ml.agents.claims import with_trials
from ml.agents.judge import JudgeOptions, SeedPass, judge
from ml.agents.results import EDGE, HOLD, NO_EDGE, UNTRAINED, AgentMetrics
from ml.bootstrap import sharpe
from ml.trading_metrics import simple_from_log
from tests.unit.ml.agents.judged_world import CHEAP, QUICK, TEST, TRAIN, judged, market_of, moves, noise_market, watched

SIZE = TEST[1] - TEST[0] - 1


def part_of(market: JudgedMarket, *stretches: tuple[int, int]) -> JudgedPart:
    """Return the judged part, or other stretches."""
    return JudgedPart.of(market, stretches or (TEST,))


FREE = CostRates(taker_fee=0.0, maker_fee=0.0)


def noise_policy(seed: int) -> np.ndarray:
    """Return targets that are held for some bars and mean nothing."""
    rng = np.random.default_rng(1_000 + seed)
    return np.repeat(rng.uniform(-1, 1, SIZE // 10 + 1), 10)[:SIZE]


def skilled(market_seed: int, share: float, seed: int = 5) -> np.ndarray:
    """Return targets that are right in a share of the bars."""
    move = moves(noise_market(market_seed))
    right = np.random.default_rng(seed).random(SIZE) < share
    return np.where(right, np.sign(move), -np.sign(move))


@pytest.mark.parametrize("gap", [0.0, 0.4])
def test_an_evaluation_equals_a_straight_run_of_the_kernel(gap: float) -> None:
    market = noise_market(1, gap=gap, rules=MarketRules(max_leverage=2.0, maintenance=0.01, band=0.05))
    weights = noise_policy(1) * 1.5
    metrics = judged(market, weights)
    run = run_targets(weights, bars_between(market.bars, *TEST), market.costs, market.rules, cash=1.0, close_out=True)
    straight = np.log(run.equity[-1] / run.equity[0])
    assert metrics.ensemble.log_return == pytest.approx(straight, abs=1e-9)
    assert metrics.ensemble.trading.total_return == pytest.approx(np.expm1(straight), rel=1e-9)
    assert metrics.ensemble == replace(metrics.seeds[0].figures, name="ensemble", trading=metrics.ensemble.trading)


def test_an_evaluation_equals_the_reference() -> None:
    market, weights = noise_market(2, gap=0.3), noise_policy(2)
    state, equity = open_account(1.0, float(market.bars.close[TEST[0]])), [1.0]
    for row, weight in zip(range(TEST[0] + 1, TEST[1]), weights, strict=True):
        bar = BarPrices(
            *(float(series[row]) for series in (market.bars.open, market.bars.high, market.bars.low, market.bars.close))
        )
        state = step(state, Target(float(weight)), bar, market.costs, market.rules).state
        equity.append(equity_of(state, market.rules))
    found = log_returns(weights, part_of(market), close_out=False)
    np.testing.assert_allclose(np.exp(np.cumsum(found)), equity[1:], rtol=1e-9)


def test_what_is_held_at_the_end_is_sold_with_its_costs() -> None:
    market = market_of(np.zeros(1_600))
    held = log_returns(np.ones(SIZE), part_of(market), close_out=False).sum()
    sold = log_returns(np.ones(SIZE), part_of(market)).sum()
    assert sold - held == pytest.approx(np.log((1 - 0.0002) * (1 - 0.0005)), abs=1e-12)
    assert log_returns(np.zeros(SIZE), part_of(market)).sum() == 0.0


def test_stretches_are_accounts_of_their_own() -> None:
    market, weights = noise_market(3), noise_policy(3)
    first, second = (600, 900), (1_000, 1_600)
    part = part_of(market, first, second)
    assert part.lengths == (299, 599)
    chosen = weights[part.rows - TEST[0]]
    apart = [log_returns(chosen[:299], part_of(market, first)), log_returns(chosen[299:], part_of(market, second))]
    np.testing.assert_array_equal(log_returns(chosen, part), np.concatenate(apart))
    late = delayed(chosen, part, 1)
    assert late[0] == late[299] == 0.0
    np.testing.assert_array_equal(late[1:299], chosen[:298])
    np.testing.assert_array_equal(late[300:], chosen[299:-1])


def test_markets_with_bars_at_the_same_time_share_the_capital() -> None:
    """Ten times the same market is no more evidence than one."""
    once = np.random.default_rng(17).normal(0.0005, 0.01, 800)
    copies = 10
    hours = np.tile(np.arange(800, dtype=np.int64) * 3_600_000_000_000, copies)
    single = replace(market_of(once), time_ns=hours[:800])
    runs = tuple((800 * at, 800 * at + 800) for at in range(copies))
    market = market_of(np.tile(once, copies), runs=runs)
    market = replace(market, time_ns=hours, bars=_repeated(single, copies))
    weights = noise_policy(17)[:599]
    rewards = log_returns(weights, part_of(single, (200, 800)), close_out=False).sum()
    tests = tuple((start + 200, stop) for start, stop in runs)
    trains = tuple((start, start + 200) for start, _ in runs)
    alone = judge(single, trains[:1], tests[:1], [SeedPass(0, weights, rewards=rewards)], options=QUICK)
    everywhere = SeedPass(0, np.tile(weights, copies), rewards=copies * rewards)
    spread = judge(market, trains, tests, [everywhere], options=QUICK)
    assert alone.diagnostics.rewards_add_up
    assert spread.diagnostics.rewards_add_up, "each account is paid for itself"
    assert spread.bars == alone.bars == 599
    assert spread.ensemble.log_return == pytest.approx(alone.ensemble.log_return, rel=1e-9)
    assert spread.ensemble.paid.fee == pytest.approx(alone.ensemble.paid.fee, rel=1e-9)
    assert spread.ensemble.positions.turnover == pytest.approx(alone.ensemble.positions.turnover, rel=1e-9)
    assert spread.ensemble.positions.trades == copies * alone.ensemble.positions.trades
    assert spread.sharpe is not None
    assert alone.sharpe is not None
    assert spread.sharpe.count == alone.sharpe.count
    assert alone.hindsight_return is not None
    assert spread.hindsight_return is None
    assert spread.probabilistic == pytest.approx(alone.probabilistic)


def test_the_capital_earns_the_mean_of_what_its_markets_earn() -> None:
    moves_of = np.random.default_rng(18).normal(0.0, 0.03, (2, 400))
    hours = np.arange(400, dtype=np.int64) * 3_600_000_000_000
    runs = ((0, 400), (400, 800))
    market = replace(market_of(moves_of.ravel(), runs=runs), time_ns=np.tile(hours, 2))
    weights = noise_policy(18)[:798]
    apart = [log_returns(weights[:399], part_of(market, runs[0])), log_returns(weights[399:], part_of(market, runs[1]))]
    together = log_returns(weights, part_of(market, *runs))
    np.testing.assert_allclose(np.expm1(together), np.expm1(apart).mean(axis=0), rtol=0, atol=1e-15)


def two_markets(seed: int, **kwargs: object) -> JudgedMarket:
    """Return two markets with rules of their own whose bars stand behind each other."""
    size = 800
    runs = ((0, size), (size, 2 * size))
    hours = np.tile(np.arange(size, dtype=np.int64) * 3_600_000_000_000, 2)
    fine, coarse = MarketRules(tick_size=0.01), MarketRules(lot_size=0.5, min_notional=20.0)
    rows = (MarketRows("A/B", 0, fine), MarketRows("C/B", size, coarse))
    noise = np.random.default_rng(seed).normal(0.0, 0.01, 2 * size)
    market = market_of(noise, runs=runs, rules=fine, markets=rows, cash=1_000.0, **kwargs)  # type: ignore[arg-type]
    return replace(market, time_ns=hours)


def test_each_of_several_markets_is_judged_alone_by_its_rules() -> None:
    market, tests = two_markets(21), ((200, 800), (1_000, 1_600))
    weights = [np.concatenate([noise_policy(seed)[:599], noise_policy(seed + 5)[:599]]) for seed in (21, 22)]
    passes = [SeedPass(number, values) for number, values in enumerate(weights)]
    metrics = judge(market, ((0, 200), (800, 1_000)), tests, passes, options=QUICK)
    assert [each.symbol for each in metrics.markets] == ["A/B", "C/B"]
    mean = np.mean(weights, axis=0)
    alone = []
    for index, (start, stop) in enumerate(tests):
        inside, rules = slice(599 * index, 599 * (index + 1)), market.markets[index].rules
        bars = bars_between(market.bars, start, stop)
        own, *networks = (
            run_targets(values[inside], bars, market.costs, rules, cash=1_000.0, close_out=True)
            for values in (mean, *weights)
        )
        held = run_targets(np.ones(599), bars, market.costs, rules, cash=1_000.0, close_out=True)
        figures = metrics.markets[index]
        assert figures.bars == 599
        assert figures.log_return == pytest.approx(own.log_return.sum(), abs=1e-9)
        assert figures.hold_log_return == pytest.approx(held.log_return.sum(), abs=1e-9)
        assert figures.seed_log_returns == pytest.approx([run.log_return.sum() for run in networks], abs=1e-9)
        assert figures.paid.fee == pytest.approx((own.fee[1:] / own.equity[:-1]).sum(), rel=1e-9)
        assert figures.max_drawdown > 0.0
        alone.append(own.log_return[1:])
    assert alone[1].std() > 0.0
    together = np.log1p(np.expm1(alone).mean(axis=0)).sum()
    assert metrics.ensemble.log_return == pytest.approx(together, abs=1e-9)
    assert AgentMetrics.from_json(json.loads(json.dumps(metrics.to_json()))) == metrics
    old = {name: value for name, value in metrics.to_json().items() if name != "markets"}  # of an earlier version
    assert AgentMetrics.from_json(old) == replace(metrics, markets=())


def test_a_market_alone_has_no_figures_beside_those_of_all() -> None:
    assert judged(noise_market(1), noise_policy(1)).markets == ()


def test_six_copies_of_one_noise_are_no_six_chances_of_an_edge() -> None:
    """What is resampled are times: were rows resampled, copies would look like six times the evidence."""
    edges, copies, size = 0, 6, 800
    for seed in range(30):
        once = np.random.default_rng(seed).normal(0.0, 0.01, size)
        runs = tuple((size * at, size * (at + 1)) for at in range(copies))
        rows = tuple(MarketRows(f"{at}/B", start, MarketRules()) for at, (start, _) in enumerate(runs))
        market = market_of(np.tile(once, copies), runs=runs, markets=rows, costs=FREE)
        market = replace(market, time_ns=np.tile(np.arange(size, dtype=np.int64) * 3_600_000_000_000, copies))
        tried = [np.tile(noise_policy(10 * seed + number)[:599], copies) for number in range(5)]
        part = JudgedPart.of(market, tuple((start + 200, stop) for start, stop in runs))
        best = max(tried, key=lambda weights: float(log_returns(weights, part).sum()))
        options = JudgeOptions(seed, 100, 40, trials=5)
        trains = tuple((start, start + 200) for start, _ in runs)
        edges += judge(market, trains, part.stretches, [SeedPass(0, best)], options=options).standing == EDGE
    assert edges <= 1


def test_a_network_that_never_trades_counts_among_the_others() -> None:
    """Left out, it would leave the better ones."""
    market = noise_market(23)
    metrics = judged(market, noise_policy(23), np.zeros(SIZE), np.zeros(SIZE))
    assert metrics.seeds[1].figures.trading.sharpe is None
    assert metrics.pooled_sharpe is not None
    assert metrics.pooled_sharpe.median == 0.0
    assert metrics.pooled_sharpe.count == 3


def test_rivals_that_hardly_differ_do_not_make_luck_rarer() -> None:
    """Even worthless trials of the same market differ by their sampling error."""
    metrics = judged(noise_market(19), skilled(19, 0.6))
    usual, alike, apart = (with_trials(metrics, 50, deviation) for deviation in (None, 1e-6, 1.0))
    for name in ("deflated", "deflated_appraisal"):
        assert getattr(usual, name) == getattr(alike, name)
        assert getattr(apart, name).probability < getattr(usual, name).probability


def test_baselines_are_chosen_on_the_training_bars() -> None:
    market = noise_market(20)
    train, test = part_of(market, TRAIN), part_of(market)
    honest, cheating = ({rule.name: rule.parameter for rule in baseline_rules(part, test)} for part in (train, test))
    found = {row.figures.name: row.parameter for row in judged(market, noise_policy(20)).baselines}
    assert found == honest
    for name in (MOMENTUM, REVERSION):
        assert honest[name] != cheating[name], "the market would not tell one from the other"


def _repeated(market: JudgedMarket, copies: int) -> BarArrays:
    columns = ("open", "high", "low", "close", "volume", "funding_rate")
    return BarArrays(**{name: np.tile(getattr(market.bars, name), copies) for name in columns})


def test_turnover_exposure_and_costs_are_those_of_the_fills() -> None:
    weights = np.zeros(SIZE)
    weights[100:300] = 1.0
    metrics = judged(market_of(np.zeros(1_600)), weights)
    positions, paid = metrics.ensemble.positions, metrics.ensemble.paid
    assert positions.turnover == pytest.approx(2 / SIZE * 8_760, rel=2e-3)
    assert positions.exposure == pytest.approx(200 / SIZE, rel=2e-3)
    assert (positions.trades, positions.holding_bars) == (1, 200)
    assert paid.fee == pytest.approx(2 * 0.0005, rel=2e-3)
    assert paid.spread == pytest.approx(2 * 0.0001, rel=2e-3)
    assert paid.slippage == pytest.approx(2 * 0.0001, rel=2e-3)
    assert metrics.ensemble.log_return == pytest.approx(-2 * 0.0007, rel=2e-3)


def test_the_sale_at_the_end_is_turnover() -> None:
    metrics = judged(market_of(np.zeros(1_600)), np.full(SIZE, 0.5))
    assert metrics.ensemble.positions.turnover == pytest.approx(2 * 0.5 / SIZE * 8_760, rel=2e-3)


def test_perfect_foresight_has_an_edge_that_looks_like_a_leak() -> None:
    market = noise_market(4)
    metrics = judged(market, np.sign(moves(market)))
    assert metrics.standing == EDGE
    assert "A Sharpe ratio that high looks like a leak: check the features." in metrics.verdict
    assert "One bar later most of it is gone" in metrics.verdict
    assert metrics.timing.percentile == 1.0
    assert metrics.hindsight_return is not None
    assert metrics.hindsight_share == pytest.approx(metrics.ensemble.log_return / metrics.hindsight_return)
    assert 0.9 < metrics.hindsight_share < 1.0, "it pays for moves that are smaller than the costs"


def test_ordinary_skill_is_an_edge_without_alarm() -> None:
    """Each network is right on 60 % of the days, and trades half the account."""
    market = noise_market(6, bars_per_year=365.0, drift=0.0)
    metrics = judged(market, *[0.5 * skilled(6, 0.60, seed) for seed in range(5)])
    assert metrics.standing == EDGE
    assert metrics.verdict.startswith("Evidence of an edge after costs (net return +")
    assert "leak" not in metrics.verdict


@pytest.mark.parametrize("weight", [1.0, -1.0, 0.0, 0.6])
def test_a_constant_policy_is_not_trained_whatever_it_earns(weight: float) -> None:
    market = noise_market(7, drift=0.003 * np.sign(weight))
    metrics = judged(market, *[np.full(SIZE, weight)] * 5)
    assert metrics.standing == UNTRAINED
    assert metrics.verdict.startswith("Not trained: its target is nearly the same in 100.0% of the bars.")
    assert metrics.diagnostics.entropy == 0.0
    if weight == 1.0:
        assert metrics.ensemble.log_return == metrics.baseline("hold").log_return
        assert metrics.diagnostics.hold_correlation == pytest.approx(1.0)
    if weight == -1.0:
        assert metrics.ensemble.log_return == metrics.baseline("short").log_return
        assert metrics.diagnostics.hold_correlation == pytest.approx(-1.0, abs=0.01)


def test_riding_a_rising_market_is_not_distinguishable_from_holding() -> None:
    """Long all the time but for bars left out at random: it earns a lot, and knows nothing."""
    market = noise_market(8, drift=0.002)
    left_out = np.random.default_rng(1).random(SIZE) < 0.05
    metrics = judged(market, np.where(left_out, 0.5, 1.0))
    assert metrics.ensemble.log_return > 1.0
    assert metrics.standing == HOLD
    assert metrics.verdict.startswith("Not distinguishable from buy and hold (net return +")


def test_being_short_in_a_falling_market_is_no_edge() -> None:
    """It earns, and holding loses: only that a constant position would have earned it too gives it away."""
    edges = 0
    for seed in range(30):
        market = noise_market(seed, drift=-0.002, costs=FREE)
        tried = [np.clip(noise_policy(20 * seed + number) - 0.5, -1, 1) for number in range(20)]
        best = max(tried, key=lambda weights: float(sharpe(simple_from_log(log_returns(weights, part_of(market))))))
        metrics = judged(market, best, options=JudgeOptions(seed, 100, 40, trials=20))
        assert metrics.ensemble.log_return > 0.0
        assert metrics.hold_difference is not None
        assert metrics.hold_difference.low > 0.0
        edges += metrics.standing == EDGE
    assert edges <= 1


def test_noise_has_no_edge() -> None:
    edges = [
        judged(noise_market(seed, costs=FREE), noise_policy(seed), options=JudgeOptions(seed, 100, 40)).standing == EDGE
        for seed in range(60)
    ]
    assert sum(edges) <= 0.05 * len(edges)


def test_the_best_of_twenty_has_no_edge_either() -> None:
    edges = luck = 0
    for seed in range(40):
        market = noise_market(seed, costs=FREE)
        tried = [noise_policy(20 * seed + number) for number in range(20)]
        best = max(tried, key=lambda weights: float(sharpe(simple_from_log(log_returns(weights, part_of(market))))))
        metrics = judged(market, best, options=JudgeOptions(seed, 100, 40, trials=20))
        edges += metrics.standing == EDGE
        luck += "looks as good by luck" in metrics.verdict
        assert metrics.probabilistic is not None
        assert metrics.deflated is not None
        assert metrics.deflated.probability < metrics.probabilistic
    assert edges <= 0.05 * 40
    assert luck >= 20, "most of the best would pass for skill if nobody counted"


def test_costs_are_monotone() -> None:
    for seed in range(5):
        metrics = judged(noise_market(seed), noise_policy(seed))
        for delay in (0, 1):
            curve = [point.metrics.total_return for point in metrics.costs if point.delay == delay]
            assert len(curve) == 4
            assert curve == sorted(curve, reverse=True)
            assert len(set(curve)) == 4
        at_once = next(point for point in metrics.costs if (point.multiple, point.delay) == (1.0, 0))
        assert at_once.metrics.total_return == pytest.approx(metrics.ensemble.trading.total_return, rel=1e-12)


def test_one_bar_of_delay_ruins_what_leaks() -> None:
    market = noise_market(9)
    metrics = judged(market, np.sign(moves(market)))
    at_once, late = (
        next(point for point in metrics.costs if (point.multiple, point.delay) == (1.0, delay)).metrics.sharpe
        for delay in (0, 1)
    )
    assert at_once is not None
    assert late is not None
    assert at_once > 50.0 > 10.0 > late


def test_what_trades_is_the_mean_of_the_networks() -> None:
    market = noise_market(10)
    weights = [noise_policy(seed) for seed in range(5)]
    metrics = judged(market, *weights)
    path = follow(np.mean(weights, axis=0), part_of(market))
    assert metrics.ensemble.log_return == path.log_return.sum()
    alone = [seed.figures.log_return for seed in metrics.seeds]
    assert metrics.pooled_return.iqm == pytest.approx(np.mean(sorted(alone)[1:-1]))
    assert metrics.pooled_return.iqm_low is not None
    assert metrics.pooled_return.iqm_low < metrics.pooled_return.iqm
    few = judged(market, *weights[:4])
    assert few.pooled_return.iqm_low is None
    assert "4 networks say little about what another training would give" in few.verdict
    given = judged(market, *weights, ensemble=SeedPass(0, weights[2]))
    assert given.ensemble.log_return == metrics.seeds[2].figures.log_return


def test_an_agent_that_does_not_look_is_not_trained() -> None:
    """Its targets vary with the bars since the last change alone."""
    rng = np.random.default_rng(3)
    seen = rng.normal(size=(SIZE, 4)).astype(np.float32)

    def clockwork(observations: np.ndarray) -> np.ndarray:
        return np.tanh(observations[:, 3])

    def looking(observations: np.ndarray) -> np.ndarray:
        return np.tanh(observations[:, 3] + observations[:, 0])

    market = noise_market(11)
    blind = SeedPass(0, clockwork(seen), watched(seen, clockwork, 3))
    sighted = SeedPass(1, looking(seen), watched(seen, looking, 3))
    metrics = judge(market, (TRAIN,), (TEST,), [blind], options=QUICK)
    assert metrics.standing == UNTRAINED
    assert metrics.verdict.startswith("Not trained: what it sees of the market explains 0.0% of how its targets vary.")
    both = judge(market, (TRAIN,), (TEST,), [blind, sighted, sighted], options=QUICK)
    assert both.standing == NO_EDGE
    assert "1 of 3 networks are not trained: number 1." in both.verdict


def test_rewards_that_are_not_the_profit_are_told() -> None:
    market, weights = noise_market(12), noise_policy(12)
    earned = float(log_returns(weights, part_of(market), close_out=False).sum())
    for rewards, sound in ((earned + 1e-6, True), (earned + 0.1, False)):
        metrics = judge(market, (TRAIN,), (TEST,), [SeedPass(0, weights, rewards=rewards)], options=QUICK)
        assert metrics.diagnostics.rewards_add_up is sound
        assert ("Its rewards do not add up" in metrics.verdict) is not sound


def test_a_ruined_account_is_counted() -> None:
    rises = np.zeros(1_600)
    rises[1_000] = 0.45
    market = market_of(rises, rules=MarketRules(max_leverage=2.0, maintenance=0.02), lowest=-2.0, highest=2.0)
    weights = np.where(np.arange(SIZE) % 2, -2.0, -1.8)
    metrics = judged(market, weights)
    assert metrics.ensemble.liquidations == 1
    assert metrics.ensemble.log_return < -1.0
    assert "An account was closed by force" in metrics.verdict


def test_periods_are_quarters_or_thirds_and_add_up() -> None:
    market = noise_market(13)
    thirds = judged(market, noise_policy(13))
    assert [period.name for period in thirds.periods] == ["1/3", "2/3", "3/3"]
    start = np.datetime64("2024-02-15", "ns").astype(np.int64)
    hourly = start + np.arange(1_600, dtype=np.int64) * 3_600_000_000_000
    metrics = judged(replace(market, time_ns=hourly), noise_policy(13))
    assert [period.name for period in metrics.periods] == ["2024 Q1", "2024 Q2"]
    # 600 hours lie before; the first return is earned in the bar behind the first decision.
    assert metrics.periods[0].bars == 46 * 24 - 601
    for found in (thirds, metrics):
        assert sum(period.log_return for period in found.periods) == pytest.approx(found.ensemble.log_return)
        assert sum(period.bars for period in found.periods) == found.bars


def test_metrics_travel_as_json() -> None:
    metrics = judged(noise_market(14), noise_policy(14))
    assert AgentMetrics.from_json(json.loads(json.dumps(metrics.to_json()))) == metrics


def test_more_trials_claim_less() -> None:
    market = noise_market(15)
    metrics = judged(market, skilled(15, 0.7))
    assert metrics.standing == EDGE
    many = with_trials(metrics, 1_000, 0.4)
    assert many.deflated is not None
    assert many.deflated.probability < 0.95
    assert many.standing == NO_EDGE
    assert "The best of 1,000 tried on this market looks as good by luck" in many.verdict


@pytest.mark.parametrize(
    ("train", "test", "count"),
    [((0, 700), TEST, 1), (TRAIN, (600, 601), 1), (TRAIN, TEST, 0)],
)
def test_nonsense_is_refused(train: tuple[int, int], test: tuple[int, int], count: int) -> None:
    with pytest.raises(ValueError, match=r"at least|both"):
        judge(noise_market(1), (train,), (test,), [SeedPass(0, noise_policy(1))] * count, options=QUICK)


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="one weight"):
        judged(noise_market(1), np.zeros(SIZE + 1))
    with pytest.raises(ValueError, match="finite"):
        judged(noise_market(1), np.full(SIZE, np.nan))


def test_very_many_bars_are_resampled_less_often() -> None:
    options = JudgeOptions(resamples=2_000, draws=400)
    assert [options.affordable_resamples(bars) for bars in (1_000, 40_000, 1_000_000)] == [2_000, 1_000, 500]
    assert [options.affordable_draws(bars) for bars in (1_000, 100_000, 1_000_000)] == [400, 200, 99]


def test_the_costs_of_the_market_are_used() -> None:
    free, cheap = (judged(noise_market(16, costs=costs), noise_policy(16)) for costs in (FREE, CHEAP))
    assert free.ensemble.paid.fee == 0.0
    assert free.ensemble.log_return > cheap.ensemble.log_return
