from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.flows.sentence_text import local_text
from app.i18n import Language, set_language
from ml.api import Comparison, HorizonMetrics
from ml.baselines import BaselineForecast
from ml.evaluators import HorizonForecast, judge_horizon
from ml.metric_results import SeedScore
from ml.metrics.distributions import normal_ppf
from ml.verdict import coverage_is_off, idle_sentence, verdict

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
SPREAD = normal_ppf(LEVELS)
SIZE = 4_000


def judged(signal: float, *, width: float = 1.0, ridge: float = 0.0, boosting: float = 0.0) -> HorizonMetrics:
    """Judge a forecast that explains `signal` of the standard deviation beside learned baselines that do so too."""
    rng = np.random.default_rng(12)
    known, rest = rng.normal(0, 0.01, (2, SIZE))
    outcome = signal * known + np.sqrt(1 - signal**2) * rest
    spread = 0.01 * np.sqrt(1 - signal**2) * width * SPREAD

    def baseline(name: str, share: float) -> BaselineForecast:
        noise = 0.01 * 0.02 * rng.normal(size=SIZE)
        return BaselineForecast(name, share * known + (noise if share else 0.0))

    zero = np.zeros(SIZE)
    return judge_horizon(
        HorizonForecast(1, LEVELS, signal * known[:, None] + spread, outcome),
        (
            BaselineForecast("zero", zero, zero[:, None] + 0.01 * SPREAD),
            baseline("ridge", ridge),
            baseline("boosting", boosting),
        ),
    )


def test_no_edge_is_said_first() -> None:
    text = verdict(judged(0.0))
    assert text.startswith("No evidence of an edge over naive forecasts (horizon 1: R² ")
    assert text.endswith("on 4,000 unseen bars, p = 1.000).")


def test_an_ordinary_edge_is_said_with_its_figures() -> None:
    result = judged(0.13)
    assert verdict(result).startswith(
        "Evidence of an edge over naive forecasts before costs "
        f"(horizon 1: R² {result.model.r2:+.2%} on 4,000 unseen bars, p < 0.001)."
    )
    assert result.model.r2 < 0.02
    assert "leak" not in verdict(result)


def test_an_implausible_edge_is_called_a_leak() -> None:
    assert "An R² that high on returns looks like a leak: check the features." in verdict(judged(0.4))


@pytest.mark.parametrize(
    ("ridge", "boosting", "words"),
    [
        (0.13, 0.0, "; a ridge regression does as well."),
        (0.0, 0.13, "; gradient boosting does as well."),
        (0.09, 0.0, ", not shown over simpler models."),
        (0.0, 0.0, ")."),
    ],
)
def test_simpler_models_that_do_as_well_are_named(ridge: float, boosting: float, words: str) -> None:
    result = judged(0.13, ridge=ridge, boosting=boosting)
    # What differs from the model by noise alone may end on either side of it: 0.13 is put above, 0.09 below.
    r2 = {0.13: 1.05 * result.model.r2, 0.09: 0.95 * result.model.r2}
    rows = tuple(
        replace(row, r2=r2.get(share, row.r2))
        for row, share in zip(result.baselines, (0.0, ridge, boosting), strict=True)
    )
    assert verdict(replace(result, baselines=rows)).split(" The forecast")[0].endswith(words)


def test_a_simpler_model_that_is_better_is_named_where_there_is_no_edge() -> None:
    result = judged(0.0)
    ridge = next(row for row in result.baselines if row.name == "ridge")
    better = tuple(replace(row, r2=0.01) if row is ridge else row for row in result.baselines)
    tests = tuple(
        Comparison("ridge", "squared", -1e-6, -3.0, 0.003, 0.998) if c.baseline == "ridge" else c
        for c in result.comparisons
    )
    text = verdict(replace(result, baselines=better, comparisons=tests))
    assert "). A simpler model is significantly better on the same bars." in text
    assert "A simpler model" not in verdict(result)


@pytest.mark.parametrize(("width", "word"), [(0.6, "too narrow"), (1.6, "too wide")])
def test_ranges_that_mislead_are_named(width: float, word: str) -> None:
    result = judged(0.0, width=width)
    text = verdict(result)
    assert f"The forecast ranges are {word}: {result.ranges.coverage:.1%} of outcomes fall inside, 90% should." in text


def test_ranges_that_are_better_than_volatility_alone_are_named() -> None:
    result = judged(0.13)
    assert result.range_edge
    assert verdict(result).endswith(
        f"The forecast ranges beat those of past volatility (CRPS {result.crps_skill:+.1%})."
    )


def test_coverage_off_by_chance_is_not_held_against_it() -> None:
    ranges = replace(judged(0.0).ranges, coverage=0.85, nominal_coverage=0.9)
    assert not coverage_is_off(ranges, 100)
    assert coverage_is_off(ranges, 1_000)
    assert not coverage_is_off(replace(ranges, coverage=0.88), 1_000_000)


@pytest.mark.parametrize(
    ("best", "words"),
    [
        ((), ""),
        ((3, 1), ""),
        (
            (6, 1, 0),
            "1 of 3 networks stayed untrained, nothing they learned helped in validation: number 3.",
        ),
        (
            (0, 1, 0),
            "2 of 3 networks stayed untrained, nothing they learned helped in validation: number 1, 3.",
        ),
        ((0, 0), "Nothing that was learned helps on the validation part: the stored model is an untrained one."),
        ((0,), "Nothing that was learned helps on the validation part: the stored model is an untrained one."),
    ],
)
def test_networks_that_stayed_untrained_are_named(best: tuple[int, ...], words: str) -> None:
    seeds = [SeedScore(seed, 6, epoch, 0.2, 0.1, 0.0, None, None, None, None) for seed, epoch in enumerate(best)]
    assert idle_sentence(seeds) == words
    set_language(Language.KOREAN)
    assert not words or "검증" in local_text(words)
    set_language(Language.ENGLISH)


def test_every_sentence_of_a_verdict_is_shown_in_korean() -> None:
    set_language(Language.KOREAN)
    for result in (judged(0.4), judged(0.0, width=0.6), judged(0.13), judged(0.0, width=1.6)):
        shown = local_text(verdict(result))
        assert not any(word in shown for word in ("edge", "ranges", "leak", "unseen")), shown


def test_a_small_p_value_and_what_is_needed_are_never_shown_as_zero() -> None:
    result = replace(judged(0.13), edge_p_value=0.00049)
    assert "p < 0.001)" in verdict(result)
    few, many = verdict(result, 130), verdict(result, 12_000)
    assert "p = 0.00049)" in few
    assert "The best of 130 tried on this market looks as good by luck: p below 0.00038 is needed." in few
    assert "The best of 12,000 tried on this market looks as good by luck: p below 0.0000042 is needed." in many
    assert "p < 0.0000000010)" in verdict(replace(result, edge_p_value=0.0), 12_000)
