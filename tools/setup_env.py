"""Create `.venv` and install the pinned packages; used by the Makefile and by hand. Standard library only.

With `--peers` it makes `.venv-peers` instead: what benchmarks compare the program with, which never enters `.venv`.

Honours pip's own configuration (no index is named here), says beforehand what it will download and never needs root.
A stamp over the requirement files makes a repeat run finish in well under a second.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
RUN_REQUIREMENTS = ROOT / "requirements.txt"
DEV_REQUIREMENTS = ROOT / "requirements-dev.txt"
PEERS_VENV = ROOT / ".venv-peers"
PEERS_REQUIREMENTS = ROOT / "requirements-peers.txt"
MINIMUM_PYTHON = (3, 11)

# Shared library -> Debian package; Qt's wheels expect these from the system.
QT_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxcb-randr.so.0": "libxcb-randr0",
}
# Without these Qt cannot even draw off screen; the others are needed for a window on X11 only.
ALWAYS_NEEDED = {
    "libEGL.so.1",
    "libGL.so.1",
    "libxkbcommon.so.0",
    "libdbus-1.so.3",
    "libfontconfig.so.1",
    "libglib-2.0.so.0",
}


class SetupError(Exception):
    """The environment cannot be set up; the message is one sentence with a remedy."""


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


def venv_python(venv: Path = VENV) -> Path:
    """Return the interpreter inside an environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def check_python() -> None:
    """Refuse an interpreter that is too old."""
    if sys.version_info < MINIMUM_PYTHON:
        wanted = ".".join(map(str, MINIMUM_PYTHON))
        raise SetupError(
            f"Maru needs Python {wanted} or newer and this is {platform.python_version()}; "
            f"install a newer Python and call `make PYTHON=python{wanted}`."
        )


def missing_system_libraries() -> list[str]:
    """Return the Qt system libraries that cannot be loaded (Linux only)."""
    if not sys.platform.startswith("linux"):
        return []
    missing = []
    for name in QT_LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing


