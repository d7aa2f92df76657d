"""The risk limits as a form: what each means, what was entered, how much is used. Qt-free, pure, any thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from app.flows.sentence_text import local_text
from app.i18n import format_number, format_percent, mark, tr
from core.domain.money import ZERO, is_multiple, plain
from core.errors import UserError
from core.signals.risk.settings import UNITS, Unit
from core.signals.risk_management import RiskSettings

HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class LimitText:
    """What a limit is called and what it does; English sources."""

    title: str
    meaning: str


LIMIT_TEXTS: dict[str, LimitText] = {
    "max_order_value": LimitText(mark("Value of one order"), mark("A larger order is denied.")),
    "max_position_value": LimitText(
        mark("Value of one market"), mark("Held and being bought in one market, over all owners.")
    ),
    "max_daily_loss": LimitText(
        mark("Loss of one day"),
        mark("When it is reached, only orders that reduce a position pass until the next day (UTC) or a re-arm."),
    ),
    "max_drawdown": LimitText(
        mark("Drawdown"),
        mark("When the profit falls so far from its highest point, trading halts until you re-arm it."),
    ),
    "max_order_share": LimitText(
        mark("Share of the account in one order"), mark("An entry worth more of the account is taken for a slip.")
    ),
    "max_quantity_multiple": LimitText(
        mark("Multiple of the usual quantity"),
        mark("An entry of so many times what its owner usually orders is taken for a slip."),
    ),
    "price_collar": LimitText(
        mark("Distance of a limit price"), mark("A limit price may be so much worse than the market, not more.")
    ),
    "max_slippage": LimitText(
        mark("Slippage of a market order"),
        mark("Expected from the order book; an order that would be filled worse is denied."),
    ),
    "max_open_orders": LimitText(mark("Open orders"), mark("Working at the same time, over all markets.")),
    "max_orders_per_second": LimitText(mark("Orders per second"), mark("Over all owners.")),
    "max_orders_per_minute": LimitText(
        mark("Orders per minute"), mark("Over all owners; a strategy that runs into it is stopped.")
    ),
    "max_cancels_per_minute": LimitText(
        mark("Cancels per minute"), mark("Cancels always pass; after so many, no new order follows.")
    ),
    "duplicate_window_s": LimitText(
        mark("Repetition"), mark("The same order of the same owner within this time is denied as a second click.")
    ),
    "max_price_age_s": LimitText(mark("Age of the market price"), mark("An older price is none.")),
    "max_clock_skew_ms": LimitText(
        mark("Difference of the clocks"),
        mark("Between this computer and the exchange; beyond it no position grows with real money."),
    ),
}
_UNIT_TEXTS = {
    Unit.QUOTE: mark("quote currency"),
    Unit.FRACTION: "%",
    Unit.MULTIPLE: "×",
    Unit.COUNT: "",
    Unit.SECONDS: mark("s"),
    Unit.MILLISECONDS: "ms",
}


@dataclass(frozen=True, slots=True)
class RiskUse:
    """How much of the limits is used now; None where nobody knows.

    Attributes:
        day_pnl / drawdown: see `core.events.RiskFigures`.
        open_orders: working orders.
        largest_position: value of the largest position in one market, quote currency.
    """

    day_pnl: Decimal | None = None
    drawdown: Decimal | None = None
    open_orders: int | None = None
    largest_position: Decimal | None = None


def unit_text(name: str) -> str:
    """Return what stands behind a limit's field."""
    return tr(_UNIT_TEXTS[UNITS[name]])


def shown_value(name: str, settings: RiskSettings) -> Decimal:
    """Return a limit as the form shows it: fractions in per cent."""
    value = Decimal(getattr(settings, name))
    return value * HUNDRED if UNITS[name] is Unit.FRACTION else value


def step_of(name: str) -> Decimal:
    """Return what Up and Down move a limit's field by."""
    match UNITS[name]:
        case Unit.QUOTE | Unit.MILLISECONDS:
            return Decimal(100)
        case Unit.FRACTION:
            return Decimal("0.5")
        case _:
            return Decimal(1)


def read_form(entries: Mapping[str, Decimal | None]) -> RiskSettings:
    """Return the limits that were entered.

    Args:
        entries: limit → number as the form shows it; None where nothing readable stands there.

    Raises:
        UserError: something is missing or wrong; the message is in the language of the screen.
    """
    settings = RiskSettings()
    for name, unit in UNITS.items():
        title, entered = tr(LIMIT_TEXTS[name].title), entries[name]
        if entered is None:
            raise UserError(tr("{limit}: enter a number.", limit=title), "")
        if unit.is_whole and not is_multiple(entered, Decimal(1)):
            raise UserError(tr("{limit}: enter a whole number.", limit=title), "")
        value = entered / HUNDRED if unit is Unit.FRACTION else entered
        try:
            settings = settings.changed(name, plain(value))
        except UserError as exc:
            raise UserError(tr("{limit}: {trouble}", limit=title, trouble=local_text(exc.remedy)), "") from exc
    return settings


def loosened_lines(before: RiskSettings, after: RiskSettings) -> tuple[str, ...]:
    """Return one line for each limit that lets more through than before."""
    return tuple(
        f"{tr(LIMIT_TEXTS[name].title)}: {_with_unit(name, before)} → {_with_unit(name, after)}"
        for name in before.loosened(after)
    )


def use_text(name: str, settings: RiskSettings, use: RiskUse) -> str:
    """Return how much of a limit is used, or "" where it says nothing or nobody knows."""
    used: Decimal | None = None
    match name:
        case "max_daily_loss" if use.day_pnl is not None:
            used = max(ZERO, -use.day_pnl)
        case "max_drawdown":
            used = use.drawdown
        case "max_position_value":
            used = use.largest_position
        case "max_open_orders" if use.open_orders is not None:
            used = Decimal(use.open_orders)
        case _:
            pass
    if used is None:
        return ""
    limit = Decimal(getattr(settings, name))
    amount = format_number(used, 0 if UNITS[name].is_whole else 2)
    if not limit:
        return tr("now {amount}", amount=amount)
    return tr("now {amount} ({share})", amount=amount, share=format_percent(used / limit, 0))


def _with_unit(name: str, settings: RiskSettings) -> str:
    return f"{plain(shown_value(name, settings))} {unit_text(name)}".rstrip()
