"""The crossings into the GUI thread: newest value wins, events are all there and in order."""

from __future__ import annotations

import threading
import time
from typing import Any

from PySide6.QtCore import QObject, QThread, Slot
from pytestqt.qtbot import QtBot

from app.workers.snapshot import EventQueue, SnapshotStore
from tests.qt.conftest import settle


class Sink(QObject):
    def __init__(self) -> None:
        super().__init__()
        self.got: list[Any] = []
        self.groups = 0
        self.foreign = 0

    @Slot(object)
    def take(self, value: Any) -> None:
        self.foreign += QThread.currentThread() is not self.thread()
        self.got.append(value)

    @Slot()
    def group(self) -> None:
        self.groups += 1


def flood(target: Any, count: int) -> threading.Thread:
    def run() -> None:
        for number in range(count):
            target(number)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_store_delivers_the_newest_value_and_few_updates(qtbot: QtBot) -> None:
    store, sink = SnapshotStore(), Sink()
    store.updated.connect(sink.take)
    thread = flood(lambda n: store.put("ticker", n), 20_000)
    thread.join()
    qtbot.waitUntil(lambda: store.latest("ticker") == 19_999, timeout=5000)
    assert sink.foreign == 0
    assert len(sink.got) < 2_000
    assert sink.got[-1]["ticker"] == 19_999


def test_store_keeps_the_interval_of_each_key(qtbot: QtBot) -> None:
    store, sink = SnapshotStore({"slow": 200, "fast": 0}), Sink()
    store.updated.connect(sink.take)
    end = time.monotonic() + 0.5
    number = 0
    while time.monotonic() < end:
        number += 1
        store.put("slow", number)
        store.put("fast", number)
        qtbot.wait(5)
    qtbot.waitUntil(lambda: store.latest("slow") == number, timeout=5000)
    slow = sum("slow" in update for update in sink.got)
    fast = sum("fast" in update for update in sink.got)
    assert 2 <= slow <= 5
    assert fast > slow


def test_store_delivers_the_last_value_after_the_flood(qtbot: QtBot) -> None:
    store, sink = SnapshotStore({"a": 400}), Sink()
    store.updated.connect(sink.take)
    for number in range(3):
        store.put("a", number)
        settle()
    qtbot.waitUntil(lambda: store.latest("a") == 2, timeout=5000)
    assert [update["a"] for update in sink.got] == [0, 2]


def test_cleared_store_delivers_nothing_old(qtbot: QtBot) -> None:
    store, sink = SnapshotStore(), Sink()
    store.updated.connect(sink.take)
    store.put("a", 1)
    store.clear()
    settle()
    assert sink.got == []
    assert store.latest("a") is None
    store.put("a", 2)
    qtbot.waitUntil(lambda: store.latest("a") == 2, timeout=5000)


def test_queue_loses_nothing_and_keeps_order_under_flood(qtbot: QtBot) -> None:
    queue, sink = EventQueue(), Sink()
    queue.event_arrived.connect(sink.take)
    queue.drained.connect(sink.group)
    thread = flood(queue.push, 20_000)
    qtbot.waitUntil(lambda: len(sink.got) == 20_000, timeout=10_000)
    thread.join()
    assert sink.got == list(range(20_000))
    assert sink.foreign == 0
    assert 1 <= sink.groups <= 20_000


def test_queue_orders_events_of_each_of_several_threads(qtbot: QtBot) -> None:
    queue, sink = EventQueue(), Sink()
    queue.event_arrived.connect(sink.take)
    threads = [flood(lambda n, name=name: queue.push((name, n)), 2_000) for name in "ab"]
    qtbot.waitUntil(lambda: len(sink.got) == 4_000, timeout=10_000)
    for thread in threads:
        thread.join()
    for name in "ab":
        assert [n for who, n in sink.got if who == name] == list(range(2_000))


class Nester(Sink):
    """A receiver that runs a nested event loop, as a careless dialog would."""

    def __init__(self, queue: EventQueue) -> None:
        super().__init__()
        self.queue = queue

    @Slot(object)
    def take(self, value: Any) -> None:
        self.got.append(value)
        if value == 0:
            self.queue.push("late")
            self.queue.drain()


def test_nested_event_loop_cannot_reorder(qtbot: QtBot) -> None:
    queue = EventQueue()
    sink = Nester(queue)
    queue.event_arrived.connect(sink.take)
    for number in range(3):
        queue.push(number)
    qtbot.waitUntil(lambda: len(sink.got) == 4, timeout=5000)
    assert sink.got == [0, 1, 2, "late"]


def test_drain_at_shutdown_delivers_what_waits() -> None:
    queue, sink = EventQueue(), Sink()
    queue.event_arrived.connect(sink.take)
    queue.push(1)
    queue.drain()
    assert sink.got == [1]
    settle()
    assert sink.got == [1]
