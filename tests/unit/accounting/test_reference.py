"""The reference against numbers worked out by hand."""

import math

import pytest

from core.accounting.reference import (
    LEAST_RATIO,
    AccountState,
    BarPrices,
    Decision,
    LimitOrder,
    MarketOrder,
    Step,
    Target,
    close_out,
    equity_of,
    open_account,
    step,
    target_lots,
    weight_of,
)
from core.accounting.rules import CostRates, MarketRules

FREE = CostRates(taker_fee=0.0, maker_fee=0.0)
EXACT = {"rel": 1e-12, "abs": 1e-12}


def flat(price: float, **more: float) -> BarPrices:
    return BarPrices(price, price, price, price, **more)


def met(
    state: AccountState, decision: Decision, bar: BarPrices, costs: CostRates = FREE, rules: MarketRules | None = None
) -> Step:
    return step(state, decision, bar, costs, rules or MarketRules())


def held(lots: float, cash: float, mark: float = 100.0) -> AccountState:
    return AccountState(cash, lots, mark, entry_price=mark if lots else 0.0)


class TestTaking:
    def test_a_target_becomes_a_quantity_at_the_close_it_was_decided_at(self) -> None:
        done = met(open_account(1000.0, 100.0), Target(0.5), flat(110.0))
        assert [(fill.lots, fill.price) for fill in done.fills] == [(5.0, 110.0)]
        assert done.state == AccountState(450.0, 5.0, 110.0, entry_price=110.0)

    def test_costs_are_told_apart(self) -> None:
        costs = CostRates(taker_fee=0.001, half_spread=0.002, slippage=0.003, impact=0.1, impact_exponent=0.5)
        done = met(open_account(1000.0, 100.0), MarketOrder(4.0), flat(100.0, volume=400.0), costs)
        price = 100.0 * (1 + 0.002 + 0.003 + 0.1 * 0.1)
        assert done.fills[0].price == pytest.approx(price, **EXACT)
        paid = done.costs
        assert (paid.spread, paid.slippage, paid.impact) == pytest.approx((0.8, 1.2, 4.0), **EXACT)
        assert paid.fee == pytest.approx(4 * price * 0.001, **EXACT)
        assert equity_of(done.state, MarketRules()) == pytest.approx(1000 - 0.8 - 1.2 - 4.0 - paid.fee, **EXACT)

    def test_selling_costs_as_much(self) -> None:
        costs = CostRates(taker_fee=0.0, half_spread=0.01)
        done = met(open_account(1000.0, 100.0), Target(-0.5), flat(100.0), costs)
        assert done.fills[0].price == pytest.approx(99.0)
        assert done.fills[0].lots == pytest.approx(-5.0)

    def test_without_volume_an_order_is_all_of_it(self) -> None:
        done = met(
            open_account(1000.0, 100.0),
            MarketOrder(1.0),
            flat(100.0, volume=0.0),
            CostRates(taker_fee=0.0, impact=0.05),
        )
        assert done.costs.impact == pytest.approx(5.0)

    def test_no_impact_sells_below_nothing(self) -> None:
        done = met(held(5.0, 0.0), MarketOrder(-5.0), flat(100.0, volume=1.0), CostRates(taker_fee=0.0, impact=2.0))
        assert done.fills[0].price == 0.0
        assert done.state.liquidated
        assert done.log_return == math.log(LEAST_RATIO)

    def test_cash_pays_the_fee_too(self) -> None:
        done = met(open_account(1000.0, 100.0), Target(1.0), flat(100.0), CostRates(taker_fee=0.01))
        assert done.fills[0].lots == pytest.approx(1000 / 101)
        assert done.state.cash == pytest.approx(0.0, abs=1e-9)

    def test_through_zero_the_entry_price_is_the_new_one(self) -> None:
        done = met(held(4.0, 600.0), Target(-0.5), flat(120.0))
        assert done.state.lots == pytest.approx(-5.0)
        assert done.state.entry_price == 120.0

    def test_growing_averages_and_shrinking_keeps_the_entry_price(self) -> None:
        grown = met(held(4.0, 600.0), MarketOrder(1.0), flat(120.0)).state
        assert grown.entry_price == pytest.approx(104.0)
        assert met(grown, MarketOrder(-2.0), flat(130.0)).state.entry_price == grown.entry_price
        assert met(grown, MarketOrder(-5.0), flat(130.0)).state.entry_price == 0.0

    def test_a_weight_that_is_kept_is_not_traded_for_its_last_digits(self) -> None:
        state = met(open_account(1000.0, 100.0), Target(1.0), flat(100.0)).state
        for price in (103.7, 91.3, 97.77):
            done = met(state, Target(1.0), flat(price))
            assert done.fills == ()
            state = done.state

    @pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf])
    def test_a_weight_that_is_no_number_is_refused(self, weight: float) -> None:
        with pytest.raises(ValueError, match="finite"):
            met(open_account(1000.0, 100.0), Target(weight), flat(100.0))

    @pytest.mark.parametrize(
        "order",
        [MarketOrder(math.nan), LimitOrder(math.inf, 100.0), LimitOrder(1.0, math.nan), LimitOrder(1.0, 0.0)],
    )
    def test_an_order_that_is_no_number_is_refused(self, order: Decision) -> None:
        with pytest.raises(ValueError, match="no order"):
            met(open_account(1000.0, 100.0), order, flat(100.0))


