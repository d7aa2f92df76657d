"""Why an order was denied or ended without a fill, in the language of the screen. Qt-free, pure, any thread.

The trading core writes its reasons as English sentences with figures; they are shown in the language of the screen.
Where nobody knows the sentence (a venue has words of its own), other languages put one that says what the code means
before it.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.flows.sentence_text import local_text
from app.i18n import Language, current_language, mark, tr
from core.signals.risk_management import ReasonCode

REASON_TEXTS: dict[ReasonCode, str] = {
    ReasonCode.TRADING_HALTED: mark("Trading is halted."),
    ReasonCode.TRADING_STATE_REDUCING: mark("Only orders that reduce a position are allowed."),
    ReasonCode.RECONCILING: mark("The books are being compared with the exchange."),
    ReasonCode.FENCED: mark("Trading was stopped from outside this program."),
    ReasonCode.OWNERSHIP: mark("Somebody else trades this market."),
    ReasonCode.UNKNOWN_SYMBOL: mark("The exchange does not trade this market."),
    ReasonCode.UNKNOWN_ORDER_LOCK: mark("The fate of an earlier order in this market is still unknown."),
    ReasonCode.CLOCK_SKEW: mark("This machine's clock is wrong."),
    ReasonCode.NO_MARKET_PRICE: mark("There is no market price yet."),
    ReasonCode.STALE_PRICE: mark("The market price is too old."),
    ReasonCode.LOT_SIZE: mark("The quantity does not fit the market's steps."),
    ReasonCode.TICK_SIZE: mark("The price does not fit the market's steps."),
    ReasonCode.NOTIONAL_BELOW_MINIMUM: mark("The order value is below the market's minimum."),
    ReasonCode.MAX_ORDER_VALUE: mark("The order value is above the limit."),
    ReasonCode.FAT_FINGER: mark("The order is far larger than usual."),
    ReasonCode.MAX_POSITION: mark("The position would be above the limit."),
    ReasonCode.MAX_OPEN_ORDERS: mark("Too many orders are open already."),
    ReasonCode.ORDER_RATE: mark("Orders are placed too fast."),
    ReasonCode.DAILY_LOSS: mark("Today's loss has reached the limit."),
    ReasonCode.DRAWDOWN: mark("The drawdown has reached the limit."),
    ReasonCode.PRICE_COLLAR: mark("The price is too far from the market."),
    ReasonCode.SLIPPAGE: mark("The order book would fill the order too far from the market."),
    ReasonCode.DUPLICATE_INTENT: mark("The same order was placed a moment ago."),
    ReasonCode.REDUCE_ONLY_WOULD_INCREASE: mark("The order would not shrink the position."),
    ReasonCode.INSUFFICIENT_BALANCE: mark("The balance is not enough."),
    ReasonCode.VENUE_REJECTED: mark("The exchange rejected the order."),
    ReasonCode.NOT_PROCESSED: mark("The exchange did not act on the order. It may be placed again."),
    ReasonCode.NEVER_ARRIVED: mark("The order never reached the exchange."),
    ReasonCode.DECLARED_GONE: mark("You saw that the exchange does not have the order."),
    ReasonCode.GONE_AT_VENUE: mark("The exchange does not list the order any more."),
}


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason for the screen.

    Attributes:
        code: a `ReasonCode`, or anything else where a venue named its own.
        detail: the core's English sentence, may be empty.
    """

    code: str
    detail: str

    def text(self) -> str:
        """Return the reason in the present language."""
        detail = local_text(self.detail)
        understood = detail != self.detail or current_language() is Language.ENGLISH
        if self.code not in set(ReasonCode) or (detail and understood):
            return detail or self.code
        sentence = tr(REASON_TEXTS[ReasonCode(self.code)])
        return f"{sentence} ({detail})" if detail else sentence


@dataclass(frozen=True, slots=True)
class Refusal:
    """Who refused an order and why, for the screen.

    Attributes:
        lead: English template with a place `{reason}`; the key of the translation table.
        reason: why.
    """

    lead: str
    reason: Reason

    def text(self) -> str:
        """Return the sentence in the present language."""
        return tr(self.lead, reason=self.reason.text())
