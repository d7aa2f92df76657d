"""What a search for settings varies, how far, and how long. Any thread; without numpy and torch.

In a configuration file the search is the section [search] beside those of the run that it starts from:

    [search]
    trials = 50

    [search.space]
    "model.kind" = "choice lstm gru"
    "model.hidden_size" = "int 16 128 step 16"
    "training.learning_rate" = "log 1e-4 1e-2"
    "model.dropout" = "float 0 0.4"

    [search.groups]
    momentum = ["RSI(timeperiod=14)", "ADX(timeperiod=7)"]

A group of feature columns is in or out as a whole. Without [search.space] the built-in space is searched, as far as the
run can be given it.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Self

from core.errors import UserError
from ml.checks import in_range, one_of, require
from ml.feature_columns import parse_column
from ml.feature_spec import CUSTOM, column_names
from ml.jsonvalues import JsonValue, decode, encode
from ml.spec import ForecastSpec, spec_from_mapping

PRUNERS = ("median", "hyperband", "none")
FORMS = ("choice", "int", "float", "log")
GROUP = "features.group."  # before a group's name: the parameter that says whether it is in
MAX_PROCESSES = 64
ON, OFF = "on", "off"

_SECTIONS = ("model", "training", "features")
# What they change is what is forecast, how it is measured, or how long a trial may take: trials would not compare.
_NEVER = {
    "model.horizons",
    "model.quantile_levels",
    "training.seed",
    "training.epochs",
    "training.patience",
    "features.version",
    "features.horizons",
    "features.columns",
}
_EXAMPLES = 'Examples: "choice lstm gru", "int 16 128 step 16", "float 0 0.5", "log 1e-4 1e-2".'

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class ParameterRange(JsonValue):
    """The values of one setting that a search may try.

    Attributes:
        name: of the setting, such as "model.hidden_size".
        form: "choice", "int", "float" (evenly) or "log" (evenly in the logarithm).
        choices: what there is to choose, as text; for "choice" alone.
        low / high: both included; for the others.
        step: between neighbours; 0 for none, which is 1 for "int".
    """

    name: str
    form: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0

    def __str__(self) -> str:
        """Write it as in a configuration file."""
        if self.form == "choice":
            return " ".join(("choice", *self.choices))
        step = ("step", f"{self.step:g}") if self.step else ()
        return " ".join((self.form, f"{self.low:g}", f"{self.high:g}", *step))

    def validate(self) -> None:
        """Raise `UserError` for a range that holds nothing."""
        one_of(self.form, FORMS, f"form of {self.name}")
        if self.form == "choice":
            require(
                len(set(self.choices)) == len(self.choices) > 0,
                f"The choices of {self.name} are missing or there twice.",
                _EXAMPLES,
            )
            return
        require(self.low < self.high, f"The range of {self.name} ends before it begins.", _EXAMPLES)
        require(self.form != "log" or self.low > 0.0, f"A logarithmic range such as {self.name} begins above 0.", "")
        require(
            0.0 <= self.step <= self.high - self.low and not (self.form == "log" and self.step),
            f"The step of {self.name} does not fit its range.",
            _EXAMPLES,
        )
        whole = all(float(bound).is_integer() for bound in (self.low, self.high, self.step))
        require(self.form != "int" or whole, f"The range of {self.name} must be of whole numbers.", _EXAMPLES)

    def extremes(self) -> tuple[Value, ...]:
        """Return values whose soundness says that of all: every choice, or both ends."""
        if self.form == "choice":
            return self.choices
        return (int(self.low), int(self.high)) if self.form == "int" else (self.low, self.high)


@dataclass(frozen=True, slots=True)
class FeatureGroup(JsonValue):
    """Feature columns that are in or out together.

    Attributes:
        name: for a person.
        columns: as in the section features.
    """

    name: str
    columns: tuple[str, ...]


DEFAULT_SPACE: tuple[ParameterRange, ...] = (
    ParameterRange("features.name", "choice", ("price", "market", "technical")),
    ParameterRange("features.window", "choice", ("24", "48", "96")),
    ParameterRange("model.kind", "choice", ("lstm", "gru")),
    ParameterRange("model.head", "choice", ("quantile", "student_t")),
    ParameterRange("model.hidden_size", "int", low=16, high=96, step=16),
    ParameterRange("model.layers", "int", low=1, high=2),
    ParameterRange("model.dropout", "float", low=0.0, high=0.4),
    ParameterRange("model.layer_norm", "choice", ("true", "false")),
    ParameterRange("training.learning_rate", "log", low=5e-4, high=2e-2),
    ParameterRange("training.weight_decay", "log", low=1e-4, high=1e-1),
    ParameterRange("training.batch_segments", "choice", ("8", "16", "32")),
    ParameterRange("training.segment_length", "choice", ("128", "256")),
)


@dataclass(frozen=True, slots=True)
class SearchSpec(JsonValue):
    """Everything that defines a search.

    Attributes:
        base: the run it starts from; what the space does not name stays as it is there.
        trials: how many configurations are tried to an end.
        processes: at work at the same time, with one thread each; the result is exactly reproducible with one.
        seeds: networks per trial, whose mean counts.
        pruner: what gives up a trial that lags behind: "median" (behind half of the others at the same epoch),
            "hyperband" (most of them early) or "none".
        sampler_seed: of the choice of configurations.
        timeout_min: after so many minutes no further trial begins; 0 for no limit.
        finalists: how many of the best are repeated with other seeds, because the best of many is partly lucky.
        finalist_seeds: so many.
        space: what is varied.
        groups: of feature columns, each in or out.
    """

    base: ForecastSpec = dataclasses.field(default_factory=ForecastSpec)
    trials: int = 50
    processes: int = 1
    seeds: int = 1
    pruner: str = "median"
    sampler_seed: int = 1
    timeout_min: float = 0.0
    finalists: int = 3
    finalist_seeds: int = 3
    space: tuple[ParameterRange, ...] = DEFAULT_SPACE
    groups: tuple[FeatureGroup, ...] = ()

    @classmethod
    def around(cls, base: ForecastSpec, groups: tuple[FeatureGroup, ...] = ()) -> Self:
        """Return a search through the built-in space, as far as this run can be given it."""
        return cls(base=base, groups=groups, space=DEFAULT_SPACE)._fitting()

    def _fitting(self) -> Self:
        """Return the search without what its base, with any of the groups, cannot be given.

        A set of a person's own columns is never replaced by another. One choice that is left is no choice: the setting
        stays as it is in the base.
        """
        space = []
        for parameter in self.space:
            if parameter.name == "features.name" and self.base.features.name == CUSTOM:
                continue
            sound = [value for value in parameter.extremes() if self._fits(parameter.name, value)]
            if len(sound) < 2:
                continue
            if parameter.form == "choice":
                space.append(replace(parameter, choices=tuple(map(str, sound))))
            elif len(sound) == len(parameter.extremes()):
                space.append(parameter)
        return replace(self, space=tuple(space))

    def _fits(self, name: str, value: Value) -> bool:
        """Return whether a setting can have this value, without groups and with each; the data is not asked."""
        alone: dict[str, Value] = {name: value}
        try:
            for values in (alone, *({**alone, GROUP + group.name: ON} for group in self.groups)):
                spec = self.applied(values)
                for part in (spec.features, spec.model, spec.training):
                    part.validate()
        except UserError:
            return False
        return True

    def validate(self) -> Self:
        """Check every part and return self.

        Raises:
            UserError: one sentence naming the first thing that is wrong.
        """
        self.base.validate()
        in_range(self.trials, 1, 100_000, "number of trials", "trials")
        in_range(self.processes, 1, MAX_PROCESSES, "number of processes", "processes")
        in_range(self.seeds, 1, 20, "number of seeds per trial", "seeds")
        one_of(self.pruner, PRUNERS, "pruner")
        in_range(self.sampler_seed, 0, 2**31 - 1, "seed of the search", "")
        in_range(self.timeout_min, 0.0, 100_000.0, "time limit", "minutes")
        in_range(self.finalists, 1, 20, "number of finalists", "")
        in_range(self.finalist_seeds, 3, 20, "number of seeds per finalist", "seeds")
        names = [parameter.name for parameter in self.parameters]
        require(bool(names), "The search has nothing to vary.", "Name settings in [search.space].")
        for name in names:
            require(names.count(name) == 1, f"The search varies {name} twice.", "Name each setting once.")
        for parameter in self.space:
            require(parameter.name in settings(), *_unknown(parameter.name))
        for parameter in self.parameters:
            parameter.validate()
            self._try_out(parameter)
        self._require_groups_apart()
        return self

    def _require_groups_apart(self) -> None:
        """Raise `UserError` where groups that can be in together hold the same column."""
        base, holders = set(column_names(self.base.features)), dict[str, str]()
        for group in self.groups:
            for name in column_names(self.applied({GROUP + group.name: ON}).features):
                other = group.name if name in base else holders.setdefault(name, group.name)
                require(
                    other == group.name,
                    f"The groups {other} and {group.name} both hold {name}.",
                    "Name each column in one group, or make a group of what they share.",
                )

    def _try_out(self, parameter: ParameterRange) -> None:
        """Raise `UserError` where a value of the range is none that the setting can have."""
        wanted = settings().get(parameter.name, bool)
        fits = parameter.form == "choice" or wanted is float or (wanted is int and parameter.form == "int")
        require(fits, f"The setting {parameter.name} cannot be varied as {parameter.form!r}.", _EXAMPLES)
        for value in parameter.extremes():
            self.applied({parameter.name: value}).validate()

    @property
    def parameters(self) -> tuple[ParameterRange, ...]:
        """All that is varied: the space, then one switch per group."""
        switches = (ParameterRange(GROUP + group.name, "choice", (OFF, ON)) for group in self.groups)
        return (*self.space, *switches)

    def applied(self, values: Mapping[str, Value]) -> ForecastSpec:
        """Return the base with these values of parameters; whether they go together is not checked.

        Raises:
            UserError: a text that is no value of its setting, or a group's column that does not exist.
        """
        spec = self.base
        for name, value in values.items():
            if name.startswith(GROUP):
                continue
            section, _, key = name.partition(".")
            part = replace(getattr(spec, section), **{key: _typed(name, value)})
            spec = replace(spec, **{section: part})
        columns = list(spec.features.columns)
        for group in self.groups:
            if values.get(GROUP + group.name) == ON:
                columns += [parse_column(text) for text in group.columns]
        return replace(spec, features=replace(spec.features, columns=tuple(columns)))


@cache
def settings() -> dict[str, type]:
    """Return the settings a search can vary, with the type of each."""
    hints = typing.get_type_hints(ForecastSpec)
    return {
        f"{section}.{key}": hint
        for section in _SECTIONS
        for key, hint in typing.get_type_hints(hints[section]).items()
        if f"{section}.{key}" not in _NEVER and hint in (str, int, float, bool)
    }


def parse_range(name: str, text: str) -> ParameterRange:
    """Read a range as a person writes it, such as "log 1e-4 1e-2".

    Raises:
        UserError: it is none.
    """
    form, *words = text.split()
    one_of(form, FORMS, f"form of {name}")
    if form == "choice":
        return ParameterRange(name, form, tuple(words))
    ends, rest = words[:2], words[2:]
    try:
        low, high = (float(word) for word in ends)
        step = float(rest[1]) if rest else 0.0
        sound = not rest or (rest[0] == "step" and len(rest) == 2 and step > 0.0)
        sound = sound and all(math.isfinite(number) for number in (low, high, step))
    except (ValueError, IndexError):
        sound = False
    if not sound:
        raise UserError(f"The range {text!r} of {name} cannot be read.", _EXAMPLES)
    return ParameterRange(name, form, low=low, high=high, step=step)


def search_from_mapping(values: Mapping[str, Any]) -> SearchSpec:
    """Return the search of a configuration file: sections of a run, and `search`. The result is not validated.

    Raises:
        UserError: an unknown key, a value of the wrong type or a range that cannot be read.
    """
    given = values.get("search", {})
    if not isinstance(given, Mapping):
        raise UserError("The entry search must be a section.", "Write [search].")
    base = spec_from_mapping({section: entries for section, entries in values.items() if section != "search"})
    entries = dict(given)
    space, groups = entries.pop("space", None), entries.pop("groups", {})
    require("base" not in entries, "The entry search.base is not known.", "The other sections say it.")
    search = decode(SearchSpec, {**entries, "base": encode(base)}, "search")
    if not isinstance(groups, Mapping):
        raise UserError("The entry search.groups must be a section.", "Write [search.groups].")
    switched = tuple(decode(FeatureGroup, {"name": n, "columns": c}, "search.groups") for n, c in groups.items())
    if space is None:
        return replace(search, groups=switched, space=SearchSpec.around(base, switched).space)
    ranges = tuple(parse_range(name, text) for name, text in _flat(space, "search.space"))
    return replace(search, groups=switched, space=ranges)


def _flat(space: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of every range: TOML makes a section of a name with a dot that stands without quotes."""
    if not isinstance(space, Mapping):
        raise UserError(f"The entry {path} must be a section.", "Write [search.space].")
    for key, value in space.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", text) for name, text in _flat(value, f"{path}.{key}"))
        elif isinstance(value, str) and value.split():
            yield key, value
        else:
            raise UserError(f"The range of {key} must be text.", _EXAMPLES)


def _typed(name: str, value: Value) -> Value:
    """Return a value as its setting wants it; choices come as text."""
    wanted = settings()[name]
    if not isinstance(value, str):
        return float(value) if wanted is float else value
    if wanted is str:
        return value
    try:
        if wanted is bool:
            return {"true": True, "false": False}[value.lower()]
        return int(value) if wanted is int else float(value)
    except (KeyError, ValueError) as exc:
        raise UserError(f"{value!r} is no value of {name}.", _EXAMPLES) from exc


def _unknown(name: str) -> tuple[str, str]:
    return f"The setting {name!r} cannot be searched for.", f"Use some of {', '.join(settings())}."
