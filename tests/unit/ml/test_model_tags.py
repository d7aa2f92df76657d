from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from core.errors import UserError
from ml.model_tags import LONGEST_NOTE, MOST_TAGS, NO_MARKS, TAGS_FILE, ModelMarks, ModelTags, checked_tag

MODEL, OTHER = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture
def tags(tmp_path: Path) -> ModelTags:
    return ModelTags(tmp_path)


def test_tags_are_kept_in_order_and_once(tags: ModelTags, tmp_path: Path) -> None:
    assert tags.read() == {}
    tags.add_tags(MODEL, "candidate")
    tags.add_tags(MODEL, "비트코인 1h")
    assert tags.add_tags(MODEL, "Candidate").tags == ("candidate", "비트코인 1h")
    assert ModelTags(tmp_path).of(MODEL).tags == ("candidate", "비트코인 1h")
    assert tags.of(OTHER) == NO_MARKS
    assert tags.remove_tags(MODEL, "CANDIDATE").tags == ("비트코인 1h",)
    with pytest.raises(UserError, match="no tag"):
        tags.remove_tags(MODEL, "candidate")


def test_several_tags_are_one_change(tags: ModelTags) -> None:
    with pytest.raises(UserError, match="is no tag"):
        tags.add_tags(MODEL, "keep", "bad/tag")
    assert tags.read() == {}
    with pytest.raises(UserError, match="at most"):
        tags.add_tags(MODEL, "keep", *(f"t{number}" for number in range(MOST_TAGS)))
    assert tags.read() == {}
    assert tags.add_tags(MODEL, "keep", "b", "Keep").tags == ("keep", "b")
    with pytest.raises(UserError, match="no tag 'never'"):
        tags.remove_tags(MODEL, "keep", "never")
    assert tags.remove_tags(MODEL, "keep", "B").tags == ()


def test_tags_and_note_are_set_together_or_not_at_all(tags: ModelTags) -> None:
    tags.mark_imported(MODEL, "x.maru-model", 7)
    before = tags.set_marks(MODEL, ("keep", "calm", "KEEP"), " a note ")
    assert (before.tags, before.note, before.imported_ns) == (("keep", "calm"), "a note", 7)
    for wanted, note in ((("a", "b/c"), "new"), (("a",), "x" * (LONGEST_NOTE + 1)), (("a",), "red \x1b[31m")):
        with pytest.raises(UserError):
            tags.set_marks(MODEL, wanted, note)
    with pytest.raises(UserError, match="at most"):
        tags.set_marks(MODEL, [f"t{number}" for number in range(MOST_TAGS + 1)], "new")
    assert tags.of(MODEL) == before


def test_what_says_nothing_leaves_no_entry(tags: ModelTags) -> None:
    tags.add_tags(MODEL, "a")
    tags.remove_tags(MODEL, "a")
    tags.set_note(MODEL, "  ")
    assert tags.read() == {}


@pytest.mark.parametrize(
    "text", ["", "   ", "-x", "a,b", "a\nb", "a/b", "x" * 41, "a\u202eb", "a\x1b[31m", "tag!", "\u200b"]
)
def test_what_is_no_tag(text: str, tags: ModelTags) -> None:
    with pytest.raises(UserError, match="is no tag"):
        tags.add_tags(MODEL, text)
    assert tags.read() == {}


def test_equal_letters_are_one_tag_however_they_are_coded() -> None:
    assert checked_tag("Cafe\u0301") == checked_tag(" Café ")


def test_there_is_an_end_to_tags_and_notes(tags: ModelTags) -> None:
    for number in range(MOST_TAGS):
        tags.add_tags(MODEL, f"t{number}")
    with pytest.raises(UserError, match="at most"):
        tags.add_tags(MODEL, "more")
    with pytest.raises(UserError, match="characters"):
        tags.set_note(MODEL, "x" * (LONGEST_NOTE + 1))
    with pytest.raises(UserError, match="cannot be shown"):
        tags.set_note(MODEL, "red \x1b[31m")
    assert tags.set_note(MODEL, "two\nlines").note == "two\nlines"


def test_where_a_package_came_from_stays(tags: ModelTags) -> None:
    tags.mark_imported(MODEL, "x.maru-model", 7)
    marks = tags.add_tags(MODEL, "keep")
    assert (marks.foreign, marks.imported_from, marks.imported_ns) == (True, "x.maru-model", 7)
    assert not ModelMarks().foreign


@pytest.mark.parametrize("tag", ["keep", "KEEP", " Keep "])
def test_keep_protects(tags: ModelTags, tag: str) -> None:
    tags.add_tags(MODEL, tag)
    with pytest.raises(UserError, match="protected"), tags.removing(MODEL):
        pytest.fail("must not get here")
    with tags.removing(OTHER):
        pass
    tags.remove_tags(MODEL, "keep")
    with tags.removing(MODEL):
        pass
    assert tags.read() == {}


def test_a_removal_that_fails_forgets_nothing(tags: ModelTags) -> None:
    tags.add_tags(MODEL, "a")
    with pytest.raises(RuntimeError), tags.removing(MODEL):
        raise RuntimeError
    assert tags.of(MODEL).tags == ("a",)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"\xff", b'{"format": 2, "models": {}}', b'{"format": 1}', b'{"format": 1, "models": []}',
     b'{"format": 1, "models": {"a": {"tags": [1]}}}', b"[" * 100_000],
)  # fmt: skip
def test_a_damaged_file_is_said_and_never_replaced(tags: ModelTags, tmp_path: Path, content: bytes) -> None:
    (tmp_path / TAGS_FILE).write_bytes(content)
    with pytest.raises(UserError, match="damaged") as caught:
        tags.read()
    assert "made elsewhere" in caught.value.remedy  # what is lost with it
    assert "from being removed" in caught.value.remedy
    with pytest.raises(UserError, match="damaged"):
        tags.add_tags(MODEL, "a")
    with pytest.raises(UserError, match="damaged"), tags.removing(MODEL):
        pytest.fail("the file may say that it must be kept")
    assert (tmp_path / TAGS_FILE).read_bytes() == content


def _add_many(folder: str, worker: int) -> None:
    for number in range(10):
        ModelTags(Path(folder)).add_tags(f"{worker:016x}", f"t{number}")


def test_several_processes_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add_many, args=(str(tmp_path), worker)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    marks = ModelTags(tmp_path).read()
    assert {key: len(value.tags) for key, value in marks.items()} == {f"{worker:016x}": 10 for worker in range(3)}