class TestRules:
    def test_a_wish_beyond_the_leverage_is_cut(self) -> None:
        rules = MarketRules(max_leverage=2.0)
        assert target_lots(open_account(1000.0, 100.0), 5.0, rules) == 20.0
        assert target_lots(open_account(1000.0, 100.0), -5.0, rules) == -20.0

    def test_without_shorts_nothing_goes_below_zero(self) -> None:
        rules = MarketRules(allows_short=False)
        assert target_lots(open_account(1000.0, 100.0), -1.0, rules) == 0.0
        assert met(open_account(1000.0, 100.0), MarketOrder(-3.0), flat(100.0), rules=rules).fills == ()
        assert met(held(2.0, 800.0), MarketOrder(-3.0), flat(100.0), rules=rules).state.lots == 0.0

    def test_debts_alone_wish_for_nothing(self) -> None:
        assert target_lots(AccountState(-5.0, 0.0, 100.0), 1.0, MarketRules()) == 0.0
        assert weight_of(AccountState(-5.0, 0.0, 100.0), MarketRules()) == 0.0
        assert met(AccountState(0.0, 0.0, 100.0), Target(1.0), flat(90.0)).log_return == 0.0

    def test_the_band_is_measured_from_the_weight_that_is_allowed(self) -> None:
        rules = MarketRules(band=0.1)
        state = held(9.5, 50.0)  # a weight of 0.95
        assert met(state, Target(5.0), flat(100.0), rules=rules).fills == ()
        assert met(state, Target(0.86), flat(100.0), rules=rules).fills == ()
        assert len(met(state, Target(0.84), flat(100.0), rules=rules).fills) == 1

    @pytest.mark.parametrize(("weight", "lots"), [(0.0999, 0), (0.1, 1), (0.2, 2), (0.2999999, 2), (-0.2999, -2)])
    def test_quantities_are_whole_lots(self, weight: float, lots: int) -> None:
        rules = MarketRules(lot_size=0.1)
        assert target_lots(open_account(100.0, 100.0), weight, rules) == lots

    @pytest.mark.parametrize("ticks", [1, 3, 29, 600_001, 10_000_019, 123_456_789])
    def test_whole_ticks_stay_what_they_are(self, ticks: int) -> None:
        rules, price = MarketRules(tick_size=0.01), ticks * 0.01
        for lots in (0.5, -0.5):
            done = met(open_account(1e9, price), MarketOrder(lots), flat(price), rules=rules)
            assert done.fills[0].price == price

    def test_prices_are_rounded_against_who_trades(self) -> None:
        rules = MarketRules(tick_size=0.5)
        prices = [met(held(0.0, 1e4), MarketOrder(n), flat(100.2), rules=rules).fills[0].price for n in (1, -1)]
        assert prices == [100.5, 100.0]

    def test_small_orders_are_refused(self) -> None:
        state = open_account(1000.0, 100.0)
        for rules, least in ((MarketRules(min_notional=50.0), 0.5), (MarketRules(min_quantity=0.5), 0.5)):
            assert met(state, MarketOrder(least * 0.999), flat(100.0), rules=rules).fills == ()
            assert len(met(state, MarketOrder(least), flat(100.0), rules=rules).fills) == 1

    @pytest.mark.parametrize("lots", [3, 7, 29, 57, 113])
    def test_the_smallest_order_in_whole_lots_is_large_enough(self, lots: int) -> None:
        rules = MarketRules(lot_size=0.01, min_quantity=lots / 100)
        assert len(met(open_account(1e5, 100.0), MarketOrder(lots), flat(100.0), rules=rules).fills) == 1


