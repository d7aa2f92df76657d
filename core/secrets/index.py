"""The list of keys of a data folder: what may be seen of them, never a secret. Any thread; an owner-only file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.data.atomic_file import exclusive_lock
from core.errors import UserError
from core.secrets.keys import KeyRecord, PermissionNote, StoreKind
from core.secrets.owned_file import read_owned, write_owned

FORMAT = "maru-key-list-1"

Records = dict[str, KeyRecord]


class KeyIndex:
    """Records by name.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def records(self) -> Records:
        """Return all records.

        Raises:
            UserError: the file is damaged, or others can read it.
        """
        data = read_owned(self._path)
        if data is None:
            return {}
        try:
            content = json.loads(data)
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            records = [_record(row) for row in content["keys"]]
        except (ValueError, KeyError, TypeError) as exc:
            raise UserError(
                f"The list of keys {self._path} is damaged.",
                "Restore it from a copy, or delete it and add the keys again.",
            ) from exc
        return {record.name: record for record in records}

    def change(self, edit: Callable[[Records], None]) -> None:
        """Read, edit and write as one step between programs.

        Raises:
            UserError: see `records`, or the file cannot be written.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with exclusive_lock(self._path.with_name(f".{self._path.name}.lock")):
            records = self.records()
            edit(records)
            rows = [asdict(record) for record in sorted(records.values(), key=lambda record: record.name)]
            data = json.dumps({"format": FORMAT, "keys": rows}, indent=1, ensure_ascii=False).encode()
            write_owned(self._path, data)


def _record(row: Mapping[str, Any]) -> KeyRecord:
    note = row["permissions"]
    return KeyRecord(
        name=str(row["name"]),
        venue=str(row["venue"]),
        last4=str(row["last4"]),
        fingerprint=str(row["fingerprint"]),
        store=StoreKind(row["store"]),
        entry=str(row["entry"]),
        added_ns=int(row["added_ns"]),
        withdrawals_unchecked=row["withdrawals_unchecked"] is True,
        permissions=None
        if note is None
        else PermissionNote(note["allowed"] is True, tuple(map(str, note["lines"])), int(note["read_ns"])),
    )
