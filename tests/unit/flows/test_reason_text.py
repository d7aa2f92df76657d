"""Reasons of the trading core in the language of the screen."""

from __future__ import annotations

from decimal import Decimal

from app.flows.event_text import notice_for
from app.flows.reason_text import REASON_TEXTS, Reason
from app.i18n import Language, set_language
from core.domain.orders import Intent, IntentSource, OrderType, Side
from core.events import IntentDenied
from core.signals.risk_management import ReasonCode


def test_every_code_has_a_sentence() -> None:
    assert set(REASON_TEXTS) == set(ReasonCode)


def test_english_shows_the_core_s_own_sentence() -> None:
    assert Reason("MAX_ORDER_VALUE", "order value 30000.00 is above the limit 25000").text().startswith("order value")
    assert Reason("NEVER_ARRIVED", "").text() == "The order never reached the exchange."
    assert Reason("", "Filter failure: LOT_SIZE").text() == "Filter failure: LOT_SIZE"
    assert Reason("VENUE_OWN_CODE", "").text() == "VENUE_OWN_CODE"


def test_korean_puts_its_sentence_before_the_figures() -> None:
    set_language(Language.KOREAN)
    assert Reason("MAX_ORDER_VALUE", "30000 > 25000").text() == "주문 금액이 한도를 넘습니다. (30000 > 25000)"
    assert Reason("NEVER_ARRIVED", "").text() == "주문이 거래소에 도달하지 않았습니다."
    assert Reason("VENUE_OWN_CODE", "no").text() == "no"


def test_korean_says_what_the_core_says_and_nothing_twice() -> None:
    set_language(Language.KOREAN)
    told = Reason("MAX_ORDER_VALUE", "order value 30000.00 is above the limit 25000").text()
    assert told == "주문 금액이 한도를 넘습니다 (주문 30000.00, 한도 25000)"
    assert Reason("", "Filter failure: LOT_SIZE").text().startswith("수량이")


def test_a_notice_of_a_denial_speaks_korean() -> None:
    set_language(Language.KOREAN)
    intent = Intent(
        intent_id="i",
        source=IntentSource.MANUAL,
        owner="manual",
        symbol="BTC/USDT",
        side=Side.BUY,
        quantity=Decimal(1),
        order_type=OrderType.MARKET,
        created_ns=1,
    )
    notice = notice_for(IntentDenied(intent, "TRADING_HALTED", "trading is halted"))
    assert notice is not None
    assert (notice.title, notice.text) == ("주문 차단: BTC/USDT", "매매가 중지된 상태입니다. (trading is halted)")