class TestLimits:
    STATE = open_account(1000.0, 100.0)

    def test_one_that_takes_pays_the_opening_price(self) -> None:
        done = met(self.STATE, LimitOrder(2.0, 105.0), flat(100.0), CostRates(taker_fee=0.01, maker_fee=0.001))
        assert done.fills[0].price == 100.0
        assert not done.fills[0].is_maker
        assert done.costs.fee == pytest.approx(2.0)

    @pytest.mark.parametrize(("lots", "limit", "low", "high"), [(2.0, 95.0, 95.0, 101.0), (-2.0, 105.0, 99.0, 105.0)])
    def test_one_that_is_only_touched_is_not_filled(self, lots: float, limit: float, low: float, high: float) -> None:
        assert met(self.STATE, LimitOrder(lots, limit), BarPrices(100.0, high, low, 100.0)).fills == ()

    @pytest.mark.parametrize(("lots", "limit", "low", "high"), [(2.0, 95.0, 94.9, 101.0), (-2.0, 105.0, 99.0, 105.1)])
    def test_one_that_the_bar_goes_beyond_is_filled_at_its_price(
        self, lots: float, limit: float, low: float, high: float
    ) -> None:
        costs = CostRates(taker_fee=0.01, maker_fee=0.001, half_spread=0.0001)
        done = met(self.STATE, LimitOrder(lots, limit), BarPrices(100.0, high, low, 100.0), costs)
        assert done.fills[0].price == limit
        assert done.fills[0].is_maker
        assert done.costs.fee == pytest.approx(abs(lots) * limit * 0.001)
        assert (done.costs.spread, done.costs.slippage, done.costs.impact) == (0.0, 0.0, 0.0)

    def test_one_within_reach_at_the_opening_takes_but_never_beyond_its_price(self) -> None:
        costs = CostRates(taker_fee=0.01, maker_fee=0.001, half_spread=0.001, slippage=0.002, impact=1.0)
        done = met(self.STATE, LimitOrder(1.0, 100.4), flat(100.0, volume=100.0), costs)
        fill = done.fills[0]
        assert fill.price == 100.4
        assert not fill.is_maker
        assert fill.fee == pytest.approx(1.004)
        assert done.costs.spread == pytest.approx(0.1)
        assert done.costs.impact == pytest.approx(0.3)
        assert done.costs.slippage == pytest.approx(0.0, abs=1e-12)

    @pytest.mark.parametrize(("lots", "price"), [(1.0, 98.5), (-1.0, 101.5)])
    def test_one_between_two_ticks_is_never_worse_than_asked_for(self, lots: float, price: float) -> None:
        asked, rules = 100 - 1.3 * lots, MarketRules(tick_size=0.5)
        done = met(self.STATE, LimitOrder(lots, asked), BarPrices(100.0, 110.0, 90.0, 100.0), rules=rules)
        assert done.fills[0].price == price

    def test_the_room_is_measured_at_the_price_of_the_fill(self) -> None:
        rules = MarketRules(max_leverage=3.0)
        done = met(self.STATE, LimitOrder(1e3, 50.0), BarPrices(100.0, 100.0, 49.0, 50.0), rules=rules)
        assert done.state.lots == pytest.approx(60.0)  # three times 1000 at 50

    def test_a_rebate_adds_no_room(self) -> None:
        costs = CostRates(taker_fee=0.0, maker_fee=-0.01)
        done = met(self.STATE, LimitOrder(99.0, 50.0), BarPrices(100.0, 100.0, 49.0, 50.0), costs)
        assert done.state.lots == pytest.approx(20.0)
        assert done.costs.fee == pytest.approx(-10.0)

    def test_nobody_knows_whether_the_limit_or_the_liquidation_came_first(self) -> None:
        rules = MarketRules(max_leverage=10.0)
        state = held(50.0, -4000.0)  # nothing is left at 80
        done = met(state, LimitOrder(-50.0, 110.0), BarPrices(100.0, 120.0, 79.0, 100.0), rules=rules)
        assert [(fill.lots, fill.price, fill.is_forced) for fill in done.fills] == [(-50.0, 80.0, True)]

    def test_a_rested_order_can_be_closed_by_force_later_in_the_bar(self) -> None:
        rules = MarketRules(max_leverage=5.0)
        done = met(self.STATE, LimitOrder(50.0, 90.0), BarPrices(100.0, 100.0, 60.0, 80.0), rules=rules)
        assert [fill.is_maker for fill in done.fills] == [True, False]
        assert done.state.liquidated
        assert done.fills[1].price == pytest.approx((50 * 90 - 1000) / 50)


