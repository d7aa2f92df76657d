"""Runs all checks: the slow ones side by side in child processes, the verdicts in a fixed order. Calling thread."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from core.diagnostics import checks_machine as machine
from core.diagnostics import checks_software as software
from core.diagnostics.model import Check, ChildReport
from core.diagnostics.probes import Probes, existing_parent, venue_address

CHILDREN_AT_ONCE = 2  # more only fight for the same cores on a small machine


def run_checks(data_folder: Path, *, venue_url: str = "", probes: Probes | None = None) -> list[Check]:
    """Check this machine.

    Args:
        data_folder: where the program would write; need not exist and is not created.
        venue_url: base URL of a running practice exchange whose clock to compare, or "".
        probes: the questions to ask; the real system by default.

    Raises:
        UserError: `venue_url` is no URL.
    """
    if venue_url:
        venue_address(venue_url)  # a mistyped address is told at once, not after the slow checks
    ask = probes or Probes()
    display = machine.describe_display(ask.system(), ask.environment())
    fonts = ask.fonts()
    # Without a display Qt can still draw into memory, which is what the headless pictures need.
    qt_environment = {} if display else {"QT_QPA_PLATFORM": "offscreen"}
    with ThreadPoolExecutor(CHILDREN_AT_ONCE, thread_name_prefix="doctor") as pool:
        children: dict[str, Future[ChildReport]] = {
            "torch": pool.submit(ask.child, "torch", (), {}),
            "qt": pool.submit(ask.child, "qt", (str(fonts),), qt_environment),
            "keyring": pool.submit(ask.child, "keyring", (), {}),
            "ta-lib": pool.submit(ask.child, "ta-lib", (), {}),
            "onnxruntime": pool.submit(ask.child, "onnxruntime", (), {}),
        }
        quick = _machine_checks(ask, data_folder, display, venue_url)
        reports = {name: future.result() for name, future in children.items()}
    return _software_checks(ask, reports, display, fonts) + quick


def _software_checks(ask: Probes, reports: dict[str, ChildReport], display: str, fonts: Path) -> list[Check]:
    python_version, implementation, bits = ask.python()
    bundled = sorted(path.name for path in fonts.glob("*.[ot]tf"))
    return [
        software.check_python(python_version, implementation, bits),
        software.check_packages(ask.pins(), ask.installed),
        software.check_pyside(ask.installed("PySide6-Essentials") or ask.installed("PySide6"), python_version),
        software.check_torch(reports["torch"]),
        software.check_gpu(ask.gpus(), reports["torch"]),
        software.check_onnxruntime(reports["onnxruntime"]),
        software.check_talib(reports["ta-lib"]),
        software.check_sqlite(*ask.sqlite()),
        software.check_keyring(reports["keyring"]),
        software.check_qt(reports["qt"], display or "offscreen"),
        software.check_fonts(reports["qt"], bundled),
    ]


def _machine_checks(ask: Probes, data_folder: Path, display: str, venue_url: str) -> list[Check]:
    place = existing_parent(data_folder)
    return [
        machine.check_display(display),
        machine.check_qt_libraries(ask.system(), ask.distribution(), display, ask.loads_library, machine.QT_LIBRARIES),
        machine.check_data_folder(data_folder, ask.write_error(data_folder), ask.folder_mode(data_folder)),
        machine.check_disk(place, ask.free_bytes(place)),
        machine.check_clock(
            ask.year(), ask.clock_drift(), ask.venue_skew(venue_url) if venue_url else None, asked=bool(venue_url)
        ),
        machine.check_time_zones(ask.time_zone_error()),
        machine.check_ports(*ask.loopback()),
        machine.check_memory(ask.memory()),
        machine.check_cpu(*ask.cpu()),
    ]
