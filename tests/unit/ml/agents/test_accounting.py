"""The batched kernel against the reference, account by account."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from core.accounting.reference import AccountState, BarPrices, Step, Target, open_account, step, weight_of
from core.accounting.rules import CostRates, MarketRules
from ml.agents import accounting
from ml.agents.accounting import (
    AccountRules,
    Accounts,
    Bars,
    Charges,
    RowRules,
    StepOutcome,
    cost_tensors,
    open_accounts,
    step_targets,
)
from tests.unit.accounting import markets

CASH = 10_000.0
COSTS = ("fee", "spread", "slippage", "impact", "funding", "borrow")
ACCOUNTS = 3


def tensor(values: Sequence[float], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def bars_of(bars: Sequence[BarPrices], dtype: torch.dtype = torch.float64) -> Bars:
    return Bars(*(tensor([getattr(bar, name) for bar in bars], dtype) for name in Bars._fields))


def opened(count: int, dtype: torch.dtype = torch.float64) -> Accounts:
    return open_accounts(tensor([CASH] * count, dtype), tensor([markets.START] * count, dtype))


@st.composite
def cases(draw: st.DrawFn, *, rounded: bool | None = None) -> tuple:
    """Return rules, costs, and for each account bars and weights of one length."""
    paths = draw(st.lists(markets.paths, min_size=ACCOUNTS, max_size=ACCOUNTS))
    length = min(len(path) for path in paths)
    weights = [draw(st.lists(markets.weights, min_size=length, max_size=length)) for _ in paths]
    return draw(markets.rules(rounded=rounded)), draw(markets.costs), [path[:length] for path in paths], weights


@settings(max_examples=80, deadline=None)
@given(cases())
def test_in_float64_each_account_equals_the_reference(case: tuple) -> None:
    rules, costs, paths, weights = case
    accounts, rates = opened(ACCOUNTS), cost_tensors(costs, dtype=torch.float64, device="cpu")
    states = [open_account(CASH, markets.START)] * ACCOUNTS
    for row in range(len(paths[0])):
        bars, wishes = [path[row] for path in paths], [each[row] for each in weights]
        done = step_targets(accounts, tensor(wishes), bars_of(bars), rates, rules, costs.impact_exponent)
        steps = [
            step(state, Target(weight), bar, costs, rules)
            for state, weight, bar in zip(states, wishes, bars, strict=True)
        ]
        for index, expected in enumerate(steps):
            compare(done, index, states[index], expected, rules)
        accounts, states = done.accounts, [each.state for each in steps]


@st.composite
def markets_beside_each_other(draw: st.DrawFn) -> tuple:
    """Return rules of several markets that share leverage, margin, shorts and band, and a case of accounts in them."""
    shared, costs, paths, weights = draw(cases())
    rounding = ("tick_size", "lot_size", "min_quantity", "min_notional")
    own = [draw(markets.rules()) for _ in paths]
    several = [replace(shared, **{name: getattr(each, name) for name in rounding}) for each in own]
    numbers = draw(st.lists(st.integers(0, ACCOUNTS - 1), min_size=ACCOUNTS, max_size=ACCOUNTS))
    return several, numbers, costs, paths, weights


@settings(max_examples=120, deadline=None)
@given(markets_beside_each_other())
def test_each_account_follows_the_rules_of_its_market(case: tuple) -> None:
    several, numbers, costs, paths, weights = case
    table = RowRules.of(several, device="cpu")
    mixed = table.at(torch.tensor(numbers))
    accounts, rates = opened(ACCOUNTS), cost_tensors(costs, dtype=torch.float64, device="cpu")
    states = [open_account(CASH, markets.START)] * ACCOUNTS
    for row in range(len(paths[0])):
        bars, wishes = [path[row] for path in paths], [each[row] for each in weights]
        done = step_targets(accounts, tensor(wishes), bars_of(bars), rates, mixed, costs.impact_exponent)
        steps = [
            step(state, Target(weight), bar, costs, several[number])
            for state, weight, bar, number in zip(states, wishes, bars, numbers, strict=True)
        ]
        for index, expected in enumerate(steps):
            compare(done, index, states[index], expected, several[numbers[index]], mixed)
        accounts, states = done.accounts, [each.state for each in steps]
    sold = step_targets(
        accounts, tensor([0.0] * ACCOUNTS), bars_of(bars), rates, mixed.any_size(), costs.impact_exponent
    )
    for index, (state, bar, number) in enumerate(zip(states, bars, numbers, strict=True)):
        free = replace(several[number], min_quantity=0.0, min_notional=0.0, band=0.0)
        compare(sold, index, state, step(state, Target(0.0), bar, costs, free), free, mixed)


def test_rules_of_one_batch_share_what_is_the_accounts() -> None:
    with pytest.raises(ValueError, match="same leverage"):
        RowRules.of([MarketRules(), MarketRules(max_leverage=2.0)], device="cpu")


def compare(
    done: StepOutcome,
    index: int,
    before: AccountState,
    expected: Step,
    rules: MarketRules,
    of_all: AccountRules | None = None,
) -> None:
    scale = CASH + sum(abs(getattr(expected.costs, name)) for name in COSTS)
    for name in Accounts._fields:
        actual, wanted = float(getattr(done.accounts, name)[index]), float(getattr(expected.state, name))
        assert math.isclose(actual, wanted, rel_tol=1e-9, abs_tol=1e-9 * CASH), name
    for name in COSTS:
        actual, wanted = float(getattr(done, name)[index]), getattr(expected.costs, name)
        assert math.isclose(actual, wanted, rel_tol=1e-9, abs_tol=1e-9 * scale), name
    assert float(done.log_return[index]) == pytest.approx(expected.log_return, rel=1e-9, abs=1e-9)
    assert bool(done.liquidated_now[index]) == (expected.state.liquidated and not before.liquidated)
    decided = [fill for fill in expected.fills if not fill.is_forced]
    lots, price = (decided[0].lots, decided[0].price) if decided else (0.0, 0.0)
    assert float(done.fill_lots[index]) == pytest.approx(lots, rel=1e-9, abs=1e-9)
    assert float(done.fill_price[index]) == pytest.approx(price, rel=1e-9)
    weight = float(accounting.weight(done.accounts, of_all or rules)[index])
    assert weight == pytest.approx(weight_of(expected.state, rules), rel=1e-9, abs=1e-9)


def test_in_float32_whole_runs_agree_to_four_digits() -> None:
    """Without rounding and minimums, and where nothing stands at the edge of its margin: there one digit decides."""
    generator = torch.Generator().manual_seed(7)
    count, length = 512, 40
    rules = MarketRules(max_leverage=2.0, maintenance=0.05)
    costs = CostRates(0.001, 0.001, 0.0002, 0.0003, 0.05, 0.5, 1e-5, 1e-5, 0.01)
    runs = {kind: opened(count, kind) for kind in (torch.float64, torch.float32)}
    sums = {kind: torch.zeros(count, dtype=torch.float64) for kind in runs}
    price = torch.full((count,), markets.START, dtype=torch.float64)
    for _ in range(length):
        noise = torch.randn(4, count, generator=generator, dtype=torch.float64) * 0.01
        opening, close = price * (0.1 * noise[0]).exp(), price * noise[1].exp()
        high = torch.maximum(opening, close) * noise[2].abs().exp()
        low = torch.minimum(opening, close) * (-noise[3].abs()).exp()
        funding = torch.full_like(price, 1e-4)
        columns = (opening, high, low, close, torch.full_like(price, 1e4), funding)
        weight = torch.rand(count, generator=generator, dtype=torch.float64) * 3 - 1.5
        for kind, accounts in runs.items():
            bars = Bars(*(column.to(kind) for column in columns))
            rates = cost_tensors(costs, dtype=kind, device="cpu")
            done = step_targets(accounts, weight.to(kind), bars, rates, rules)
            assert all(part.dtype in (kind, torch.bool) for part in (*done[1:], *done.accounts))
            runs[kind], sums[kind] = done.accounts, sums[kind] + done.log_return
        price = close
    wide, narrow = (accounting.equity(accounts, rules).double() for accounts in runs.values())
    torch.testing.assert_close(narrow, wide, rtol=1e-4, atol=0.0)
    torch.testing.assert_close(sums[torch.float32], sums[torch.float64], rtol=0.0, atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(cases())
def test_what_cannot_cost_anything_can_be_left_out(case: tuple) -> None:
    rules, costs, paths, weights = case
    costs = replace(costs, impact=0.0, borrow_base=0.0, borrow_quote=0.0)
    rates = cost_tensors(costs, dtype=torch.float64, device="cpu")
    charges = accounting.charges_of(costs, rules, has_funding=False)
    assert charges == Charges(impact=False, funding=False, borrow=False)
    whole = short = opened(ACCOUNTS)
    for row in range(len(paths[0])):
        bars = bars_of([replace(path[row], funding_rate=0.0) for path in paths])
        weight = tensor([each[row] for each in weights])
        first = step_targets(whole, weight, bars, rates, rules)
        second = step_targets(short, weight, bars, rates, rules, charges=charges)
        for left, right in zip((*first.accounts, *first[1:]), (*second.accounts, *second[1:]), strict=True):
            torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-9)
        whole, short = first.accounts, second.accounts


@pytest.mark.parametrize(
    ("rates", "rules", "has_funding", "expected"),
    [
        (CostRates(impact=0.1), MarketRules(), True, Charges(impact=True, funding=True, borrow=False)),
        (CostRates(borrow_base=0.1), MarketRules(allows_short=False), False, Charges(False, False, False)),
        (CostRates(borrow_base=0.1), MarketRules(), False, Charges(False, False, True)),
        (CostRates(borrow_quote=0.1), MarketRules(max_leverage=2.0), False, Charges(False, False, True)),
        (CostRates(borrow_quote=0.1), MarketRules(), True, Charges(False, True, True)),
    ],
)
def test_what_has_to_be_calculated(rates: CostRates, rules: MarketRules, has_funding: bool, expected: Charges) -> None:
    assert accounting.charges_of(rates, rules, has_funding=has_funding) == expected


def test_costs_are_scaled_account_by_account() -> None:
    rates = CostRates(0.001, 0.001, 0.0002, 0.0003, 0.1, 0.5, 0.01, 0.02, 0.03)
    scaled = cost_tensors(rates, dtype=torch.float64, device="cpu").scaled(tensor([0.0, 1.0, 2.5]))
    for index, factor in enumerate((0.0, 1.0, 2.5)):
        expected = rates.times(factor)
        for name in scaled._fields:
            column = getattr(scaled, name)
            assert float(column[index] if column.ndim else column) == pytest.approx(getattr(expected, name))
    done = step_targets(
        opened(3), tensor([0.5] * 3), bars_of([BarPrices(100, 100, 100, 100)] * 3), scaled, MarketRules()
    )
    assert done.fee.tolist() == pytest.approx([0.0, 5000 * 1.0005 * 0.001, 5000 * 1.00125 * 0.0025])


def test_a_weight_that_is_no_number_is_not_followed() -> None:
    rates = cost_tensors(CostRates(), dtype=torch.float64, device="cpu")
    for rules in (MarketRules(), MarketRules(lot_size=0.1, tick_size=0.1, min_notional=1.0, band=0.1)):
        bars = bars_of([BarPrices(100, 100, 100, 100)] * 2)
        done = step_targets(opened(2), tensor([math.nan, 0.5]), bars, rates, rules)
        assert done.fill_lots[0] == 0.0
        assert done.accounts.cash[0] == CASH
        assert done.fill_lots[1] > 0.0


class Counted(TorchDispatchMode):
    """Counts operations and refuses those that wait for the device or give a size that depends on values."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "index.Tensor", "unique", "_to_copy")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        assert not any(name in str(func) for name in self.WAITING), str(func)
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("rules", "charges", "most"),
    [
        (MarketRules(allows_short=False), Charges(False, False, False), 90),
        (MarketRules(), Charges(False, False, False), 136),
        (MarketRules(0.01, 0.001, 0.001, 5.0, 3.0, 0.05, True, 0.1), Charges(), 206),
    ],
)
def test_a_step_never_waits_for_the_device_and_stays_short(rules: MarketRules, charges: Charges, most: int) -> None:
    rates = cost_tensors(CostRates(), dtype=torch.float64, device="cpu")
    accounts, bars, weight = opened(4), bars_of([BarPrices(100, 101, 99, 100)] * 4), tensor([0.5, -0.5, 1.0, 0.0])
    with Counted() as counted:
        step_targets(accounts, weight, bars, rates, rules, charges=charges)
    assert counted.count <= most