def ensure_system_libraries() -> None:
    """Name missing system libraries with the install line; install them where we are root on Debian or Ubuntu."""
    missing = missing_system_libraries()
    if not missing:
        return
    packages = sorted({QT_LIBRARIES[name] for name in missing})
    line = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if shutil.which("apt-get") and os.geteuid() == 0:
        say(f"Qt needs system libraries that are missing here ({', '.join(missing)}); installing them: {line}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        updated = subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
        installed = subprocess.run(line.split(), env=environment, stdout=subprocess.DEVNULL, check=False)
        if updated.returncode == 0 and installed.returncode == 0 and not missing_system_libraries():
            return
        missing = missing_system_libraries()
    if not missing:
        return
    sentence = f"Qt needs system libraries that are missing here ({', '.join(missing)}); install them with: sudo {line}"
    if ALWAYS_NEEDED & set(missing):
        raise SetupError(sentence)
    say(f"Note: {sentence}")


def stamp_of(files: list[Path]) -> str:
    """Return the hash that says which interpreter and which requirement files an environment was made from."""
    digest = hashlib.sha256(f"{sys.version}|{sysconfig.get_platform()}".encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def torch_requirement(requirements: Path = RUN_REQUIREMENTS) -> str:
    """Return the pinned torch line of a requirement file."""
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if line.startswith("torch=="):
            return line.strip()
    raise SetupError(f"{requirements.name} has no pinned torch; restore the file from the repository.")


def announce(requirement: str) -> None:
    """Say what will be downloaded, asking pip which torch build its own configuration leads to."""
    say("Setting up .venv: about 80 packages. Without torch they take some 300 MB to download and 1.1 GB on disk.")
    ask_pip = ["-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--no-deps", "--report", "-"]
    probe = subprocess.run([str(venv_python()), *ask_pip, requirement], capture_output=True, text=True, check=False)
    build = "a build chosen by your index"
    if probe.returncode == 0:
        report = json.loads(probe.stdout)
        version = str(report["install"][0]["metadata"]["version"])
        if "+cpu" in version or sys.platform == "darwin":
            build = f"{version}: the CPU build, some 200 MB to download and 750 MB on disk"
        elif sys.platform.startswith("linux"):
            build = f"{version}: on Linux this may be the CUDA build, several GB with its GPU libraries"
        else:
            build = f"{version}: some 200 MB to download"
    say(f"torch is installed first ({build}). Press Ctrl-C to stop; a later run continues from pip's cache.")


def pip(*arguments: str, venv: Path = VENV) -> None:
    """Run pip inside an environment."""
    result = subprocess.run([str(venv_python(venv)), "-m", "pip", *arguments], check=False)
    if result.returncode != 0:
        raise SetupError(
            f"pip could not finish (`pip {' '.join(arguments)}`); see its message above, "
            "check the network or pip's configuration and run the same command again."
        )


def create_venv(venv: Path = VENV) -> None:
    """Create an environment unless it already works."""
    python = venv_python(venv)
    if python.exists():
        alive = subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, check=False)
        if alive.returncode == 0:
            return
        shutil.rmtree(venv)
    say(f"Creating {venv.name} …")
    result = subprocess.run([sys.executable, "-m", "venv", str(venv)], check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise SetupError("Python could not create a virtual environment; on Debian or Ubuntu install python3-venv.")


def install(dev: bool) -> None:
    """Bring `.venv` to the pinned set, doing nothing where the stamp says it is there."""
    files = [RUN_REQUIREMENTS, DEV_REQUIREMENTS] if dev else [RUN_REQUIREMENTS]
    stamp_file = VENV / (".maru-dev" if dev else ".maru-run")
    wanted = stamp_of(files)
    if venv_python().exists() and stamp_file.exists() and stamp_file.read_text() == wanted:
        return
    create_venv()
    requirement = torch_requirement()
    run_stamp = VENV / ".maru-run"
    if not (run_stamp.exists() and run_stamp.read_text() == stamp_of([RUN_REQUIREMENTS])):
        announce(requirement)
        pip("install", "--progress-bar", "on" if sys.stdout.isatty() else "off", requirement)
        pip("install", "--quiet", "-r", str(RUN_REQUIREMENTS))
        run_stamp.write_text(stamp_of([RUN_REQUIREMENTS]))
    if dev:
        say("Installing the tools for tests and checks …")
        pip("install", "--quiet", "-r", str(DEV_REQUIREMENTS))
        stamp_file.write_text(wanted)
    say("The environment is ready.")


def install_peers() -> None:
    """Bring `.venv-peers` to its pinned set, doing nothing where the stamp says it is there."""
    stamp_file, wanted = PEERS_VENV / ".maru-peers", stamp_of([PEERS_REQUIREMENTS])
    if venv_python(PEERS_VENV).exists() and stamp_file.exists() and stamp_file.read_text() == wanted:
        return
    create_venv(PEERS_VENV)
    say("Installing what benchmarks compare Maru with: about 50 packages, torch first (from pip's cache where it can).")
    pip("install", "--progress-bar", "off", "--quiet", torch_requirement(PEERS_REQUIREMENTS), venv=PEERS_VENV)
    pip("install", "--quiet", "-r", str(PEERS_REQUIREMENTS), venv=PEERS_VENV)
    stamp_file.write_text(wanted)
    say("The environment of the peers is ready.")


def main() -> int:
    """Set up and return the exit code (0 ready, 2 something must be repaired first)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also install the tools for tests and checks")
    parser.add_argument("--peers", action="store_true", help="make the environment of the benchmarks' peers instead")
    arguments = parser.parse_args()
    try:
        check_python()
        if arguments.peers:
            install_peers()
            return 0
        ensure_system_libraries()
        install(arguments.dev)
    except SetupError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; run the same command again to continue.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
