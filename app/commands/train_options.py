"""What the commands under `main.py train` have in common: options, the data that is meant, settings in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from app.commands.cli import emit, say
from app.commands.job_run import FORECAST_RUN, run_folder
from core.config import DataPaths
from core.domain.data_origin import DataOrigin
from core.errors import UserError
from core.user_path import user_path
from ml.agents.run_spec import AgentSpec
from ml.api import SPEC_FILE, STORE_SOURCE, DataRange, ForecastSpec
from ml.run_job import RunFolders
from ml.spec_file import write_spec

DataFileOption = Annotated[Path | None, typer.Option(help="CSV, Feather or Parquet file instead of the candle store.")]
VenueOption = Annotated[str | None, typer.Option(help="Whose bars of the candle store, as `data list` names it.")]
SymbolOption = Annotated[str | None, typer.Option(help="Market, e.g. BTC/USDT.")]
TimeframeOption = Annotated[str | None, typer.Option(help="Bar length, e.g. 1h.")]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
ThreadsOption = Annotated[int | None, typer.Option(help="CPU threads; 0 chooses.")]
WriteConfigOption = Annotated[
    Path | None, typer.Option(help="Write the settings in force to this TOML file and end.", show_default=False)
]
ResumeOption = Annotated[str | None, typer.Option(help="Continue the cancelled run with this id.")]

Spec = TypeVar("Spec", ForecastSpec, AgentSpec)


def with_market(
    paths: DataPaths,
    spec: Spec,
    values: Mapping[str, Any],
    file: Path | None,
    given: dict[str, str | None],
    *,
    resumed: bool,
) -> Spec:
    """Return the same run on the data that is meant, see `data_range`.

    Args:
        values: of the configuration file.
        resumed: the data was told when the run began.
    """
    told = spec.data.to_json() if resumed else values.get("data", {})
    return replace(spec, data=data_range(paths, spec.data, file, told, given))


def folders_of(paths: DataPaths, run_id: str, *, resumed: bool) -> RunFolders:
    """Return where a run works."""
    return RunFolders(
        run_id=run_id, candles_dir=paths.candles, models_dir=paths.models, runs_dir=paths.runs, resume=resumed
    )


def write_settings(path: Path, spec: Spec, file: Path | None, told: Spec, *, as_json: bool) -> None:
    """Write the settings in force; a data file under the name it was given, which may hold on another machine too."""
    spec.validate()
    if spec.data.source != STORE_SOURCE:
        spec = replace(spec, data=replace(spec.data, source=str(file) if file is not None else told.data.source))
    write_spec(path, spec)
    emit({"config": str(path), "spec": spec.to_json()}, as_json=as_json, text=f"Written to {path}.")


def resumed_spec(
    paths: DataPaths,
    run_id: str,
    kind: type[Spec],
    settings: Mapping[str, object],
    begins: str = FORECAST_RUN,
    title: str = "",
) -> Spec:
    """Return what a run was begun with.

    Args:
        settings: options that say what a new run is like, None where they are not given: this one has its own.
        begins: of its id.
        title: behind its id, to tell it from runs of other kinds.

    Raises:
        UserError: there is no such run, or such an option was given.
    """
    for name in (name for name, given in settings.items() if given is not None):
        raise UserError("A run continues with its own settings.", f"Leave out --{name}.")
    try:
        file = run_folder(paths.runs, run_id, begins) / SPEC_FILE
        return kind.from_json(json.loads(file.read_bytes()))
    except (OSError, ValueError) as exc:
        raise UserError(f"There is no run {run_id!r}{title} to resume.", "Start a new one.") from exc


def data_range(
    paths: DataPaths, base: DataRange, file: Path | None, told: dict[str, Any], options: dict[str, str | None]
) -> DataRange:
    """Apply the options that name the data.

    For a file, market and bar length come from the options, else the configuration, else the file's name: never from
    the defaults, which would put a wrong label on somebody's bars.

    Raises:
        UserError: there is no such file, or it is not said which market is meant.
    """
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    if file is None and base.source == STORE_SOURCE:
        wanted = replace(base, **given)
        _require_market(wanted.symbol)
        if "venue" in given or "venue" in told:
            return wanted
        return replace(wanted, venue=_stored_origin(paths, wanted))
    from core.data.importer import guess_symbol, guess_timeframe

    path = user_path(file if file is not None else Path(base.source))
    if not path.is_file():
        raise UserError(f"There is no file {path}.", "Check the path.")
    guesses = {"symbol": guess_symbol(path.name), "timeframe": guess_timeframe(path.name)}
    for key, guess in guesses.items():
        if key in given or key in told:
            continue
        if guess is None:
            raise UserError(f"The {key} cannot be told from the name {path.name}.", f"Name it with --{key}.")
        given[key] = str(guess)
    wanted = replace(base, source=str(path), **given)
    _require_market(wanted.symbol)
    return wanted


def _require_market(symbol: str) -> None:
    """Raise `UserError` for a name without its currency set apart: bars are kept and asked for under the other."""
    if "/" in symbol:
        return
    from core.data.importer import guess_symbol

    meant = guess_symbol(symbol)
    remedy = f"{meant} is meant: write it like that." if meant else "Write it like BTC/USDT."
    raise UserError(f"{symbol[:40]!r} is no market.", remedy)


def _stored_origin(paths: DataPaths, wanted: DataRange) -> DataOrigin:
    """Return whose bars to take where nobody says: real ones where there are any, else the only ones there are.

    Raises:
        UserError: there are several and none of them real.
    """
    from core.data.data_storage import CandleStore

    stored = CandleStore(paths.candles).list_series()
    fitting = [s.origin for s in stored if (s.symbol, s.timeframe) == (wanted.symbol, wanted.timeframe) and s.rows]
    if wanted.origin in fitting or not fitting:
        return wanted.origin
    if len(fitting) > 1:
        raise UserError(
            f"Bars of {wanted.symbol} {wanted.timeframe} are stored for several markets: {', '.join(fitting)}.",
            "Name one of them with --venue.",
        )
    say(f"Training on the bars of {fitting[0]}, the only ones stored of {wanted.symbol} {wanted.timeframe}.")
    return fitting[0]


def replace_given(part: Any, given: dict[str, Any]) -> Any:
    """Replace what is not None."""
    return replace(part, **{key: value for key, value in given.items() if value is not None})
