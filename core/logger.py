"""Logging: a rotating file, standard error, and an optional tail for the log dock. Set up once, on the main thread.

Every handler redacts: what looks like a key, a signature or a token, and every secret registered by its value, never
reaches a log, and no traceback on standard error either. Handlers run on whatever thread logs.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import re
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from core.errors import UserError

FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(threadName)s %(name)s: %(message)s"
MAX_BYTES = 5_000_000
BACKUPS = 5
TAIL_LINES = 2_000
HIDDEN = "[hidden]"

# name=value, "name": "value" and Header: value, whatever the program or a library may print: also escaped once more, as
# JSON inside JSON or as part of an address.
_TELLING = (
    r"api[-_]?key|access[-_]?key|private[-_]?key|listen[-_]?key|secret|signature|(?:api|access)[-_]?sign|token|passphrase"
    r"|password|authorization"
)
_NAMED = re.compile(
    rf"(?i)(\b[\w-]{{0,40}}(?:{_TELLING})[\w-]{{0,40}}\\*[\"']?\s*(?:[=:]|%3[AD])\s*(?:b(?=[\"']))?\\*[\"']?(?:(?:bearer|basic)\s+)?)"
    r"(?!\[hidden\])[^\s\"'\\&,;})\]]+"
)
_ADDRESS = re.compile(r"(://[^/\s:@]+:)[^/\s@]+(?=@)")  # user:password@host


def hide_named(text: str) -> str:
    """Return `text` without the values of telling names and without passwords in addresses."""
    return _ADDRESS.sub(rf"\1{HIDDEN}", _NAMED.sub(rf"\1{HIDDEN}", text))


class Redactor(logging.Filter):
    """Replaces secrets in messages and tracebacks before they are written."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets: tuple[str, ...] = ()
        self._adding = threading.Lock()

    def add(self, *secrets: str) -> None:
        """Hide these texts from now on, also as addresses and JSON write them.

        Short ones are ignored, they would hide ordinary words.
        """
        with self._adding:  # two threads that add at once must not lose what one of them added
            known = set(self._secrets)
            for secret in secrets:
                if len(secret) >= 8:
                    known |= {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
            # The longest first: one may be the beginning of another.
            self._secrets = tuple(sorted(known, key=len, reverse=True))

    def clean(self, text: str) -> str:
        """Return `text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return hide_named(text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place; every record passes."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - arguments that do not fit: logging would print them as they are
            message = f"{record.msg} {record.args!r}"
        record.msg, record.args = self.clean(message), None
        if record.stack_info:
            record.stack_info = self.clean(record.stack_info)
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            # The formatter would render the exception again from exc_info, unredacted.
            record.exc_text, record.exc_info = self.clean(record.exc_text), None
        return True


# What a process must never show belongs to the process: a traceback may be printed when its log is closed already.
SECRETS: Final = Redactor()


def clean_traceback(error: BaseException) -> str:
    """Return what the interpreter would print of an error nobody caught, without secrets."""
    return SECRETS.clean("".join(traceback.format_exception(error)))


@contextmanager
def redacted_hooks() -> Iterator[None]:
    """Print what threads and destructors raise without secrets while the block runs."""
    old = (threading.excepthook, sys.unraisablehook)

    def show(args: Any) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit) and sys.stderr is not None:
            sys.stderr.write(clean_traceback(args.exc_value))

    threading.excepthook = sys.unraisablehook = show
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = old


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
        redactor: the process's own, shared by all handlers; register secrets with `redactor.add`.
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
        self.redactor = SECRETS
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
