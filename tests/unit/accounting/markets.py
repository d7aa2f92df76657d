"""Random markets, rules, costs and decisions that reach every corner of the accounting kernel."""

import math
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from hypothesis import strategies as st

from core.accounting.fast import BarArrays
from core.accounting.reference import BarPrices, Decision, LimitOrder, MarketOrder, Target
from core.accounting.rules import CostRates, MarketRules

START = 100.0
SHOCKS = (-2.5, -0.9, -0.3, 0.0, 0.0, 0.3, 0.7, 2.0)  # of the logarithm of the price

_moves = st.floats(-0.04, 0.04) | st.sampled_from(SHOCKS)
_wicks = st.floats(0.0, 0.05) | st.sampled_from((0.0, 0.0, 0.5, 2.0))
_volumes = st.sampled_from((0.0, 1.0, 50.0, 1e6, math.inf))
_fundings = st.sampled_from((0.0, 0.0, 0.0, 1e-4, -1e-4, 0.05, -0.05))
_shapes = st.tuples(_moves, _moves, _wicks, _wicks, _volumes, _fundings)
paths = st.lists(_shapes, min_size=1, max_size=12).map(lambda shapes: _bars(shapes))

costs = st.builds(
    CostRates,
    taker_fee=st.sampled_from((0.0, 0.0004, 0.001, 0.02)),
    maker_fee=st.sampled_from((-0.0001, 0.0, 0.001)),
    half_spread=st.sampled_from((0.0, 0.0005, 0.01)),
    slippage=st.sampled_from((0.0, 0.0002, 0.01)),
    impact=st.sampled_from((0.0, 0.1, 3.0)),
    impact_exponent=st.sampled_from((0.5, 0.6, 1.0)),
    borrow_base=st.sampled_from((0.0, 1e-4, 0.2)),
    borrow_quote=st.sampled_from((0.0, 1e-4, 0.2)),
    liquidation_fee=st.sampled_from((0.0, 0.005, 0.5)),
)


@st.composite
def rules(draw: st.DrawFn, *, rounded: bool | None = None) -> MarketRules:
    """Return rules; with or without ticks and lots, or either."""
    ticks, lots = {None: ((0.0, 0.01, 0.5), (0.0, 0.001, 0.1)), True: ((0.01, 0.5), (0.001, 0.1))}.get(
        rounded, ((0.0,), (0.0,))
    )
    leverage = draw(st.sampled_from((0.5, 1.0, 1.0, 3.0, 10.0)))
    return MarketRules(
        tick_size=draw(st.sampled_from(ticks)),
        lot_size=draw(st.sampled_from(lots)),
        min_quantity=draw(st.sampled_from((0.0, 0.3))),
        min_notional=draw(st.sampled_from((0.0, 25.0))),
        max_leverage=leverage,
        maintenance=draw(st.sampled_from((0.0, 0.5 / max(leverage, 1.0), 0.95 / max(leverage, 1.0)))),
        allows_short=draw(st.booleans()),
        band=draw(st.sampled_from((0.0, 0.0, 0.1))),
    )


weights = st.floats(-12.0, 12.0) | st.sampled_from((-3.0, -1.0, 0.0, 0.5, 1.0, 1.0, 3.0, 10.0))


@st.composite
def decisions(draw: st.DrawFn, near: float) -> Decision:
    """Return any decision; limits lie around a price."""
    kind = draw(st.integers(0, 4))
    lots = draw(st.floats(-40.0, 40.0) | st.integers(-4000, 4000).map(float))
    match kind:
        case 0:
            return None
        case 1:
            return MarketOrder(lots)
        case 2:
            return LimitOrder(lots, near * math.exp(draw(st.floats(-0.06, 0.06))))
        case _:
            return Target(draw(weights))


def _bars(shapes: Sequence[tuple[float, float, float, float, float, float]]) -> tuple[BarPrices, ...]:
    bars, last = [], START
    for gap, body, up, down, volume, funding in shapes:
        opening = min(max(last * math.exp(gap), 1.0), 1e5)
        last = min(max(opening * math.exp(body), 1.0), 1e5)
        high, low = max(opening, last) * math.exp(up), min(opening, last) * math.exp(-down)
        bars.append(BarPrices(opening, high, low, last, volume, funding))
    return tuple(bars)


def arrays(bars: Sequence[BarPrices], first: float = START) -> BarArrays:
    """Return bars in columns, behind one that only has a close."""
    rows = (BarPrices(first, first, first, first), *bars)
    return BarArrays(*(np.array([getattr(bar, field.name) for bar in rows]) for field in fields(BarArrays)))
