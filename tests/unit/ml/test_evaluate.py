from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.errors import UserError
from core.jobs import JobStopped
from ml.api import DataRange
from ml.evaluate import count_evaluation, evaluate_model
from ml.evaluation_plan import EvaluationProgress, ModelJob, ModelResult
from ml.features import MarketHistory
from ml.judge import conformal_metrics
from ml.metric_results import ConformalMetrics
from ml.model_storage import StoredModel, load_model
from ml.model_tags import ModelTags
from ml.trial_ledger import TrialLedger
from ml.worker.evaluate import run
from tests.job_kit import RecordingChannel
from tests.trained_model import Trained
from tests.unit.ml.helpers import HOUR, ar1_returns, frame_from_returns

SIMPLE = {"zero", "persistence", "climatology"}


@pytest.fixture(scope="module")
def stored(trained: Trained) -> StoredModel:
    return load_model(trained.models_dir, trained.result.model_id)


def longer(trained: Trained, bars: int) -> CandleFrame:
    """Return the bars of the training and as many new ones behind them."""
    more = frame_from_returns(ar1_returns(bars, 0.3, 7), 7)
    scale = trained.frame.close[-1] / 100.0
    later = replace(
        more,
        time_ns=trained.frame.time_ns[-1] + HOUR.ns * (1 + np.arange(bars, dtype=np.int64)),
        **{name: getattr(more, name) * scale for name in ("open", "high", "low", "close")},
    )
    return CandleFrame.concat([trained.frame, later], "BTC/USDT", HOUR)


def earlier(trained: Trained, bars: int) -> CandleFrame:
    """Return as many bars before those of the training, and these."""
    before = frame_from_returns(ar1_returns(bars, 0.3, 8), 8)
    scale = trained.frame.open[0] / before.close[-1]
    past = replace(
        before,
        time_ns=trained.frame.time_ns[0] - HOUR.ns * np.arange(bars, 0, -1, dtype=np.int64),
        **{name: getattr(before, name) * scale for name in ("open", "high", "low", "close")},
    )
    return CandleFrame.concat([past, trained.frame], "BTC/USDT", HOUR)


def split_ns(stored: StoredModel, part: str, end: str) -> int:
    return int(stored.manifest["split"][part][f"{end}_open_ns"])


def test_the_bars_it_came_with_leave_its_own_test(trained: Trained, stored: StoredModel) -> None:
    result = evaluate_model(stored, MarketHistory(trained.frame), trained.spec.data)
    around = (stored.spec.model.reach + stored.spec.split.purge_bars) * HOUR.ns
    assert result.trained_on > 2_000
    assert not result.included
    # Nothing is judged within a horizon and a purge of what was trained on; the test part itself is.
    assert result.first_ns >= split_ns(stored, "valid", "last") + around
    assert result.judged == result.own_test == stored.metrics.targets
    assert result.metrics.model == stored.metrics.model
    assert result.metrics.baselines == stored.metrics.baselines
    assert result.metrics.earnings == stored.metrics.earnings
    assert [row.split_coverage for row in result.metrics.conformal] == [
        row.split_coverage for row in stored.metrics.conformal
    ]
    assert result.metrics.conformal == stored.metrics.conformal
    assert any("left out" in note for note in result.notes)
    assert any("its own test" in note for note in result.notes)


def test_newer_bars_are_judged_beside_yardsticks_of_its_own_training(trained: Trained, stored: StoredModel) -> None:
    frame = longer(trained, 800)
    start = int(trained.frame.time_ns[-1]) + HOUR.ns
    result = evaluate_model(stored, MarketHistory(frame), replace(trained.spec.data, start_ns=start))
    assert (result.first_ns, result.trained_on, result.own_test, result.notes) == (start, 0, 0, ())
    assert result.judged == 799  # the last has no outcome
    assert {row.name for row in result.metrics.baselines} == {*SIMPLE, "ridge", "boosting"}
    assert result.metrics.edge
    nothing_else = evaluate_model(stored, MarketHistory(frame.between(start)), trained.spec.data)
    assert nothing_else.judged < 600  # warm-up, and a part for the yardsticks
    assert {row.name for row in nothing_else.metrics.baselines} == SIMPLE
    assert any("first 30%" in note for note in nothing_else.notes)


