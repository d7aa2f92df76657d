"""What a live agent trades is what the accounting kernel would, wherever the next opening price is this close."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.accounting.reference import AccountState, BarPrices, Target, equity_of, step
from core.accounting.rules import CostRates, spot_rules
from core.domain.candles import Candle, Timeframe
from core.domain.instruments import FeeRule, Instrument
from core.domain.orders import Side
from core.domain.positions import Position
from core.domain.signals import Signal
from core.signals.generator import market_intent
from core.signals.target_sizing import SPARE, target_change
from core.strategies.own_account import AccountMemory, OwnAccount, own_account

D = Decimal
MARKET = Instrument(
    "upbit", "BTC/USDT", "BTCUSDT", "BTC", "USDT", D("0.01"), D("0.001"), min_quantity=D("0.002"), min_notional=D(5)
)
FREE = CostRates(taker_fee=0.0)


def account_of(cash: str, quantity: str, mark: float) -> OwnAccount:
    candle = Candle("BTC/USDT", Timeframe.H1, 0, mark, mark, mark, mark, 1.0, final=True)
    entry = D(repr(mark))
    capital = D(cash) + D(quantity) * entry
    position = Position("upbit", "BTC/USDT", "s", D(quantity), entry)
    account = own_account(capital, position, candle, None, None)
    assert (account.cash, account.equity) == (D(cash), capital)
    return account


def live_lots(weight: float, account: OwnAccount, market: Instrument, costs: CostRates, band: float) -> int:
    """Return the lots that go out as an order."""
    change = target_change(weight, account, market, costs, band)
    signal = Signal("s", market.symbol, weight, account.candle.close, 0, "")
    intent = market_intent(signal, change, market, 7) if change else None
    if intent is None:
        return 0
    assert intent.reduce_only is (intent.side is Side.SELL)
    return intent.side.sign * int(intent.quantity / market.lot_size)


def nearly_all(account: OwnAccount, market: Instrument, costs: CostRates) -> float:
    """Return the cash that a full account may have left or owe: twice price, fee and spare, a tick and a lot."""
    mark = float(account.mark)
    share = costs.half_spread + costs.slippage + float(market.taker_fee) + float(SPARE) + 0.01 / mark
    return 2.1 * share * max(float(account.equity), 0.0) + 1.1 * float(market.lot_size) * mark


@given(
    weight=st.floats(0.0, 1.0) | st.sampled_from([0.0, 1.0, -0.5, 1.5]),
    cash=st.integers(-100, 200_000).map(lambda cents: f"{cents / 100:.2f}"),
    lots=st.integers(0, 5_000),
    cents=st.integers(100, 1_000_000),
    fee=st.sampled_from(["0", "0.001", "0.02"]),
    half_spread=st.sampled_from([0.0, 0.0005]),
    slippage=st.sampled_from([0.0, 0.0002, 0.01]),
    band=st.sampled_from([0.0, 0.05]),
)
def test_it_is_what_the_kernel_trades(
    weight: float, cash: str, lots: int, cents: int, fee: str, half_spread: float, slippage: float, band: float
) -> None:
    mark = cents / 100
    market = replace(MARKET, taker_fee=D(fee))
    account = account_of(cash, str(lots * market.lot_size), mark)
    rules = replace(spot_rules(market), band=band)
    state = AccountState(float(cash), float(lots), mark)
    assume(equity_of(state, rules) > 0.01)  # else the kernel closes by force
    costs = CostRates(taker_fee=float(fee), half_spread=half_spread, slippage=slippage)
    met = step(state, Target(weight), BarPrices(mark, mark, mark, mark, math.inf), costs, rules)
    assume(not any(fill.is_forced for fill in met.fills))
    traded = met.fills[0].lots if met.fills else 0.0
    live = live_lots(weight, account, market, costs, band)
    left = met.state.cash if traded > 0 else float(cash)
    if traded != 0 and abs(left) <= nearly_all(account, market, costs):  # all of its cash is spent, or somewhat more
        difference = (traded - live) * float(market.lot_size) * mark
        assert 0 <= live <= traded if traded > 0 else traded <= live <= 0
        too_small = 5.0 * (1 + 2 * (half_spread + slippage)) if live == 0 else 0.0
        assert abs(difference) <= nearly_all(account, market, costs) + too_small
    elif live == 0 or traded == 0:  # the kernel takes the minimum at the price paid, a live order at the close
        value = abs(live or traded) * float(market.lot_size) * mark
        assert value <= 5.0 * (1 + 2 * (half_spread + slippage)) or live == traded
    else:
        assert live == traded


def test_a_purchase_leaves_the_account_in_cash() -> None:
    costs = CostRates(half_spread=0.001, slippage=0.001)
    account = account_of("1000", "0", 100.0)
    bought = target_change(1.0, account, MARKET, costs, 0.0)
    assert bought == D("9.960")  # at 100.20, a fee of 0.1 % and 0.1 % to spare
    most = D("100.20") * D("1.001") * (1 + SPARE)
    assert bought * most <= 1_000 < (bought + D("0.001")) * most


FEE_RULES = st.sampled_from([FeeRule.QUOTE, FeeRule.RECEIVED])
SMALL = st.floats(-1.0, 1.0)  # of what is spared
MOVES = st.lists(st.floats(-0.3, 0.4), min_size=1, max_size=30)


@given(
    capital=st.integers(100, 10_000_000),
    opening=SMALL,
    moves=MOVES,
    weight=st.floats(0.9995, 1.0),
    rule=FEE_RULES,
    costs=st.sampled_from([FREE, CostRates(half_spread=0.0005, slippage=0.0002)]),
)
def test_all_of_it_is_bought_once_and_then_kept(
    capital: int, opening: float, moves: list[float], weight: float, rule: FeeRule, costs: CostRates
) -> None:
    """The account is all there is: what it cannot pay is refused, and what it keeps is no reason to trade again."""
    market, mark = replace(MARKET, fee_rule=rule, min_notional=D("0.01"), min_quantity=D("0.001")), 100.0
    account = account_of(str(capital), "0", mark)
    bought = target_change(weight, account, market, costs, 0.0)
    price = market.round_price(D(repr(mark * (1 + costs.half_spread + costs.slippage + opening * float(SPARE)))))
    paid = bought * price
    fee = bought * market.taker_fee if rule is FeeRule.RECEIVED else paid * market.taker_fee
    paid += fee if rule is FeeRule.QUOTE else 0
    assert paid <= capital
    assert bought * D(100) > D("0.99") * capital - D("0.1")
    cash, held = capital - paid, bought - (fee if rule is FeeRule.RECEIVED else 0)
    for move in moves:
        mark = round(max(mark * (1 + move), 80.0), 2)  # much lower what is kept is a larger share, and worth an order
        assert target_change(weight, account_of(f"{cash}", f"{held}", mark), market, costs, 0.0) == 0
    assert target_change(0.0, account_of(f"{cash}", f"{held}", mark), market, costs, 0.0) < 0


def test_cash_for_one_more_lot_is_no_full_account() -> None:
    """Where a lot is half of the capital, the second one is bought as well."""
    coarse = replace(MARKET, lot_size=D("0.03"), min_quantity=D("0.03"))
    assert target_change(1.0, account_of("3.02", "0.03", 100.0), coarse, FREE, 0.0) == D("0.03")


def test_an_opening_far_from_the_close_is_made_up_for() -> None:
    """By one more order: the account kept more cash than it keeps for safety, or owes what it must not."""
    market = replace(MARKET, min_notional=D("0.01"), min_quantity=D("0.001"))
    assert target_change(1.0, account_of("5.4", "9.950", 100.0), market, FREE, 0.0) == D("0.053")
    assert target_change(1.0, account_of("4.0", "9.960", 100.0), market, FREE, 0.0) == 0
    assert target_change(1.0, account_of("-4.0", "10.040", 100.0), market, FREE, 0.0) == 0
    assert target_change(0.99, account_of("-4.0", "10.040", 100.0), market, FREE, 0.0) == D("-0.140")
    assert target_change(1.0, account_of("-9.0", "10.090", 100.0), market, FREE, 0.0) == D("-0.090")


def test_nothing_is_bought_without_cash() -> None:
    assert target_change(1.0, account_of("-3", "1.000", 100.0), MARKET, FREE, 0.0) < 0  # it owes: the leverage is cut
    assert target_change(0.9, account_of("0", "1.000", 100.0), MARKET, FREE, 0.0) == D("-0.1")
    assert target_change(1.0, account_of("0", "1.000", 100.0), MARKET, FREE, 0.0) == 0


def test_within_the_band_nothing_is_done() -> None:
    account = account_of("500", "5.000", 100.0)
    assert target_change(0.549, account, MARKET, FREE, 0.05) == 0
    assert target_change(0.551, account, MARKET, FREE, 0.05) == D("0.510")


def test_dust_is_neither_sold_nor_made_larger() -> None:
    """A fee out of what was received leaves less than whole lots."""
    account = account_of("500", "4.9955", 100.0)
    assert target_change(0.0, account, MARKET, FREE, 0.0) == D("-4.995")
    assert target_change(0.6, account, MARKET, FREE, 0.0) == D("1.001")  # to 5.9965 of at most 5.9973
    tiny = account_of("500", "0.0004", 100.0)
    assert target_change(0.0, tiny, MARKET, FREE, 0.0) == 0


def test_who_lost_everything_sells_what_is_left() -> None:
    account = replace(account_of("0", "1.000", 100.0), equity=D(-1), cash=D(-101))
    assert target_change(1.0, account, MARKET, FREE, 0.0) == D(-1)


def test_a_weight_that_is_no_number_trades_nothing() -> None:
    with pytest.raises(ValueError, match="finite"):
        target_change(math.nan, account_of("500", "0", 100.0), MARKET, FREE, 0.0)


def test_an_order_is_never_larger_than_the_venue_takes() -> None:
    market = replace(MARKET, max_quantity=D(2))
    assert live_lots(1.0, account_of("1000", "0", 100.0), market, FREE, 0.0) == 2_000
    assert live_lots(0.004, account_of("1000", "0", 100.0), market, FREE, 0.0) == 0  # below the minimum


def test_the_account_keeps_what_the_books_do_not_say() -> None:
    """Equity, peak and the age of the position, as the environment counts them."""
    hour = Timeframe.H1.ns

    def at(bar: int, close: float) -> Candle:
        return Candle("BTC/USDT", Timeframe.H1, bar * hour, close, close, close, close, 1.0, final=True)

    flat = Position("upbit", "BTC/USDT", "s", realised_pnl=D(7), fees=D(2))  # of an earlier strategy of this id
    first = own_account(D(1_000), flat, at(5, 100.0), None, None)
    assert first.memory == AccountMemory(D(5), D(0), 5 * hour, D(1_000))
    assert (first.equity, first.view.peak, first.view.bars_since_change, first.view.entry_price) == (1_000, 1_000, 0, 0)
    waiting = own_account(D(1_000), flat, at(6, 90.0), first.memory, 5 * hour)
    assert (waiting.equity, waiting.view.bars_since_change) == (1_000, 1)
    held = replace(flat, quantity=D(5), average_price=D(90), fees=D("2.45"))
    bought = own_account(D(1_000), held, at(7, 100.0), waiting.memory, 6 * hour)
    assert (bought.equity, bought.cash) == (D("1049.55"), D("549.55"))
    assert bought.memory == AccountMemory(D(5), D(5), 7 * hour, D("1049.55"))
    assert bought.view.bars_since_change == 0
    fallen = own_account(D(1_000), held, at(9, 80.0), bought.memory, 7 * hour)  # a pause: bar 8 was not decided on
    assert (fallen.view.bars_since_change, fallen.view.peak, fallen.view.entry_price) == (2, 1049.55, 90.0)
    assert (fallen.view.units, fallen.view.mark, fallen.view.equity) == (5.0, 80.0, 949.55)
    sold = own_account(D(1_000), replace(held, quantity=D(2)), at(12, 80.0), fallen.memory, 9 * hour)
    assert sold.view.bars_since_change == 2  # what was ordered at bar 9 was filled in bar 10
