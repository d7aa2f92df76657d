"""Models as one file to give away: export, and import after validation. Any thread; no torch.

The file is a zip whose bytes are a pure function of the package: stored members in a fixed order, no times, no
attributes, nothing in between. A file is accepted only where it equals, byte by byte, what would be written for its
content. So no byte can be changed unnoticed, and there is nothing to hide in: no second entry of a name, no path, no
link, no compression that grows.
"""

from __future__ import annotations

import os
import stat
import struct
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.clock import Clock
from core.data.atomic_file import write_atomically
from core.errors import UserError
from ml.model_storage import FILES, FURTHER, MANIFEST, package_files, store_files, stored_ids, summarise
from ml.model_tags import ModelTags, is_plain
from ml.package_check import MOST_BYTES, MOST_BYTES_ALTOGETHER, check_package, refused

SUFFIX = ".maru-model"

_ORDER = (MANIFEST, *FILES, *FURTHER)
_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s4H2IH")
_VERSION = 20  # of the zip format needed to read it
_DATE = 0x21  # 1 January 1980, the first day a zip knows
_OVERHEAD = 64 << 10  # bytes of a file that are not content, at most

CheckNetwork = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Imported:
    """Outcome of an import.

    Attributes:
        model_id: of the package.
        already_here: it was stored before; nothing was changed.
    """

    model_id: str
    already_here: bool


def export_model(models_dir: Path, model_id: str, target: Path) -> Path:
    """Write a stored model as one file.

    Args:
        target: the file, or a folder for a file named after the model.

    Returns:
        The file written.

    Raises:
        UserError: the package is damaged, the target exists, or it cannot be written.
    """
    files = package_files(models_dir, model_id)
    path = target / f"{model_id}{SUFFIX}" if target.is_dir() else target
    if path.exists():
        raise UserError(f"{path} exists already.", "Choose another name or remove it.")
    write_atomically(path, archive(files))
    return path


def import_model(models_dir: Path, source: Path, check_network: CheckNetwork, clock: Clock) -> Imported:
    """Store a model from a file, validated before anything of it reaches the folder of models.

    It takes the place of a damaged one of the same id; what was said about that one still holds.

    Args:
        check_network: opens and runs the network of a package in a given folder away from this process
            (`ml.network_guard.check_in_child`); raises `UserError` where it must not be used.

    Raises:
        UserError: the file cannot be read, is no package, was changed, or does not fit this program.
    """
    files = read_archive(source)
    model = check_package(files)
    here = model.model_id in stored_ids(models_dir)
    if here and not summarise(models_dir, model.model_id).problem:
        return Imported(model.model_id, already_here=True)
    with tempfile.TemporaryDirectory(prefix="maru-import-") as staging:
        for name, data in files.items():
            Path(staging, name).write_bytes(data)
        check_network(Path(staging))
    if not here:  # a damaged one of ours stays ours
        # Marked first: a model from elsewhere is never seen without its mark.
        name = source.name if is_plain(source.name) else "a file"
        ModelTags(models_dir).mark_imported(model.model_id, name, clock.now_ns())
    try:
        store_files(models_dir, files, instead=here)
    except UserError:
        if summarise(models_dir, model.model_id).problem:
            raise
        return Imported(model.model_id, already_here=True)  # another program was first
    return Imported(model.model_id, already_here=False)


def archive(files: Mapping[str, bytes]) -> bytes:
    """Return the one file that holds a package: a zip of stored members."""
    body, directory = bytearray(), bytearray()
    named = [name for name in _ORDER if name in files]
    for name in named:
        data, title = files[name], name.encode()
        crc, size = zlib.crc32(data), len(data)
        place = len(body)
        body += _LOCAL.pack(b"PK\3\4", _VERSION, 0, 0, 0, _DATE, crc, size, size, len(title), 0) + title + data
        directory += _CENTRAL.pack(
            b"PK\1\2", _VERSION, _VERSION, 0, 0, 0, _DATE, crc, size, size, len(title), 0, 0, 0, 0, 0, place
        )
        directory += title
    end = _END.pack(b"PK\5\6", 0, 0, len(named), len(named), len(directory), len(body), 0)
    return bytes(body + directory + end)


def read_archive(source: Path) -> dict[str, bytes]:
    """Return the files in an exported model, by name.

    Raises:
        UserError: the file cannot be read, is not as `archive` writes it, or is too large.
    """
    data = _read_whole(source)
    files: dict[str, bytes] = {}
    place = 0
    for name in _ORDER:
        named = data[place + _LOCAL.size : place + _LOCAL.size + len(name)]
        if name in FURTHER and named != name.encode():
            continue
        if len(data) < place + _LOCAL.size or data[place : place + 4] != b"PK\3\4":
            raise refused("it is no model file, or a damaged one")
        *_, packed, size, length, extra = _LOCAL.unpack_from(data, place)
        start = place + _LOCAL.size + length + extra
        if data[place + _LOCAL.size : start] != name.encode():
            raise refused("it does not hold exactly the files of a package")
        if packed != size or size > MOST_BYTES[name] or start + size > len(data):
            raise refused(f"{name} in it is compressed, cut or larger than any model needs")
        files[name] = data[start : start + size]
        place = start + size
    if archive(files) != data:
        raise refused("it was changed after it was exported")
    return files


def _read_whole(source: Path) -> bytes:
    most = MOST_BYTES_ALTOGETHER + _OVERHEAD
    try:
        if not stat.S_ISREG(source.stat().st_mode):  # asked before it is opened: a pipe would wait for a writer
            raise UserError(f"{source} is no file.", "Name a file that `models export` wrote.")
        with source.open("rb") as file:
            # Asked of the open file, and never more is read, whatever it grows to meanwhile.
            data = file.read(most + 1) if os.fstat(file.fileno()).st_size <= most else None
    except OSError as exc:
        raise UserError(f"{source} cannot be read: {exc.strerror or exc}.", "Check the path.") from exc
    if data is None or len(data) > most:
        raise refused("it is larger than any model needs")
    return data