class TestHolding:
    def test_funding_is_paid_on_what_was_held_before_the_fill(self) -> None:
        done = met(held(5.0, 500.0), Target(0.0), flat(110.0, funding_rate=0.01))
        assert done.costs.funding == pytest.approx(5.5)
        assert done.state.cash == pytest.approx(500 + 550 - 5.5)
        assert met(open_account(500.0, 100.0), Target(1.0), flat(100.0, funding_rate=0.01)).costs.funding == 0.0

    def test_who_is_short_receives_it(self) -> None:
        assert met(held(-5.0, 1500.0), None, flat(100.0, funding_rate=0.01)).costs.funding == pytest.approx(-5.0)

    def test_what_is_owed_pays_interest(self) -> None:
        costs = CostRates(taker_fee=0.0, borrow_base=0.01, borrow_quote=0.02)
        rules = MarketRules(max_leverage=3.0)
        assert met(held(20.0, -1000.0), None, flat(100.0), costs, rules).costs.borrow == pytest.approx(20.0)
        assert met(held(-5.0, 1500.0), None, flat(110.0), costs, rules).costs.borrow == pytest.approx(5.5)
        assert met(held(5.0, 500.0), None, flat(100.0), costs, rules).costs.borrow == 0.0

    def test_interest_can_take_the_rest(self) -> None:
        costs = CostRates(taker_fee=0.0, borrow_quote=0.5)
        done = met(held(20.0, -1800.0), None, flat(100.0), costs, MarketRules(max_leverage=10.0))
        assert done.state == AccountState(0.0, 0.0, 100.0, liquidated=True)
        assert [(fill.lots, fill.is_forced) for fill in done.fills] == [(-20.0, True)]

    def test_a_price_that_falls_to_nothing_is_a_number(self) -> None:
        done = met(held(10.0, 0.0), None, BarPrices(100.0, 100.0, 1e-9, 1e-9))
        assert done.log_return == pytest.approx(math.log(LEAST_RATIO))


