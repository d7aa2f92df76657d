"""The job of an agent, from bars in the store to a package beside the others, with and without an encoder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from core.clock import ManualClock
from core.data.data_storage import CandleStore
from core.domain.data_origin import BINANCE
from core.errors import UserError
from core.jobs import JobStopped, Json
from ml.agents.bars import agent_bars, encode_bars
from ml.agents.progress import AgentProgress, AgentResult
from ml.agents.run_spec import DDPG, PPO, AgentSpec, EncoderSpec
from ml.agents.universe import InstrumentRules, UniverseSpec
from ml.api import SPEC_FILE, ModelSpec, TrainingSpec
from ml.features import MarketHistory
from ml.inference import OnnxPredictor
from ml.model_exchange import export_model, import_model
from ml.model_storage import data_lineage, list_models, load_agent, load_episode, load_model, package_files, summarise
from ml.network_guard import check_in_child
from ml.package_check import check_package
from ml.trial_ledger import TrialLedger, TrialScope
from ml.worker.agent import run
from tests.job_kit import RecordingChannel
from tests.trained_model import Trained
from tests.unit.ml.agents.agent_runs import job_of, short_spec
from tests.unit.ml.helpers import appended, ar1_returns, frame_from_returns
from tests.unit.ml.packages import edited


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    spec: AgentSpec
    folder: Path
    result: AgentResult
    messages: tuple[Json, ...]
    logs: tuple[str, ...]


def work(folder: Path, trained: Trained, spec: AgentSpec, stop: Callable[[Json], bool] = lambda _: False) -> Finished:
    """Run the job on the bars that the stored forecaster was made of."""
    if not (folder / "candles").exists():
        CandleStore(folder / "candles").write(BINANCE, trained.frame, "import")
        trained.copy_to(folder / "models")
    channel = RecordingChannel(stop)
    result = AgentResult.from_json(run(job_of(folder, spec), channel))
    return Finished(spec, folder, result, tuple(channel.messages), tuple(channel.logs))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> Finished:
    return work(tmp_path_factory.mktemp("plain"), trained, short_spec(PPO))


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> Finished:
    spec = replace(short_spec(DDPG), encoder=EncoderSpec(trained.result.model_id))
    return work(tmp_path_factory.mktemp("encoded"), trained, spec)


def test_a_run_reports_every_phase_and_stores_a_whole_package(plain: Finished) -> None:
    told = [AgentProgress.from_json(message) for message in plain.messages]
    phases = [progress.phase for progress in told]
    assert list(dict.fromkeys(phases)) == ["loading", "features", "training", "exporting", "testing", "done"]
    result, metrics = plain.result, plain.result.metrics
    assert plain.logs == (metrics.verdict,)
    stored = load_agent(plain.folder / "models", result.model_id)
    assert (stored.spec, stored.metrics) == (plain.spec, metrics)
    assert stored.manifest["run"]["id"] == "agent-1"
    assert [seed["seed"] for seed in stored.manifest["run"]["seeds"]] == [1, 2]
    assert "encoder" not in stored.manifest
    assert json.loads((plain.folder / "runs" / "agent-1" / SPEC_FILE).read_bytes()) == plain.spec.to_json()
    assert not summarise(plain.folder / "models", result.model_id).problem
    assert [record.seed for record in result.history] == [1] * 4 + [2] * 4
    assert result.steps == sum(record.step for record in result.history[3::4])


@pytest.mark.parametrize("run_of", ["plain", "encoded"])
def test_the_judged_pass_is_stored(run_of: str, request: pytest.FixtureRequest) -> None:
    done: Finished = request.getfixturevalue(run_of)
    episode = load_episode(done.folder / "models", done.result.model_id)
    assert episode is not None
    metrics, decided = done.result.metrics, episode.decided
    assert (episode.symbol, episode.timeframe, episode.left_out) == ("BTC/USDT", "1h", 0)
    assert int(decided.sum()) == metrics.bars
    # What is judged, to the last bit but for the order of the sums.
    assert math.log(episode.equity[-1]) == pytest.approx(metrics.ensemble.log_return, abs=1e-12)
    assert list(episode.rules) == [row.figures.name for row in metrics.baselines]
    for row in metrics.baselines:
        assert math.log(episode.rules[row.figures.name][-1]) == pytest.approx(row.figures.log_return, abs=1e-12)
    assert episode.equity[0] == 1.0
    paid = metrics.ensemble.paid
    parts = (paid.fee, paid.spread, paid.slippage, paid.impact, paid.funding, paid.borrow)
    assert float(episode.cost.sum()) == pytest.approx(sum(parts), abs=1e-12)
    year = metrics.bars_per_year
    turnover = metrics.ensemble.positions.turnover  # the end counts a decision and its sale apart
    assert float(np.abs(episode.traded).sum()) / metrics.bars * year == pytest.approx(
        turnover, abs=2.0 * year / metrics.bars
    )
    # What the exported network said is the mean of what its members say of the same.
    np.testing.assert_allclose(episode.seeds.mean(axis=1)[decided], episode.target[decided], atol=2e-6)
    assert not episode.target[~decided].any()
    stored = load_agent(done.folder / "models", done.result.model_id)
    assert len(episode.names) == stored.observed
    assert episode.names[: len(stored.feature_names)] == stored.feature_names
    seen = episode.observed[:, episode.names.index("weight")]
    np.testing.assert_allclose(seen[decided], episode.held[decided], atol=1e-6)
    returns = np.diff(np.log(episode.equity))
    np.testing.assert_allclose(np.exp(returns.sum()), episode.equity[-1], rtol=1e-12)
    check_package(package_files(done.folder / "models", stored.model_id))


def test_it_learned_what_there_is_to_learn(plain: Finished) -> None:
    metrics = plain.result.metrics
    assert metrics.diagnostics.is_trained
    assert metrics.diagnostics.rewards_add_up
    assert metrics.ensemble.log_return > 0.2 * metrics.baseline("momentum").log_return > 0.0
    assert metrics.timing.p_value < 0.05
    assert metrics.hindsight_return is not None
    assert metrics.hindsight_return > max(row.figures.log_return for row in metrics.baselines)
    assert metrics.hindsight_share == pytest.approx(metrics.ensemble.log_return / metrics.hindsight_return)


def test_every_seed_is_a_trial(plain: Finished) -> None:
    records = TrialLedger(plain.folder / "trials.sqlite").records()
    assert [(record.seed, record.status) for record in records] == [
        (1, "begun"),
        (2, "begun"),
        (1, "finished"),
        (2, "finished"),
    ]
    assert records[-1].score_name == "valid_log_return"
    assert records[-1].test_sharpe is not None
    deflated = plain.result.metrics.deflated
    assert deflated is not None
    assert deflated.trials == 2


def test_no_part_sees_another(plain: Finished, trained: Trained) -> None:
    bars = agent_bars(MarketHistory(trained.frame), plain.spec)
    stretches = (*bars.train, *bars.valid, *bars.test)
    assert list(stretches) == sorted(stretches)
    gap = plain.spec.split.purge_bars
    assert bars.valid[0].start - bars.train[-1].stop >= gap
    assert bars.test[0].start - bars.valid[-1].stop >= gap
    # What comes later changes nothing that was known before.
    cut = trained.frame.slice(0, bars.test[0].start + 50)
    later = replace(cut, close=np.where(np.arange(len(cut)) == len(cut) - 1, cut.close * 3, cut.close))
    later = replace(later, high=np.maximum(later.high, later.close))
    before, after = (bars.data.pipeline.rows(MarketHistory(each)).matrix[:-1] for each in (cut, later))
    np.testing.assert_array_equal(before, after)


def test_an_encoder_is_referenced_and_seen(encoded: Finished, trained: Trained) -> None:
    assert [m["phase"] for m in encoded.messages][1] == "encoding"
    stored = load_agent(encoded.folder / "models", encoded.result.model_id)
    model = trained.spec.model
    columns = 2 * model.hidden_size + len(model.quantile_levels) * len(model.horizons)
    assert len(stored.encoder_names) == columns
    assert stored.observed == len(stored.feature_names) + columns + 5
    assert stored.manifest["encoder"]["model_id"] == trained.result.model_id
    names = [row.figures.name for row in encoded.result.metrics.baselines]
    assert "forecast_sign" in names
    check_package(package_files(encoded.folder / "models", stored.model_id))


def test_an_agent_of_a_real_run_passes_every_door(encoded: Finished, tmp_path: Path) -> None:
    exported = export_model(encoded.folder / "models", encoded.result.model_id, tmp_path)
    done = import_model(tmp_path / "models", exported, check_in_child, ManualClock(10**18))
    assert done.model_id == encoded.result.model_id


def test_what_an_encoder_says_is_what_it_says_live(trained: Trained) -> None:
    frame = trained.frame.slice(3_400, 3_600)
    encoder = load_model(trained.models_dir, trained.result.model_id)
    said = encode_bars(MarketHistory(frame), encoder, EncoderSpec(encoder.model_id))
    predictor = OnnxPredictor(encoder)
    live = [predictor.update(candle) for candle in frame.to_candles("test")]
    assert [forecast is not None for forecast in live] == said.known.tolist()
    wanted = [forecast.quantiles[2] for forecast in live if forecast is not None]
    np.testing.assert_allclose(said.forecast[said.known], wanted, atol=1e-9)
    assert (said.columns[~said.known] == 0).all()


def test_an_encoder_that_knows_what_is_judged_is_refused(trained: Trained, tmp_path: Path) -> None:
    early = short_spec(PPO).split
    leaking = replace(early, train_fraction=0.4, valid_fraction=0.2)
    spec = replace(short_spec(PPO), encoder=EncoderSpec(trained.result.model_id), split=leaking)
    with pytest.raises(UserError, match="learned from bars that the agent is to be judged on"):
        work(tmp_path, trained, spec)


def test_an_encoder_of_another_market_is_refused(trained: Trained) -> None:
    encoder = load_model(trained.models_dir, trained.result.model_id)
    spec = replace(short_spec(PPO), encoder=EncoderSpec(trained.result.model_id))
    other = replace(spec, data=replace(spec.data, symbol="ETH/USDT"))
    with pytest.raises(UserError, match="knows BTC/USDT 1h, not ETH/USDT 1h"):
        agent_bars(MarketHistory(replace(trained.frame, symbol="ETH/USDT")), other, encoder)


def test_a_run_that_became_a_model_does_not_go_on(plain: Finished) -> None:
    with pytest.raises(UserError, match="has ended: it became model"):
        run(job_of(plain.folder, plain.spec, resume=True), RecordingChannel())


ETHER = frame_from_returns(ar1_returns(3_900, 0.3, 5), 5, missing=(900,))


def test_a_run_on_several_markets_stores_and_counts_all_of_them(trained: Trained, tmp_path: Path) -> None:
    """Cancelled and resumed on the way; the other market's newer bars are not looked at."""
    CandleStore(tmp_path / "candles").write(BINANCE, replace(ETHER, symbol="ETH/USDT"), "import")
    CandleStore(tmp_path / "candles").write(BINANCE, trained.frame, "import")
    plain = short_spec(PPO)
    rules = (InstrumentRules("ETH/USDT", tick_size=0.01, lot_size=0.001, min_notional=5.0),)
    spec = replace(plain, universe=UniverseSpec(("ETH/USDT",), rules=rules)).validate()
    with pytest.raises(JobStopped):
        run(job_of(tmp_path, spec), RecordingChannel(lambda message: message["last"] is not None))
    CandleStore(tmp_path / "candles").write(BINANCE, replace(appended(ETHER), symbol="ETH/USDT"), "import")
    result = AgentResult.from_json(run(job_of(tmp_path, spec, resume=True), RecordingChannel()))
    metrics = result.metrics
    assert [market.symbol for market in metrics.markets] == ["BTC/USDT", "ETH/USDT"]
    assert metrics.diagnostics.rewards_add_up
    assert sum(market.log_return for market in metrics.markets) / 2 == pytest.approx(
        metrics.ensemble.log_return, abs=0.2
    )
    stored = load_agent(tmp_path / "models", result.model_id)
    assert stored.spec == spec
    data = stored.manifest["data"]
    assert (data["symbol"], data["sha256"]) == ("BTC/USDT", data_lineage(trained.frame)["sha256"])
    assert data["universe"] == {"ETH/USDT": data_lineage(replace(ETHER, symbol="ETH/USDT"))}
    check_package(package_files(tmp_path / "models", result.model_id))
    rows = TrialLedger(tmp_path / "trials.sqlite").records(TrialScope(symbol="ETH/USDT"))
    assert [(row.seed, row.status) for row in rows if row.status == "finished"] == [(1, "finished"), (2, "finished")]
    assert {row.data_hash for row in rows} == {data["universe"]["ETH/USDT"]["sha256"]}
    assert metrics.deflated is not None
    assert metrics.deflated.trials == 2, "the second market is no second trial"


