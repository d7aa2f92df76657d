"""Training as the window sees it, over real workers and a real trainer: what a restart finds, and what goes on."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot
from typer.testing import CliRunner

from app.commands.models import app as models_app
from app.flows.datasets import SeriesExtent, date_text
from app.flows.run_text import finished_text
from app.i18n import Language, set_language
from app.language import LanguageManager
from app.past_runs import kept_networks
from app.runtime import open_market_link
from app.theme import ThemeManager
from app.ui.dialogs.search_dialog import SearchDialog
from app.ui.docks.training_runs import RunState
from core.config import DataPaths
from core.data.data_storage import CandleStore
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE, practice_origin
from core.persistence.store import Store
from core.practice.process import PracticeProcess
from ml.api import (
    DataRange,
    ForecastSpec,
    SeriesSource,
    TrainingResult,
    TrainingSpec,
)
from ml.search_spec import SearchSpec, parse_range
from tests.integration.desk_kit import Start, folder_with_bars, sessions
from tests.trained_model import Trained

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LIMIT = 120_000


def kept_epochs(run_dir: Path) -> int:
    """Return how many epochs a run of one network has on disk."""
    return max((network.epochs for network in kept_networks(run_dir)), default=0)


@pytest.fixture
def paths(tmp_path: Path, trained: Trained) -> DataPaths:
    return folder_with_bars(DataPaths(tmp_path), trained)


@pytest.fixture
def session(paths: DataPaths, theme: ThemeManager, language: LanguageManager) -> Start:
    return sessions(paths, theme, language)


def test_a_cancelled_run_is_there_after_a_restart_and_goes_on(
    session: Start, qtbot: QtBot, trained: Trained, paths: DataPaths
) -> None:
    spec = replace(trained.spec, training=replace(trained.spec.training, epochs=10_000, patience=10_000))
    with session() as first:
        run_id = first.desk.start_training(spec.to_json())
        qtbot.waitUntil(lambda: first.dock.runs[0].last_epoch > 0, timeout=LIMIT)
        qtbot.mouseClick(first.button("training_cancel"), Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: first.dock.runs[0].state is RunState.CANCELLED, timeout=LIMIT)
        assert first.button("training_resume").isVisible()
    epochs = kept_epochs(paths.runs / run_id)
    assert epochs >= 1

    with session() as second:
        qtbot.waitUntil(lambda: len(second.rows()) == 1, timeout=LIMIT)
        (row,) = second.rows()
        assert re.match(r"BTC/USDT 1h · LSTM \d+ · (\d{4}-\d\d-\d\d\u00a0)?\d\d:\d\d · ", row)
        assert row.endswith(" · cancelled")
        assert second.dock.runs[0].last_epoch == epochs
        assert not second.button("training_use").isVisible()
        qtbot.mouseClick(second.button("training_resume"), Qt.MouseButton.LeftButton)
        second.desk.resume_training(run_id)  # a second click
        qtbot.waitUntil(lambda: second.dock.runs[0].last_epoch > epochs, timeout=LIMIT)
        assert len(second.rows()) == 1
        assert second.desk.busy == 1
        assert second.desk.close_warnings() == [
            "1 training run ends now; it can go on later from its last finished epoch."
        ]
        qtbot.mouseClick(second.button("training_cancel"), Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: second.dock.runs[0].state is RunState.CANCELLED, timeout=LIMIT)
        assert kept_epochs(paths.runs / run_id) > epochs


def test_the_queue_outlives_the_program_and_a_paused_run_goes_on_from_its_checkpoint(
    session: Start, qtbot: QtBot, trained: Trained, paths: DataPaths
) -> None:
    endless = replace(trained.spec, training=replace(trained.spec.training, epochs=10_000, patience=10_000))
    short = replace(
        trained.spec, training=TrainingSpec(epochs=1, segment_length=64, burn_in=8, batch_segments=4, seed=9)
    )
    with session() as first:
        running = first.desk.start_training(endless.to_json())
        follower = first.desk.start_training(short.to_json(), after=running)
        held = first.desk.start_training(short.to_json())
        first.desk.pause_training(held)
        qtbot.waitUntil(lambda: first.dock.runs[0].last_epoch > 0, timeout=LIMIT)
        assert [run.run_id for run in first.dock.runs] == [running, follower, held]
        first.dock.list.setCurrentRow(0)
        qtbot.mouseClick(first.button("training_pause"), Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: first.dock.runs[0].state is RunState.PAUSED, timeout=LIMIT)
        epochs = kept_epochs(paths.runs / running)
        qtbot.wait(1_000)
        assert kept_epochs(paths.runs / running) == epochs  # nothing is learnt meanwhile
        assert first.desk.close_warnings() == [
            "1 training run ends now; it can go on later from its last finished epoch.",
            "2 training runs wait in the queue; they have their turn after the next start.",
        ]

    with session() as second:
        qtbot.waitUntil(lambda: len(second.rows()) == 3, timeout=LIMIT)
        qtbot.waitUntil(lambda: second.dock._runs[follower].result is not None, timeout=LIMIT)
        states = {run.run_id: run.state for run in second.dock.runs}
        assert states[held] is RunState.HELD
        assert (states[running], second.dock._runs[running].resumable) == (RunState.CANCELLED, True)
        second.desk.cancel_training(held)
        second.desk.resume_training(running)
        qtbot.waitUntil(lambda: second.dock._runs[running].last_epoch > epochs, timeout=LIMIT)
        second.desk.cancel_training(running)
        qtbot.waitUntil(lambda: second.dock._runs[running].state is RunState.CANCELLED, timeout=LIMIT)
        second.desk.forget_training(running)
        qtbot.waitUntil(lambda: running not in second.dock._runs, timeout=LIMIT)
        assert not (paths.runs / running).exists()

    with session() as third:
        qtbot.waitUntil(lambda: len(third.rows()) == 1, timeout=LIMIT)
        assert third.dock.runs[0].run_id == follower


def test_a_model_that_is_not_listed_yet_becomes_a_strategy_at_the_first_click(
    session: Start, qtbot: QtBot, trained: Trained, paths: DataPaths
) -> None:
    training = TrainingSpec(epochs=1, segment_length=64, burn_in=8, batch_segments=4)
    with session() as now:
        now.desk.start_training(replace(trained.spec, training=training).to_json())
        qtbot.waitUntil(lambda: now.dock.runs[0].result is not None, timeout=LIMIT)
        result = now.dock.runs[0].result
        assert isinstance(result, TrainingResult)

    with session() as later:
        qtbot.waitUntil(lambda: len(later.rows()) == 1, timeout=LIMIT)
        assert later.rows()[0].endswith(" · finished")
        assert later.dock.runs[0].result == result
        assert not later.heard.models  # nobody has listed the packages yet, as right after a run
        qtbot.mouseClick(later.button("training_use"), Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: later.heard.wanted == [result.model_id], timeout=LIMIT)
        assert any(result.model_id == choice.model_id for choice in later.heard.models[-1])

    shutil.rmtree(paths.models / result.model_id)
    with session() as last:
        qtbot.waitUntil(lambda: len(last.rows()) == 1, timeout=LIMIT)
        qtbot.mouseClick(last.button("training_use"), Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: bool(last.heard.notices), timeout=LIMIT)
        assert last.heard.notices[0].title == "This model is no longer stored"
        assert last.heard.wanted == []


def test_a_run_cut_off_by_a_crash_is_called_interrupted(session: Start, paths: DataPaths, qtbot: QtBot) -> None:
    before = Store(paths.store_db)
    before.begin_run("run-cut", "forecast", ForecastSpec().to_json(), 5)
    before.begin_run("run-odd", "forecast", {"written": "by another version"}, 6)
    before.finish_run("run-odd", "finished", 7, result={"figures": "unreadable"})
    before.close()
    with session() as now:
        qtbot.waitUntil(lambda: len(now.rows()) == 2, timeout=LIMIT)
        cut, odd = now.dock.runs
        assert (cut.state, cut.resumable) == (RunState.INTERRUPTED, False)
        assert now.rows()[0].endswith(" · interrupted")
        assert (odd.title, odd.result) == ("run-odd", None)
        assert not now.button("training_use").isVisible()
        assert not now.button("training_resume").isVisible()


def test_wizard_reads_in_the_background_and_remembers_what_it_asked_for(
    session: Start, qtbot: QtBot, trained: Trained, paths: DataPaths, tmp_path: Path
) -> None:
    good, bad = tmp_path / "funding.csv", tmp_path / "bad.csv"
    good.write_text("known_at,rate\n2024-01-01T00:00:00Z,0.01\n2024-01-01T08:00:00Z,0.02\n", "utf-8")
    bad.write_text("known_at,other\n2024-01-01T00:00:00Z,0.01\n", "utf-8")
    dated = tmp_path / "dated.csv"
    dated.write_text(good.read_text("utf-8").replace("known_at", "date"), "utf-8")
    answers: list[object] = []
    with session() as now:
        now.desk.inspect_series(SeriesSource("funding", str(good), "rate"), answers.append)
        now.desk.inspect_series(SeriesSource("funding", str(bad), "rate"), answers.append)
        now.desk.inspect_series(SeriesSource("funding", str(dated), "rate"), answers.append)
        now.desk.inspect_series(SeriesSource("funding", str(dated), "rate", 0.0), answers.append)
        qtbot.waitUntil(lambda: len(answers) == 4, timeout=LIMIT)
        for extent in (answers[0], answers[3]):
            assert isinstance(extent, SeriesExtent)
            assert (date_text(extent.first_ns), len(extent.known_ns)) == ("2024-01-01", 2)
        assert "bad.csv needs the columns known_at and rate" in str(answers[1])
        assert "does not say when its values became known" in str(answers[2])

        now.desk.refresh()
        qtbot.waitUntil(lambda: bool(now.desk.datasets()), timeout=LIMIT)
        before = now.desk.start_training(trained.spec.to_json())
        now.desk.pause_training(before)
        now.desk.plan_after(before)
        wizard = now.desk.wizard
        assert wizard is not None
        qtbot.waitUntil(lambda: wizard.flow.catalogue is not None, timeout=LIMIT)
        wizard.flow.update(
            epochs=3, seeds=2, columns=("RSI(timeperiod=7)",), purge_bars=8, segment_length=64, burn_in=8
        )
        wizard.accept()
        run = now.desk._training.queue.runs[-1]
        assert (run.after, ForecastSpec.from_json(run.spec).training.epochs) == (before, 3)
        qtbot.waitUntil(lambda: (paths.root / "last_training.toml").exists(), timeout=LIMIT)
        now.desk.cancel_training(run.run_id)
        now.desk.cancel_training(before)
        qtbot.waitUntil(lambda: not now.desk.busy, timeout=LIMIT)
    with session() as later:
        later.desk.refresh()
        qtbot.waitUntil(lambda: bool(later.desk.datasets()), timeout=LIMIT)
        later.desk.open_wizard()
        wizard = later.desk.wizard
        assert wizard is not None
        draft = wizard.flow.draft
        assert (draft.epochs, draft.seeds, draft.columns, draft.whole_range) == (3, 2, ("RSI(timeperiod=7)",), True)
        wizard.reject()
    (paths.root / "last_training.toml").write_text("[model]\nkind = 7\n", "utf-8")
    with session() as broken:
        broken.desk.open_wizard()
        wizard = broken.desk.wizard
        assert wizard is not None
        assert wizard.flow.draft.epochs == ForecastSpec().training.epochs
        wizard.reject()


CAUTION = "Invented practice market: this says nothing about a real one."
KOREAN_CAUTION = "가상으로 만든 연습 시장입니다. 이 결과는 실제 시장에 대해 아무것도 알려 주지 않습니다."


def test_a_run_on_the_practice_market_says_so_from_its_first_row_to_its_model(
    session: Start, qtbot: QtBot, trained: Trained, paths: DataPaths, tmp_path: Path
) -> None:
    origin, hour = practice_origin("synthetic-7"), Timeframe.H1.ns
    first = int(trained.frame.time_ns[0])  # the very hours for which real bars are stored
    data = DataRange(origin, "BTC/USDT", "1h", first, first + 3_000 * hour)
    training = TrainingSpec(epochs=1, segment_length=64, burn_in=8, batch_segments=4)
    spec = replace(trained.spec, data=data, training=training)
    process = PracticeProcess(data_dir=tmp_path / "exchange", seed=7)
    endpoints = process.start()
    note = "training_note"
    try:
        with session(lambda: open_market_link(endpoints, link="history")) as now:
            now.desk.set_markets(["BTC/USDT"], origin)
            assert {offered.origin for offered in now.desk.datasets()} == {origin}
            now.desk.train_on_practice_history(spec)
            assert now.rows()[0].startswith("BTC/USDT 1h · practice market, seed 7 · ")  # the download
            qtbot.waitUntil(lambda: bool(now.dock.runs) and now.dock.runs[0].result is not None, timeout=LIMIT)
            result = now.dock.runs[0].result
            assert isinstance(result, TrainingResult)
            whole = finished_text(result.metrics, CAUTION)
            assert whole.startswith(result.metrics.verdict)
            assert whole.endswith(f". {CAUTION}")
            assert now.dock.findChild(QLabel, note).text() == whole
            (notice,) = now.heard.notices
            assert notice.title == "Training finished: BTC/USDT 1h · practice market, seed 7"
            assert notice.text == whole  # what trading would have lost is not left out
            offers = now.heard.models  # listed after the download as well, when there is no model yet
            qtbot.waitUntil(lambda: bool(offers) and bool(offers[-1]), timeout=LIMIT)
            assert [(choice.model_id, choice.origin) for choice in offers[-1]] == [(result.model_id, origin)]
    finally:
        process.stop()

    store = CandleStore(paths.candles)
    assert [series.origin for series in store.list_series()] == [BINANCE, origin]
    assert store.read(BINANCE, "BTC/USDT", Timeframe.H1).close.tolist() == trained.frame.close.tolist()
    assert len(store.read(origin, "BTC/USDT", Timeframe.H1)) == 3_000

    with session() as later:
        qtbot.waitUntil(lambda: len(later.rows()) == 1, timeout=LIMIT)
        assert later.dock.findChild(QLabel, note).text().endswith(CAUTION)
        set_language(Language.KOREAN)
        later.dock.retranslate()
        assert later.rows()[0].startswith("BTC/USDT 1h · 연습 시장(시드 7) · ")
        assert later.dock.findChild(QLabel, note).text().endswith(KOREAN_CAUTION)

    listed = CliRunner().invoke(models_app, ["list", "--data-dir", str(paths.root), "--json"])
    (row,) = [row for row in json.loads(listed.stdout)["models"] if row["model_id"] == result.model_id]
    assert row["venue"] == origin
    shown = CliRunner().invoke(models_app, ["show", result.model_id, "--data-dir", str(paths.root)])
    assert f"market    {origin} BTC/USDT 1h" in shown.stdout
    assert shown.stdout.strip().endswith(CAUTION)


def test_what_closing_ends_is_told_as_it_is(session: Start, qtbot: QtBot, trained: Trained, paths: DataPaths) -> None:
    endless = replace(trained.spec, training=replace(trained.spec.training, epochs=10_000, patience=10_000))

    async def never() -> Any:
        await asyncio.Event().wait()

    with session(never) as now:
        now.desk.train_on_practice_history(
            replace(endless, data=replace(endless.data, start_ns=0, end_ns=10 * Timeframe.H1.ns))
        )
        lost = "1 download ends now, and the training that was to follow it is not kept."
        assert now.desk.close_warnings() == [lost]
        now.desk.start_training(endless.to_json())
        qtbot.waitUntil(lambda: bool(now.desk._training.queue.at_work), timeout=LIMIT)
        assert now.desk.close_warnings() == [
            "1 training run ends now before its first epoch is finished; it has to be started anew.",
            lost,
        ]


def test_a_download_cancelled_in_its_last_moment_starts_no_training(
    session: Start, qtbot: QtBot, trained: Trained, tmp_path: Path
) -> None:
    origin, first = practice_origin("synthetic-7"), int(trained.frame.time_ns[0])
    spec = replace(trained.spec, data=DataRange(origin, "BTC/USDT", "1h", first, first + 500 * Timeframe.H1.ns))
    process = PracticeProcess(data_dir=tmp_path / "exchange", seed=7)
    endpoints = process.start()
    try:
        with session(lambda: open_market_link(endpoints, link="history")) as now:
            now.desk.train_on_practice_history(spec)
            ((key, (worker, _, _)),) = now.desk._downloads._active.items()
            arrived: list[object] = []
            worker.completed.connect(arrived.append, Qt.ConnectionType.DirectConnection)
            assert worker.join(60)  # all is there, but the window has not heard of it yet
            assert arrived
            now.desk.cancel_training(key)
            qtbot.waitUntil(lambda: not now.desk._downloads, timeout=LIMIT)
            assert now.desk._training.queue.runs == ()
            assert [run.state for run in now.dock.runs] == [RunState.CANCELLED]
    finally:
        process.stop()


def test_the_window_of_models_opens_from_the_desk_and_closes_with_it(session: Start, qtbot) -> None:
    with session() as at:
        at.desk.open_models()
        dialog = at.desk.models.dialog
        assert dialog is not None
        qtbot.waitUntil(lambda: dialog.table.empty._text.text() == "No models are stored yet.", timeout=10_000)
        at.desk.open_models()
        assert at.desk.models.dialog is dialog  # one window, brought to the front
        at.desk.close_windows()
        assert at.desk.models.dialog is None


def test_a_search_queues_with_the_runs_goes_on_after_a_restart_and_its_winner_is_trained(
    session: Start, qtbot: QtBot, trained: Trained, paths: DataPaths
) -> None:
    base = replace(
        trained.spec, training=TrainingSpec(epochs=2, segment_length=64, burn_in=8, batch_segments=4, seed=9)
    )
    space = (parse_range("model.hidden_size", "choice 2 4"), parse_range("training.learning_rate", "log 1e-3 3e-2"))
    with session() as first:
        run_id = first.desk.start_training(
            SearchSpec(base=base, trials=400, processes=1, finalists=1, space=space).to_json()
        )
        qtbot.waitUntil(lambda: len(first.dock.runs[0].scores) >= 2, timeout=LIMIT)
        assert first.rows()[0].startswith("Search for BTC/USDT 1h · ")
        assert first.dock.search.isVisible()
        assert not first.dock.pages.isTabVisible(first.dock.pages.indexOf(first.dock.details))
        qtbot.mouseClick(first.button("training_pause"), Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: first.dock.runs[0].state is RunState.PAUSED, timeout=LIMIT)
        qtbot.mouseClick(first.button("training_continue"), Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: first.dock.runs[0].state is RunState.RUNNING, timeout=LIMIT)
        qtbot.mouseClick(first.button("training_cancel"), Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: first.dock.runs[0].state is RunState.CANCELLED, timeout=LIMIT)

    with session() as second:
        qtbot.waitUntil(lambda: len(second.rows()) == 1, timeout=LIMIT)
        assert second.dock.runs[0].resumable
        # Less is wanted now than before, so that it ends soon.
        spec = SearchSpec.from_json(second.desk._specs[run_id])
        second.desk._specs[run_id] = replace(spec, trials=4).to_json()
        second.desk.resume_training(run_id)
        qtbot.waitUntil(lambda: second.dock.runs[0].found is not None, timeout=LIMIT)
        assert second.heard.notices[-1].title == "Search finished: BTC/USDT 1h"
        assert second.dock.search.importance.isVisible() == bool(second.dock.runs[0].found.importance)
        qtbot.mouseClick(second.button("search_train"), Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: len(second.dock.runs) == 2, timeout=LIMIT)
        assert ForecastSpec.from_json(second.dock.runs[1].spec) == second.dock.runs[0].found.spec
        second.desk.cancel_training(second.dock.runs[1].run_id)

    with session() as third:
        qtbot.waitUntil(lambda: len(third.rows()) >= 1, timeout=LIMIT)
        found = next(run.found for run in third.dock.runs if run.run_id == run_id)
        assert found is not None
        assert found.run_id == run_id
        third.desk.open_search("unknown")
        third.desk.open_search(run_id)
        dialog = third.dock.window().findChild(SearchDialog)
        qtbot.mouseClick(dialog.begin, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: sum(run.is_search for run in third.dock.runs) == 2, timeout=LIMIT)
        again = next(run for run in third.dock.runs if run.is_search and run.run_id != run_id)
        assert SearchSpec.from_json(again.spec).base == base
        third.desk.cancel_training(again.run_id)


def test_an_evaluation_of_a_model_is_at_stake_and_ends_with_the_window(
    session: Start, qtbot: QtBot, trained: Trained, paths: DataPaths
) -> None:
    shutil.copytree(trained.models_dir, paths.models)
    with session() as now:
        assert now.desk.close_warnings() == []
        now.desk.models.judge_model(trained.result.model_id)
        assert now.desk.close_warnings() == ["1 evaluation of a model ends now; nothing of it is kept."]
        (worker,) = now.desk.workers()
        worker.request_stop()  # as the shutdown does
        qtbot.waitUntil(lambda: now.desk.workers() == [], timeout=LIMIT)
        assert now.desk.close_warnings() == []
