"""The program's half of the dead-man switch. Runs on the executor's event loop; that loop alone makes it beat.

The pipes are served by threads: a switch that no longer reads must never block the loop it watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final, Protocol

from core.clock import Clock
from core.config import DataPaths
from core.domain.orders import Order, TradingMode
from core.events import BooksTold, EventSink, ExecutorEvent, Notice, Severity
from core.execution.api.gateway import GatewayError
from core.execution.assembly import key_fingerprint
from core.execution.foreign_kill import SENTINEL_PREFIX, read_lines
from core.execution.order_manager import ID_PREFIX
from core.execution.process_lock import runtime_folder
from core.execution.sentinel import (
    BEAT,
    BYE,
    END,
    READY,
    SEEN,
    Claim,
    Outcome,
    SentinelRules,
    SentinelStart,
    reduces_only,
)
from core.practice.control import PracticeEndpoints
from core.secrets.keys import KeyPair, KeyRecord

SUBCOMMAND: Final = "sentinel"  # of main.py, not listed: only this module calls it
UNANSWERED_BEATS: Final = 15
FIRST_BEATS: Final = 60  # until it is ready: a busy machine takes its time to start a process
RESTART_S, RESTART_MAX_S = 1.0, 60.0
RETRY_S: Final = 1.0  # of comparing the books
BYE_S: Final = 2.0
# A practice exchange that does not answer has ended, and what rests on it cannot be filled meanwhile.
PRACTICE_PATIENCE_S: Final = 30.0
_MAIN: Final = Path(__file__).resolve().parents[2] / "main.py"

_log = logging.getLogger(__name__)


class WatchedExecutor(Protocol):
    """What the switch needs of `core.execution.executor.Executor`."""

    @property
    def working_orders(self) -> list[Order]:
        """Orders the venue may still execute."""
        ...

    async def reconcile_now(self) -> Any:
        """Compare the books with the venue; raises GatewayError."""
        ...


@dataclass(frozen=True, slots=True)
class SentinelAccount:
    """Whose orders the switch may cancel.

    Attributes:
        urls: addresses of the practice exchange by name; empty for a venue's own.
        fingerprint: see `core.execution.assembly.key_fingerprint`.
    """

    mode: TradingMode
    venue: str
    urls: dict[str, str]
    fingerprint: str
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)


def live_account(record: KeyRecord, pair: KeyPair) -> SentinelAccount:
    """Return a person's account, at its venue's own addresses."""
    return SentinelAccount(TradingMode.LIVE, record.venue, {}, record.fingerprint, pair.api_key, pair.api_secret)


def practice_account(endpoints: PracticeEndpoints, venue: str) -> SentinelAccount:
    """Return the account of a practice exchange."""
    return SentinelAccount(
        TradingMode.PRACTICE,
        venue,
        {"rest": endpoints.rest, "ws": endpoints.ws, "ws_api": endpoints.ws_api},
        key_fingerprint(venue, endpoints.api_key),
        endpoints.api_key,
        endpoints.api_secret,
    )


class SentinelProcess:
    """One child. What does not say that it blocks returns at once, on any thread."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._complaints: deque[str] = deque(maxlen=20)
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()  # held while it is started
        self._lock = threading.Lock()  # guards what is sent first
        self._dropped = False
        self.is_ready = False
        self.unanswered = 0  # beats

    @property
    def pid(self) -> int | None:
        """Process id, once started."""
        return self._process.pid if self._process is not None else None

    @property
    def is_running(self) -> bool:
        """Whether the child lives."""
        return self._process is not None and self._process.poll() is None

    def start(self, first: dict[str, Any]) -> None:
        """Start the child and give it its first message. Blocks for a moment.

        Raises:
            OSError: it cannot be started.
        """
        options: dict[str, Any] = {}
        if sys.platform == "win32":
            options["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
        else:
            options["start_new_session"] = True  # neither Ctrl-C, Ctrl-Z nor a closed terminal are meant for it
        with self._starting:
            if self._dropped:
                return
            self._process = process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
            )
            with self._lock:
                if not self._dropped:  # else it hears goodbye first and ends by itself
                    self._send(first)
            for body, pipe in (
                (self._write, process.stdin),
                (self._hear, process.stdout),
                (self._listen, process.stderr),
            ):
                thread = threading.Thread(target=body, args=(pipe,), name="sentinel-pipe", daemon=True)
                thread.start()
                self._threads.append(thread)

    def beat(self, protective: list[str]) -> None:
        """Give a sign of life."""
        self.unanswered += 1
        self._send({"kind": BEAT, "protective": protective})

    def dismiss(self) -> None:
        """Say goodbye: orders stay, the child ends. Idempotent."""
        with self._lock:
            self._dropped = True
            self._send({"kind": BYE})
            self._outbox.put(None)

    def kill(self) -> None:
        """End a child that is of no use any more; it will not act."""
        with self._lock:
            self._dropped = True
            self._outbox.put(None)
        if self._process is not None:
            self._process.kill()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end, by force where it lingers; returns its exit code, None where it never ran. Blocks."""
        with self._starting:
            if self._process is None:
                return None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def complaint(self) -> str:
        """Return the last thing that a child said which has ended. Blocks for a moment."""
        for thread in self._threads[1:]:
            thread.join(BYE_S)
        return self._complaints[-1] if self._complaints else ""

    def _send(self, message: dict[str, Any]) -> None:
        self._outbox.put(json.dumps(message).encode() + b"\n")

    def _write(self, pipe: IO[bytes]) -> None:
        """Write what is in the outbox until a None; body of a thread."""
        with contextlib.suppress(OSError), pipe:
            while (line := self._outbox.get()) is not None:
                pipe.write(line)
                pipe.flush()

    def _hear(self, pipe: IO[bytes]) -> None:
        """Take the child's answers; body of a thread."""
        with pipe, contextlib.suppress(ValueError):  # a line that broke off: it was ended
            for line in pipe:
                kind = json.loads(line)["kind"]
                if kind == SEEN:
                    self.unanswered = 0
                elif kind == READY:
                    self.is_ready = True

    def _listen(self, pipe: IO[bytes]) -> None:
        """Keep the last lines of standard error; body of a thread."""
        with pipe:
            for line in pipe:
                if text := line.decode(errors="replace").strip():
                    self._complaints.append(text)


