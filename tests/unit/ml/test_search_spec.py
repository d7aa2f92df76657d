"""What a search may vary, and how a person writes it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from core.errors import UserError
from ml.feature_columns import parse_column
from ml.feature_spec import FeatureSpec
from ml.search_spec import (
    DEFAULT_SPACE,
    GROUP,
    FeatureGroup,
    ParameterRange,
    SearchSpec,
    parse_range,
    search_from_mapping,
    settings,
)
from ml.spec import ForecastSpec, ModelSpec, TrainingSpec


def test_the_default_is_valid_and_varies_features_model_and_training() -> None:
    spec = SearchSpec().validate()
    assert {parameter.name.partition(".")[0] for parameter in spec.parameters} == {"features", "model", "training"}


def base(**features: Any) -> ForecastSpec:
    return ForecastSpec(features=FeatureSpec(**features)).validate()


@pytest.mark.parametrize(
    "spec",
    [
        base(name="custom", columns=(parse_column("RSI(timeperiod=14)"),)),
        base(name="custom", columns=(parse_column("log_return@4h"), parse_column("VOLUME_Z(timeperiod=20)"))),
        ForecastSpec(training=TrainingSpec(burn_in=150, segment_length=300)).validate(),
        ForecastSpec(training=TrainingSpec(burn_in=2_000, segment_length=4_096)).validate(),
    ],
    ids=["column of a set", "own columns", "long burn-in", "burn-in longer than any choice"],
)
def test_without_a_space_only_what_the_run_can_be_given_is_varied(spec: ForecastSpec) -> None:
    search = SearchSpec.around(spec).validate()
    for parameter in search.parameters:
        for value in parameter.extremes():
            search.applied({parameter.name: value}).validate()
    assert {"model.kind", "model.hidden_size", "training.learning_rate"} <= {each.name for each in search.parameters}
    assert search.applied({}) == spec
    assert SearchSpec.from_json(search.to_json()) == search


def test_a_set_of_ones_own_columns_is_never_replaced_by_another() -> None:
    own = base(name="custom", columns=(parse_column("log_return@4h"),))
    assert "features.name" not in {parameter.name for parameter in SearchSpec.around(own).parameters}


def test_choices_that_do_not_fit_are_left_out_and_one_that_is_left_is_no_choice() -> None:
    long = ForecastSpec(training=TrainingSpec(burn_in=100, segment_length=256))
    assert "training.segment_length" not in {parameter.name for parameter in SearchSpec.around(long).parameters}
    doubled = base(name="market", columns=(parse_column("RSI(timeperiod=14)"),))
    assert next(p for p in SearchSpec.around(doubled).space if p.name == "features.name").choices == ("price", "market")


def test_groups_count_where_the_built_in_space_is_fitted() -> None:
    search = search_from_mapping({"search": {"groups": {"momentum": ["RSI(timeperiod=14)"]}}}).validate()
    sets = next(parameter for parameter in search.space if parameter.name == "features.name")
    assert sets.choices == ("price", "market")  # the third has that very column
    for value in sets.choices:
        search.applied({sets.name: value, GROUP + "momentum": "on"}).validate()


def test_a_space_that_a_person_wrote_is_never_cut() -> None:
    own = base(name="custom", columns=(parse_column("RSI(timeperiod=14)"),))
    search = SearchSpec(base=own, space=(parse_range("features.name", "choice market technical"),))
    with pytest.raises(UserError, match="there twice"):
        search.validate()
    file = {"features": {"name": "custom", "columns": ["RSI(timeperiod=14)"]}, "search": {"trials": 5}}
    assert search_from_mapping(file).validate().trials == 5


def test_it_travels_as_json() -> None:
    spec = SearchSpec(groups=(FeatureGroup("momentum", ("RSI(timeperiod=14)",)),))
    assert SearchSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("choice lstm gru", ParameterRange("x", "choice", ("lstm", "gru"))),
        ("int 16 128 step 16", ParameterRange("x", "int", low=16, high=128, step=16)),
        ("float 0 0.5", ParameterRange("x", "float", low=0, high=0.5)),
        ("log 1e-4 1e-2", ParameterRange("x", "log", low=1e-4, high=1e-2)),
    ],
)
def test_ranges_are_read_and_written(text: str, expected: ParameterRange) -> None:
    assert parse_range("x", text) == expected
    assert parse_range("x", str(expected)) == expected


@pytest.mark.parametrize("parameter", DEFAULT_SPACE, ids=lambda parameter: parameter.name)
def test_the_default_ranges_survive_being_written(parameter: ParameterRange) -> None:
    assert parse_range(parameter.name, str(parameter)) == parameter


@pytest.mark.parametrize(
    "text", ["int 1", "int a b", "float 0 1 by 2", "float 0 1 step 0", "log 1e-4 inf", "int 1 2 3"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        parse_range("model.layers", text)


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(UserError, match=r"form of model\.layers 'uniform' is not known"):
        parse_range("model.layers", "uniform 1 2")


def one(text: str, name: str = "model.hidden_size", **changes: Any) -> SearchSpec:
    return SearchSpec(space=(parse_range(name, text),), **changes)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (one("int 1 64"), "hidden size 1 is out of range"),
        (one("int 64 16"), "ends before it begins"),
        (one("int 16 64.5"), "whole numbers"),
        (one("int 16 64 step 100"), "step of model.hidden_size"),
        (one("float 16 64"), "cannot be varied as 'float'"),
        (one("log 0 1", "training.learning_rate"), "begins above 0"),
        (one("choice lstm rnn", "model.kind"), "'rnn' is not known"),
        (one("choice lstm lstm", "model.kind"), "there twice"),
        (one("choice", "model.kind"), "missing"),
        (one("choice 16 many"), "'many' is no value of model.hidden_size"),
        (one("choice yes", "model.layer_norm"), "'yes' is no value"),
        (one("int 1 2", "training.seed"), "cannot be searched for"),
        (one("int 1 2", "training.epochs"), "cannot be searched for"),
        (one("choice 0.5", "split.train_fraction"), "cannot be searched for"),
        (one("int 16 64", trials=0), "number of trials 0"),
        (one("int 16 64", processes=0), "number of processes"),
        (one("int 16 64", pruner="brutal"), "pruner 'brutal'"),
        (one("int 16 64", finalist_seeds=2), "seeds per finalist"),
        (SearchSpec(space=()), "nothing to vary"),
        (SearchSpec(space=(*DEFAULT_SPACE, DEFAULT_SPACE[0])), "twice"),
        (replace(SearchSpec(), groups=(FeatureGroup("x", ("NONSENSE",)),)), "NONSENSE"),
        (
            SearchSpec(
                groups=(FeatureGroup("a", ("RSI(timeperiod=5.0)",)), FeatureGroup("b", ("ADX", "RSI(timeperiod=5)")))
            ),
            r"groups a and b both hold RSI\(timeperiod=5\)",
        ),
        (SearchSpec(base=ForecastSpec(model=ModelSpec(layers=0))), "number of layers"),
    ],
)
def test_a_mistake_is_one_sentence(spec: SearchSpec, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        spec.validate()
    assert caught.value.message.count("\n") == 0


def test_values_reach_their_settings_with_the_right_type() -> None:
    spec = SearchSpec(groups=(FeatureGroup("a", ("RSI(timeperiod=14)",)), FeatureGroup("b", ("ADX(timeperiod=7)",))))
    values = {
        "model.layer_norm": "true",
        "model.dropout": 0,
        "training.batch_segments": "8",
        "features.name": "price",
        GROUP + "a": "off",
        GROUP + "b": "on",
    }
    applied = spec.applied(values)
    assert applied.model.layer_norm is True
    assert isinstance(applied.model.dropout, float)
    assert applied.training.batch_segments == 8
    assert [str(column) for column in applied.features.columns] == ["ADX(timeperiod=7)"]
    assert applied.data == spec.base.data
    assert applied.model.kind == spec.base.model.kind


def test_nothing_that_changes_what_is_measured_can_be_searched() -> None:
    assert (
        settings().keys().isdisjoint({"model.horizons", "model.quantile_levels", "training.seed", "features.version"})
    )


def test_a_file_is_read() -> None:
    spec = search_from_mapping(
        {
            "training": {"epochs": 3},
            "search": {
                "trials": 7,
                "space": {"model": {"kind": "choice lstm gru"}, "training.learning_rate": "log 1e-4 1e-2"},
                "groups": {"momentum": ["RSI(timeperiod=14)"]},
            },
        }
    )
    assert (spec.base.training.epochs, spec.trials) == (3, 7)
    assert [parameter.name for parameter in spec.parameters] == [
        "model.kind",
        "training.learning_rate",
        "features.group.momentum",
    ]


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"trails": 7}, "search.trails is not known"),
        ({"trials": "many"}, "search.trials must be a whole number"),
        ({"base": {}}, "search.base is not known"),
        ({"space": {"model.kind": 3}}, "range of model.kind must be text"),
        ({"space": "all"}, "search.space must be a section"),
        ({"groups": []}, "search.groups must be a section"),
        ({"groups": {"a": "RSI"}}, "must be a list"),
        (7, "search must be a section"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence(search: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        search_from_mapping({"search": search})


def test_the_window_may_import_it() -> None:
    code = (
        "import sys, ml.search_spec, ml.search_results\n"
        "assert not {'numpy', 'torch', 'optuna', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
