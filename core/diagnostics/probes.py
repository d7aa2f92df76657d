"""How the doctor learns about the machine. Every function here reads the real system; any thread, may block.

`Probes` is what the runner asks; tests hand it other functions.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import http.client
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.diagnostics.model import ChildReport
from core.errors import UserError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
CHILD_TIMEOUT_S = 120.0  # the first import of torch from a cold disk takes most of it
NETWORK_TIMEOUT_S = 2.0


def _python() -> tuple[tuple[int, ...], str, int]:
    return tuple(sys.version_info[:3]), platform.python_implementation(), struct.calcsize("P") * 8


def read_pins(root: Path) -> dict[str, str]:
    """Return package → pinned version from the project's requirement list; empty where there is none.

    Lines with an environment marker that does not hold here are left out.
    """
    for name in ("requirements.txt", "requirements.in"):
        path = root / name
        if path.is_file():
            break
    else:
        return {}
    pins: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        requirement, _, marker = line.split("#", 1)[0].partition(";")
        package, _, version = requirement.strip().partition("==")
        if version and not package.startswith("-") and _marker_holds(marker.strip()):
            pins[package.strip()] = version.strip()
    return pins


def _marker_holds(marker: str) -> bool:
    if not marker:
        return True
    try:
        from packaging.markers import Marker
    except ModuleNotFoundError:
        return False  # a broken installation: the check names `packaging` itself as missing
    return Marker(marker).evaluate()


def installed_version(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def run_child(
    name: str,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    timeout_s: float = CHILD_TIMEOUT_S,
) -> ChildReport:
    """Run one probe in its own process.

    Args:
        name: a key of `core.diagnostics.child.PROBES`.
        environment: variables to add to ours.
    """
    command = [sys.executable, "-m", "core.diagnostics.child", name, *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=PROJECT_ROOT,
            env={**os.environ, **(environment or {}), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ChildReport(False, error=f"no answer within {timeout_s:.0f} s")
    except OSError as exc:
        return ChildReport(False, error=f"the checking process did not start: {exc}")
    if done.returncode != 0:
        return ChildReport(
            False, error=_reason(done.stderr) or f"the checking process ended with code {done.returncode}"
        )
    try:
        facts = json.loads(done.stdout)
    except ValueError:
        return ChildReport(False, error="the checking process gave no answer")
    return ChildReport(True, facts)


def _reason(stderr: str) -> str:
    """Return the one line of an error output that says why."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    # Qt names the cause first and then everything that follows from it; Python names it last.
    qt = [line.removeprefix("qt.qpa.").partition(": ")[2] for line in lines if line.startswith("qt.qpa.")]
    return (qt[:1] or lines[-1:] or [""])[0][:300]


def _distribution() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return ""
    return f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".strip()


