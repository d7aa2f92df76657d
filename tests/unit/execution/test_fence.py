"""The fence: what stops every send, also where a full disk takes no new file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import UserError
from core.execution.fence import RENAMED_REASON, Fence, FenceState

NOW = 1_700_000_000_000_000_000


@pytest.fixture
def fence(tmp_path: Path) -> Fence:
    made = Fence(tmp_path / "fence.json")
    made.write(FenceState(4, 3, "re-armed", NOW - 5))
    return made


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing new is written; names and times may change, as on a file system without a free block."""

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)


def test_a_full_disk_does_not_keep_the_fence_down(
    fence: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as disk:
        full_disk(disk)
        disk.setattr("core.execution.fence._sync_folder", lambda folder: None)
        assert fence.raise_epoch("killed", NOW).epoch == 5
    assert not fence.allows(4)
    assert fence.read() == FenceState(5, 3, RENAMED_REASON, NOW)
    assert Fence(tmp_path / "fence.json").read() == fence.read()  # whoever looks


def test_a_fence_under_its_second_name_is_acknowledged_and_raised_like_any_other(
    fence: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as disk:
        full_disk(disk)
        disk.setattr("core.execution.fence._sync_folder", lambda folder: None)
        fence.raise_epoch("killed", NOW)
    fence.acknowledge(5)
    assert fence.read() == FenceState(5, 5, RENAMED_REASON, NOW)
    assert fence.allows(5)
    assert fence.raise_epoch("killed", NOW).epoch == 6
    (tmp_path / "fence.json").unlink()
    assert fence.read() is None  # the second name is gone with the first write
    assert not fence.allows(6)


def test_what_cannot_be_renamed_twice_is_said(fence: Fence, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch)
    monkeypatch.setattr("core.execution.fence._sync_folder", lambda folder: None)
    fence.raise_epoch("killed", NOW)
    with pytest.raises(UserError, match="cannot be written"):
        fence.raise_epoch("killed again", NOW)
    assert not fence.allows(4)


def test_a_lost_fence_is_not_raised_by_a_name(fence: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fence.json").unlink()
    full_disk(monkeypatch)
    with pytest.raises(UserError, match="cannot be written"):
        fence.raise_epoch("killed", NOW, at_least=4)
    assert not fence.allows(4)
