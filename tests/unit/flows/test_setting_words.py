"""What a search varies has words in both languages."""

from __future__ import annotations

import dataclasses

from app.flows.setting_words import SETTINGS, setting_name, setting_value
from app.i18n import Language, set_language
from ml.search_spec import _NEVER, _SECTIONS, DEFAULT_SPACE
from ml.spec import ForecastSpec


def test_every_setting_that_can_be_searched_has_a_name() -> None:
    known = {
        f"{section}.{field.name}"
        for section in _SECTIONS
        for field in dataclasses.fields(getattr(ForecastSpec(), section))
    }
    assert set(SETTINGS) == known - _NEVER


def test_names_and_values_are_korean_where_the_screen_is() -> None:
    for parameter in DEFAULT_SPACE:
        set_language(Language.ENGLISH)
        english = setting_name(parameter.name)
        set_language(Language.KOREAN)
        assert setting_name(parameter.name) != english
    assert setting_value("features.name", "technical") == "기술적 지표"
    assert setting_value("model.layer_norm", "False") == "끔"
    assert setting_name("features.group.momentum") == "그룹 momentum"


def test_values_are_short_and_what_nobody_knows_stays() -> None:
    assert setting_value("training.learning_rate", "0.0012345678") == "0.00123"
    assert setting_value("training.weight_decay", "1e-4") == "0.0001"
    assert setting_value("model.hidden_size", "96") == "96"
    assert setting_value("model.head", "student_t") == "Student's t"
    assert setting_value("features.group.momentum", "on") == "on"
    assert setting_value("some.thing", "else") == "else"
    assert setting_name("some.thing") == "some.thing"
