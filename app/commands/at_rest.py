"""What commands share that change a data folder over which nothing trades. Qt-free; main thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.config import DataPaths, data_paths
from core.errors import UserError

if TYPE_CHECKING:
    from core.execution.process_lock import ExecutorLock


def existing_folder(data_dir: Path | None) -> tuple[DataPaths, ExecutorLock]:
    """Prepare a data folder that is there already: a mistyped name must not become a new folder that trades.

    Returns:
        The folder, and its lock without a key, not taken yet.

    Raises:
        UserError: there is no such folder, or its databases are damaged.
    """
    from app.runtime import prepare_data
    from core.execution.process_lock import ExecutorLock, runtime_folder

    root = data_paths(data_dir).root
    if not root.is_dir():
        raise UserError(f"There is no data folder {root}.", "Name it with --data-dir.")
    paths = prepare_data(data_dir)
    return paths, ExecutorLock(runtime_folder(), None, paths.root)
