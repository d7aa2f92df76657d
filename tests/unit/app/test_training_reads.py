"""Which stored models are offered to strategies, and what is said of the others."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from app.training_reads import model_offer, stored_forecasters
from core.domain.candles import Timeframe
from core.errors import UserError
from ml.feature_columns import parse_column
from ml.jsonvalues import encode
from ml.model_storage import METRICS, load_model, package_files, store_files
from ml.model_tags import TAGS_FILE, ModelTags
from tests.trained_model import Trained
from tests.unit.ml.packages import edited


@pytest.fixture
def models(tmp_path: Path, trained: Trained) -> Path:
    shutil.copytree(trained.models_dir / trained.result.model_id, tmp_path / trained.result.model_id)
    return tmp_path


def looking_at(models: Path, model_id: str, *columns: str) -> str:
    """Store the same model as if it had these feature columns, too; return its id."""
    texts = [encode(parse_column(column)) for column in columns]
    files = package_files(models, model_id)
    return store_files(models, edited(files, "config", lambda c: c["spec"]["features"].update(columns=texts)))


def test_a_model_made_here_is_offered_as_measured(models: Path, trained: Trained) -> None:
    offer = model_offer(models, trained.result.model_id)
    (choice,) = offer.choices
    assert (choice.model_id, choice.foreign, offer.refusal) == (trained.result.model_id, False, None)
    assert choice.verdict == trained.result.metrics.verdict
    assert choice.proven == trained.result.metrics.edge


def test_the_mark_of_a_model_made_elsewhere_travels_with_it(models: Path, trained: Trained) -> None:
    ModelTags(models).mark_imported(trained.result.model_id, "gift.maru", 1)
    (choice,) = model_offer(models).choices
    assert choice.foreign
    assert not replace(choice, edge=True).proven


def test_where_nobody_knows_what_was_made_elsewhere_nothing_is_offered(models: Path) -> None:
    (models / TAGS_FILE).write_text("{")
    with pytest.raises(UserError, match=r"tags\.json is damaged"):
        model_offer(models)


@pytest.mark.parametrize(("column", "named"), [("log_return@ETH/USDT", "ETH/USDT"), ("funding.level", "funding")])
def test_a_model_that_needs_more_than_its_market_is_not_offered_and_the_reason_is_told(
    models: Path, trained: Trained, column: str, named: str
) -> None:
    wanted = looking_at(models, trained.result.model_id, column)
    offer = model_offer(models, wanted)
    assert [choice.model_id for choice in offer.choices] == [trained.result.model_id]
    assert offer.refusal == (
        "No strategy can be made of this model",
        f"It also looks at {named}, which strategies do not receive.",
    )


def test_a_model_that_is_gone_or_damaged_is_called_no_longer_stored(models: Path, trained: Trained) -> None:
    (models / trained.result.model_id / METRICS).write_text("{}")
    for wanted in (trained.result.model_id, "0" * 16):
        offer = model_offer(models, wanted)
        assert offer.choices == ()
        assert offer.refusal is not None
        assert offer.refusal[0] == "This model is no longer stored"


def test_an_agent_may_see_through_forecasters_that_look_at_their_own_market_alone(
    models: Path, trained: Trained
) -> None:
    looking_at(models, trained.result.model_id, "funding.level")
    (found,) = stored_forecasters(models)
    stored = load_model(models, trained.result.model_id)
    data, split = stored.spec.data, stored.manifest["split"]
    assert (found.model_id, found.origin, found.symbol) == (stored.model_id, data.origin, data.symbol)
    assert (found.timeframe, found.kind) == (data.timeframe, stored.spec.model.kind)
    ahead_ns = stored.spec.model.reach * Timeframe(data.timeframe).ns
    assert found.learned_ns == split["train"]["last_open_ns"] + ahead_ns
    assert found.chosen_ns == split["valid"]["last_open_ns"] + ahead_ns
    assert found.learned_ns < found.chosen_ns
    (models / stored.model_id / METRICS).write_text("{}")
    assert stored_forecasters(models) == ()


def test_a_damaged_forecaster_hides_no_other(models: Path, trained: Trained) -> None:
    other = shutil.copytree(models / trained.result.model_id, models / ("0" * 16))
    (other / "model.onnx").write_bytes(b"\0" * (other / "model.onnx").stat().st_size)
    assert [found.model_id for found in stored_forecasters(models)] == [trained.result.model_id]
