"""The card's page of later evaluations: figures beside the model's own test, damaged records, and what is under way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt

from app.flows.evaluation_words import interval_text, is_finding
from app.i18n import Language, set_language
from app.models.model_card import Judging, ModelCard
from app.stored_models import model_card
from app.theme import ThemeManager
from app.ui.model_card.card import CardView
from app.ui.model_card.evaluations import MOST_SHOWN, EvaluationsPage
from core.clock import NS_PER_S, ManualClock
from core.config import DataPaths
from ml.evaluation_plan import EvaluationProgress, ModelResult
from ml.evaluation_records import EVALUATIONS_FOLDER, save_evaluation
from ml.model_tags import ModelMarks
from tests.trained_model import Trained

DAY = 86_400 * NS_PER_S


@pytest.fixture
def paths(tmp_path: Path, trained: Trained) -> DataPaths:
    made = DataPaths(tmp_path).create()
    trained.copy_to(made.models)
    return made


@pytest.fixture
def view(theme: ThemeManager) -> Iterator[CardView]:
    made = CardView(theme)
    made.show()
    made.pages.setCurrentWidget(made.evaluations)
    yield made
    made.close()
    made.deleteLater()


def card_of(paths: DataPaths, trained: Trained) -> ModelCard:
    found = model_card(paths, trained.result.model_id)
    assert isinstance(found, ModelCard)
    return found


def result(card: ModelCard, days: int = 10, r2: float = -0.0123, **changes: object) -> ModelResult:
    """Return what a later evaluation could have found: the same but for targets, R² and verdict."""
    horizons = tuple(
        replace(each, targets=24 * days, model=replace(each.model, r2=r2)) for each in card.metrics.horizons
    )
    last = card.lineage.last_ns
    made = ModelResult(
        *(card.model_id, "binance", "BTC/USDT", "1h", "ab" * 32, last + DAY, last + days * DAY, 24 * days, 0),
        included=False,
        earlier=0,
        included_earlier=False,
        own_test=0,
        notes=("The bars it was trained on are not at hand: its yardsticks come from 900 earlier bars.",),
        metrics=replace(
            card.metrics,
            horizons=horizons,
            edge=False,
            verdict="No evidence of an edge over naive forecasts (horizon 1: R² -1.23% on 240 unseen bars, p = 0.800).",
        ),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def sections(page: EvaluationsPage) -> list[str]:
    shown = [each for each in page._shown if not each.isHidden()]
    return [f"{each.title.text()} | {each.verdict.text()} | {each.notes.text()}" for each in shown]


def test_a_later_evaluation_stands_beside_the_models_own_test(
    view: CardView, paths: DataPaths, trained: Trained
) -> None:
    before = card_of(paths, trained)
    view.show_card(before)
    page = view.evaluations
    assert page.older.text() == "It was not judged on newer bars yet."
    assert not page.older.isHidden()
    save_evaluation(paths.models, result(before), ManualClock(before.created_ns))
    card = card_of(paths, trained)
    view.show_card(card)
    cells = page.accuracy.texts()
    own, later = cells[8:16], cells[16:24]
    assert own[0] == "Its own test"
    assert (own[1], later[1]) == (f"{card.metrics.horizons[0].targets:,}", "240")
    assert (own[2], later[2]) == (f"+{card.metrics.model.r2 * 100:.2f}\u00a0%", "−1.23\u00a0%")
    ic, low, high = card.metrics.model.ic, card.metrics.model.ic_low, card.metrics.model.ic_high
    assert own[3] == f"+{ic:.3f} (+{low:.3f} … +{high:.3f})"
    assert own[4].count("(") == 1
    plain = card.metrics.earnings.points[1].metrics  # type: ignore[union-attr]
    assert (plain.sharpe_bootstrap is not None, card.metrics.earnings.points[1].multiple) == (True, 1.0)  # type: ignore[union-attr]
    low, high = plain.sharpe_bootstrap.low, plain.sharpe_bootstrap.high  # type: ignore[union-attr]
    assert page.trading.texts()[8] == interval_text(plain.sharpe, low, high, 2)
    test, judged = sections(page)
    assert test.startswith("Its own test · ")
    assert card.metrics.verdict in test
    assert "240 targets · judged " in judged
    assert "No evidence of an edge over naive forecasts (horizon 1: R² -1.23%" in judged
    assert "900 earlier bars" in judged
    assert page.older.isHidden()


def test_the_figures_follow_the_chosen_horizon(view: CardView, paths: DataPaths, trained: Trained) -> None:
    card = card_of(paths, trained)
    first = card.metrics.horizons[0]
    farther = replace(first, horizon=4, targets=77)
    two = replace(card, metrics=replace(card.metrics, horizons=(first, farther)))
    only_first = result(card)
    save_evaluation(paths.models, only_first, ManualClock(1))
    view.show_card(replace(two, evaluations=card_of(paths, trained).evaluations))
    view.horizon.setCurrentIndex(1)
    cells = view.evaluations.accuracy.texts()
    assert cells[9] == "77"
    assert cells[17:24] == ["—"] * 7  # that evaluation has no such horizon: nothing else is put in its place


def test_a_damaged_record_is_named_and_the_others_are_shown(view: CardView, paths: DataPaths, trained: Trained) -> None:
    card = card_of(paths, trained)
    clock = ManualClock(card.created_ns)
    broken = save_evaluation(paths.models, result(card), clock)
    save_evaluation(paths.models, result(card, days=20), clock)
    broken.write_bytes(broken.read_bytes().replace(b'"judged": 240', b'"judged": 999'))
    view.show_card(card_of(paths, trained))
    page = view.evaluations
    assert not page.damaged.isHidden()
    assert page.damaged.text() == (
        f"The evaluation {broken.name} is damaged. Judge the model again, or restore the file from a backup."
    )
    assert len(sections(page)) == 2
    assert "480 targets" in sections(page)[1]
    assert "999" not in " ".join([*page.accuracy.texts(), *sections(page)])
    (paths.models / EVALUATIONS_FOLDER / broken.name).unlink()
    view.show_card(card_of(paths, trained))
    assert page.damaged.isHidden()


def test_only_so_many_are_shown_the_newest_first(view: CardView, paths: DataPaths, trained: Trained) -> None:
    card = card_of(paths, trained)
    for n in range(MOST_SHOWN + 2):
        save_evaluation(paths.models, result(card, days=10 + n), ManualClock(card.created_ns + n * DAY))
    view.show_card(card_of(paths, trained))
    page = view.evaluations
    assert len(sections(page)) == MOST_SHOWN + 1
    assert f"{24 * (10 + MOST_SHOWN + 1)} targets" in sections(page)[1]
    assert page.older.text() == "2 older evaluations are not shown."
    view.show_card(card)  # one without any hides what the one before had
    assert len(sections(page)) == 1
    assert "240" not in page.accuracy.texts()


@pytest.mark.parametrize(
    ("changes", "foreign", "counts"),
    [
        ({}, False, True),
        ({"included": True}, False, False),
        ({"included_earlier": True}, False, False),
        ({"venue": "practice-synthetic-1"}, False, False),
        ({}, True, False),
    ],
)
def test_an_edge_counts_only_where_nobody_could_have_known(
    paths: DataPaths, trained: Trained, changes: dict[str, object], foreign: bool, counts: bool
) -> None:
    card = card_of(paths, trained)
    found = result(card, metrics=replace(card.metrics, edge=True), **changes)
    marks = ModelMarks(imported_from="gift.maru", imported_ns=1) if foreign else ModelMarks()
    assert is_finding(found, replace(card, marks=marks)) is counts
    assert not is_finding(replace(found, metrics=replace(card.metrics, edge=False)), card)


def test_another_market_and_invented_bars_are_said(view: CardView, paths: DataPaths, trained: Trained) -> None:
    card = card_of(paths, trained)
    other = result(card, venue="practice-synthetic-1", symbol="ETH/USDT")
    save_evaluation(paths.models, other, ManualClock(card.created_ns))
    view.show_card(card_of(paths, trained))
    judged = sections(view.evaluations)[1]
    assert "ETH/USDT 1h · practice market" in judged
    assert "Invented practice market: this says nothing about a real one." in judged


def test_an_evaluation_at_work_can_be_watched_and_cancelled(
    view: CardView, paths: DataPaths, trained: Trained, qtbot
) -> None:
    card = card_of(paths, trained)
    view.show_card(card)
    page = view.evaluations
    asked: list[str] = []
    view.judge_requested.connect(lambda: asked.append("judge"))
    view.cancel_requested.connect(lambda: asked.append("cancel"))
    assert page.cancel.isHidden()
    qtbot.mouseClick(page.judge, Qt.MouseButton.LeftButton)
    view.set_judging({card.model_id: Judging()})
    assert not page.judge.isEnabled()
    assert page.status.text() == "Starting …"
    assert (page.bar.isHidden(), page.bar.maximum()) == (False, 0)  # moves without an end in sight
    view.set_judging({card.model_id: Judging(EvaluationProgress("judging", eta_s=41.9, share=0.25))})
    assert page.status.text() == "Judging … · 42 s left"
    assert page.bar.value() / page.bar.maximum() == 0.25
    counted = re.compile(r"Judging … · (39|40|41) s left")  # by itself
    qtbot.waitUntil(lambda: counted.fullmatch(page.status.text()) is not None, timeout=5_000)
    qtbot.mouseClick(page.cancel, Qt.MouseButton.LeftButton)
    assert asked == ["judge", "cancel"]
    view.set_judging({card.model_id: Judging(EvaluationProgress("judging", eta_s=40.0, share=0.25), stopping=True)})
    assert page.status.text() == "Cancelling …"
    assert not page.cancel.isEnabled()
    view.set_judging({})
    assert page.judge.isEnabled()
    assert (page.cancel.isHidden(), page.bar.isHidden(), page.status.text()) == (True, True, "")
    assert not page._clock.isActive()


def test_an_estimate_that_was_too_short_is_taken_back(view: CardView, paths: DataPaths, trained: Trained) -> None:
    card = card_of(paths, trained)
    view.show_card(card)
    view.set_judging({card.model_id: Judging(EvaluationProgress("judging", eta_s=0.0, share=0.9))})
    assert view.evaluations.status.text() == "Judging …"


def test_the_evaluation_of_another_model_is_not_shown_here(view: CardView, paths: DataPaths, trained: Trained) -> None:
    card = card_of(paths, trained)
    view.set_judging({"fedcba9876543210": Judging()})
    view.show_card(card)
    assert view.evaluations.judge.isEnabled()
    view.show_card(replace(card, model_id="fedcba9876543210"))
    assert not view.evaluations.judge.isEnabled()


def test_why_it_failed_stands_at_the_button_in_the_language_of_the_screen(
    view: CardView, paths: DataPaths, trained: Trained
) -> None:
    card = card_of(paths, trained)
    view.show_card(card)
    page = view.evaluations
    failed = Judging(
        message="No stored bar of BTC/USDT 1h is newer than 2026-08-20 09:00 UTC, the model's last.",
        remedy="Import newer ones with `data import`, or keep this market in the chart: bars are stored as they close.",
    )
    view.set_judging({card.model_id: failed})
    assert page.judge.isEnabled()
    assert page.problem.text() == f"{failed.message} {failed.remedy}"
    set_language(Language.KOREAN)  # the root conftest goes back to English
    view.retranslate()
    assert page.judge.text() == "새 봉으로 평가"
    assert page.problem.text().startswith("저장된 BTC/USDT 1h 봉 중 모델의 마지막 봉(2026-08-20 09:00 UTC)보다")
    assert "`data import`로" in page.problem.text()
    view.set_judging({})
    assert page.problem.isHidden()
