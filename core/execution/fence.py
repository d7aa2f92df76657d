"""The fence: a small file that stops every send, written by any process. Any thread, any process.

The executor holds the epoch it was armed at; a kill from elsewhere raises the epoch in the file. The order manager
reads the file immediately before every send and sends only where both agree. What cannot be read counts as raised.
A full disk takes no new file but another name for one: a file under its second name counts one epoch more.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError

RENAMED_REASON = "stopped while the disk took no more data"


@dataclass(frozen=True, slots=True)
class FenceState:
    """Content of the file.

    Attributes:
        epoch: rises with every kill.
        acknowledged: highest epoch a running executor has seen and halted for.
        reason: one sentence.
        time_ns: when it was last written, ns UTC.
    """

    epoch: int
    acknowledged: int = 0
    reason: str = ""
    time_ns: int = 0


class Fence:
    """One fence file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._renamed = path.with_name(f"{path.name}.raised")

    def read(self) -> FenceState | None:
        """Return the state, or None where the file is missing or unreadable."""
        # A third look: whoever writes the file takes its second name away.
        for look in (self._read_file, self._read_renamed, self._read_file):
            try:
                return look()
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError):
                return None
        return None

    def _read_file(self) -> FenceState:
        return _state(json.loads(self._path.read_bytes()))

    def _read_renamed(self) -> FenceState:
        before, time_ns = _state(json.loads(self._renamed.read_bytes())), self._renamed.stat().st_mtime_ns
        return FenceState(before.epoch + 1, before.acknowledged, RENAMED_REASON, time_ns)

    def allows(self, epoch: int) -> bool:
        """Return whether an executor armed at `epoch` may send. An unreadable fence allows nothing."""
        state = self.read()
        return state is not None and state.epoch == epoch

    def write(self, state: FenceState) -> None:
        """Replace the file atomically and make it durable before returning.

        Raises:
            UserError: the file cannot be written.
        """
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(json.dumps(asdict(state)).encode())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
            self._renamed.unlink(missing_ok=True)
            _sync_folder(self._path.parent)
        except OSError as exc:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise UserError(
                f"The fence file {self._path} cannot be written: {exc.strerror or exc}.",
                "Free some space or check the permissions of the data folder; until then stop the program itself.",
            ) from exc

    def raise_epoch(self, reason: str, now_ns: int, *, at_least: int = 0) -> FenceState:
        """Stop every executor armed before this call; returns the new state.

        Args:
            at_least: the new epoch lies above it even where the file was lost.

        Raises:
            UserError: the file can neither be written nor renamed.
        """
        before = self.read() or FenceState(0)
        state = FenceState(max(before.epoch, at_least) + 1, before.acknowledged, reason, now_ns)
        try:
            self.write(state)
        except UserError:
            if not self._rename(before, state):
                raise
        return state

    def _rename(self, before: FenceState, wanted: FenceState) -> bool:
        """Raise the epoch by the file's second name; returns whether that raises it to what is wanted."""
        if wanted.epoch != before.epoch + 1:
            return False
        try:
            if self._read_file() != before:
                return False  # somebody raised it meanwhile, or it has its second name already
            os.utime(self._path, ns=(wanted.time_ns, wanted.time_ns))  # when, as a file system keeps it
            os.replace(self._path, self._renamed)
            _sync_folder(self._path.parent)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True

    def acknowledge(self, epoch: int) -> None:
        """Say that the running executor has halted for `epoch`."""
        state = self.read()
        if state is not None and state.acknowledged < epoch <= state.epoch:
            self.write(FenceState(state.epoch, epoch, state.reason, state.time_ns))


def _state(payload: dict[str, Any]) -> FenceState:
    return FenceState(
        int(payload["epoch"]), int(payload["acknowledged"]), str(payload["reason"]), int(payload["time_ns"])
    )


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # other systems make the rename durable themselves and cannot open folders
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
