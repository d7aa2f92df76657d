"""Checks of the machine: pure functions from facts to a verdict. Any thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.diagnostics.model import Check, fail, ok, warn

GIB = 1 << 30
DISK_FAIL_BYTES = GIB // 2
DISK_WARN_BYTES = 5 * GIB
MEMORY_FAIL_BYTES = 2 * GIB
MEMORY_WARN_BYTES = 4 * GIB
MAX_CLOCK_DRIFT = 0.2  # s of wall time against the steady clock over the probe
EARLIEST_YEAR = 2025  # a clock before this has never been set
SKEW_WARN_S = 0.5
SKEW_FAIL_S = 1.0  # venues refuse requests dated more than a second ahead


@dataclass(frozen=True, slots=True)
class SystemLibrary:
    """A shared library of the operating system that Qt loads.

    Attributes:
        soname: what the loader is asked for.
        debian / fedora: package that brings it.
        always: needed even without a display; otherwise only for a window on X11.
    """

    soname: str
    debian: str
    fedora: str
    always: bool


QT_LIBRARIES: tuple[SystemLibrary, ...] = (
    SystemLibrary("libEGL.so.1", "libegl1", "libglvnd-egl", True),
    SystemLibrary("libGL.so.1", "libgl1", "libglvnd-glx", True),
    SystemLibrary("libxkbcommon.so.0", "libxkbcommon0", "libxkbcommon", True),
    SystemLibrary("libdbus-1.so.3", "libdbus-1-3", "dbus-libs", True),
    SystemLibrary("libfontconfig.so.1", "libfontconfig1", "fontconfig", True),
    SystemLibrary("libglib-2.0.so.0", "libglib2.0-0", "glib2", True),
    SystemLibrary("libX11.so.6", "libx11-6", "libX11", True),
    SystemLibrary("libxcb-cursor.so.0", "libxcb-cursor0", "xcb-util-cursor", False),
    SystemLibrary("libxcb-icccm.so.4", "libxcb-icccm4", "xcb-util-wm", False),
    SystemLibrary("libxcb-keysyms.so.1", "libxcb-keysyms1", "xcb-util-keysyms", False),
    SystemLibrary("libxcb-image.so.0", "libxcb-image0", "xcb-util-image", False),
    SystemLibrary("libxcb-render-util.so.0", "libxcb-render-util0", "xcb-util-renderutil", False),
    SystemLibrary("libxcb-randr.so.0", "libxcb-randr0", "libxcb", False),
    SystemLibrary("libxcb-shape.so.0", "libxcb-shape0", "libxcb", False),
    SystemLibrary("libxcb-xkb.so.1", "libxcb-xkb1", "libxcb", False),
    SystemLibrary("libX11-xcb.so.1", "libx11-xcb1", "libX11-xcb", False),
    SystemLibrary("libxkbcommon-x11.so.0", "libxkbcommon-x11-0", "libxkbcommon-x11", False),
)


def describe_display(system: str, environment: Mapping[str, str]) -> str:
    """Return what a window would open on, or "" where there is nothing.

    Args:
        system: as `platform.system()`.
        environment: the process environment.
    """
    if environment.get("QT_QPA_PLATFORM"):
        return environment["QT_QPA_PLATFORM"]
    if system in ("Windows", "Darwin"):
        return "desktop"
    if environment.get("WAYLAND_DISPLAY"):
        return f"Wayland {environment['WAYLAND_DISPLAY']}"
    if environment.get("DISPLAY"):
        return f"X11 {environment['DISPLAY']}"
    return ""


def check_display(display: str) -> Check:
    """Check that a window could open; `display` as `describe_display` returns it."""
    name = "display"
    headless = "Use the headless commands, for example `python main.py demo`, or log in to a desktop."
    if not display:
        return warn(name, "No display: the window cannot open.", headless)
    if display.split(":")[0] in ("offscreen", "minimal"):
        return warn(name, f"QT_QPA_PLATFORM={display}: nothing will be visible.", headless)
    return ok(name, display)


def check_qt_libraries(
    system: str, distribution: str, display: str, loads: Callable[[str], bool], libraries: Sequence[SystemLibrary]
) -> Check:
    """Name the system libraries Qt would miss, with the line that installs them.

    Args:
        system: as `platform.system()`; only Linux needs them.
        distribution: ID and ID_LIKE of os-release, e.g. "ubuntu debian".
        display: as `describe_display` returns it.
        loads: tries to load a library by its soname.
    """
    name = "qt-libraries"
    if system != "Linux":
        return ok(name, "Come with PySide6 on this system")
    missing = [library for library in libraries if not loads(library.soname)]
    if not missing:
        return ok(name, f"All {len(libraries)} system libraries load")
    detail = f"Missing: {', '.join(library.soname for library in missing)}."
    remedy = f"Install them: {_install_line(distribution, missing)}"
    if any(library.always for library in missing) or display.startswith(("X11", "xcb")):
        return fail(name, detail, remedy)
    return warn(name, f"{detail} Needed only for a window on X11.", remedy)


def _install_line(distribution: str, missing: Sequence[SystemLibrary]) -> str:
    words = distribution.lower().split()
    if "fedora" in words or "rhel" in words:
        return f"sudo dnf install {' '.join(dict.fromkeys(item.fedora for item in missing))}"
    if "debian" in words or "ubuntu" in words:
        return f"sudo apt-get install -y {' '.join(dict.fromkeys(item.debian for item in missing))}"
    return f"with your package manager (Debian calls them {' '.join(dict.fromkeys(item.debian for item in missing))})"


def check_disk(folder: Path, free_bytes: int) -> Check:
    """Check the free space where the data folder is or would be."""
    text = f"{free_bytes / GIB:.1f} GiB free at {folder}"
    remedy = "Free some space or choose another folder with --data-dir."
    if free_bytes < DISK_FAIL_BYTES:
        return fail("disk", text, remedy)
    if free_bytes < DISK_WARN_BYTES:
        return warn("disk", text, remedy)
    return ok("disk", text)


def check_data_folder(folder: Path, error: str, mode: int | None) -> Check:
    """Check that the data folder can be written and is private.

    Args:
        error: why a trial write failed, else "".
        mode: permission bits of an existing folder on POSIX, else None.
    """
    name = "data-folder"
    if error:
        return fail(name, f"{folder} cannot be written: {error}.", "Choose another folder with --data-dir.")
    if mode is not None and mode & 0o077:
        return warn(name, f"{folder} can be read by other users of this machine.", f"Run: chmod 700 '{folder}'")
    return ok(name, str(folder))


def check_clock(year: int, drift_s: float, skew_s: float | None, *, asked: bool = False) -> Check:
    """Check that the clock is set, runs steadily and agrees with the venue where one was asked.

    Args:
        year: current year, UTC.
        drift_s: difference between wall and steady clock over the probe, seconds.
        skew_s: venue time minus ours, seconds; None where no venue answered.
        asked: whether a venue was asked.
    """
    name = "clock"
    remedy = "Switch on automatic time synchronisation in the system settings."
    if year < EARLIEST_YEAR:
        return fail(name, f"The clock says {year}; it has never been set.", remedy)
    if abs(drift_s) > MAX_CLOCK_DRIFT:
        return fail(name, f"The clock jumped by {drift_s:+.2f} s while it was watched.", remedy)
    if skew_s is None:
        silent = "; the venue did not answer" if asked else ""
        return ok(name, f"Runs steadily ({drift_s * 1_000:+.1f} ms while it was watched){silent}")
    text = f"The venue's clock is {skew_s * 1_000:+.0f} ms from ours"
    if abs(skew_s) > SKEW_FAIL_S:
        return fail(name, f"{text}; signed requests would be refused.", remedy)
    if abs(skew_s) > SKEW_WARN_S:
        return warn(name, f"{text}.", remedy)
    return ok(name, text)


def check_time_zones(error: str) -> Check:
    """Check that time-zone data can be read; `error` says why not, else ""."""
    if error:
        return fail("time-zones", f"Time-zone data is missing: {error}", "Install it: pip install tzdata.")
    return ok("time-zones", "Asia/Seoul and America/New_York can be read")


def check_ports(error: str, port: int) -> Check:
    """Check that a loopback connection works; the practice exchange needs one.

    Args:
        error: why it failed, else "".
        port: the port the system chose.
    """
    if error:
        return fail(
            "ports",
            f"No connection to 127.0.0.1 is possible: {error}.",
            "Allow local connections for Python in the firewall or the container.",
        )
    return ok("ports", f"127.0.0.1 accepts connections (tried port {port})")


def check_memory(memory: tuple[int, int] | None) -> Check:
    """Check main memory: the window with a market open and one training need about 2 GiB.

    Args:
        memory: (total, available) in bytes, None where it could not be measured.
    """
    if memory is None:
        return fail("memory", "Cannot be measured: psutil is missing.", "Install it: pip install psutil.")
    total_bytes, available_bytes = memory
    text = f"{available_bytes / GIB:.1f} of {total_bytes / GIB:.1f} GiB available"
    remedy = "Close other programs, or train fewer bars at a time."
    if total_bytes < MEMORY_FAIL_BYTES:
        return fail("memory", text, "Use a machine with at least 4 GiB of memory.")
    if total_bytes < MEMORY_WARN_BYTES or available_bytes < GIB:
        return warn("memory", text, remedy)
    return ok("memory", text)


def check_cpu(cores: int, model: str) -> Check:
    """Check how many cores this process may use."""
    text = f"{cores} core{'s' if cores != 1 else ''}{', ' if model else ''}{model}"
    if cores < 2:
        return warn("cpu", text, "Use at least two cores: training and trading share one here.")
    return ok("cpu", text)