def test_metrics_of_other_markets_are_refused(plain: Finished) -> None:
    files = package_files(plain.folder / "models", plain.result.model_id)
    metrics = json.loads(files["metrics.json"])
    wrong = {"symbol": "ETH/USDT", "bars": 10, "log_return": 0.5, "max_drawdown": 0.1, "turnover": 3.0}
    wrong |= {"exposure": 0.5, "liquidations": 0, "hold_log_return": 0.1, "hold_max_drawdown": 0.2}
    wrong |= {"sharpe": None, "hold_sharpe": None, "paid": metrics["ensemble"]["paid"]}
    with pytest.raises(UserError, match="metrics are of other markets than the configuration"):
        check_package(edited(files, "metrics", lambda content: content.update(markets=[wrong])))


def test_an_encoder_is_trained_first(trained: Trained, tmp_path: Path) -> None:
    """The agent's run is stopped once its encoder is there; going on takes that one."""
    plain = short_spec(PPO, seeds=1)
    spec = replace(
        plain,
        encoder=EncoderSpec(train_first=True, seeds=1),
        forecaster=ModelSpec(hidden_size=4),
        fitting=TrainingSpec(epochs=1, segment_length=64, burn_in=8, batch_segments=4),
    )
    with pytest.raises(JobStopped):
        work(tmp_path, trained, spec, stop=lambda message: message["last"] is not None)
    models = tmp_path / "models"
    (made,) = (row.model_id for row in list_models(models) if row.model_id != trained.result.model_id)
    channel = RecordingChannel()
    result = AgentResult.from_json(run(job_of(tmp_path, spec, resume=True), channel))
    assert channel.messages[0]["phase"] == "loading"
    stored = load_agent(models, result.model_id)
    assert stored.spec == spec.with_encoder(made)
    assert stored.manifest["encoder"]["model_id"] == made
    assert load_model(models, made).spec.split == spec.split
    kinds = [(record.run_id, record.status) for record in TrialLedger(tmp_path / "trials.sqlite").records()]
    assert ("agent-1-encoder", "finished") in kinds
    assert ("agent-1", "finished") in kinds


def test_a_cancelled_run_is_counted_and_goes_on(trained: Trained, tmp_path: Path) -> None:
    spec = short_spec(PPO)
    with pytest.raises(JobStopped):
        work(tmp_path, trained, spec, stop=lambda message: message["last"] is not None)
    ledger = TrialLedger(tmp_path / "trials.sqlite")
    assert [record.status for record in ledger.records()] == ["begun", "cancelled"]
    channel = RecordingChannel()
    result = AgentResult.from_json(run(job_of(tmp_path, spec, resume=True), channel))
    first = next(AgentProgress.from_json(m) for m in channel.messages if m["phase"] == "training" and m["device"])
    assert first.last is not None
    assert len(result.history) == 8
    assert ledger.count() == 2
