"""The evaluate command as a user runs it: a child under the supervisor, one JSON line."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.data.atomic_file import exclusive_lock, write_atomically
from core.data.data_storage import CandleStore
from ml.api import EvaluationSpec, parse_column
from ml.evaluation_plan import EvaluationPlan, FoldsResult, ModelResult
from ml.evaluation_records import SavedEvaluation, saved_evaluations
from tests.integration.learning_commands import cli, interrupted, last_json
from tests.trained_model import Trained, train
from tests.unit.ml.test_evaluate import earlier

CONFIG = """
[features]
name = "price"
window = 12
[model]
hidden_size = 4
[training]
epochs = 2
segment_length = 64
burn_in = 8
[evaluation]
seeds = 1
boosting = false
"""


@pytest.fixture
def data_dir(tmp_path: Path, trained: Trained) -> Path:
    CandleStore(tmp_path / "candles").write("binance", trained.frame, "import")
    shutil.copytree(trained.models_dir, tmp_path / "models")
    (tmp_path / "run.toml").write_text(CONFIG)
    return tmp_path


def test_a_stored_model_is_judged_and_the_result_kept(data_dir: Path, trained: Trained) -> None:
    package = {path: path.read_bytes() for path in (data_dir / "models").rglob("*") if path.is_file()}
    done = cli("evaluate", trained.result.model_id[:6], "--save", "--json", data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    answer = last_json(done)
    saved = Path(answer.pop("saved"))
    result = ModelResult.from_json(answer)
    assert result.own_test == result.judged == trained.result.metrics.targets
    assert result.metrics.model == trained.result.metrics.model
    (kept,) = saved_evaluations(data_dir / "models", trained.result.model_id)
    assert isinstance(kept, SavedEvaluation)
    assert (saved, kept.result) == (data_dir / "models" / "evaluations" / kept.file, result)
    assert {path: path.read_bytes() for path in package} == package
    listed = last_json(cli("models", "list", "--json", data_dir=data_dir))
    assert [model["problem"] for model in listed["models"]] == [""]
    text = cli("evaluate", trained.result.model_id[:6], data_dir=data_dir).stdout
    assert "! " in text
    assert result.metrics.verdict in text


@pytest.mark.parametrize("columns", [(), ("log_return@ETH/USDT",)], ids=["ticked for nothing", "looked at"])
def test_another_market_counts_only_where_a_column_looks_at_it(
    tmp_path: Path, trained: Trained, columns: tuple[str, ...]
) -> None:
    """Models of earlier versions name markets that no column looks at."""
    frame = trained.frame
    prices = {name: getattr(frame, name) * 2 for name in ("open", "high", "low", "close")}
    ether = replace(frame, symbol="ETH/USDT", **prices)
    CandleStore(tmp_path / "candles").write("binance", ether, "import")
    spec = replace(
        trained.spec,
        data=replace(trained.spec.data, markets=("ETH/USDT",)),
        features=replace(trained.spec.features, columns=tuple(map(parse_column, columns))),
        training=replace(trained.spec.training, epochs=1),
        evaluation=EvaluationSpec(1, False, 0),
    )
    CandleStore(tmp_path / "candles").write("binance", frame, "import")
    train(spec, tmp_path)
    (model,) = (folder.name for folder in (tmp_path / "models").iterdir() if folder.is_dir())
    on_ether = cli("evaluate", model, "--symbol", "ETH/USDT", "--json", data_dir=tmp_path)
    for folder in list((tmp_path / "candles").rglob("ETH*")):
        shutil.rmtree(folder, ignore_errors=True)
    alone = cli("evaluate", model, "--json", data_dir=tmp_path)
    if not columns:
        assert (on_ether.returncode, alone.returncode) == (0, 0), on_ether.stderr + alone.stderr
        return
    assert (on_ether.returncode, alone.returncode) == (2, 2)
    assert "looks at ETH/USDT beside its own market" in last_json(on_ether)["error"]
    assert "no closed 1h bars of ETH/USDT" in last_json(alone)["error"]


def test_bars_before_the_training_need_an_option(data_dir: Path, trained: Trained) -> None:
    CandleStore(data_dir / "candles").write("binance", earlier(trained, 800), "import")
    model, end = trained.result.model_id, ("--end", "2020-09-12")
    refused = cli("evaluate", model, *end, "--json", data_dir=data_dir)
    assert refused.returncode == 2, refused.stderr
    error = last_json(refused)
    assert "lie before its training" in error["error"]
    assert "--include-earlier" in error["remedy"]
    text = cli("evaluate", model, *end, "--include-earlier", data_dir=data_dir)
    assert text.returncode == 0, text.stderr
    assert "! EARLIER BARS" in text.stdout


def test_a_configuration_is_trained_in_every_fold(data_dir: Path) -> None:
    given = ("evaluate", "--config", str(data_dir / "run.toml"), "--folds", "2", "--epochs", "1")
    done = cli(*given, "--json", data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    assert "fold 2/2" in done.stderr
    result = FoldsResult.from_json(last_json(done))
    assert (len(result.folds), result.plan.folds) == (2, 2)
    assert (result.metrics is not None, result.paths) == (True, ())
    with exclusive_lock(data_dir / "runs" / result.run_id / ".run.lock"):
        refused = cli("evaluate", "--resume", result.run_id, "--json", data_dir=data_dir)
    assert refused.returncode == 2
    assert last_json(refused)["error"] == f"The run {result.run_id} is at work already."
    resumed = cli("evaluate", "--resume", result.run_id, data_dir=data_dir)
    assert resumed.returncode == 0, resumed.stderr
    assert "fold 1/2" not in resumed.stderr
    for text in ("All tests as one series", "of 2 folds", "persistence", "lose money after costs"):
        assert text in resumed.stdout, resumed.stdout


def test_the_combinatorial_scheme_gives_paths(data_dir: Path) -> None:
    given = ("--scheme", "combinatorial", "--groups", "3", "--test-groups", "2", "--start", "2020-09-20")
    done = cli("evaluate", "--config", str(data_dir / "run.toml"), *given, data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    assert "combinatorial evaluation" in done.stdout
    assert "of 2 paths" in done.stdout
    assert "spread over paths, no confidence interval" in done.stdout
    assert "95%:" not in done.stdout
    assert "of the paths" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say what to evaluate"),
        (["abc"], "no model 'abc'"),
        (["abc", "--config", "run.toml"], "Say what to evaluate"),
        (["abc", "--folds", "3"], "--folds belongs to the evaluation of a configuration"),
        (["--config", "run.toml", "--save"], "--save belongs to the evaluation of a stored model"),
        (
            ["--config", "run.toml", "--include-earlier"],
            "--include-earlier belongs to the evaluation of a stored model",
        ),
        (["--config", "run.toml", "--start", "soon"], "'soon' is no date"),
        (["--config", "missing.toml"], "cannot be read"),
        (["--resume", "run-9"], "no evaluation 'run-9'"),
        (["--resume", "evaluation-9"], "no evaluation 'evaluation-9'"),
        (["--resume", "../runs/evaluation-7"], "no evaluation '../runs/evaluation-7'"),
        (["--resume", ""], "no evaluation ''"),
        (["--config", "{data}/run.toml", "--scheme", "oracle"], "evaluation scheme 'oracle'"),
        (["--config", "{data}/run.toml", "--folds", "90"], "too few bars"),
        (["{model}", "--symbol", "ETH/USDT"], "no closed 1h bars of ETH/USDT"),
        (["{model}", "--end", "2020-10-01"], "were trained on"),
        (["{model}", "--timeframe", "4h"], "no closed 4h bars"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_two(
    data_dir: Path, trained: Trained, arguments: list[str], sentence: str
) -> None:
    filled = [text.format(data=data_dir, model=trained.result.model_id) for text in arguments]
    for name, value in (("spec", trained.spec), ("plan", EvaluationPlan())):
        write_atomically(data_dir / "runs" / "evaluation-7" / f"{name}.json", json.dumps(value.to_json()).encode())
    done = cli("evaluate", *filled, "--json", data_dir=data_dir)
    assert done.returncode == 2, done.stderr
    error = last_json(done)
    assert sentence in error["error"]
    assert error["remedy"]
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_cancels_and_says_how_to_continue(data_dir: Path) -> None:
    config = data_dir / "long.toml"
    config.write_text(CONFIG.replace("epochs = 2", "epochs = 9000\npatience = 9000"))
    rest = interrupted("evaluate", "--config", str(config), data_dir=data_dir, at="fold 1/")
    assert "Continue with: evaluate --resume evaluation-" in rest
