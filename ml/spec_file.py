"""Training configurations as TOML files that people read and edit. Any thread; without numpy and torch.

A file says what differs from the defaults, with a comment behind each key, and always which market it is about: that
must not change with the program. Instants are written as dates where they are whole seconds.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from core.data.atomic_file import write_atomically
from core.errors import UserError
from ml.agents.run_spec import AgentSpec, AlgorithmSpec, agent_from_mapping
from ml.agents.spec_comments import AGENT_COMMENTS, AGENT_HEADER
from ml.jsonvalues import encode
from ml.spec import ForecastSpec, SeriesSource, spec_from_mapping
from ml.spec_comments import COMMENTS, HEADER

_ALWAYS = {
    *(("data", "venue"), ("data", "symbol"), ("data", "timeframe"), ("features", "name")),
    *(("model", "kind"), ("algorithm", "kind")),
}
_OF_AGENTS = {field.name for field in fields(AgentSpec)} - {field.name for field in fields(ForecastSpec)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_DATE_NS = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1) * 1_000_000_000
_WIDTH = 60  # a list longer than this stands over several lines


def spec_to_toml(spec: ForecastSpec | AgentSpec, *, full: bool = False) -> str:
    """Write a specification down.

    Args:
        spec: a valid one.
        full: with every key instead of those that differ from the defaults.
    """
    told, usual = encode(spec), encode(_usual(spec))
    header, comments = (AGENT_HEADER, AGENT_COMMENTS) if isinstance(spec, AgentSpec) else (HEADER, COMMENTS)
    told["features"]["columns"] = [str(column) for column in spec.features.columns]
    told["data"]["series"] = [_series(source) for source in spec.data.series]
    blocks = ["\n".join(f"# {line}" for line in header)]
    for section, entries in told.items():
        lines = [
            line
            for key, value in entries.items()
            if value is not None and (full or value != usual[section][key] or (section, key) in _ALWAYS)
            for line in _entry(key, value, comments[section][key])
        ]
        if lines:
            blocks.append("\n".join([f"[{section}]", *lines]))
    return "\n\n".join(blocks) + "\n"


def spec_from_toml(text: str, name: str = "The configuration") -> ForecastSpec:
    """Read a configuration; what it does not say has its default value. The result is not validated.

    Args:
        text: of the file.
        name: of the file, for the sentence about what is wrong.

    Raises:
        UserError: the text is no TOML, has an unknown key or a value of the wrong type.
    """
    return spec_from_mapping(mapping_from_toml(text, name))


def mapping_from_toml(text: str, name: str = "The configuration") -> dict[str, Any]:
    """Return what a configuration says, for `ml.spec.spec_from_mapping`.

    Raises:
        UserError: the text is no TOML, a number is too long, or lists in it lie in lists without end.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise UserError(f"{name} is no valid TOML: {exc}.", "Repair the file.") from exc
    except ValueError as exc:  # of thousands of digits
        raise UserError(f"{name} holds a number that is too long.", "Repair the file.") from exc
    except RecursionError as exc:
        raise UserError(f"{name} is nested too deeply.", "Repair the file.") from exc
    return {section: _without_dates(entries) for section, entries in values.items()}


def read_mapping(path: Path) -> dict[str, Any]:
    """Return what a configuration file says.

    Raises:
        UserError: it cannot be read or is no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise UserError(f"{path} cannot be read: {exc.strerror or exc}.", "Check the path.") from exc
    except UnicodeDecodeError as exc:
        raise UserError(f"{path.name} is no valid TOML: {exc}.", "Repair the file.") from exc
    return mapping_from_toml(text, path.name)


def read_spec(path: Path) -> ForecastSpec:
    """Read a configuration file; the result is not validated.

    Raises:
        UserError: as `read_mapping`, or an unknown key, or a value of the wrong type.
    """
    return spec_from_mapping(read_mapping(path))


def read_run_spec(path: Path) -> ForecastSpec | AgentSpec:
    """Read the configuration of a forecast or of an agent; the result is not validated.

    A file is of an agent where it has a section that only those have.

    Raises:
        UserError: as `read_spec`.
    """
    values = read_mapping(path)
    return agent_from_mapping(values) if _OF_AGENTS & set(values) else spec_from_mapping(values)


def write_spec(path: Path, spec: ForecastSpec | AgentSpec, *, full: bool = False) -> None:
    """Write a configuration file, see `spec_to_toml`.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        data = spec_to_toml(spec, full=full).encode()
    except UnicodeEncodeError as exc:  # a file name that is no text
        raise UserError(f"{path.name} cannot hold a name in it.", "Rename the data file.") from exc
    write_atomically(path, data)


def _usual(spec: ForecastSpec | AgentSpec) -> ForecastSpec | AgentSpec:
    """Return what holds where a file says nothing."""
    if isinstance(spec, AgentSpec):
        return AgentSpec(algorithm=AlgorithmSpec.of(spec.algorithm.kind))
    return ForecastSpec()


def _entry(key: str, value: Any, comment: str) -> Iterator[str]:
    """Yield the lines of a key."""
    text = _instant(value) if key.endswith("_ns") else _text(value)
    if not isinstance(value, list) or len(text) <= _WIDTH:
        yield f"{key} = {text}  # {comment}"
        return
    yield f"# {comment}"
    yield f"{key} = ["
    yield from (f"  {_text(item)}," for item in value)
    yield "]"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # What JSON escapes TOML escapes alike, but for one more control character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(_text(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_text(item)}' for key, item in value.items())}}}"
    return repr(value)


def _instant(time_ns: int) -> str:
    """Return an instant as a date where that says the same."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    if rest or not 0 <= time_ns < _LAST_DATE_NS:
        return repr(time_ns)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


def _series(source: SeriesSource) -> dict[str, Any]:
    """Return what a side series says beside its defaults."""
    usual = encode(SeriesSource(source.name, source.path))
    return {key: value for key, value in encode(source).items() if key in ("name", "path") or value != usual[key]}


def _without_dates(entries: Any) -> Any:
    """Turn dates into what the specification holds: nanoseconds where the key says so, else text."""
    if not isinstance(entries, Mapping):
        return entries
    return {key: _number_or_text(key, value) if isinstance(value, date) else value for key, value in entries.items()}


def _number_or_text(key: str, value: date) -> int | str:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    if key.endswith("_ns"):
        since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
        return since // timedelta(microseconds=1) * 1_000
    return value.isoformat()