def test_a_changed_past_is_not_its_training(trained: Trained, stored: StoredModel) -> None:
    frame = longer(trained, 800)
    volume = frame.volume.copy()
    volume[100] *= 2.0
    start = int(trained.frame.time_ns[-1]) + HOUR.ns
    result = evaluate_model(
        stored, MarketHistory(replace(frame, volume=volume)), replace(trained.spec.data, start_ns=start)
    )
    assert {row.name for row in result.metrics.baselines} == SIMPLE
    assert any("not at hand" in note for note in result.notes)


def test_bars_of_the_training_are_refused_or_said(trained: Trained, stored: StoredModel) -> None:
    end = split_ns(stored, "valid", "last")
    data = replace(trained.spec.data, end_ns=end)
    history = MarketHistory(trained.frame.between(None, end))
    with pytest.raises(UserError, match="were trained on, which leaves 0") as refused:
        evaluate_model(stored, history, data)
    assert "--include-training" in refused.value.remedy
    result = evaluate_model(stored, history, data, include_training=True)
    assert result.included
    assert result.judged > 0
    assert any("flatter" in note for note in result.notes)


def test_bars_before_the_training_are_left_out_unless_asked_for(trained: Trained, stored: StoredModel) -> None:
    history = MarketHistory(earlier(trained, 800))
    result = evaluate_model(stored, history, trained.spec.data)
    around = (stored.spec.model.reach + stored.spec.split.purge_bars) * HOUR.ns
    assert result.first_ns >= split_ns(stored, "valid", "last") + around
    assert result.judged == result.own_test == stored.metrics.targets
    assert result.earlier > 600
    assert not result.included_earlier
    assert any("before its training are left out" in note for note in result.notes)
    assert result.metrics.model == stored.metrics.model
    assert result.metrics.conformal == stored.metrics.conformal
    asked = evaluate_model(stored, history, trained.spec.data, include_earlier=True)
    assert asked.included_earlier
    assert asked.first_ns < split_ns(stored, "train", "first")
    burn_in = stored.spec.training.burn_in
    assert asked.judged == result.judged + asked.earlier - burn_in  # nothing lies before to warm up with
    # What was trained on stays out all the same.
    assert asked.trained_on == result.trained_on
    assert not asked.included
    (loud,) = [note for note in asked.notes if note.startswith("EARLIER BARS")]
    assert f"{asked.earlier - burn_in:,} of the judged bars" in loud
    assert "the model was trained on what came after these bars" in loud


def test_bars_of_the_training_bring_no_earlier_ones(trained: Trained, stored: StoredModel) -> None:
    history = MarketHistory(earlier(trained, 800))
    result = evaluate_model(stored, history, trained.spec.data, include_training=True)
    assert result.first_ns < split_ns(stored, "train", "last")
    assert result.earlier > 600
    around = (stored.spec.model.reach + stored.spec.split.purge_bars) * HOUR.ns
    assert result.first_ns >= split_ns(stored, "train", "first") - around


def test_only_bars_before_the_training_are_refused_or_said_loudly(trained: Trained, stored: StoredModel) -> None:
    start, end = split_ns(stored, "train", "first"), split_ns(stored, "train", "first") - 200 * HOUR.ns
    frame = earlier(trained, 1_200)
    history, data = MarketHistory(frame.between(None, start)), replace(trained.spec.data, end_ns=end)
    with pytest.raises(UserError, match="lie before its training, which leaves 0") as refused:
        evaluate_model(stored, history, data)
    assert "--include-earlier" in refused.value.remedy
    assert "--include-training" not in refused.value.remedy
    result = evaluate_model(stored, history, data, include_earlier=True)
    assert result.last_ns < end
    assert any(note.startswith("EARLIER BARS") for note in result.notes)


@pytest.mark.parametrize(
    ("asked", "empty"), [({}, False), ({"include_earlier": True}, True), ({"include_training": True}, True)]
)
def test_the_adaptive_interval_knows_nothing_later_than_the_first_judged_bar(
    monkeypatch: pytest.MonkeyPatch, trained: Trained, stored: StoredModel, asked: dict[str, bool], empty: bool
) -> None:
    begun: list[int] = []

    def watched(*arguments: Any) -> ConformalMetrics:
        begun.append(len(arguments[-1]))
        return conformal_metrics(*arguments)

    monkeypatch.setattr("ml.evaluate.conformal_metrics", watched)
    evaluate_model(stored, MarketHistory(earlier(trained, 800)), trained.spec.data, **asked)
    assert begun
    assert all((count == 0) == empty for count in begun)


