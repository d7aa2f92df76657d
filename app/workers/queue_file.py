"""The queue of training runs on disk: what waits survives the end of the program. Runs on the training thread."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from app.flows.training_queue import TrainingQueue
from app.i18n import tr
from core.data.atomic_file import write_atomically
from core.errors import UserError

QUEUE_FILE = "queue.json"  # in the folder of runs
_ASIDE = ".damaged"


class QueueFile:
    """One file, replaced as a whole; a file that cannot be read is put aside, never overwritten."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: TrainingQueue | None = None

    @property
    def folder(self) -> Path:
        """Where it is, and the folders of the runs beside it."""
        return self._path.parent

    def load(self) -> TrainingQueue:
        """Return what an earlier session left, an empty queue where there is nothing.

        Raises:
            UserError: the file cannot be read; it stands aside now.
        """
        try:
            self._written = TrainingQueue.from_json(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            self._written = TrainingQueue()
        except (OSError, ValueError, UserError) as exc:
            aside = self._path.with_name(self._path.name + _ASIDE)
            with suppress(OSError):
                os.replace(self._path, aside)
            raise UserError(
                tr("The queue of training runs cannot be read."),
                tr("It was put aside as {name}; set the runs up anew.", name=aside.name),
            ) from exc
        return self._written

    def save(self, queue: TrainingQueue) -> None:
        """Write the queue where it has changed.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        if queue != self._written:
            write_atomically(self._path, json.dumps(queue.to_json(), indent=1).encode())
            self._written = queue
