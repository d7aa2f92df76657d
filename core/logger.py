"""Logging: a rotating file, standard error, and an optional tail for the log dock. Set up once, on the main thread.

Every handler redacts: what looks like a key, a signature or a token, and every secret registered by name of value,
never reaches a log. Handlers run on whatever thread logs.
"""

from __future__ import annotations

import logging
import logging.handlers
import re
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from core.errors import UserError

FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(threadName)s %(name)s: %(message)s"
MAX_BYTES = 5_000_000
BACKUPS = 5
TAIL_LINES = 2_000
HIDDEN = "[hidden]"

# name=value, "name": "value" and Header: value, whatever the program or a library may print.
_NAMED = re.compile(
    r"(?i)(\b(?:api[-_]?key|api[-_]?secret|x-mbx-apikey|secret|signature|password|passphrase|token|authorization|listenkey)"
    r"\b[\"']?\s*[=:]\s*[\"']?(?:bearer\s+)?)([^\s\"'&,;}\)]+)"
)


class Redactor(logging.Filter):
    """Replaces secrets in messages and tracebacks before they are written."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets: frozenset[str] = frozenset()

    def add(self, *secrets: str) -> None:
        """Hide these exact texts from now on; short ones are ignored, they would hide ordinary words."""
        self._secrets |= {secret for secret in secrets if len(secret) >= 8}

    def clean(self, text: str) -> str:
        """Return `text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return _NAMED.sub(lambda match: match.group(1) + HIDDEN, text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place; every record passes."""
        record.msg, record.args = self.clean(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            # The formatter would render the exception again from exc_info, unredacted.
            record.exc_text, record.exc_info = self.clean(record.exc_text), None
        return True


class TailHandler(logging.Handler):
    """Keeps the newest lines and tells a listener about each; for the log dock.

    Args:
        listener: called with each record on the thread that logs; must not block nor log.
    """

    def __init__(self, listener: Callable[[logging.LogRecord], None] | None = None, lines: int = TAIL_LINES) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=lines)
        self._listener = listener

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record."""
        self.lines.append(self.format(record))
        if self._listener is not None:
            self._listener(record)


class LogSetup:
    """The handlers in place; `close` takes them away again.

    Attributes:
        redactor: shared by all handlers; register secrets with `redactor.add`.
        path: the log file.
    """

    def __init__(self, folder: Path, *, level: int = logging.INFO, stderr_level: int | None = logging.WARNING) -> None:
        """Put file and standard error handlers on the root logger.

        Args:
            folder: where `maru.log` is kept, five old ones beside it.
            stderr_level: None keeps standard error free.

        Raises:
            UserError: the folder cannot be written.
        """
        self.redactor = Redactor()
        self.path = folder / "maru.log"
        self._root = logging.getLogger()
        self._level_before = self._root.level
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = logging.handlers.RotatingFileHandler(
                self.path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8"
            )
        except OSError as exc:
            raise UserError(
                f"The log file {self.path} cannot be written: {exc.strerror or exc}.",
                "Free some space or choose another folder with --data-dir.",
            ) from exc
        self._handlers: list[logging.Handler] = []
        self._root.setLevel(level)
        self.attach(file)
        if stderr_level is not None:
            stream = logging.StreamHandler(sys.stderr)
            stream.setLevel(stderr_level)
            self.attach(stream)

    def attach(self, handler: logging.Handler) -> None:
        """Add a handler, redacted like the others."""
        handler.setFormatter(logging.Formatter(FORMAT, datefmt="%Y-%m-%d %H:%M:%S"))
        handler.addFilter(self.redactor)
        self._root.addHandler(handler)
        self._handlers.append(handler)

    def close(self) -> None:
        """Remove and close all handlers; idempotent."""
        for handler in self._handlers:
            self._root.removeHandler(handler)
            handler.close()
        self._handlers.clear()
        self._root.setLevel(self._level_before)
