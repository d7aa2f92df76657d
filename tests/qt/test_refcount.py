"""Smoke test of the binding: some PySide6 builds drop references on every emitted signal and kill the interpreter."""

from __future__ import annotations

import sys

from PySide6.QtCore import QObject, Signal, Slot


class Emitter(QObject):
    changed = Signal()
    value = Signal(object)


class Receiver(QObject):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @Slot(object)
    def take(self, _value: object) -> None:
        self.count += 1


def test_emit_keeps_the_reference_counts_of_singletons() -> None:
    emitter, receiver = Emitter(), Receiver()
    emitter.value.connect(receiver.take)
    before = sys.getrefcount(True), sys.getrefcount(None)
    for _ in range(300):
        emitter.changed.emit()
        emitter.value.emit(None)
    assert receiver.count == 300
    assert sys.getrefcount(True) > before[0] - 50
    assert sys.getrefcount(None) > before[1] - 50


def test_version_is_one_that_does_not_drop_references() -> None:
    import PySide6

    version = tuple(int(part) for part in PySide6.__version__.split(".")[:2])
    assert sys.version_info >= (3, 12) or version < (6, 12)
