from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from core.config import DataPaths
from core.persistence.schema import needs_migration


def test_two_programs_may_open_a_new_folder_at_the_same_moment(tmp_path: Path) -> None:
    paths = DataPaths(tmp_path / "data").create()
    command = [sys.executable, "-m", "core.persistence.migrate", str(paths.root)]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [child.communicate(timeout=120)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], errors
    assert not needs_migration(paths)
