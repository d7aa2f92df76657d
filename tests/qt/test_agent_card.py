"""The card of a stored agent in the window of models, with real packages and what a person reads there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel

from app.flows.agent_words import Tone, diagnostic_findings
from app.i18n import Language
from app.language import LanguageManager
from app.models.agent_card import AgentCard
from app.models.models_model import ModelsModel
from app.screenshots.agents import agent_card, idle_agent_card, wide_agent_card
from app.stored_models import change_marks, compared_models, model_card, model_rows, remove_model
from app.theme import ThemeManager
from app.ui.dialogs.models_dialog import ModelsDialog
from app.ui.model_card.agent_view import AgentView
from core.config import DataPaths
from core.errors import UserError
from ml.agents.results import EDGE
from ml.agents.run_spec import AgentSpec
from ml.model_storage import load_agent
from tests.trained_model import Trained
from tests.unit.ml.agents.agent_packages import ENCODER, small_spec, store_agent

NBSP = "\u00a0"


class Shelf:
    """Answers the dialog at once from a real folder, as the desk does later."""

    def __init__(self, paths: DataPaths) -> None:
        self.paths = paths
        self.dialog: ModelsDialog | None = None

    def _dialog(self) -> ModelsDialog:
        assert self.dialog is not None
        return self.dialog

    def list_models(self) -> None:
        self._dialog().on_rows(model_rows(self.paths.models))

    def open_model(self, model_id: str) -> None:
        self._dialog().on_card(model_card(self.paths, model_id))

    def compare_models(self, model_ids: Sequence[str]) -> None:
        self._dialog().on_comparison(compared_models(self.paths, model_ids))

    def set_marks(self, model_id: str, tags: Sequence[str], note: str) -> None:
        change_marks(self.paths.models, model_id, tags, note)
        self.list_models()

    def export_model(self, model_id: str, target: Path) -> None:
        raise AssertionError("nobody asked")

    def import_model(self, source: Path) -> None:
        raise AssertionError("nobody asked")

    def remove_model(self, model_id: str) -> None:
        remove_model(self.paths, model_id)
        self.list_models()

    def judge_model(self, model_id: str) -> None:
        raise AssertionError("nobody asked")

    def cancel_judging(self, model_id: str) -> None:
        raise AssertionError("nobody asked")


def spot_spec() -> AgentSpec:
    """Return an agent that spot can trade."""
    spec = small_spec()
    return replace(spec, environment=replace(spec.environment, lowest=0.0)).validate()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataPaths, str, str]:
    """A data folder, the id of an agent of spot whose pass is kept, and of one that goes short, without."""
    paths = DataPaths(tmp_path_factory.mktemp("agents")).create()
    return paths, store_agent(paths.models, spot_spec(), episode=900), store_agent(paths.models)


@pytest.fixture
def shelf(stored: tuple[DataPaths, str, str]) -> Shelf:
    return Shelf(stored[0])


@pytest.fixture
def dialog(qapp: QApplication, theme: ThemeManager, language: LanguageManager, shelf: Shelf) -> Iterator[ModelsDialog]:
    window = ModelsDialog(shelf, theme, language, None)
    shelf.dialog = window
    window.show()
    qapp.processEvents()
    yield window
    window.close()


@pytest.fixture
def view(qapp: QApplication, theme: ThemeManager) -> Iterator[AgentView]:
    made = AgentView(theme)
    made.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    made.resize(800, 700)
    made.show()
    yield made
    made.close()


def card_of(paths: DataPaths, model_id: str) -> AgentCard:
    found = model_card(paths, model_id)
    assert isinstance(found, AgentCard)
    return found


def choose(dialog: ModelsDialog, shelf: Shelf, model_id: str) -> None:
    dialog.choose(model_id)
    shelf.list_models()
    assert dialog.agent.card is not None
    assert dialog.agent.card.model_id == model_id


def facts(view: AgentView) -> dict[str, str]:
    return {caption.text(): value.text() for caption, value in view.overview._labels}


def roles(view: AgentView, page: str) -> dict[str, str]:
    """Return the look of each figure of a list of findings, by its name."""
    shown = getattr(view, page).findings
    return {row[1].text(): row[2].property("role") for row in shown._rows if not row[1].isHidden()}


def test_a_real_agent_has_a_card_with_the_verdict_on_top(
    dialog: ModelsDialog, shelf: Shelf, stored: tuple[DataPaths, str, str]
) -> None:
    paths, spot, _ = stored
    choose(dialog, shelf, spot)
    assert dialog.stack.currentWidget() is dialog.agent
    metrics = load_agent(paths.models, spot).metrics
    assert dialog.agent.verdict.text() == metrics.verdict
    assert dialog.agent.verdict.property("role") != "success"
    assert spot in dialog.agent.title.text()
    texts = " ".join(label.text() for label in dialog.findChildren(QLabel))
    assert "in a terminal" not in texts


def test_its_figures_stand_beside_every_rule(
    dialog: ModelsDialog, shelf: Shelf, stored: tuple[DataPaths, str, str]
) -> None:
    paths, spot, _ = stored
    choose(dialog, shelf, spot)
    metrics = load_agent(paths.models, spot).metrics
    shown = dialog.agent.performance.table.texts()
    width = 8
    rows = {shown[n]: shown[n : n + width] for n in range(0, len(shown), width)}
    assert len(rows) == 1 + 1 + len(metrics.baselines) + 3
    agent, hold = metrics.ensemble, metrics.baseline("hold")
    assert agent.trading.total_return is not None
    assert hold.trading.total_return is not None
    assert rows["This agent"][1].replace("−", "-") == f"{agent.trading.total_return * 100:+.1f}{NBSP}%"
    assert rows["This agent"][2].replace("−", "-") == f"{agent.log_return:+.3f}"
    assert rows["Buy and hold"][1].replace("−", "-") == f"{hold.trading.total_return * 100:+.1f}{NBSP}%"
    paid = agent.paid
    costs = paid.fee + paid.spread + paid.slippage + paid.impact + paid.funding + paid.borrow
    assert rows["This agent"][7] == f"{costs * 100:,.1f}{NBSP}%"
    assert rows["Random timing, median"][2].replace("−", "-") == f"{metrics.timing.median:+.3f}"


def test_the_curve_is_that_of_the_stored_pass_in_utc(
    dialog: ModelsDialog, shelf: Shelf, stored: tuple[DataPaths, str, str]
) -> None:
    from ml.model_storage import load_episode

    paths, spot, short = stored
    episode = load_episode(paths.models, spot)
    assert episode is not None
    found = card_of(paths, spot)
    assert found.curves is not None
    assert len(found.curves.time_ns) == 600 < len(episode)
    assert found.curves.time_ns[-1] == int(episode.time_ns[-1]) + 3_600 * 10**9
    assert found.curves.agent[-1] == float(episode.equity[-1])
    assert dict(found.curves.rules)["hold"][-1] == float(episode.rules["hold"][-1])
    choose(dialog, shelf, spot)
    page = dialog.agent.performance
    assert not page.plot.isHidden()
    assert page.curves_note.isHidden()
    assert page.plot.accessibleDescription().startswith("This agent ")
    assert page.plot._x_marks[0][1] == "2023-01-01"
    choose(dialog, shelf, short)
    assert page.plot.isHidden()
    assert "does not hold the evaluated pass" in page.curves_note.text()


def test_a_pass_that_lost_its_beginning_says_so(view: AgentView) -> None:
    card = agent_card()
    assert card.curves is not None
    view.show_card(replace(card, curves=replace(card.curves, left_out=700)))
    assert not view.performance.curves_note.isHidden()
    assert "700 before them" in view.performance.curves_note.text()


def test_several_markets_stand_side_by_side_and_the_curve_says_which_it_is_of(view: AgentView) -> None:
    view.show_card(agent_card())
    page = view.performance
    assert page.markets.isHidden()
    assert facts(view)["Other markets"] == "—"
    card = wide_agent_card()
    view.show_card(card)
    assert not page.markets.isHidden()
    shown = page.markets.texts()
    width = 10
    rows = {shown[n]: shown[n : n + width] for n in range(width, len(shown), width)}
    assert list(rows) == [row.symbol for row in card.metrics.markets]
    losing = card.metrics.markets[2]
    assert rows["SOL/USDT"][1] == f"−{-math.expm1(losing.log_return) * 100:.1f}{NBSP}%"
    assert rows["SOL/USDT"][8] == f"+{math.expm1(losing.hold_log_return) * 100:.1f}{NBSP}%"
    assert "The curve is of BTC/USDT alone" in page.curves_note.text()
    assert "all 3 markets" in page.curves_note.text()
    assert facts(view)["Other markets"].endswith("ETH/USDT, SOL/USDT")


def test_only_what_spot_allows_becomes_a_strategy(
    dialog: ModelsDialog, shelf: Shelf, stored: tuple[DataPaths, str, str], qtbot
) -> None:
    _, spot, short = stored
    asked: list[str] = []
    dialog.strategy_requested.connect(asked.append)
    choose(dialog, shelf, short)
    assert not dialog.use_button.isEnabled()
    assert "none below 0" in dialog.use_button.toolTip()
    assert "none below 0" in facts(dialog.agent)["Trading with it"]
    choose(dialog, shelf, spot)
    assert facts(dialog.agent)["Trading with it"].startswith("Spot")
    assert dialog.use_button.toolTip() == ""
    qtbot.mouseClick(dialog.use_button, Qt.MouseButton.LeftButton)
    assert asked == [spot]


def test_the_pass_is_replayed_where_there_is_one(
    dialog: ModelsDialog, shelf: Shelf, stored: tuple[DataPaths, str, str], qtbot
) -> None:
    _, spot, short = stored
    asked: list[str] = []
    dialog.replay_requested.connect(asked.append)
    choose(dialog, shelf, short)
    assert not dialog.replay_button.isEnabled()
    assert "does not hold" in dialog.replay_button.toolTip()
    choose(dialog, shelf, spot)
    qtbot.mouseClick(dialog.replay_button, Qt.MouseButton.LeftButton)
    assert asked == [spot]


def test_an_agent_and_its_facts(dialog: ModelsDialog, shelf: Shelf, stored: tuple[DataPaths, str, str]) -> None:
    paths, _, short = stored
    choose(dialog, shelf, short)
    found = facts(dialog.agent)
    spec = load_agent(paths.models, short).spec
    assert found["May hold"] == f"long and short, from −50{NBSP}% to 100{NBSP}% of its account, any weight"
    assert found["Algorithm"] == "PPO, hidden layers 8"
    assert found["Seeds"] == "2, from 1 on"
    assert found["Steps"] == f"{spec.algorithm.steps:,} planned for each network"
    assert found["Tested on"] == "1970-01-01 – 1970-01-01 UTC, 10 decisions"
    assert found["Run"] == "run-20260101-000000-abcdef"
    assert found["Hash of the prices"] == "0" * 16


def test_the_encoder_is_named_and_opened(view: AgentView, qtbot) -> None:
    asked: list[str] = []
    view.encoder_requested.connect(asked.append)
    card = agent_card()
    assert card.encoder is not None
    view.show_card(card)
    page = view.overview
    assert card.encoder.model_id in page.encoder_text.text()
    qtbot.mouseClick(page.encoder_button, Qt.MouseButton.LeftButton)
    assert asked == [card.encoder.model_id]
    view.show_card(replace(card, encoder=replace(card.encoder, stored=False)))
    assert page.encoder_button.isHidden()
    assert page.encoder_text.property("role") == "danger"
    view.show_card(idle_agent_card())
    assert page.encoder_text.isHidden()


def test_an_agent_without_its_forecaster_cannot_trade(tmp_path: Path) -> None:
    paths = DataPaths(tmp_path).create()
    found = card_of(paths, store_agent(paths.models, small_spec(encoder=True)))
    assert found.encoder is not None
    assert (found.encoder.model_id, found.encoder.stored) == (ENCODER, False)
    assert f"sees through the forecaster {ENCODER}, which is not stored" in found.refusal


def test_what_learned_nothing_looks_like_it(view: AgentView) -> None:
    view.show_card(idle_agent_card())
    assert view.standing.text() == "× Not trained"
    assert view.standing.property("role") == view.verdict.property("role") == "danger"
    assert view.diagnostics.summary.property("role") == "danger"
    found = roles(view, "diagnostics")
    bad = {name for name, role in found.items() if role == "figures-bad"}
    assert bad == {
        "Constant action",
        "Buy-and-hold fingerprint",
        "Moved by the market",
        "Rewards are what it earned",
        "Closed by force",
    }
    assert view.diagnostics.seeds.texts().count("× not trained") == 2
    # The mark says so too, not the colour alone.
    assert view.diagnostics.findings.accessibleDescription().count("△") == len(bad)


def test_nothing_green_stands_beside_a_result_without_an_edge(view: AgentView) -> None:
    card = agent_card()
    assert card.metrics.probabilistic is not None
    assert card.metrics.probabilistic > 0.95
    view.show_card(card)
    assert view.standing.text() == "○ No edge shown"
    assert "figures-good" not in {*roles(view, "robustness").values(), *roles(view, "diagnostics").values()}
    assert view.robustness.findings.accessibleDescription().count("✓") == 1


def test_an_edge_counts_only_where_it_was_measured_here(view: AgentView) -> None:
    card = agent_card()
    proven = replace(card, metrics=replace(card.metrics, standing=EDGE))
    view.show_card(proven)
    assert view.standing.property("role") == view.verdict.property("role") == "success"
    assert "figures-good" in roles(view, "robustness").values()
    view.show_card(replace(proven, marks=replace(card.marks, imported_from="gift.maru-model", imported_ns=1)))
    assert view.verdict.property("role") == "warning"
    assert not view.foreign.isHidden()
    assert "figures-good" not in roles(view, "robustness").values()
    data = replace(card.spec.data, venue="practice-synthetic-1")
    view.show_card(replace(proven, spec=replace(card.spec, data=data)))
    assert view.verdict.property("role") == "warning"
    assert "Invented practice market" in view.verdict.text()


def test_costs_and_periods_are_those_measured(view: AgentView) -> None:
    card = agent_card()
    view.show_card(card)
    costs = view.robustness.costs.texts()
    point = next(point for point in card.metrics.costs if (point.multiple, point.delay) == (3.0, 1))
    assert point.metrics.total_return is not None
    at = costs.index("traded 1 bar late, costs × 3")
    assert costs[at + 1] == f"{point.metrics.total_return * 100:+.1f}{NBSP}%"
    assert len(costs) == 4 * (1 + 1 + len(card.metrics.costs))
    periods = view.robustness.periods.texts()
    assert [periods[n] for n in range(7, len(periods), 7)] == [row.name for row in card.metrics.periods]
    spoken = view.robustness.plot.accessibleDescription()
    assert "traded at once" in spoken
    assert "holding" in spoken


def test_the_networks_have_their_interval_from_five_on(view: AgentView) -> None:
    view.show_card(agent_card())
    page = view.performance
    assert "its interval" in page.seeds_note.text()
    assert all(not plot.isHidden() for plot in page.dots.values())
    assert page.dots["log_return"].accessibleDescription().count("Seed ") == 5
    view.show_card(idle_agent_card())
    assert "From five networks on" in page.seeds_note.text()
    assert page.seeds.texts()[6] == "—"


def test_tags_of_an_agent_are_kept_and_it_is_removed(
    qapp: QApplication, theme: ThemeManager, language: LanguageManager, tmp_path: Path, qtbot
) -> None:
    shelf = Shelf(DataPaths(tmp_path).create())
    model_id = store_agent(shelf.paths.models)
    shelf.dialog = window = ModelsDialog(shelf, theme, language, None)
    window.show()
    shelf.list_models()
    page = window.agent.overview
    page.tags.setText("keep")
    page.note.setPlainText("a trial")
    qtbot.mouseClick(page.save, Qt.MouseButton.LeftButton)
    marks = model_rows(shelf.paths.models)[0].marks
    assert (marks.tags, marks.note) == (("keep",), "a trial")
    assert not window.remove_button.isEnabled()
    with pytest.raises(UserError, match="protected by its tag"):
        remove_model(shelf.paths, model_id)
    page.tags.setText("")
    qtbot.mouseClick(page.save, Qt.MouseButton.LeftButton)
    assert window.remove_button.isEnabled()
    shelf.remove_model(model_id)
    assert model_rows(shelf.paths.models) == ()
    window.close()


def test_agents_are_compared_with_agents(
    dialog: ModelsDialog, shelf: Shelf, stored: tuple[DataPaths, str, str]
) -> None:
    shelf.list_models()
    dialog.table.view.selectAll()
    assert dialog.stack.currentWidget() is dialog.comparison
    texts = dialog.comparison.figures.texts()
    assert "Standing" in texts
    assert {"Net return", "Sharpe ratio per year", "Timing, p-value"} <= set(texts)
    assert "R²" not in texts
    assert "Lowest weight" in dialog.comparison.differences.texts()


def test_an_agent_and_a_forecaster_are_not_compared(dialog: ModelsDialog, tmp_path: Path, trained: Trained) -> None:
    paths = DataPaths(tmp_path).create()
    agent = store_agent(paths.models)
    trained.copy_to(paths.models)
    dialog.on_rows(model_rows(paths.models))
    dialog.table.view.selectAll()
    assert dialog.stack.currentWidget() is dialog.state
    assert "not measured alike" in dialog.state._text.text()
    with pytest.raises(UserError, match="not measured alike"):
        compared_models(paths, [agent, trained.result.model_id])


def test_the_list_tells_agents_from_forecasters(stored: tuple[DataPaths, str, str]) -> None:
    shown = ModelsModel()
    shown.show_rows(model_rows(stored[0].models))
    assert shown.index(0, shown.column_index("kind")).data() == "agent, PPO"
    assert shown.index(0, shown.column_index("r2")).data() == "—"


def test_the_card_speaks_korean(view: AgentView) -> None:
    language = LanguageManager()
    view.show_card(idle_agent_card())
    language.set_language(Language.KOREAN)
    try:
        view.retranslate()
        assert view.pages.tabText(1) == "성과"
        assert view.standing.text() == "× 학습되지 않음"
        assert "이 에이전트" in view.performance.table.texts()
        assert view.verdict.text().startswith("학습되지 않음")
        assert "현물 시장" in facts(view)["거래 가능 여부"]
    finally:
        language.set_language(Language.ENGLISH)


def test_what_was_not_measured_is_said(view: AgentView) -> None:
    card = idle_agent_card()
    found = replace(
        card.metrics.diagnostics,
        hold_correlation=None,
        market_share=None,
        account_share=None,
        mean_change=None,
        reward_gap=None,
        ignores_market=None,
        rewards_add_up=None,
        constant=False,
    )
    metrics = replace(
        card.metrics,
        diagnostics=found,
        sharpe=None,
        probabilistic=None,
        deflated=None,
        appraisal=None,
        deflated_appraisal=None,
        hold_difference=None,
        hindsight_return=None,
        hindsight_share=None,
        pooled_sharpe=None,
        periods=(),
        ensemble=replace(card.metrics.ensemble, liquidations=0, relative=None),
    )
    view.show_card(replace(card, metrics=metrics))
    assert all(each.tone is Tone.NEUTRAL for each in diagnostic_findings(metrics))
    assert view.robustness.periods.isHidden()
    assert "Its returns never vary" in view.robustness.findings.accessibleDescription()
    assert view.performance.dots["sharpe"].isHidden()
    for number in range(view.pages.count()):
        view.pages.setCurrentIndex(number)
        assert not view.grab().isNull()
