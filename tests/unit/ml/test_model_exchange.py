"""Export and import: whatever was done to a file is noticed before anything of it is stored."""

from __future__ import annotations

import io
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import ManualClock
from core.errors import UserError
from ml.model_exchange import archive, export_model, import_model, read_archive
from ml.model_storage import FILES, MANIFEST, load_model, package_files, stored_ids, summarise
from ml.model_tags import ModelTags
from ml.package_check import MOST_BYTES, check_package
from tests.trained_model import Trained


def nothing(folder: Path) -> None:
    """Stand for a network that is sound."""


def never(folder: Path) -> None:
    pytest.fail("the network must not be opened")


@pytest.fixture
def files(trained: Trained) -> dict[str, bytes]:
    return package_files(trained.models_dir, trained.result.model_id)


@pytest.fixture
def exported(trained: Trained, tmp_path: Path) -> Path:
    return export_model(trained.models_dir, trained.result.model_id, tmp_path)


def test_there_and_back(trained: Trained, exported: Path, tmp_path: Path) -> None:
    model_id = trained.result.model_id
    assert exported.name == f"{model_id}.maru-model"
    seen: list[set[str]] = []
    models = tmp_path / "models"

    def look(folder: Path) -> None:
        seen.append({path.name for path in folder.iterdir()})
        assert not models.exists(), "nothing is stored before the network was checked"

    done = import_model(models, exported, look, ManualClock(9))
    assert (done.model_id, done.already_here) == (model_id, False)
    assert seen == [{MANIFEST, *FILES}]
    assert package_files(models, model_id) == package_files(trained.models_dir, model_id)
    marks = ModelTags(models).of(model_id)
    assert (marks.imported_from, marks.imported_ns, marks.foreign) == (exported.name, 9, True)
    again = import_model(models, exported, never, ManualClock(10))
    assert again.already_here
    assert ModelTags(models).of(model_id).imported_ns == 9


