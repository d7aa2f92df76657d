"""What the window's process may load, seen in a real process of its own: from the first window to a traded order."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.trained_model import Trained

NEVER = {"torch", "numba", "scipy", "river", "alembic", "sklearn", "pandas", "polars", "onnx", "onnxscript"}
NOT_BEFORE_THE_WINDOW = {"ccxt", "aiohttp", "sqlalchemy", "onnxruntime", "pyarrow", "numpy", "talib"}


def test_torch_and_its_like_stay_out_of_a_window_that_trades(trained: Trained, tmp_path: Path) -> None:
    model_id = trained.result.model_id
    shutil.copytree(trained.models_dir / model_id, tmp_path / "models" / model_id)
    command = [sys.executable, "-m", "tests.qt.connected_window", str(tmp_path), model_id]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    loaded = {moment: set(names) for moment, names in json.loads(done.stdout).items()}
    assert loaded["first_window"] & (NEVER | NOT_BEFORE_THE_WINDOW) == set()
    assert loaded["connected"] & NEVER == set()
    assert loaded["looking"] & NEVER == set()
    assert loaded["trading"] & NEVER == set()
    # Else the moments above were not what they claim to be.
    assert loaded["connected"] >= {"ccxt", "sqlalchemy"}
    assert loaded["looking"] >= {"onnxruntime", "numpy"}
    assert loaded["trading"] >= {"onnxruntime", "numpy"}