class TestLiquidation:
    RULES = MarketRules(max_leverage=5.0, maintenance=0.1)

    def test_of_a_long_position(self) -> None:
        # 50 coins at 100, 4000 owed: 50 p - 4000 = 0.1 * 50 p at p = 88.888…
        price = 4000 / 45
        state, costs = held(50.0, -4000.0), CostRates(taker_fee=0.0, liquidation_fee=0.02)
        assert not met(state, None, BarPrices(100.0, 100.0, price + 1e-6, 95.0), rules=self.RULES).fills
        done = met(state, None, BarPrices(100.0, 100.0, price - 1e-6, 95.0), costs, self.RULES)
        assert done.fills[0].price == pytest.approx(price)
        assert done.fills[0].is_forced
        assert done.costs.fee == pytest.approx(50 * price * 0.02)
        assert done.state.cash == pytest.approx(50 * price - 4000 - done.costs.fee)
        assert done.state.liquidated

    @pytest.mark.parametrize("side", [1.0, -1.0])
    def test_it_pays_for_taking_as_any_trade_does(self, side: float) -> None:
        state = held(50.0, -4000.0) if side > 0 else held(-50.0, 6000.0)
        price = 4000 / 45 if side > 0 else 6000 / 55
        costs = CostRates(taker_fee=0.001, half_spread=0.0005, slippage=0.0015, impact=0.1, liquidation_fee=0.01)
        worst = price - side * 1e-6
        done = met(state, None, BarPrices(100.0, max(100.0, worst), min(100.0, worst), 100.0), costs, self.RULES)
        assert done.fills[0].price == pytest.approx(price * (1 - side * 0.002))
        assert done.fills[0].fee == pytest.approx(50 * done.fills[0].price * 0.011)
        assert done.state.cash == pytest.approx(state.cash + side * 50 * done.fills[0].price - done.fills[0].fee)

    def test_of_a_short_position(self) -> None:
        # 50 coins owed at 100, 6000 in cash: 6000 - 50 p = 0.1 * 50 p at p = 109.09…
        price = 6000 / 55
        state = held(-50.0, 6000.0)
        assert not met(state, None, BarPrices(100.0, price - 1e-6, 100.0, 100.0), rules=self.RULES).fills
        done = met(state, None, BarPrices(100.0, price + 1e-6, 100.0, 100.0), rules=self.RULES)
        assert done.fills[0].price == pytest.approx(price)
        assert done.fills[0].lots == 50.0
        assert done.state.cash == pytest.approx(6000 - 50 * price)

    def test_a_gap_closes_at_the_opening_before_any_order(self) -> None:
        done = met(held(50.0, -4000.0), Target(0.0), flat(85.0), rules=self.RULES)
        assert [(fill.lots, fill.price, fill.is_forced) for fill in done.fills] == [(-50.0, 85.0, True)]
        assert done.state.cash == pytest.approx(250.0)

    def test_a_gap_beyond_everything_leaves_nothing_and_no_debt(self) -> None:
        costs = CostRates(taker_fee=0.0, liquidation_fee=0.1)
        done = met(held(50.0, -4000.0), None, flat(50.0, funding_rate=0.01), costs, self.RULES)
        assert done.state == AccountState(0.0, 0.0, 50.0, liquidated=True)
        assert done.costs.fee == 0.0
        assert done.costs.funding == pytest.approx(25.0)
        assert done.log_return == math.log(LEAST_RATIO)

    def test_the_fee_is_no_more_than_what_is_left(self) -> None:
        costs = CostRates(taker_fee=0.0, liquidation_fee=0.5)
        done = met(held(50.0, -4000.0), None, flat(85.0), costs, self.RULES)
        assert done.costs.fee == pytest.approx(250.0)
        assert done.state.cash == 0.0

    def test_funding_alone_can_take_the_margin(self) -> None:
        done = met(held(50.0, -4400.0), None, flat(100.0, funding_rate=0.05), rules=self.RULES)
        assert done.fills[0].is_forced
        assert done.state.cash == pytest.approx(350.0)

    def test_costs_of_a_fill_that_take_the_margin_close_at_the_opening(self) -> None:
        costs = CostRates(taker_fee=0.2)
        bar = BarPrices(100.0, 130.0, 99.0, 125.0)
        done = met(held(50.0, -4400.0), MarketOrder(-10.0), bar, costs, self.RULES)
        assert [(fill.price, fill.is_forced) for fill in done.fills] == [(100.0, False), (100.0, True)]

    def test_a_short_one_too(self) -> None:
        costs = CostRates(taker_fee=0.2)
        done = met(held(-50.0, 5600.0), MarketOrder(10.0), BarPrices(100.0, 101.0, 80.0, 80.0), costs, self.RULES)
        assert [(fill.price, fill.is_forced) for fill in done.fills] == [(100.0, False), (100.0, True)]

    def test_it_is_rounded_to_ticks_against_the_holder(self) -> None:
        rules = MarketRules(max_leverage=5.0, maintenance=0.1, tick_size=0.5)
        done = met(held(50.0, -4000.0), None, BarPrices(100.0, 100.0, 80.0, 95.0), rules=rules)
        assert done.fills[0].price == 88.5

    def test_nothing_happens_afterwards(self) -> None:
        state = AccountState(40.0, 0.0, 100.0, liquidated=True)
        done = met(state, Target(1.0), flat(120.0, funding_rate=0.1))
        assert done.state == AccountState(40.0, 0.0, 120.0, liquidated=True)
        assert done.log_return == 0.0

    def test_a_closed_position_that_still_owes_is_ruin(self) -> None:
        done = met(held(-5.0, 600.0), MarketOrder(5.0), flat(100.0, volume=5.0), CostRates(taker_fee=0.0, impact=0.5))
        assert done.state == AccountState(0.0, 0.0, 100.0, liquidated=True)
        assert len(done.fills) == 1


