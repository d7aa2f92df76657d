"""What people say about stored models: tags, notes, where a package came from. Any thread; no torch.

Packages never change, so this lies beside them in one file. It is read whole and replaced whole under a lock between
processes: the window and a command may both write it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from core.data.atomic_file import exclusive_lock, write_atomically
from core.errors import UserError
from ml.jsonvalues import Json, JsonValue

TAGS_FILE = "tags.json"
KEEP = "keep"  # a model with this tag is not removed, however the tag is spelled
MOST_TAGS, LONGEST_NOTE = 20, 2_000

_LOCK = ".tags.lock"
_FORMAT = 1
_TAG = re.compile(r"\w[\w .:+-]{0,38}[\w.+]|\w")


@dataclass(frozen=True, slots=True)
class ModelMarks(JsonValue):
    """What was said about one model.

    Attributes:
        tags: in the order they were given.
        note: free text.
        imported_from / imported_ns: name of the file and time, ns UTC, of a package that came from elsewhere.
    """

    tags: tuple[str, ...] = ()
    note: str = ""
    imported_from: str = ""
    imported_ns: int | None = None

    @property
    def foreign(self) -> bool:
        """Whether the package was made elsewhere."""
        return self.imported_ns is not None

    @property
    def protected(self) -> bool:
        """Whether the model must not be removed."""
        return any(tag.casefold() == KEEP for tag in self.tags)


NO_MARKS = ModelMarks()


class ModelTags:
    """The marks of the models in one folder."""

    def __init__(self, models_dir: Path) -> None:
        self._path = models_dir / TAGS_FILE
        self._lock = models_dir / _LOCK

    def read(self) -> dict[str, ModelMarks]:
        """Return what was said, by model id; models without marks are absent.

        Raises:
            UserError: the file cannot be read or is damaged.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as exc:
            raise UserError(f"{self._path} cannot be read: {exc.strerror or exc}.", "Check the permissions.") from exc
        try:
            content: Json = json.loads(data)
            if content["format"] != _FORMAT:
                raise ValueError(content["format"])
            return {str(model_id): ModelMarks.from_json(marks) for model_id, marks in content["models"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UserError) as exc:
            # Never overwritten: it may say which models must be kept.
            raise UserError(
                f"{self._path} is damaged or of another version.",
                "Repair it; deleting it loses tags and notes, what keeps models from being removed, and which ones "
                "were made elsewhere.",
            ) from exc

    def of(self, model_id: str) -> ModelMarks:
        """Return what was said about one model."""
        return self.read().get(model_id, NO_MARKS)

    def add_tags(self, model_id: str, *tags: str) -> ModelMarks:
        """Add tags; one that is there already, however it is spelled, stays as it is.

        Raises:
            UserError: one of them is no tag, there are too many, or the file cannot be written; none was added.
        """
        checked = [checked_tag(tag) for tag in tags]
        return self._change(model_id, lambda marks: replace(marks, tags=_distinct((*marks.tags, *checked))))

    def remove_tags(self, model_id: str, *tags: str) -> ModelMarks:
        """Remove tags, however they are spelled.

        Raises:
            UserError: the model has no such tag, or the file cannot be written; none was removed.
        """
        wanted = [unicodedata.normalize("NFC", tag.strip()) for tag in tags]

        def change(marks: ModelMarks) -> ModelMarks:
            for tag in wanted:
                if not any(_same(tag, other) for other in marks.tags):
                    raise UserError(f"Model {model_id} has no tag {tag!r}.", "See its tags with `models show`.")
            rest = (other for other in marks.tags if not any(_same(tag, other) for tag in wanted))
            return replace(marks, tags=tuple(rest))

        return self._change(model_id, change)

    def set_note(self, model_id: str, note: str) -> ModelMarks:
        """Replace the note; an empty one removes it.

        Raises:
            UserError: it is too long or holds control characters, or the file cannot be written.
        """
        checked = _checked_note(note)
        return self._change(model_id, lambda marks: replace(marks, note=checked))

    def set_marks(self, model_id: str, tags: Sequence[str], note: str) -> ModelMarks:
        """Set tags and note to exactly these, in one change.

        Raises:
            UserError: one of them cannot be kept, or the file cannot be written; nothing was changed.
        """
        wanted, checked = _distinct([checked_tag(tag) for tag in tags]), _checked_note(note)
        return self._change(model_id, lambda marks: replace(marks, tags=wanted, note=checked))

    def mark_imported(self, model_id: str, source: str, now_ns: int) -> ModelMarks:
        """Remember that a package came from elsewhere."""
        return self._change(model_id, lambda marks: replace(marks, imported_from=source, imported_ns=now_ns))

    def require_removable(self, model_id: str) -> None:
        """Raise `UserError` where the tags of a model protect it."""
        if self.of(model_id).protected:
            raise UserError(
                f"Model {model_id} is protected by its tag {KEEP!r}.",
                f"Take the tag away first: `models untag {model_id} {KEEP}`.",
            )

    @contextmanager
    def removing(self, model_id: str) -> Iterator[None]:
        """Hold the marks while a model is removed, and forget it where that succeeded.

        Raises:
            UserError: its tags protect it.
        """
        with exclusive_lock(self._lock):
            self.require_removable(model_id)
            yield
            marks = self.read()
            if marks.pop(model_id, None) is not None:
                self._write(marks)

    def _change(self, model_id: str, change: Callable[[ModelMarks], ModelMarks]) -> ModelMarks:
        with exclusive_lock(self._lock):
            marks = self.read()
            before = marks.pop(model_id, NO_MARKS)
            after = change(before)
            if after != NO_MARKS:
                marks[model_id] = after
            if after != before:
                self._write(marks)
        return after

    def _write(self, marks: dict[str, ModelMarks]) -> None:
        content = {"format": _FORMAT, "models": {key: marks[key].to_json() for key in sorted(marks)}}
        write_atomically(self._path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def checked_tag(text: str) -> str:
    """Return a tag as it is stored.

    Raises:
        UserError: it is none.
    """
    tag = unicodedata.normalize("NFC", text.strip())
    if not _TAG.fullmatch(tag) or not is_plain(tag):
        raise UserError(
            f"{text!r} is no tag.",
            "Use up to 40 letters, digits, spaces and the signs . : + -, "
            "with a letter or digit first and no : or - last.",
        )
    return tag


def _distinct(tags: Sequence[str]) -> tuple[str, ...]:
    """Return each tag once, as it is spelled first."""
    found: dict[str, str] = {}
    for tag in tags:
        found.setdefault(tag.casefold(), tag)
    if len(found) > MOST_TAGS:
        raise UserError(f"A model has at most {MOST_TAGS} tags.", "Remove one of them first.")
    return tuple(found.values())


def _checked_note(text: str) -> str:
    note = text.strip()
    if len(note) > LONGEST_NOTE:
        raise UserError(f"The note has {len(note):,} characters.", f"Use at most {LONGEST_NOTE:,}.")
    if not is_plain(note.replace("\n", " ")):
        raise UserError("The note holds characters that cannot be shown.", "Use letters, digits and punctuation.")
    return note


def is_plain(text: str) -> bool:
    """Return whether a text can be shown as it is: no control characters, nothing that turns the direction."""
    return all(unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for character in text)


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()