def sentinel_command() -> list[str]:
    """Return the command line of the child. A frozen application is its own interpreter."""
    program = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, str(_MAIN)]
    return [*program, SUBCOMMAND]


class SentinelKeeper:
    """Keeps one dead-man switch running beside one executor, and tells what it did.

    It begins once the executor knows its books, in the background. `hand_over` comes before the executor is stopped,
    `close` after.

    Args:
        paths: the data folder; what a switch did is kept there and merged by the executor's next start.
        account: whose orders.
        sink: told notices.
        wall: names the files.
        rules: patience; None where there is to be no switch: then the orders are claimed only.
        command: of the child.
    """

    def __init__(
        self,
        paths: DataPaths,
        account: SentinelAccount,
        sink: EventSink,
        wall: Clock,
        rules: SentinelRules | None,
        command: list[str] | None = None,
    ) -> None:
        self._paths = paths
        self._account = account
        self._sink = sink
        self._wall = wall
        self._rules = rules
        self._command = command or sentinel_command()
        self._executor: WatchedExecutor | None = None
        self._claim = Claim(runtime_folder(), account.fingerprint)
        self._word, self._word_before = uuid.uuid4().hex, ""
        self._begun = self._compared = self._claimed = self._is_down = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._process: SentinelProcess | None = None
        self._known: set[str] = set()  # what switches did, as far as it was told
        self._missed: list[dict[str, Any]] = []

    @property
    def pid(self) -> int | None:
        """Process id of the present child."""
        return self._process.pid if self._process is not None else None

    @property
    def is_running(self) -> bool:
        """Whether a child guards the orders now."""
        return self._process is not None and self._process.is_ready and self._process.is_running

    def guard(self, executor: WatchedExecutor) -> None:
        """Name the executor whose orders are guarded: it holds the lock and has not started yet."""
        self._executor = executor
        self._word_before = self._claim.read()
        self._missed = self._news()  # the start merges the files

    def follow(self, event: ExecutorEvent) -> None:
        """Take an event of the executor: the switch begins when the books are told."""
        if not isinstance(event, BooksTold) or self._begun:
            return
        self._begun = True
        self._tell(self._missed)
        self._spawn(self._compare())
        if self._rules is not None:
            self._spawn(self._run(self._rules))

    def hand_over(self) -> None:
        """Prepare for the executor's end, while it still holds the lock: orders stay, whoever began to watch before."""
        if self._compared:
            self._take_over()

    async def close(self) -> None:
        """Dismiss the switch: orders stay. Idempotent."""
        self.hand_over()
        process, self._process = self._process, None
        if process is not None:
            process.dismiss()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if process is not None:
            await asyncio.to_thread(process.wait, BYE_S)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="sentinel")
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (trouble := task.exception()) is not None:
            # Of comparing the books: the executor compares them as well, and there it ends trading.
            _log.error("the books could not be compared after the dead-man switch acted", exc_info=trouble)

    async def _compare(self) -> None:
        """Compare the books with the venue. Only who has done so answers for the orders: a start may still fail."""
        while self._executor is not None:
            try:
                await self._executor.reconcile_now()
            except GatewayError:  # told by the link
                await asyncio.sleep(RETRY_S)
            else:
                break
        self._compared = True
        if self._rules is None:
            self._take_over()

    async def _run(self, rules: SentinelRules) -> None:
        """Keep a child running for ever."""
        pause_s = RESTART_S
        while True:
            begun_s = time.monotonic()
            process = self._process = SentinelProcess(self._command)
            try:
                why = await self._guard_with(process, rules)
            except Exception as exc:  # noqa: BLE001 - whatever it is: a child that hears no beats any more would act
                _log.exception("the dead-man switch cannot be kept")
                why = f"It failed: {exc!r}."
            finally:
                process.dismiss()
            await asyncio.to_thread(process.wait, BYE_S)
            if not self._is_down:
                self._is_down = True
                text = f"{why} Until it runs again, orders stay at the exchange when this program ends unexpectedly."
                self._sink(Notice(Severity.WARNING, "The dead-man switch does not run", text))
            if time.monotonic() - begun_s > RESTART_MAX_S:
                pause_s = RESTART_S
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RESTART_MAX_S)

    async def _guard_with(self, process: SentinelProcess, rules: SentinelRules) -> str:
        """Beat until a child ends or is of no use; returns why, as a sentence."""
        try:
            await asyncio.to_thread(process.start, self.start_message(rules))
        except OSError as exc:
            return f"It cannot be started: {exc.strerror or exc}."
        while process.is_running:
            if process.unanswered >= (UNANSWERED_BEATS if process.is_ready else FIRST_BEATS):
                process.kill()
                return "It does not answer."
            process.beat(self._protective())
            if process.is_ready:
                self._note_running()
            self._tell_action()
            await asyncio.sleep(rules.beat_s)
        self._tell_action()
        complaint = await asyncio.to_thread(process.complaint)
        return f"It ended: {complaint.rstrip('.')}." if complaint else "It ended."

    def start_message(self, rules: SentinelRules) -> dict[str, Any]:
        """Return all that a child has to know."""
        account = self._account
        if account.mode is TradingMode.PRACTICE and rules.patience_s is None:
            rules = replace(rules, patience_s=PRACTICE_PATIENCE_S)
        return SentinelStart(
            mode=account.mode.value,
            venue=account.venue,
            urls=account.urls,
            journal=str(self._paths.root / f"{SENTINEL_PREFIX}{self._wall.now_ns()}.jsonl"),
            runtime_folder=str(runtime_folder()),
            fingerprint=account.fingerprint,
            claim=self._word,
            claim_before=self._word_before,
            own_prefix=ID_PREFIX,
            rules=rules,
            api_key=account.api_key,
            api_secret=account.api_secret,
        ).to_json()

    def _protective(self) -> list[str]:
        if self._executor is None:
            return []
        return [order.client_order_id for order in self._executor.working_orders if reduces_only(order.intent)]

    def _note_running(self) -> None:
        if self._compared:
            self._take_over()
        if self._is_down:
            self._is_down = False
            self._sink(Notice(Severity.SUCCESS, "The dead-man switch runs again"))

    def _take_over(self) -> None:
        """Claim the orders: the switch of an executor before this one stands down."""
        if self._claimed:
            return
        self._claimed = True
        try:
            self._claim.write(self._word)
        except OSError as exc:
            title = "The dead-man switch of an earlier start may cancel orders when this program ends"
            self._sink(Notice(Severity.WARNING, title, f"{exc.filename} cannot be written: {exc.strerror or exc}."))

    def _tell_action(self) -> None:
        """Tell what a switch did while this loop stood still, and have the books repaired; beats must not wait."""
        if news := self._news():
            self._tell(news)
            self._spawn(self._compare())

    def _news(self) -> list[dict[str, Any]]:
        """Return the ends of actions that switches wrote down and that were not known here."""
        news: list[dict[str, Any]] = []
        for path in sorted(self._paths.root.glob(f"{SENTINEL_PREFIX}*.jsonl")):
            for line in read_lines(path):
                key = json.dumps(
                    line, sort_keys=True
                )  # a file may be merged meanwhile and begun anew; a line has a time
                if line.get("kind") == END and key not in self._known:
                    self._known.add(key)
                    news.append(line)
        return news

    def _tell(self, ends: list[dict[str, Any]]) -> None:
        for end in ends:
            if (notice := describe(end)) is not None:
                self._sink(notice)


