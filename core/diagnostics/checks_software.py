"""Checks of the installed software: pure functions from facts to a verdict. Any thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from core.diagnostics.model import Check, ChildReport, fail, ok, warn

MINIMUM_PYTHON = (3, 11)
MINIMUM_SQLITE = (3, 35, 0)  # RETURNING and upserts
SMALLEST_GPU_BYTES = 1 << 30  # free memory below which training does not start on a GPU
MPS = "Apple MPS"  # as the torch child calls it
REINSTALL = "Run `make setup`, or `pip install -r requirements.txt` in the program's environment."

# Key stores that keep secrets readable for anyone, or lose them.
_REFUSED_KEYRINGS = ("keyring.backends.null", "plaintext", "keyrings.alt")

Version = Sequence[int]


def parse_version(text: str) -> tuple[int, ...]:
    """Return the leading numeric parts of a version: "2.13.0+cpu" → (2, 13, 0), "6.12.0rc1" → (6, 12, 0)."""
    numbers: list[int] = []
    for part in text.split("+", 1)[0].split("."):
        digits = ""
        for character in part:
            if not character.isdigit():
                break
            digits += character
        if not digits:
            break
        numbers.append(int(digits))
        if len(digits) != len(part):
            break
    return tuple(numbers)


def check_python(version: Version, implementation: str, bits: int) -> Check:
    """Check the interpreter: CPython ≥ 3.11, 64 bit."""
    text = f"{implementation} {'.'.join(str(part) for part in version)}, {bits} bit"
    if tuple(version[:2]) < MINIMUM_PYTHON:
        return fail("python", text, "Install Python 3.11 or newer and set the program up again with it.")
    if bits != 64:
        return fail("python", text, "Install a 64-bit Python: torch and PySide6 exist for nothing else.")
    if implementation != "CPython":
        return warn("python", text, "Use CPython: the program is not tested with other interpreters.")
    return ok("python", text)


def check_packages(pins: Mapping[str, str], installed: Callable[[str], str | None]) -> Check:
    """Compare installed packages with the pinned ones.

    Args:
        pins: package → pinned version.
        installed: returns the installed version of a package, or None.
    """
    name = "packages"
    if not pins:
        return fail(name, "The list of required packages was not found.", "Install the program again, completely.")
    missing: list[str] = []
    different: list[str] = []
    for package, pinned in pins.items():
        found = installed(package)
        if found is None:
            missing.append(package)
        elif found.split("+", 1)[0] != pinned.split("+", 1)[0]:  # "+cpu" names the build, not the version
            different.append(f"{package} {found} (pinned {pinned})")
    if missing:
        return fail(name, f"Missing: {_few(missing)}.", REINSTALL)
    if different:
        return warn(name, f"Not the tested versions: {_few(different)}.", REINSTALL)
    return ok(name, f"{len(pins)} packages at their pinned versions")


def check_pyside(version: str | None, python_version: Version) -> Check:
    """Check that PySide6 is there and is no version that aborts this Python."""
    name = "pyside6"
    if version is None:
        return fail(name, "PySide6 is not installed; the window cannot open.", REINSTALL)
    if tuple(python_version[:2]) < (3, 12) and parse_version(version) >= (6, 12):
        return fail(
            name,
            f"PySide6 {version} aborts Python 3.11 after a few hundred signals.",
            'Install an older one: pip install "PySide6-Essentials<6.12".',
        )
    return ok(name, f"PySide6 {version}")


def check_torch(report: ChildReport) -> Check:
    """Check that torch imports and calculates, in a child process."""
    if not report.ok:
        return fail(
            "torch",
            f"torch cannot be used: {report.error}",
            "Install it first: pip install torch==2.13.0. Trading with existing models works without it.",
        )
    facts = report.facts
    devices = [str(device) for device in facts["devices"]]
    return ok("torch", f"torch {facts['version']}, devices: {'; '.join(devices)}; {facts['threads']} threads")


def check_gpu(gpus: Sequence[str], torch: ChildReport) -> Check:
    """Check that a GPU that is there is used.

    Args:
        gpus: one line per NVIDIA GPU the driver knows.
        torch: the report of the torch child.
    """
    name = "gpu"
    devices = [str(device) for device in torch.facts.get("devices", ())] if torch.ok else []
    accelerated = [device for device in devices if device != "cpu"]
    if gpus and not accelerated:
        return warn(
            name,
            f"{'; '.join(gpus)}: present, but torch cannot use it; training runs on the CPU.",
            "Install the CUDA build of torch 2.13.0 that fits the driver, from PyTorch's own package index.",
        )
    if accelerated == [MPS]:
        return ok(name, f"{MPS}; training uses it only when asked for: recurrent networks run faster on the CPU")
    free = torch.facts.get("gpu_free_bytes", ()) if torch.ok else ()
    if free and max(free) < SMALLEST_GPU_BYTES:
        return warn(
            name,
            f"{'; '.join(accelerated)}: less than 1 GiB of its memory is free; training runs on the CPU.",
            "End the programs that hold the GPU's memory; nvidia-smi lists them.",
        )
    if accelerated:
        return ok(name, "; ".join(gpus or accelerated))
    return ok(name, "No supported GPU found; training runs on the CPU")


def check_keyring(report: ChildReport) -> Check:
    """Check where API keys would be kept: never in the clear."""
    name = "keyring"
    headless = (
        "Practice trading needs no keys; without a desktop keep live keys in an owner-only file or the environment."
    )
    if not report.ok:
        return warn(name, f"The system key store does not answer: {report.error}", headless)
    backends = [str(backend) for backend in report.facts["backends"]]
    label = ", ".join(backends)
    refused = [item for item in backends if any(mark in item.lower() for mark in _REFUSED_KEYRINGS)]
    if refused:
        return fail(
            name,
            f"{', '.join(refused)} is no safe place for keys; the program refuses it.",
            "Remove that backend from keyring's configuration and unlock the desktop's own key store.",
        )
    if not backends or all(".fail." in f".{item}." for item in backends):
        return warn(name, "No system key store here.", headless)
    return ok(name, label)


def check_qt(report: ChildReport, display: str) -> Check:
    """Check that Qt starts on this display, in a child process.

    Args:
        display: what the child was started on, e.g. "offscreen" or "X11 :0".
    """
    if not report.ok:
        return fail(
            "qt",
            f"Qt does not start ({display}): {report.error}",
            "Install what qt-libraries names, and check that DISPLAY or WAYLAND_DISPLAY names a running display.",
        )
    return ok("qt", f"Qt {report.facts['version']} starts on {report.facts['platform']}")


def check_fonts(report: ChildReport, bundled: Sequence[str]) -> Check:
    """Check that a bundled font can draw Korean.

    Args:
        bundled: file names of the fonts that come with the program.
    """
    name = "fonts"
    if not bundled:
        return fail(name, "The program's own fonts are missing.", "Install the program again, completely.")
    if not report.ok:
        return warn(name, "Not checked because Qt does not start.", "Repair Qt first.")
    korean = [str(family) for family in report.facts["korean_families"]]
    if not korean:
        return fail(
            name, "None of the program's fonts can draw Korean.", "Install the program again: its fonts are damaged."
        )
    return ok(name, f"Korean can be drawn with {', '.join(sorted(set(korean)))}")


def check_talib(report: ChildReport) -> Check:
    """Check that TA-Lib loads and calculates a known mean."""
    if not report.ok:
        return fail("ta-lib", f"TA-Lib cannot be used: {report.error}", "Install it: pip install TA-Lib==0.8.2.")
    if report.facts["sma"] != 2.0:
        return fail("ta-lib", f"TA-Lib calculates {report.facts['sma']} instead of 2.0.", "Install TA-Lib again.")
    return ok("ta-lib", f"TA-Lib {report.facts['version']}")


def check_onnxruntime(report: ChildReport) -> Check:
    """Check that ONNX Runtime runs a small model."""
    if not report.ok:
        return fail("onnxruntime", f"ONNX Runtime cannot be used: {report.error}", REINSTALL)
    if report.facts["result"] != 3.0:
        return fail("onnxruntime", f"ONNX Runtime calculates {report.facts['result']} instead of 3.0.", REINSTALL)
    return ok("onnxruntime", f"ONNX Runtime {report.facts['version']}, {', '.join(report.facts['providers'])}")


def check_sqlite(version: str, wal: bool) -> Check:
    """Check the SQLite library behind the order journal."""
    if parse_version(version) < MINIMUM_SQLITE:
        return fail("sqlite", f"SQLite {version} is too old.", "Use a Python that comes with SQLite 3.35 or newer.")
    if not wal:
        return fail(
            "sqlite", f"SQLite {version} cannot use write-ahead logging here.", "Choose a local temporary folder."
        )
    return ok("sqlite", f"SQLite {version}, write-ahead logging works")


def _few(items: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"