def test_another_market_is_said_loudly_and_its_same_weeks_are_left_out(trained: Trained, stored: StoredModel) -> None:
    other = replace(longer(trained, 800), symbol="ETH/USDT")
    data = replace(trained.spec.data, symbol="ETH/USDT")
    result = evaluate_model(stored, MarketHistory(other), data)
    assert result.notes[0].startswith("ANOTHER MARKET")
    assert result.first_ns > split_ns(stored, "valid", "last")
    assert result.own_test == 0
    assert {row.name for row in result.metrics.baselines} == SIMPLE


def test_nothing_behind_the_judged_bars_matters(trained: Trained, stored: StoredModel) -> None:
    frame = longer(trained, 800)
    data = replace(trained.spec.data, end_ns=int(frame.time_ns[-200]))
    close = frame.close.copy()
    close[-190:] *= 3.0
    wild = replace(frame, close=close, high=np.maximum(frame.high, close))
    one, two = (evaluate_model(stored, MarketHistory(each), data) for each in (frame, wild))
    assert one.metrics == two.metrics


def test_another_bar_length_is_refused(trained: Trained, stored: StoredModel) -> None:
    frame = replace(trained.frame, timeframe=Timeframe.M5, time_ns=trained.frame.time_ns // 12)
    with pytest.raises(UserError, match="knows bars of 1h"):
        evaluate_model(stored, MarketHistory(frame), trained.spec.data)


def test_an_evaluation_counts_once_however_often_it_is_repeated(
    tmp_path: Path, trained: Trained, stored: StoredModel
) -> None:
    ledger = TrialLedger(tmp_path / "trials.sqlite")
    result = evaluate_model(stored, MarketHistory(trained.frame), trained.spec.data)
    for _ in range(2):
        count_evaluation(result, stored.spec, ledger, 1)
    assert ledger.count() == 1
    other = evaluate_model(stored, MarketHistory(longer(trained, 300)), trained.spec.data)
    counted = count_evaluation(other, stored.spec, ledger, 2)
    assert ledger.count() == 2
    assert counted.metrics.deflated is not None
    # The very same bars under another name are another market's.
    count_evaluation(replace(other, symbol="COPY/USDT"), stored.spec, ledger, 3)
    assert ledger.count() == 3
    assert {(record.kind, record.run_id) for record in ledger.records()} == {("evaluation", stored.model_id)}


def test_the_job_reads_bars_before_the_range_and_knows_who_made_the_model(
    tmp_path: Path, trained: Trained, stored: StoredModel
) -> None:
    CandleStore(tmp_path / "candles").write("binance", longer(trained, 500), "import")
    shutil.copytree(trained.models_dir, tmp_path / "models")
    start = int(trained.frame.time_ns[-1]) + HOUR.ns
    job = ModelJob(
        stored.model_id,
        DataRange(start_ns=start),
        include_training=False,
        include_earlier=False,
        candles_dir=str(tmp_path / "candles"),
        models_dir=str(tmp_path / "models"),
        trials_file=str(tmp_path / "trials.sqlite"),
    ).to_json()
    channel = RecordingChannel()
    result = ModelResult.from_json(json.loads(json.dumps(run(job, channel))))
    assert (result.first_ns, result.judged, result.notes) == (start, 499, ())
    heard = [EvaluationProgress.from_json(message) for message in channel.messages]
    assert [told.phase for told in heard[:2]] == ["loading", "features"]
    shares = [told.share for told in heard[2:]]
    assert shares[0] == 0.0
    assert shares == sorted(shares)  # type: ignore[type-var]
    assert len(set(shares)) == 6  # five yardsticks and the earnings
    times_left = [told.eta_s for told in heard[2:]]
    assert all(eta is not None and eta > 0.0 for eta in times_left)
    with pytest.raises(JobStopped):
        run(job, RecordingChannel(lambda told: (told["share"] or 0.0) > 0.0))
    ModelTags(tmp_path / "models").mark_imported(stored.model_id, "gift.maru", 1)
    (note,) = ModelResult.from_json(run(job, RecordingChannel())).notes
    assert "its maker's word" in note
