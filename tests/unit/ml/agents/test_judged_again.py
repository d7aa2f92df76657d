"""A stored agent is judged on bars it did not come with, as honestly as on its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.data.data_storage import CandleStore
from core.data.frame import CandleFrame
from core.domain.candles import Timeframe
from core.domain.data_origin import BINANCE
from core.errors import UserError
from core.jobs import JobStopped
from ml.agents.judged_again import count_agent_evaluation, evaluate_agent
from ml.agents.package import StoredAgent
from ml.agents.results import AgentMetrics
from ml.agents.run_spec import PPO, EncoderSpec
from ml.agents.universe import FundingSource, UniverseSpec
from ml.api import DataRange
from ml.evaluation_plan import AgentEvaluation, EvaluationProgress, ModelJob
from ml.features import MarketHistory
from ml.model_storage import load_agent, load_model
from ml.trial_ledger import TrialLedger
from ml.worker.evaluate import run
from tests.job_kit import RecordingChannel
from tests.trained_model import Trained
from tests.unit.ml.agents.agent_runs import short_spec
from tests.unit.ml.agents.test_worker import Finished, work

HOUR = Timeframe.H1
OWN = DataRange()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> Finished:
    return work(tmp_path_factory.mktemp("plain"), trained, short_spec(PPO))


@pytest.fixture(scope="module")
def stored(finished: Finished) -> StoredAgent:
    return load_agent(finished.folder / "models", finished.result.model_id)


def longer(trained: Trained, bars: int) -> CandleFrame:
    """Return the bars of the training with as many behind them, which repeat earlier ones at the last close."""
    frame = trained.frame
    part = frame.slice(len(frame) - bars)
    ratio = float(frame.close[-1] / part.open[0])
    prices = {
        name: np.concatenate([getattr(frame, name), getattr(part, name) * ratio])
        for name in ("open", "high", "low", "close")
    }
    time_ns = np.concatenate([frame.time_ns, frame.time_ns[-1] + HOUR.ns * np.arange(1, bars + 1)])
    rest = {name: np.concatenate([getattr(frame, name), getattr(part, name)]) for name in ("volume", "final")}
    return replace(frame, time_ns=time_ns, **prices, **rest)


def own_test(agent: StoredAgent) -> DataRange:
    """Return the range of its own test part."""
    test = agent.manifest["split"]["test"]
    return replace(OWN, start_ns=int(test["first_open_ns"]), end_ns=int(test["last_open_ns"]) + HOUR.ns)


def judged_on(result: AgentEvaluation) -> tuple[int, float, float | None]:
    figures = result.metrics.ensemble
    return result.judged, figures.log_return, figures.trading.sharpe


def test_on_its_own_test_it_shows_what_it_showed(stored: StoredAgent, trained: Trained) -> None:
    result = evaluate_agent(stored, None, MarketHistory(trained.frame), own_test(stored))
    metrics = stored.metrics
    assert judged_on(result) == pytest.approx(
        (metrics.bars, metrics.ensemble.log_return, metrics.ensemble.trading.sharpe), rel=1e-9
    )
    assert [row.parameter for row in result.metrics.baselines] == [row.parameter for row in metrics.baselines]
    assert result.own_test == result.judged
    assert result.notes == (f"{result.judged:,} of these bars were its own test, which it was judged on before.",)
    assert result.metrics.seeds == ()
    assert "network" not in result.metrics.verdict


def test_by_itself_it_looks_at_nothing_it_was_trained_on(stored: StoredAgent, trained: Trained) -> None:
    result = evaluate_agent(stored, None, MarketHistory(longer(trained, 300)), OWN)
    valid_ns = int(stored.manifest["split"]["valid"]["last_open_ns"])
    assert result.first_ns > valid_ns + stored.spec.split.purge_bars * HOUR.ns
    assert result.judged > stored.metrics.bars + 250
    assert result.own_test == stored.metrics.bars + 1  # of its last bar the outcome is known now
    assert result.trained_on > 1_000
    assert any("are left out" in note for note in result.notes)


def test_what_comes_behind_the_range_changes_nothing(stored: StoredAgent, trained: Trained) -> None:
    frame = longer(trained, 400)
    start = int(trained.frame.time_ns[-1]) + HOUR.ns
    span = replace(OWN, start_ns=start, end_ns=start + 200 * HOUR.ns)
    short = evaluate_agent(stored, None, MarketHistory(frame.slice(0, len(trained.frame) + 200)), span)
    whole = evaluate_agent(stored, None, MarketHistory(frame), span)
    assert judged_on(short) == judged_on(whole)
    assert (short.first_ns, short.judged) == (start, 199)


def test_an_agent_with_an_encoder_sees_through_it_there_too(tmp_path: Path, trained: Trained) -> None:
    spec = replace(short_spec(PPO, seeds=1), encoder=EncoderSpec(trained.result.model_id))
    done = work(tmp_path, trained, spec)
    agent = load_agent(tmp_path / "models", done.result.model_id)
    encoder = load_model(tmp_path / "models", agent.encoder_id)
    result = evaluate_agent(agent, encoder, MarketHistory(trained.frame), own_test(agent))
    metrics = agent.metrics
    assert result.metrics.ensemble.log_return == pytest.approx(metrics.ensemble.log_return, rel=1e-9)
    assert "forecast_sign" in [row.figures.name for row in result.metrics.baselines]


@pytest.mark.parametrize(
    ("span", "message", "remedy"),
    [
        ({"end_ns": 1_000 * HOUR.ns}, "bars", ""),
        ({"until_valid": True}, "were trained on", "Choose newer bars."),
    ],
)
def test_bars_it_knows_are_refused(
    stored: StoredAgent, trained: Trained, span: dict[str, object], message: str, remedy: str
) -> None:
    end = int(stored.manifest["split"]["valid"]["last_open_ns"]) if "until_valid" in span else span["end_ns"]
    with pytest.raises(UserError, match=message) as refused:
        evaluate_agent(stored, None, MarketHistory(trained.frame), replace(OWN, end_ns=end))
    assert not remedy or refused.value.remedy == remedy


def test_where_nobody_knows_the_funding_nothing_is_judged(stored: StoredAgent, trained: Trained) -> None:
    universe = UniverseSpec(funding=(FundingSource("BTC/USDT", "funding.csv"),))
    paying = replace(stored, spec=replace(stored.spec, universe=universe))
    with pytest.raises(UserError, match="paid funding on BTC/USDT"):
        evaluate_agent(paying, None, MarketHistory(trained.frame), OWN)


def test_bars_of_another_length_are_refused(stored: StoredAgent, trained: Trained) -> None:
    with pytest.raises(UserError, match="knows bars of 1h, not of 4h"):
        evaluate_agent(stored, None, MarketHistory(replace(trained.frame, timeframe=Timeframe.H4)), OWN)


def test_it_is_a_trial_once_however_often_it_is_repeated(stored: StoredAgent, trained: Trained, tmp_path: Path) -> None:
    ledger = TrialLedger(tmp_path / "trials.sqlite")
    result = evaluate_agent(stored, None, MarketHistory(longer(trained, 300)), OWN)
    counted = count_agent_evaluation(result, stored.spec, ledger, 1)
    assert count_agent_evaluation(result, stored.spec, ledger, 2) == counted
    (record,) = ledger.records()
    assert (record.kind, record.run_id, record.status) == ("evaluation", stored.model_id, "finished")
    assert (record.score, record.score_name) == (result.metrics.ensemble.log_return, "log_return")
    assert result.metrics.sharpe is not None
    assert record.test_sharpe == result.metrics.sharpe.sharpe
    count_agent_evaluation(replace(result, symbol="COPY/USDT"), stored.spec, ledger, 3)
    assert ledger.count() == 2


def test_the_job_judges_an_agent_as_well(finished: Finished, trained: Trained, tmp_path: Path) -> None:
    CandleStore(tmp_path / "candles").write(BINANCE, longer(trained, 300), "import")
    start = int(trained.frame.time_ns[-1]) + HOUR.ns
    job = ModelJob(
        finished.result.model_id,
        DataRange(start_ns=start),
        include_training=False,
        include_earlier=False,
        candles_dir=str(tmp_path / "candles"),
        models_dir=str(finished.folder / "models"),
        trials_file=str(tmp_path / "trials.sqlite"),
    ).to_json()
    channel = RecordingChannel()
    result = AgentEvaluation.from_json(json.loads(json.dumps(run(job, channel))))
    phases = [EvaluationProgress.from_json(message).phase for message in channel.messages]
    assert phases == ["loading", "features", "judging"]
    assert (result.first_ns, result.judged) == (start, 299)
    assert isinstance(result.metrics, AgentMetrics)
    assert TrialLedger(tmp_path / "trials.sqlite").count() == 1
    with pytest.raises(JobStopped):
        run(job, RecordingChannel(lambda told: told["phase"] == "judging"))
