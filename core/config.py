"""Where data lives and which limits hold. Plain values, any thread; no I/O but for the folder itself.

The data folder holds everything the program writes: `--data-dir`, else `MARU_DATA_DIR`, else the platform's own place.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.user_path import user_path

APP_NAME = "Maru"
VERSION = "0.1.0"


@dataclass(frozen=True, slots=True)
class DataPaths:
    """The layout of a data folder.

    Attributes:
        root: the folder itself.
    """

    root: Path

    @property
    def candles(self) -> Path:
        """Parquet candles, partitioned by venue/symbol/timeframe/month."""
        return self.root / "candles"

    @property
    def models(self) -> Path:
        """Model packages, one folder per content hash."""
        return self.root / "models"

    @property
    def runs(self) -> Path:
        """Training runs: checkpoints and logs, one folder per run."""
        return self.root / "runs"

    @property
    def practice(self) -> Path:
        """The practice exchange's account and own-trade minutes."""
        return self.root / "practice"

    @property
    def keys(self) -> Path:
        """The list of API keys and, where chosen, the files that keep them; owner-only."""
        return self.root / "keys"

    @property
    def paper(self) -> Path:
        """Paper accounts, one file per market."""
        return self.root / "paper"

    @property
    def logs(self) -> Path:
        """Log files and crash traces."""
        return self.root / "logs"

    @property
    def reports(self) -> Path:
        """Kill-switch and demo reports."""
        return self.root / "reports"

    @property
    def journal_db(self) -> Path:
        """SQLite file of the order journal (synchronous=FULL), written by the executor only."""
        return self.root / "journal.sqlite"

    @property
    def store_db(self) -> Path:
        """SQLite file of everything else, written by the store worker only."""
        return self.root / "store.sqlite"

    @property
    def trials(self) -> Path:
        """SQLite file that counts every trial ever run; appended to by every process that trains or evaluates."""
        return self.root / "trials.sqlite"

    @property
    def settings_file(self) -> Path:
        """INI file of user settings; never holds secrets."""
        return self.root / "settings.ini"

    def create(self) -> DataPaths:
        """Create the folder owner-only and return self.

        Raises:
            UserError: the folder cannot be created or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = self.root / f".write-test-{os.getpid()}"
            probe.write_bytes(b"ok")
            probe.unlink()
        except OSError as exc:
            raise UserError(
                f"The data folder {self.root} cannot be written: {exc.strerror or exc}.",
                "Free some space or choose another folder with --data-dir.",
            ) from exc
        return self


def data_paths(override: Path | None = None) -> DataPaths:
    """Return the data folder layout for `override`, `MARU_DATA_DIR` or the platform default, without creating it.

    Raises:
        UserError: there can be no such folder.
    """
    if override is not None:
        return DataPaths(user_path(override))
    env = os.environ.get("MARU_DATA_DIR")
    if env:
        return DataPaths(user_path(Path(env)))
    # Imported here: the GUI start path must not pay for it when the folder is given.
    from platformdirs import user_data_path

    return DataPaths(user_data_path(APP_NAME, appauthor=False))