def describe(end: dict[str, Any]) -> Notice | None:
    """Say what one action of the switch came to; None where it came to nothing."""
    outcome, count = Outcome(end["outcome"]), len(end["cancelled"])
    error = str(end["error"]).rstrip(".")
    severity = Severity.WARNING if count else Severity.INFO
    match outcome:
        case Outcome.CONFIRMED:
            text = (
                f"The program gave no sign of life. Orders cancelled: {count}. Only protective ones may still be open."
            )
        case Outcome.CAME_BACK | Outcome.TAKEN_OVER if not count:
            return None
        case Outcome.CAME_BACK:
            text = f"The program gave no sign of life for a while. Orders cancelled until it was back: {count}."
        case Outcome.TAKEN_OVER:
            text = f"The program gave no sign of life. Orders cancelled until the next start took over: {count}."
        case Outcome.INCOMPLETE:
            severity = Severity.ERROR
            text = f"Orders cancelled: {count}. Orders that carry no id of ours are still open; cancel them by hand."
        case Outcome.GAVE_UP:
            severity = Severity.WARNING
            text = f"Orders cancelled: {count}. The rest may still be open: the exchange did not answer ({error})."
        case Outcome.REFUSED:
            severity = Severity.ERROR
            text = f"Orders cancelled: {count}. The rest may still be open: the exchange refused the key ({error})."
        case Outcome.FAILED:
            severity = Severity.ERROR
            text = f"Orders cancelled: {count}. The rest may still be open: the switch failed ({error})."
    return Notice(severity, "The dead-man switch acted", text)
