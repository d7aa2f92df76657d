"""What a person reads about whose bars those are, in both languages."""

from __future__ import annotations

import pytest

from app.flows.origin_text import data_title, market_title, origin_title
from app.flows.sentence_text import local_text
from app.i18n import Language, set_language
from core.domain.data_origin import BINANCE, practice_origin, with_caution
from ml.api import DataRange

VERDICT = (
    "Evidence of an edge over naive forecasts before costs (horizon 1: R² +1.20% on 1,333 unseen bars, p = 0.003)."
)
USUAL, OTHER, REPLAY = (practice_origin(name) for name in ("synthetic-1", "synthetic-42", "replay-0123456789ab"))


@pytest.mark.parametrize(
    ("language", "usual", "other", "replay"),
    [
        (Language.ENGLISH, "practice market", "practice market, seed 42", "practice replay"),
        (Language.KOREAN, "연습 시장", "연습 시장(시드 42)", "연습 재생"),
    ],
)
def test_titles(language: Language, usual: str, other: str, replay: str) -> None:
    set_language(language)
    assert [origin_title(origin) for origin in (USUAL, OTHER, REPLAY, BINANCE)] == [usual, other, replay, "binance"]
    assert data_title(DataRange(USUAL)) == f"BTC/USDT 1h · {usual}"
    assert data_title(DataRange()) == "BTC/USDT 1h"
    assert market_title("BTC/USDT", "", OTHER) == f"BTC/USDT · {other}"


def test_the_caution_is_translated_behind_the_verdict() -> None:
    set_language(Language.KOREAN)
    assert local_text(with_caution(VERDICT, USUAL)) == (
        f"{local_text(VERDICT)} 가상으로 만든 연습 시장입니다. 이 결과는 실제 시장에 대해 아무것도 알려 주지 않습니다."
    )
    replayed = local_text(with_caution(VERDICT, REPLAY))
    assert replayed.endswith("연습 거래소에서 다시 재생한 시세입니다. 직접 낸 주문이 가격에 섞여 있습니다.")
