"""From forecast to signal, from signal to intent. Pure functions; any thread.

Where an agent decides, `core.signals.target_sizing` says how much is traded.

Money enters only in the second step, as Decimal; the forecast is analytics and stays float.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from core.domain.instruments import Instrument
from core.domain.money import ZERO
from core.domain.orders import Evidence, Intent, IntentSource, OrderType, Side
from core.domain.signals import Forecast, Signal
from core.strategies.spec import StrategySpec

# Rebalancing by less than this part of the capital costs more than it brings.
DEAD_BAND = Decimal("0.10")


@dataclass(frozen=True, slots=True)
class Sizing:
    """What turns a weight into a quantity.

    Attributes:
        capital: quote currency a weight of 1 commits.
        dead_band: smallest change worth an order, as a fraction of the capital; leaving altogether is always worth it.
    """

    capital: Decimal
    dead_band: Decimal = DEAD_BAND


def generate_signal(forecast: Forecast, spec: StrategySpec, *, holds: bool, reference_price: float) -> Signal:
    """Decide on a target weight with hysteresis: in at `entry_z`, out at `exit_z`, as before between them.

    Args:
        forecast: made at the close of the bar decided on.
        holds: whether the strategy wanted to hold before this bar.
        reference_price: that bar's close, quote currency.
    """
    z = forecast.z_score
    if z >= spec.entry_z:
        weight, reason = 1.0, f"forecast z {z:+.2f} ≥ entry {spec.entry_z:+.2f}"
    elif z <= spec.exit_z:
        weight, reason = 0.0, f"forecast z {z:+.2f} ≤ exit {spec.exit_z:+.2f}"
    else:
        weight, reason = (1.0 if holds else 0.0), f"forecast z {z:+.2f} between exit and entry: unchanged"
    return Signal(
        owner=spec.strategy_id,
        symbol=spec.symbol,
        target_weight=weight,
        reference_price=reference_price,
        bar_open_ns=forecast.bar_open_ns,
        reason=reason,
        model_id=forecast.model_id,
        feature_hash=forecast.feature_hash,
        forecast=forecast.median,
    )


def generate_intent(
    signal: Signal, sizing: Sizing, holding: Decimal, instrument: Instrument, now_ns: int
) -> Intent | None:
    """Turn a signal into the market order that reaches its target, or None where none is worth or able to be sent.

    The quantity is rounded down to the lot size; what the venue's minimums do not let through stays as it is (dust).
    The intent id is made of owner and bar, so one bar of one strategy is at most one order, also across a restart.

    Args:
        holding: base currency the strategy holds.
        now_ns: ns UTC.
    """
    price = instrument.round_price(Decimal(repr(signal.reference_price)))
    if price <= 0:
        return None
    target = sizing.capital * Decimal(repr(signal.target_weight)) / price
    change = target - holding
    leaving = signal.target_weight == 0
    if not leaving and abs(change) * price < sizing.dead_band * sizing.capital:
        return None
    return market_intent(signal, change, instrument, now_ns)


def market_intent(signal: Signal, change: Decimal, instrument: Instrument, now_ns: int) -> Intent | None:
    """Return the market order that changes what a strategy holds, or None where the venue would let none through.

    Args:
        change: base currency to buy; to sell below 0.
        now_ns: ns UTC.
    """
    price = instrument.round_price(Decimal(repr(signal.reference_price)))
    quantity = instrument.round_quantity(min(abs(change), instrument.max_quantity))
    if quantity <= 0 or instrument.rule_violation(quantity, price) is not None:
        return None
    side = Side.BUY if change > ZERO else Side.SELL
    return Intent(
        intent_id=f"{signal.owner}:{signal.bar_open_ns}",
        source=IntentSource.STRATEGY,
        owner=signal.owner,
        symbol=signal.symbol,
        side=side,
        quantity=quantity,
        order_type=OrderType.MARKET,
        reduce_only=side is Side.SELL,
        reason=signal.reason,
        reference_price=price,
        evidence=Evidence(signal.model_id, signal.feature_hash, signal.forecast, signal.bar_open_ns),
        created_ns=now_ns,
    )
