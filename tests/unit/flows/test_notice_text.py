"""Notices follow a switch of the language, whoever wrote them and in which one."""

from __future__ import annotations

import pytest

from app.flows.notice_text import notice_text
from app.flows.origin_text import data_title
from app.i18n import Language, set_language, tr, tr_count
from core.domain.data_origin import practice_origin
from ml.api import DataRange


def written(language: Language) -> list[str]:
    """Return notices as the window writes them, titles and texts."""
    set_language(language)
    market = data_title(DataRange(practice_origin("synthetic-7"), "BTC/USDT", "1h"))
    return [
        tr("Training finished: {market}", market=market),
        tr("Search finished: {market}", market="ETH/USDT 4h"),
        tr("The best of {n} trials can be trained now.", n=6),
        tr("Training failed"),
        tr("Strategy failed: {title}", title="LSTM"),
        tr("Trading is halted"),
        tr("Order denied: {symbol}", symbol="BTC/USDT"),
        tr("The practice exchange had ended."),
        tr_count("{n} fill", "{n} fills", 3),
        f"{tr('Bought {quantity} {symbol}', quantity='0.5', symbol='BTC')}\n"
        f"{tr('Sold {quantity} {symbol}', quantity='2', symbol='ETH')}",
    ]


@pytest.mark.parametrize(("first", "then"), [(Language.ENGLISH, Language.KOREAN), (Language.KOREAN, Language.ENGLISH)])
def test_a_notice_of_the_window_follows_a_switch_both_ways(first: Language, then: Language) -> None:
    wanted = written(then)
    said = written(first)
    assert all(before != after for before, after in zip(said, wanted, strict=True))
    assert [notice_text(text) for text in said] == said
    set_language(then)
    assert [notice_text(text) for text in said] == wanted
    assert [notice_text(text) for text in wanted] == wanted


def test_sentences_of_the_core_and_foreign_words_are_read_as_before() -> None:
    set_language(Language.KOREAN)
    assert notice_text("3 orders cancelled, none is open, 2 positions sold, not all.") == (
        "주문 3건 취소, 미체결 없음, 포지션 2건 매도, 일부 미완료."
    )
    assert notice_text("Whatever failure: MIN_NOTIONAL") == "Whatever failure: MIN_NOTIONAL"
    assert notice_text("") == ""
    dump = ", ".join(f"field {number}" for number in range(30))
    assert notice_text(f"{dump}\nTrading is halted.") == f"{dump}\n매매가 중지되었습니다."