@pytest.mark.parametrize("damaged", [False, True])
def test_two_programs_take_in_one_file(damaged: bool, exported: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    if damaged:
        (models / exported.stem).mkdir(parents=True)

    def overtaken(folder: Path) -> None:
        """Let another program finish the same import while this one looks at the network."""
        assert not import_model(models, exported, nothing, ManualClock(9)).already_here

    assert import_model(models, exported, overtaken, ManualClock(10)).already_here is not damaged
    assert not summarise(models, exported.stem).problem
    assert [path.name for path in models.iterdir() if path.is_dir()] == [exported.stem]


def test_a_folder_that_cannot_be_written_is_said(exported: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"

    def blocked(folder: Path) -> None:
        (models / exported.stem / "x").mkdir(parents=True)  # something else lies where the package belongs

    with pytest.raises(UserError, match="could not be stored"):
        import_model(models, exported, blocked, ManualClock(9))


def test_our_own_model_does_not_become_foreign(trained: Trained, exported: Path) -> None:
    assert import_model(trained.models_dir, exported, never, ManualClock(9)).already_here
    assert not ModelTags(trained.models_dir).of(trained.result.model_id).foreign


@pytest.mark.parametrize("foreign", [True, False])
@pytest.mark.parametrize("name", ["model.onnx", MANIFEST])
def test_a_damaged_model_here_is_repaired(
    name: str, foreign: bool, trained: Trained, exported: Path, tmp_path: Path
) -> None:
    models, model_id = tmp_path / "models", trained.result.model_id
    if foreign:
        import_model(models, exported, nothing, ManualClock(9))
    else:
        shutil.copytree(trained.models_dir / model_id, models / model_id)
    tags = ModelTags(models)
    marks = tags.add_tags(model_id, "keep")
    (models / model_id / name).write_bytes(b"x")

    def refuse(folder: Path) -> None:
        raise UserError("unsound")

    with pytest.raises(UserError, match="unsound"):
        import_model(models, exported, refuse, ManualClock(10))
    assert (models / model_id / name).read_bytes() == b"x"
    done = import_model(models, exported, nothing, ManualClock(10))
    assert (done.model_id, done.already_here) == (model_id, False)
    assert package_files(models, model_id) == package_files(trained.models_dir, model_id)
    assert tags.of(model_id) == marks  # where it came from has not changed
    assert [path.name for path in models.iterdir() if path.is_dir()] == [model_id]


def test_the_file_is_a_plain_zip_with_bytes_that_depend_on_nothing(trained: Trained, exported: Path) -> None:
    files = package_files(trained.models_dir, trained.result.model_id)
    assert exported.read_bytes() == archive(files)
    with zipfile.ZipFile(exported) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == files
        assert {entry.date_time for entry in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_nothing_is_overwritten(trained: Trained, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists already"):
        export_model(trained.models_dir, trained.result.model_id, exported)
    with pytest.raises(UserError, match="cannot be written"):
        export_model(trained.models_dir, trained.result.model_id, exported / "below" / "x.maru-model")


def refuse(source: Path, models: Path, match: str = ".") -> None:
    """Require one sentence, and that nothing was stored or opened."""
    with pytest.raises(UserError, match=match) as caught:
        import_model(models, source, never, ManualClock(9))
    assert caught.value.message.endswith(".")
    assert stored_ids(models) == ()
    assert not models.exists() or ModelTags(models).read() == {}


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_noticed(
    data: st.DataObject, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = archive(package_files(trained.models_dir, trained.result.model_id))
    place = data.draw(st.integers(0, len(whole) - 1))
    change = data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("flipped")
    source = folder / "x.maru-model"
    source.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
    refuse(source, folder / "models")


def test_every_byte_that_is_not_content_counts(trained: Trained, tmp_path: Path) -> None:
    """All of the zip's own bytes, where a lenient reader would look away."""
    files = package_files(trained.models_dir, trained.result.model_id)
    whole = archive(files)
    content: set[int] = set()
    for data in files.values():
        start = whole.index(data)
        content |= set(range(start, start + len(data)))
    source = tmp_path / "x.maru-model"
    for place in sorted(set(range(len(whole))) - content):
        source.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        with pytest.raises(UserError):
            read_archive(source)


@settings(max_examples=100, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_was_cut(share: float, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = archive(package_files(trained.models_dir, trained.result.model_id))
    folder = tmp_path_factory.mktemp("cut")
    (folder / "x").write_bytes(whole[: int(share * len(whole))])
    refuse(folder / "x", folder / "models")


@settings(max_examples=200, deadline=None)
@given(junk=st.binary(max_size=400))
def test_junk(junk: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("junk")
    (folder / "x").write_bytes(junk)
    refuse(folder / "x", folder / "models")


def packed(entries: list[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in entries:
            file.writestr(name, data)
    return buffer.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


Entries = list[tuple[str | zipfile.ZipInfo, bytes]]


@pytest.mark.parametrize(
    "attack",
    [
        lambda entries: packed(entries),  # packed anew by another program
        lambda entries: packed(entries, zipfile.ZIP_DEFLATED),
        lambda entries: packed([("../evil", b"x"), *entries]),
        lambda entries: packed([*entries, ("../evil", b"x")]),
        lambda entries: packed([("/etc/evil", b"x"), *entries]),
        lambda entries: packed([("..\\evil", b"x"), *entries]),
        lambda entries: packed([(link("model.onnx"), b"/etc/passwd"), *entries[:-1]]),
        lambda entries: packed([*entries, ("code.py", b"import os")]),
        lambda entries: packed(entries[:-1]),
        lambda entries: packed(entries[::-1]),
        lambda entries: packed([(name, b"") for name, _ in entries]),
        lambda entries: packed([]),
        lambda entries: b"junk" + packed(entries),
        lambda entries: packed([("manifest.json", b"\0" * 50_000_000)], zipfile.ZIP_DEFLATED),  # a bomb of 1,000 to 1
    ],
)  # fmt: skip
def test_archives_of_somebody_else(attack: Callable[[Entries], bytes], files: dict[str, bytes], tmp_path: Path) -> None:
    source = tmp_path / "x.maru-model"
    source.write_bytes(attack(list(files.items())))
    refuse(source, tmp_path / "models", "refused")
    assert not (tmp_path / "evil").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_comes_twice(files: dict[str, bytes], tmp_path: Path) -> None:
    source = tmp_path / "x.maru-model"
    source.write_bytes(packed([*files.items(), (MANIFEST, b"{}")]))
    refuse(source, tmp_path / "models", "changed")
    # Also where the second is put in by hand, past every check of a library.
    source.write_bytes(archive(files) + archive(files))
    refuse(source, tmp_path / "models", "changed")


@pytest.mark.parametrize("flag", [0x1, 0x8, 0x40, 0x800])
def test_encrypted_and_streamed_entries(flag: int, files: dict[str, bytes], tmp_path: Path) -> None:
    whole = bytearray(archive(files))
    whole[6] |= flag & 0xFF
    whole[7] |= flag >> 8
    (tmp_path / "x").write_bytes(whole)
    refuse(tmp_path / "x", tmp_path / "models", "changed")


def test_declared_sizes_are_not_believed(files: dict[str, bytes], tmp_path: Path) -> None:
    whole = bytearray(archive(files))
    for size in (0, 1, MOST_BYTES[MANIFEST] + 1, 0xFFFFFFFF):
        whole[18:22] = whole[22:26] = size.to_bytes(4, "little")
        (tmp_path / "x").write_bytes(whole)
        refuse(tmp_path / "x", tmp_path / "models", "refused")


def test_a_file_too_large_is_not_read_whole(tmp_path: Path) -> None:
    source = tmp_path / "x.maru-model"
    with source.open("wb") as file:
        file.truncate(5 << 30)  # a hole: no disk is used
    refuse(source, tmp_path / "models", "larger")


def test_what_is_no_file(tmp_path: Path) -> None:
    refuse(tmp_path / "nowhere", tmp_path / "models", "cannot be read")
    refuse(tmp_path, tmp_path / "models", "is no file")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refuse(tmp_path / "pipe", tmp_path / "models", "is no file")


def test_a_network_that_is_refused_leaves_nothing(exported: Path, tmp_path: Path) -> None:
    places: list[Path] = []

    def refuse_network(folder: Path) -> None:
        places.append(folder)
        raise UserError("The package was refused: no.", "")

    with pytest.raises(UserError, match="refused"):
        import_model(tmp_path / "models", exported, refuse_network, ManualClock(9))
    assert stored_ids(tmp_path / "models") == ()
    assert not places[0].exists()


def test_a_strange_file_name_is_not_kept(exported: Path, tmp_path: Path) -> None:
    strange = exported.rename(exported.with_name("\x1b[31mx"))
    done = import_model(tmp_path / "models", strange, nothing, ManualClock(9))
    assert ModelTags(tmp_path / "models").of(done.model_id).imported_from == "a file"


def test_what_was_exported_passes_every_check(files: dict[str, bytes], trained: Trained) -> None:
    checked = check_package(files)
    stored = load_model(trained.models_dir, trained.result.model_id)
    assert (checked.model_id, checked.spec, checked.metrics) == (stored.model_id, stored.spec, stored.metrics)
