"""The verdict on a model in the language of the screen."""

from __future__ import annotations

from dataclasses import replace

from app.flows.verdict_text import stored_verdict_text, verdict_text
from app.i18n import Language, set_language
from ml.api import ForecastMetrics, PointMetrics

MODEL = PointMetrics("model", mae=0.01, rmse=0.02, skill=0.01, r2=0.0123)
RIDGE = replace(MODEL, name="ridge", r2=0.02)
METRICS = ForecastMetrics(
    targets=1333,
    effective_targets=1333,
    model=MODEL,
    baselines=(RIDGE,),
    pinball=0.1,
    pinball_baseline=0.2,
    coverage=0.9,
    nominal_coverage=0.9,
    edge_p_value=0.314,
    edge=False,
    forecast_std=0.1,
    target_std=0.1,
    verdict="No evidence of an edge over persistence.",
)


def test_english_is_the_evaluation_s_own_sentence() -> None:
    assert verdict_text(METRICS) == METRICS.verdict
    assert stored_verdict_text("As written.", edge=True, r2=0.01) == "As written."


def test_korean_is_made_of_the_figures() -> None:
    set_language(Language.KOREAN)
    none = verdict_text(METRICS)
    assert "증거 없음" in none
    assert all(figure in none for figure in ("1,333", "+1.23", "0.31"))
    assert "릿지" not in none
    some = verdict_text(replace(METRICS, edge=True, edge_p_value=0.001))
    assert "증거 있음" in some
    assert "비용" in some
    assert "릿지" in some
    assert "릿지" not in verdict_text(replace(METRICS, edge=True, baselines=(replace(RIDGE, r2=0.001),)))


def test_korean_of_a_stored_model() -> None:
    set_language(Language.KOREAN)
    assert "증거 있음" in stored_verdict_text("x", edge=True, r2=0.01)
    assert "증거 없음" in stored_verdict_text("x", edge=False, r2=-0.01)
    assert stored_verdict_text("as written", edge=False, r2=None) == "as written"