class TestClosedForms:
    PRICES = (103.0, 95.5, 120.25, 119.0, 64.0)

    def bars(self, first: float = 100.0) -> list[BarPrices]:
        bars, last = [], first
        for close in self.PRICES:
            bars.append(BarPrices(last, max(last, close), min(last, close), close))
            last = close
        return bars

    def test_a_weight_of_one_is_buying_and_holding(self) -> None:
        costs = CostRates(taker_fee=0.001, half_spread=0.0005, slippage=0.0002)
        state, rules = open_account(1000.0, 100.0), MarketRules(allows_short=False)
        total = 0.0
        for bar in self.bars():
            done = met(state, Target(1.0), bar, costs, rules)
            state, total = done.state, total + done.log_return
            expected = 1000.0 * bar.close / (100.0 * 1.0007 * 1.001)
            assert equity_of(state, rules) == pytest.approx(expected, rel=1e-12)
        assert total == pytest.approx(math.log(expected / 1000.0), abs=1e-12)
        end = close_out(state, math.inf, costs, rules)
        assert end.state.cash == pytest.approx(expected * 0.9993 * 0.999, rel=1e-12)

    def test_a_short_that_is_sold_once(self) -> None:
        costs = CostRates(taker_fee=0.001, half_spread=0.0005)
        state = met(open_account(1000.0, 100.0), MarketOrder(-6.0), flat(100.0), costs).state
        for bar in self.bars():
            state = met(state, None, bar, costs).state
            expected = 1000.0 + 6 * 100 * 0.9995 * 0.999 - 6 * bar.close
            assert equity_of(state, MarketRules()) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("weight", [-1.5, -0.4, 0.3, 0.8, 2.0])
    def test_a_constant_weight_without_costs_is_a_product(self, weight: float) -> None:
        rules, state, last, expected = MarketRules(max_leverage=2.5), open_account(1000.0, 100.0), 100.0, 1000.0
        for bar in self.bars():
            state = met(state, Target(weight), bar, rules=rules).state
            expected *= 1 + weight * (bar.close / last - 1)
            last = bar.close
            assert equity_of(state, rules) == pytest.approx(expected, rel=1e-12)

    def test_closing_out_sells_what_is_below_the_smallest_order(self) -> None:
        rules = MarketRules(min_notional=100.0, min_quantity=5.0, band=0.5)
        end = close_out(held(0.3, 10.0), 30.0, CostRates(taker_fee=0.01, impact=0.1, impact_exponent=1.0), rules)
        assert end.state.lots == 0.0
        assert end.state.cash == pytest.approx(10 + 30 * 0.999 * 0.99)