def _loads(soname: str) -> bool:
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def nvidia_gpus() -> list[str]:
    """Return one line per NVIDIA GPU the driver knows; empty without driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_nvidia_smi(done.stdout) if done.returncode == 0 else []


def parse_nvidia_smi(text: str) -> list[str]:
    """Turn `name, MiB, driver` lines into one line per GPU for a person."""
    lines = []
    for row in text.splitlines():
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) == 3:
            memory = f"{int(cells[1]) / 1024:.0f} GiB" if cells[1].isdigit() else cells[1]
            lines.append(f"{cells[0]}, {memory}, driver {cells[2]}")
    return lines


def existing_parent(folder: Path) -> Path:
    """Return the folder itself or its nearest parent that exists."""
    for candidate in (folder, *folder.parents):
        if candidate.exists():
            return candidate
    return Path(folder.anchor or ".")


def write_error(folder: Path) -> str:
    """Try to write into the folder, or into the nearest parent where it will be created; return why not, or ""."""
    place = existing_parent(folder)
    if not place.is_dir():
        return f"{place} is a file"
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"ok")
            probe.flush()
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""


def _folder_mode(folder: Path) -> int | None:
    if os.name != "posix" or not folder.is_dir():
        return None
    return stat.S_IMODE(folder.stat().st_mode)


def clock_drift(seconds: float = 0.2) -> float:
    """Return by how much the wall clock ran ahead of the steady clock over `seconds`."""
    wall, steady = time.time(), time.monotonic()
    time.sleep(seconds)
    return (time.time() - wall) - (time.monotonic() - steady)


def venue_address(base_url: str) -> urllib.parse.SplitResult:
    """Return the parts of a venue's address.

    Raises:
        UserError: the address is no http(s) URL.
    """
    parts = urllib.parse.urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{base_url!r} is not an address of a venue.", "Example: --venue http://127.0.0.1:8080")
    return parts


def venue_skew(base_url: str) -> float | None:
    """Ask `GET /api/v3/time` and return venue time minus ours, seconds; None where nothing answers.

    Raises:
        UserError: the address is no http(s) URL.
    """
    parts = venue_address(base_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    assert parts.hostname is not None
    connection = kind(parts.hostname, parts.port, timeout=NETWORK_TIMEOUT_S)
    try:
        before = time.time()
        connection.request("GET", "/api/v3/time")
        answer = json.loads(connection.getresponse().read())
        after = time.time()
        # The answer is dated somewhere between question and receipt: the middle is off by half the round trip at most.
        return float(answer["serverTime"]) / 1_000 - (before + after) / 2
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def _time_zone_error() -> str:
    try:
        for key in ("Asia/Seoul", "America/New_York"):
            zoneinfo.ZoneInfo(key)
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError) as exc:
        return str(exc)
    return ""


def loopback_error() -> tuple[str, int]:
    """Connect to ourselves on 127.0.0.1; return (why it failed or "", the port)."""
    port = 0
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port), timeout=NETWORK_TIMEOUT_S) as client:
                server.settimeout(NETWORK_TIMEOUT_S)
                peer, _ = server.accept()
                with peer:
                    client.sendall(b"ok")
                    peer.settimeout(NETWORK_TIMEOUT_S)
                    return ("" if peer.recv(2) == b"ok" else "the connection carries no data"), port
    except OSError as exc:
        return exc.strerror or str(exc), port


def memory_bytes() -> tuple[int, int] | None:
    """Return (total, available) main memory in bytes, inside a container its limit; None where psutil is missing."""
    try:
        import psutil
    except ModuleNotFoundError:
        return None
    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    limit = _container_limit()
    return (limit, min(available, limit)) if limit is not None and limit < total else (total, available)


def _container_limit() -> int | None:
    for path in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return None


def _cpu() -> tuple[int, str]:
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
    return cores, platform.processor() or platform.machine()


def sqlite_facts() -> tuple[str, bool]:
    """Return (library version, whether write-ahead logging works in a temporary folder)."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "probe.sqlite")
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError:
            mode = ""
        finally:
            connection.close()
    return sqlite3.sqlite_version, mode == "wal"


def _pins() -> Mapping[str, str]:
    return read_pins(PROJECT_ROOT)


def _font_folder() -> Path:
    return PROJECT_ROOT / "resources" / "fonts"


def _environment() -> Mapping[str, str]:
    return dict(os.environ)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _year() -> int:
    return dt.datetime.now(dt.UTC).year


@dataclass(frozen=True, slots=True)
class Probes:
    """The questions the doctor asks; replace single fields to simulate a machine.

    Attributes:
        child: runs a probe of `core.diagnostics.child` with extra arguments and environment in its own process.
        venue_skew: venue time minus ours in seconds for a base URL, or None where it does not answer.
    """

    python: Callable[[], tuple[tuple[int, ...], str, int]] = _python
    pins: Callable[[], Mapping[str, str]] = _pins
    installed: Callable[[str], str | None] = installed_version
    child: Callable[[str, Sequence[str], Mapping[str, str]], ChildReport] = run_child
    system: Callable[[], str] = platform.system
    distribution: Callable[[], str] = _distribution
    environment: Callable[[], Mapping[str, str]] = _environment
    loads_library: Callable[[str], bool] = _loads
    gpus: Callable[[], list[str]] = nvidia_gpus
    fonts: Callable[[], Path] = _font_folder
    free_bytes: Callable[[Path], int] = _free_bytes
    write_error: Callable[[Path], str] = write_error
    folder_mode: Callable[[Path], int | None] = _folder_mode
    year: Callable[[], int] = _year
    clock_drift: Callable[[], float] = clock_drift
    venue_skew: Callable[[str], float | None] = venue_skew
    time_zone_error: Callable[[], str] = _time_zone_error
    loopback: Callable[[], tuple[str, int]] = loopback_error
    memory: Callable[[], tuple[int, int] | None] = memory_bytes
    cpu: Callable[[], tuple[int, str]] = _cpu
    sqlite: Callable[[], tuple[str, bool]] = sqlite_facts