def test_a_step_by_the_rules_of_each_market_does_not_wait_either() -> None:
    several = [
        MarketRules(0.01, 0.001, 0.001, 5.0, 3.0, 0.05, True, 0.1),
        MarketRules(0, 0, 0, 0, 3.0, 0.05, True, 0.1),
    ]
    table, number = RowRules.of(several, device="cpu"), torch.tensor([0, 1, 1, 0])
    rates = cost_tensors(CostRates(), dtype=torch.float64, device="cpu")
    accounts, bars, weight = opened(4), bars_of([BarPrices(100, 101, 99, 100)] * 4), tensor([0.5, -0.5, 1.0, 0.0])
    with Counted() as counted:
        step_targets(accounts, weight, bars, rates, table.at(number))
    assert counted.count <= 235


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_graph_holds_a_step() -> None:
    rules = MarketRules(0.01, 0.001, 0.001, 5.0, 3.0, 0.05, True, 0.1)
    rates = cost_tensors(CostRates(), dtype=torch.float64, device="cuda")
    accounts = Accounts(*(part.cuda() for part in opened(4)))
    bars = Bars(*(part.cuda() for part in bars_of([BarPrices(100, 101, 99, 100)] * 4)))
    weight = tensor([0.5, -0.5, 1.0, 0.0]).cuda()
    expected = step_targets(accounts, weight, bars, rates, rules)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        done = step_targets(accounts, weight, bars, rates, rules)
    graph.replay()
    torch.testing.assert_close(done.log_return, expected.log_return)
