"""The window of models: list, card with real figures, comparison, and every state in between."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication, QPushButton

from app.commands.forecast_text import conformal_lines
from app.flows.model_words import accuracy_rows, p_text, share_text, trials_sentence
from app.i18n import Language
from app.language import LanguageManager
from app.models.model_card import CardProblem, ModelCard
from app.models.models_model import ModelsModel
from app.stored_models import change_marks, compared_models, model_card, model_rows, remove_model
from app.theme import ThemeManager
from app.ui.dialogs.confirm_dialog import ConfirmDialog
from app.ui.dialogs.models_dialog import ModelsDialog
from app.ui.model_card.calibration import interval_rows
from app.ui.widgets.bar_plot import Bar, BarPlot
from app.ui.widgets.diagonal_plot import DiagonalPlot, DiagonalPoint
from app.ui.widgets.histogram_plot import HistogramPlot
from core.config import DataPaths
from core.errors import UserError
from ml.api import ClassMetrics, ReliabilityPoint
from ml.metric_results import ConformalMetrics
from ml.model_storage import METRICS
from ml.model_tags import ModelTags
from ml.statistic_results import DeflatedSharpe, SharpeMoments
from ml.trial_ledger import FINISHED, SEARCH, TrialLedger, TrialRecord
from tests.trained_model import Trained


class Shelf:
    """Answers the dialog at once from a real folder, as the desk does later."""

    def __init__(self, paths: DataPaths) -> None:
        self.paths = paths
        self.dialog: ModelsDialog | None = None
        self.asked: list[tuple[Any, ...]] = []

    def list_models(self) -> None:
        assert self.dialog is not None
        self.dialog.on_rows(model_rows(self.paths.models))

    def open_model(self, model_id: str) -> None:
        assert self.dialog is not None
        self.asked.append(("open", model_id))
        self.dialog.on_card(model_card(self.paths, model_id))

    def compare_models(self, model_ids: Sequence[str]) -> None:
        assert self.dialog is not None
        self.dialog.on_comparison(compared_models(self.paths, model_ids))

    def set_marks(self, model_id: str, tags: Sequence[str], note: str) -> None:
        change_marks(self.paths.models, model_id, tags, note)
        self.list_models()

    def export_model(self, model_id: str, target: Path) -> None:
        self.asked.append(("export", model_id, target))

    def import_model(self, source: Path) -> None:
        self.asked.append(("import", source))

    def remove_model(self, model_id: str) -> None:
        remove_model(self.paths, model_id)
        self.list_models()

    def judge_model(self, model_id: str) -> None:
        self.asked.append(("judge", model_id))

    def cancel_judging(self, model_id: str) -> None:
        self.asked.append(("cancel", model_id))


@pytest.fixture
def paths(tmp_path: Path, trained: Trained) -> DataPaths:
    made = DataPaths(tmp_path).create()
    trained.copy_to(made.models)
    return made


@pytest.fixture
def shelf(paths: DataPaths) -> Shelf:
    return Shelf(paths)


@pytest.fixture
def dialog(qapp: QApplication, theme: ThemeManager, language: LanguageManager, shelf: Shelf) -> Iterator[ModelsDialog]:
    window = ModelsDialog(shelf, theme, language, None)
    shelf.dialog = window
    window.show()
    qapp.processEvents()
    yield window
    window.close()


@pytest.fixture
def card(paths: DataPaths, trained: Trained) -> ModelCard:
    found = model_card(paths, trained.result.model_id)
    assert isinstance(found, ModelCard)
    return found


def texts(dialog: ModelsDialog) -> str:
    return " ".join([*dialog.card.accuracy.table.texts(), dialog.card.verdict.text(), dialog.card.title.text()])


def state_text(dialog: ModelsDialog) -> str:
    assert dialog.stack.currentWidget() is dialog.state
    return f"{dialog.state._text.text()} {dialog.state._detail.text()}"


def test_before_the_list_has_come_the_window_says_that_it_reads(dialog: ModelsDialog) -> None:
    assert dialog.table.empty._text.text() == "Reading the models …"
    dialog.on_rows(())
    assert dialog.table.empty._text.text() == "No models are stored yet."


def test_the_card_of_a_real_model_shows_its_figures_beside_every_baseline(
    dialog: ModelsDialog, shelf: Shelf, card: ModelCard
) -> None:
    shelf.list_models()
    assert dialog.stack.currentWidget() is dialog.card
    assert card.model_id in dialog.card.title.text()
    assert dialog.card.verdict.text().startswith(card.metrics.verdict.split(";")[0].split("(")[0].strip())
    shown = dialog.card.accuracy.table.texts()
    for name in ("This model", "Price stays", "Last return repeats", "Average of the past", "Linear (ridge)"):
        assert name in shown
    row = accuracy_rows(card.metrics.horizons[0])[0]
    assert row[0] == "This model"
    assert row[1] == f"{card.metrics.model.mae * 100:.3f}\u00a0%"
    assert row[6].startswith(f"{card.metrics.model.hit_rate * 100:.1f}")  # type: ignore[operator]
    baselines = {test.baseline: test for test in card.metrics.horizons[0].comparisons if test.loss == "squared"}
    zero = accuracy_rows(card.metrics.horizons[0])[1]
    assert zero[-1] == p_text(baselines["zero"].p_better)


def test_adaptive_ranges_without_ends_are_said(card: ModelCard) -> None:
    report = replace(card.metrics.conformal[0], adaptive_infinite=0.0)
    assert "no ends" not in str(interval_rows(report)) + str(conformal_lines((report,)))
    report = replace(report, adaptive_infinite=0.125)
    assert "12.5\u00a0% have no ends" in interval_rows(report)[-1][0]
    assert "12.5% of its adaptive intervals have no ends" in conformal_lines((report,))[-1]


def test_the_claim_of_a_model_made_elsewhere_is_not_shown_as_a_finding(
    dialog: ModelsDialog, shelf: Shelf, card: ModelCard
) -> None:
    assert card.edge  # what the claim is of
    shelf.list_models()
    assert dialog.card.verdict.property("role") == "success"
    ModelTags(shelf.paths.models).mark_imported(card.model_id, "gift.maru", 1)
    (row,) = model_rows(shelf.paths.models)
    assert (row.claimed, row.edge) == (True, False)
    shelf.list_models()
    shelf.open_model(card.model_id)
    assert dialog.card.verdict.property("role") == "warning"
    assert "Made elsewhere" in dialog.card.foreign.text()
    shown = ModelsModel()
    shown.put(row)
    shown.flush()
    assert shown.index(0, shown.column_index("edge")).data() == "○ claimed"


def test_corrected_ranges_are_called_a_measurement(dialog: ModelsDialog, card: ModelCard) -> None:
    page = dialog.card.calibration
    conformal = ConformalMetrics(card.metrics.horizons[0].horizon, 0.9, 0.88, 0.02, 0.9, 0.021, 0.9, 0.022, ())
    dialog.card.show_card(replace(card, metrics=replace(card.metrics, conformal=(conformal,))))
    assert not page.unused.isHidden()
    assert "strategies and the fan in the chart use the ranges as forecast" in page.unused.text()
    dialog.card.show_card(replace(card, metrics=replace(card.metrics, conformal=())))
    assert page.unused.isHidden()


def test_each_plot_says_in_words_what_it_draws(dialog: ModelsDialog, shelf: Shelf, card: ModelCard) -> None:
    shelf.list_models()
    pages = dialog.card
    spoken = pages.calibration.quantiles.accessibleDescription()
    points = card.metrics.horizons[0].calibration.points
    assert spoken.count("promised") == len(points)
    assert f"{points[0].observed * 100:.1f}" in spoken
    importance = pages.features.bars.accessibleDescription()
    assert all(row.name in importance for row in card.metrics.importance[:5])
    assert pages.calibration.pit.accessibleDescription().count("of outcomes") == 10
    assert "holding" in pages.trading.plot.accessibleDescription()
    assert pages.trading.table.texts()[4] == "Holding the market, cost 0.10\u00a0%"
    for number in range(pages.pages.count()):
        pages.pages.setCurrentIndex(number)
        assert not pages.grab().isNull()


def test_facts_name_data_split_and_program(dialog: ModelsDialog, shelf: Shelf, card: ModelCard) -> None:
    shelf.list_models()
    labels = dialog.card.overview._labels
    found = {caption.text(): value.text() for caption, value in labels}
    assert found["Hash of the prices"] == card.lineage.data_sha256[:16]
    assert found["Program"] == card.lineage.code_version
    assert found["Tested on"].endswith(f"{card.lineage.test.targets} targets")
    assert found["Seeds"] == "2, from 1 on"


def test_tags_and_note_are_kept_and_keep_protects(dialog: ModelsDialog, shelf: Shelf, card: ModelCard, qtbot) -> None:
    shelf.list_models()
    page = dialog.card.overview
    assert not page.save.isEnabled()
    page.tags.setText("keep, first try")
    page.note.setPlainText("calm market")
    assert page.save.isEnabled()
    qtbot.mouseClick(page.save, Qt.MouseButton.LeftButton)
    marks = model_rows(shelf.paths.models)[0].marks
    assert (marks.tags, marks.note) == (("keep", "first try"), "calm market")
    assert not page.save.isEnabled()
    assert not dialog.remove_button.isEnabled()
    with pytest.raises(UserError, match="protected by its tag"):
        remove_model(shelf.paths, card.model_id)
    page.tags.setText("first try")
    qtbot.mouseClick(page.save, Qt.MouseButton.LeftButton)
    assert dialog.remove_button.isEnabled()


def test_a_tag_that_is_none_changes_nothing(shelf: Shelf, card: ModelCard) -> None:
    change_marks(shelf.paths.models, card.model_id, ("keep",), "calm")
    for tags, note in ((("other", "<b>"), "changed"), (tuple(f"t{n}" for n in range(30)), ""), (("new",), "x" * 2_001)):
        with pytest.raises(UserError):
            change_marks(shelf.paths.models, card.model_id, tags, note)
        marks = model_rows(shelf.paths.models)[0].marks
        assert (marks.tags, marks.note) == (("keep",), "calm")


def test_what_is_being_typed_survives_a_new_list(dialog: ModelsDialog, shelf: Shelf) -> None:
    shelf.list_models()
    dialog.card.overview.note.setPlainText("half a thou")
    shelf.list_models()
    assert dialog.card.overview.note.toPlainText() == "half a thou"


def test_a_model_is_removed_after_a_question_only(dialog: ModelsDialog, shelf: Shelf, qtbot) -> None:
    shelf.list_models()
    qtbot.mouseClick(dialog.remove_button, Qt.MouseButton.LeftButton)
    question = dialog.findChild(ConfirmDialog, "remove_model_dialog")
    assert len(model_rows(shelf.paths.models)) == 1
    remove = question.findChild(QPushButton, "remove")
    qtbot.mouseClick(remove, Qt.MouseButton.LeftButton)
    assert model_rows(shelf.paths.models) == ()
    assert dialog.table.empty._text.text() == "No models are stored yet."
    assert "Choose a model" in state_text(dialog)


def test_the_chosen_model_is_asked_for_on_the_chart_by_button_and_by_menu(
    dialog: ModelsDialog, shelf: Shelf, card: ModelCard, qtbot
) -> None:
    asked: list[tuple[str, str]] = []
    dialog.look_requested.connect(lambda model_id: asked.append(("look", model_id)))
    dialog.strategy_requested.connect(lambda model_id: asked.append(("strategy", model_id)))
    assert not dialog.look_button.isEnabled()
    shelf.list_models()
    qtbot.mouseClick(dialog.look_button, Qt.MouseButton.LeftButton)
    actions = {action.text(): action for action in dialog._menu()}
    assert list(actions) == ["Show on the chart", "Replay", "Make a strategy…", "Export…", "Remove…"]
    assert not actions["Replay"].isEnabled()  # a forecaster has no pass
    actions["Show on the chart"].trigger()
    actions["Make a strategy…"].trigger()
    assert asked == [("look", card.model_id), ("look", card.model_id), ("strategy", card.model_id)]
    dialog.table.view.clearSelection()
    assert not any(action.isEnabled() for action in dialog._menu())


def test_an_agent_can_be_looked_at_before_its_card_is_there(dialog: ModelsDialog, shelf: Shelf) -> None:
    shelf.list_models()
    (row,) = dialog.table.selected()
    dialog.on_rows((replace(row, summary=replace(row.summary, model_id="0" * 16, family="agent")),))
    assert dialog.look_button.isEnabled()
    assert not dialog.use_button.isEnabled()  # until its card says whether it can be traded


def test_a_damaged_package_says_what_to_do(dialog: ModelsDialog, shelf: Shelf, card: ModelCard) -> None:
    file = shelf.paths.models / card.model_id / METRICS
    file.write_bytes(file.read_bytes().replace(b"0", b"1", 1))
    shelf.list_models()
    assert "is damaged" in state_text(dialog)
    assert "Train it again or restore it from a backup." in state_text(dialog)
    assert not dialog.use_button.isEnabled()
    assert not dialog.look_button.isEnabled()
    assert not dialog.export_button.isEnabled()
    assert dialog.remove_button.isEnabled()


def test_a_package_of_an_older_format_says_so(dialog: ModelsDialog, shelf: Shelf, card: ModelCard) -> None:
    import hashlib

    folder = shelf.paths.models / card.model_id
    manifest = json.loads((folder / "manifest.json").read_bytes())
    data = json.dumps({**manifest, "format": 1}).encode()
    (folder / "manifest.json").write_bytes(data)
    folder.rename(shelf.paths.models / hashlib.sha256(data).hexdigest()[:16])
    shelf.list_models()
    assert "was made by another version of the program" in state_text(dialog)
    assert "Train it again with this version." in state_text(dialog)


def test_missing_figures_are_said_and_not_drawn(dialog: ModelsDialog, card: ModelCard) -> None:
    bare = replace(
        card.metrics,
        horizons=(),
        seeds=(),
        conformal=(),
        importance=(),
        earnings=None,
        sharpe=None,
        deflated=None,
        seed_r2=None,
        seed_crps=None,
        seed_ic=None,
    )
    dialog.card.show_card(replace(card, metrics=bare, sharpe_probability=None))
    pages = dialog.card
    assert pages.calibration.summary.text() == "Calibration was not measured."
    assert "not measured" in pages.features.bars.accessibleDescription()
    assert pages.trading.luck.text() == "How likely it is that this was luck was not measured."
    assert not pages.accuracy.table.isVisibleTo(pages.accuracy)
    assert not pages.grab().isNull()


def test_an_answer_about_another_model_is_dropped(dialog: ModelsDialog, shelf: Shelf, card: ModelCard) -> None:
    shelf.list_models()
    dialog.on_card(CardProblem("0123456789abcdef", "It is gone.", "Choose another."))
    assert dialog.stack.currentWidget() is dialog.card


def test_two_models_are_compared_side_by_side(
    dialog: ModelsDialog, shelf: Shelf, card: ModelCard, qapp: QApplication
) -> None:
    import hashlib

    twin = shelf.paths.models / "twin"
    shutil.copytree(shelf.paths.models / card.model_id, twin)
    manifest = json.loads((twin / "manifest.json").read_bytes())
    config = json.loads((twin / "config.json").read_bytes())
    config["spec"]["model"]["dropout"] = 0.25
    (twin / "config.json").write_text(json.dumps(config))
    manifest["files"]["config.json"] = hashlib.sha256((twin / "config.json").read_bytes()).hexdigest()
    data = json.dumps(manifest).encode()
    (twin / "manifest.json").write_bytes(data)
    twin.rename(shelf.paths.models / hashlib.sha256(data).hexdigest()[:16])
    shelf.list_models()
    dialog.table.view.selectAll()
    assert dialog.stack.currentWidget() is dialog.comparison
    found = dialog.comparison.figures.texts()
    assert found.count(f"{card.metrics.model.mae * 100:.3f}\u00a0%") == 2
    assert set(dialog.comparison.differences.texts()) >= {"Dropout", "0.1", "0.25"}
    assert not dialog.use_button.isEnabled()


def test_horizons_are_chosen_one_at_a_time(dialog: ModelsDialog, card: ModelCard) -> None:
    first = card.metrics.horizons[0]
    farther = replace(first, horizon=4, model=replace(first.model, mae=0.04))
    dialog.card.show_card(replace(card, metrics=replace(card.metrics, horizons=(first, farther))))
    assert [dialog.card.horizon.itemText(n) for n in range(2)] == ["1 bar ahead", "4 bars ahead"]
    dialog.card.horizon.setCurrentIndex(1)
    assert "4.000\u00a0%" in dialog.card.accuracy.table.texts()


def test_the_verdict_on_top_is_that_of_the_horizon_chosen(dialog: ModelsDialog, card: ModelCard) -> None:
    main = card.metrics.horizons[0]
    sure = replace(main, horizon=4, edge=True, edge_p_value=0.001)
    several = replace(
        card,
        spec=replace(card.spec, data=replace(card.spec.data, venue="binance")),
        metrics=replace(card.metrics, horizons=(main, sure), tries=10),
    )
    dialog.card.show_card(several)
    assert dialog.card.verdict.text() == several.metrics.verdict
    dialog.card.horizon.setCurrentIndex(1)
    assert dialog.card.verdict.text().startswith("Evidence of an edge over naive forecasts before costs (horizon 4: R²")
    assert dialog.card.verdict.property("role") == "success"
    # With more tries the same p-value is luck, at every horizon.
    many = replace(several, metrics=replace(several.metrics, tries=100))
    dialog.card.show_card(many)
    assert dialog.card.verdict.text().startswith("No evidence of an edge over naive forecasts (horizon 4: R²")
    assert dialog.card.verdict.property("role") == "warning"


def test_tries_after_the_training_count_on_the_card(paths: DataPaths, card: ModelCard) -> None:
    assert card.metrics.deflated is not None
    ledger = TrialLedger(paths.trials)
    data = card.spec.data
    record = TrialRecord("t", 1, SEARCH, data.venue, data.symbol, data.timeframe, "b", "s", 1, FINISHED)
    ledger.append_all(replace(record, trial_id=f"t{number}") for number in range(500))
    later = model_card(paths, card.model_id)
    assert isinstance(later, ModelCard)
    assert later.metrics.deflated is not None
    assert later.metrics.deflated.trials == 500
    assert later.metrics.deflated.probability < card.metrics.deflated.probability
    compared = dict(compared_models(paths, [card.model_id, card.model_id]).metrics)
    assert compared["deflated.probability"] == (later.metrics.deflated.probability,) * 2


def test_chances_have_their_table_and_their_reliability(dialog: ModelsDialog, card: ModelCard) -> None:
    classes = ClassMetrics(
        "model", 0.4, 0.58, (0.58, 0.5, 0.6), 0.1, 0.65, 1.07, 0.01, (ReliabilityPoint(0.4, 0.38, 90),)
    )
    first = replace(card.metrics.horizons[0], classes=classes)
    dialog.card.show_card(replace(card, metrics=replace(card.metrics, horizons=(first,))))
    assert "0.580" in dialog.card.accuracy.classes.texts()
    spoken = dialog.card.calibration.chances.accessibleDescription()
    assert spoken == "promised 40.0\u00a0%, came 38.0\u00a0% (90 ×)"


def test_the_language_changes_while_the_window_is_open(dialog: ModelsDialog, shelf: Shelf) -> None:
    shelf.list_models()
    language = LanguageManager()
    language.set_language(Language.KOREAN)
    try:
        dialog.retranslate()
        assert "가격 그대로" in dialog.card.accuracy.table.texts()
        assert dialog.windowTitle() == "모델"
    finally:
        language.set_language(Language.ENGLISH)


def test_many_tries_are_told_to_a_layman() -> None:
    sharpe = SharpeMoments(0.02, 5_000, 0.0, 3.0)
    luck = trials_sentence(sharpe, DeflatedSharpe(40, 0.01, 0.0216, 0.46))
    assert luck.startswith(
        "40 tries were made on this market. Of so many worthless ones the best would show about +0.0216"
    )
    assert luck.endswith("a strategy without any edge would stay below this in 46.0\u00a0% of cases: luck explains it.")
    assert "something to it" not in luck
    assert trials_sentence(sharpe, DeflatedSharpe(40, 0.001, 0.002, 0.99)).endswith("more than luck.")
    assert trials_sentence(sharpe, DeflatedSharpe(1, 0.0, 0.0, 0.9)).startswith("This is the only try")
    assert "not known" in trials_sentence(sharpe, None)
    assert (share_text(0.99999), share_text(0.00001)) == ("> 99.9\u00a0%", "< 0.1\u00a0%")


def test_plots_name_what_lies_under_the_mouse(qapp: QApplication) -> None:
    theme = ThemeManager(qapp)
    bars = BarPlot(theme.palette)
    bars.set_bars([Bar("rsi", 0.01, 0.002), Bar("macd", -0.003)])
    assert bars.tip_at(QPoint(10, 5)) == "rsi: +1.00\u00a0% ± 0.20\u00a0%"
    assert bars.tip_at(QPoint(10, 30)) == "macd: −0.30\u00a0%"
    assert bars.tip_at(QPoint(10, 300)) == ""
    diagonal = DiagonalPlot(theme.palette)
    diagonal.resize(300, 300)
    diagonal.set_points([DiagonalPoint(0.0, 0.0)], 100)
    area = diagonal._area()
    assert diagonal.tip_at(area.bottomLeft()) == "promised 0.0\u00a0%, came 0.0\u00a0%"
    assert diagonal.tip_at(area.center()) == ""
    histogram = HistogramPlot(theme.palette)
    histogram.resize(300, 300)
    histogram.set_counts((1, 3))
    assert histogram.tip_at(histogram._area().topRight()) == "0.5 to 1.0: 75.0\u00a0% of outcomes"
