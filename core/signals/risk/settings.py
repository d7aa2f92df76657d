"""The limits of the risk gate: values, units, and which change makes one looser. Pure values, any thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from enum import StrEnum

from core.domain.money import ZERO, parse_decimal, plain
from core.errors import UserError

MOST_CLOCK_SKEW_MS = 1_000


class Unit(StrEnum):
    """What the number of a limit counts."""

    QUOTE = "quote"  # an amount of quote currency
    FRACTION = "fraction"  # 0.05 is 5 %
    MULTIPLE = "times"
    COUNT = "count"
    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers make sense."""
        return self in (Unit.COUNT, Unit.SECONDS, Unit.MILLISECONDS)


@dataclass(frozen=True, slots=True)
class RiskSettings:
    """Limits, in quote currency where they are amounts. Changed only through a journalled command.

    Attributes:
        max_order_value: largest value of one order.
        max_position_value: largest value held (and being bought) in one market over all owners.
        max_daily_loss: loss since the start of the UTC day after which exposure may not grow.
        price_collar: largest distance of a price from the market, as a fraction.
        max_open_orders: working orders over all markets.
        duplicate_window_s: an equal order within this time is taken for a second click, or for a loop.
        max_drawdown: fall of the profit from its highest point after which trading halts by itself.
        max_order_share: largest value of one order, as a fraction of what the account is worth.
        max_quantity_multiple: an order of so many times what its owner usually orders is taken for a slip.
        max_slippage: largest distance of a market order's expected price from the market, as a fraction.
        max_orders_per_second / max_orders_per_minute: orders sent, over all owners.
        max_cancels_per_minute: cancels sent, after which no new order follows.
        max_price_age_s: an older market price is none.
        max_clock_skew_ms: largest difference from the venue's clock with which exposure may grow for real money;
            never above a second, so that nobody can switch the block off.
    """

    max_order_value: Decimal = Decimal(25_000)
    max_position_value: Decimal = Decimal(100_000)
    max_daily_loss: Decimal = Decimal(5_000)
    price_collar: Decimal = Decimal("0.05")
    max_open_orders: int = 50
    duplicate_window_s: int = 2
    max_drawdown: Decimal = Decimal(10_000)
    max_order_share: Decimal = Decimal(1)
    max_quantity_multiple: Decimal = Decimal(10)
    max_slippage: Decimal = Decimal("0.02")
    max_orders_per_second: int = 10
    max_orders_per_minute: int = 200
    max_cancels_per_minute: int = 300
    max_price_age_s: int = 30
    max_clock_skew_ms: int = 1_000

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if (isinstance(value, Decimal) and not value.is_finite()) or value < 0:
                raise UserError(f"The risk setting {setting.name} must not be {value}.", "Give a number from 0 up.")
        if self.max_clock_skew_ms > MOST_CLOCK_SKEW_MS:
            raise UserError(
                f"The risk setting max_clock_skew_ms must not be {self.max_clock_skew_ms}.",
                f"Give at most {MOST_CLOCK_SKEW_MS}: a clock that is further off always stops live trading.",
            )

    def to_json(self) -> dict[str, object]:
        """Return a JSON object; decimals as text."""
        return {name: plain(v) if isinstance(v, Decimal) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, payload: Mapping[str, object]) -> RiskSettings:
        """Read what `to_json` wrote, also by an earlier version: what it did not know has its default."""
        known = {name: _number(str(payload[name]), unit) for name, unit in UNITS.items() if name in payload}
        if "max_clock_skew_ms" in known:  # an earlier version took any
            known["max_clock_skew_ms"] = min(known["max_clock_skew_ms"], MOST_CLOCK_SKEW_MS)
        return cls(**known)  # type: ignore[arg-type]  # Decimal or int as the unit says

    def changed(self, name: str, text: str) -> RiskSettings:
        """Return these limits with one of them set to what a person wrote.

        Raises:
            UserError: there is no such limit, or the text is no number for it.
        """
        if name not in UNITS:
            raise UserError(f"There is no risk setting {name}.", f"Use one of {', '.join(UNITS)}.")
        unit = UNITS[name]
        try:
            value = _number(text, unit)
        except ValueError as exc:
            remedy = "Give a whole number from 0 up." if unit.is_whole else "Give a number from 0 up."
            raise UserError(f"The risk setting {name} must not be {text}.", remedy) from exc
        return type(self)(**{**{f.name: getattr(self, f.name) for f in fields(self)}, name: value})

    def differences(self, after: RiskSettings) -> dict[str, tuple[Decimal, Decimal]]:
        """Return (before, after) of every limit that is another one in `after`."""
        pairs = {name: (Decimal(getattr(self, name)), Decimal(getattr(after, name))) for name in UNITS}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def loosened(self, after: RiskSettings) -> tuple[str, ...]:
        """Return the limits that let more through in `after`."""
        return tuple(name for name, (old, new) in self.differences(after).items() if (new > old) is not (name in _SHUT))


# In the order they are shown in.
UNITS: Mapping[str, Unit] = {
    "max_order_value": Unit.QUOTE,
    "max_position_value": Unit.QUOTE,
    "max_daily_loss": Unit.QUOTE,
    "max_drawdown": Unit.QUOTE,
    "max_order_share": Unit.FRACTION,
    "max_quantity_multiple": Unit.MULTIPLE,
    "price_collar": Unit.FRACTION,
    "max_slippage": Unit.FRACTION,
    "max_open_orders": Unit.COUNT,
    "max_orders_per_second": Unit.COUNT,
    "max_orders_per_minute": Unit.COUNT,
    "max_cancels_per_minute": Unit.COUNT,
    "duplicate_window_s": Unit.SECONDS,
    "max_price_age_s": Unit.SECONDS,
    "max_clock_skew_ms": Unit.MILLISECONDS,
}
_SHUT = frozenset({"duplicate_window_s"})  # a larger number lets less through


def daily_loss_reached(day_pnl: Decimal, settings: RiskSettings) -> bool:
    """Return whether today's loss is as large as allowed; without any loss it never is."""
    return day_pnl < ZERO and -day_pnl >= settings.max_daily_loss


def drawdown_reached(drawdown: Decimal, settings: RiskSettings) -> bool:
    """Return whether the fall from the highest profit is as large as allowed; without a fall it never is."""
    return drawdown > ZERO and drawdown >= settings.max_drawdown


def _number(text: str, unit: Unit) -> Decimal | int:
    return int(text) if unit.is_whole else parse_decimal(text)
