"""A key planted wherever one could turn up reaches neither the log nor standard error nor a crash file.

Each case runs in a process of its own: what counts is what a person would find afterwards.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

KEY, SECRET = "plantedkey0123456789abcdef", "plantedsecret9876543210fedcba"

# Registered, as a key that was loaded is; `folder` takes the log.
BEGIN = f"""
import asyncio, logging, sys, threading, warnings
from pathlib import Path
from core.logger import LogSetup
KEY, SECRET = {KEY!r}, {SECRET!r}
folder = Path(sys.argv[1])
logs = LogSetup(folder)
logs.redactor.add(KEY, SECRET)
log = logging.getLogger("test")
"""

CASES = {
    "an exception": """
try:
    raise ValueError(f"signed with {SECRET}")
except ValueError:
    log.exception("failed with %s", KEY)
""",
    "a chain of exceptions": """
try:
    try:
        raise KeyError(SECRET)
    except KeyError as exc:
        raise RuntimeError("outer") from exc
except RuntimeError:
    log.exception("failed")
""",
    "an error of ccxt with the whole request": """
from core.execution.api.ccxt_loader import install_shells
install_shells()
from ccxt.base.errors import RequestTimeout
from core.execution.error_handler import Operation, classify
url = f"https://api.binance.com/api/v3/order?symbol=BTCUSDT&timestamp=1&signature={SECRET}"
error = RequestTimeout(f"binance POST {url} headers {{'X-MBX-APIKEY': '{KEY}'}} 504 Gateway Time-out")
log.error("raw: %s", error)
try:
    raise classify(error, Operation.QUERY) from error
except Exception:
    log.exception("translated")
for operation in Operation:
    assert SECRET not in classify(error, operation).message
""",
    "headers and JSON": """
import json
log.warning("headers %s", {"X-MBX-APIKEY": KEY, "Authorization": f"Bearer {SECRET}"})
log.warning("body %s", json.dumps({"apiKey": KEY, "nested": json.dumps({"secret": SECRET})}))
log.warning("bytes %r", f"{KEY}:{SECRET}".encode())
""",
    "a task nobody awaited": """
async def main():
    async def fails():
        raise ValueError(SECRET)
    task = asyncio.ensure_future(fails())
    await asyncio.sleep(0.01)
    del task
    import gc; gc.collect()
asyncio.run(main())
""",
    "arguments that do not fit": """
log.error("%d %d", KEY, SECRET)
""",
    "the exchange's own representation": """
from core.execution.api.ccxt_client import Credentials
from core.secrets.keys import KeyPair
log.error("%r %s %r", Credentials(KEY, SECRET), KeyPair(KEY, SECRET), {"keys": KeyPair(KEY, SECRET)})
""",
    "a bug in a command": """
import typer, app.commands.root as root
sys.modules["bug_command"] = type(sys)("bug_command")
app = typer.Typer(add_completion=False)
@app.command()
def bug() -> None:
    threading.Thread(target=lambda: 1 / 0 if not SECRET else int(SECRET)).start()
    class Trap:
        def __del__(self):
            raise ValueError(KEY)
    Trap()
    raise ValueError(f"https://x/?signature={SECRET}")
sys.modules["bug_command"].app = app
root.COMMANDS["bug"] = ("bug_command", "")
logs.close()
assert root.run_cli(["bug"]) == 1
sys.stderr.write("Traceback seen")
""",
    "an error of a command": """
import typer, app.commands.root as root
from app.commands.cli import command
from core.errors import UserError
sys.modules["bug_command"] = type(sys)("bug_command")
app = typer.Typer(add_completion=False)
@app.command()
@command
def bug(as_json: bool = typer.Option(False, "--json")) -> None:
    raise UserError(f"The venue said {SECRET}.", f"Look at {KEY}.")
sys.modules["bug_command"].app = app
root.COMMANDS["bug"] = ("bug_command", "")
assert root.run_cli(["bug"]) == 2
assert root.run_cli(["bug", "--json"]) == 2
""",
    "the window's crash handler": """
from app.crash import CrashHandler
from PySide6.QtCore import QCoreApplication
qt = QCoreApplication([])
crash = CrashHandler(folder / "crashes", clean=logs.redactor.clean)
crash.install()
def in_thread():
    raise ValueError(f"{KEY} {SECRET}")
thread = threading.Thread(target=in_thread); thread.start(); thread.join()
sys.excepthook(ValueError, ValueError(f"https://x/?apiKey={KEY}&signature={SECRET}"), None)
crash._folder = Path("/nowhere/at/all")
crash._clean_more = lambda text: 1 / 0
sys.excepthook(ValueError, ValueError(SECRET), None)
""",
    "the interpreter's death": """
import faulthandler
from app.crash import CrashHandler
from PySide6.QtCore import QCoreApplication
qt = QCoreApplication([])
crash = CrashHandler(folder / "crashes", clean=logs.redactor.clean)
crash.install()
def dies(key, secret):
    faulthandler._sigabrt()
dies(KEY, SECRET)
""",
}


@pytest.mark.parametrize("case", CASES)
def test_a_planted_key_is_nowhere(case: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + CASES[case], str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    dies = case == "the interpreter's death"
    assert (done.returncode != 0) == dies, done.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    found = {str(path): path.read_text("utf-8", "replace") for path in written} | {"stdout": done.stdout}
    found["stderr"] = done.stderr
    for place, text in found.items():
        assert KEY not in text, place
        assert SECRET not in text, place
    assert "[hidden]" in "".join(found.values()) or dies or "Credentials(" in found["stderr"], "the case did its work"


def test_a_child_gets_no_key_and_no_keyring(tmp_path: Path) -> None:
    """The environment as the operating system shows it, too: a job could read that."""
    code = """
import json, os, sys
from core.job_supervisor import JobSupervisor
from core.jobs import JobFinished
if __name__ == "__main__":
    with JobSupervisor() as supervisor:
        supervisor.start("j", "tests.unit.job_targets:surroundings", {})
        while supervisor.running:
            for event in supervisor.poll(0.2):
                if isinstance(event, JobFinished):
                    print(json.dumps(event.result))
    from core.secrets.environment import seal_environment
    assert seal_environment()["MARU_API_SECRET_BINANCE"], "the parent still has it"
"""
    script = tmp_path / "parent.py"
    script.write_text(code)
    given = {"MARU_API_KEY_BINANCE": KEY, "MARU_API_SECRET_BINANCE": SECRET, "MARU_API_PASSPHRASE": SECRET}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=REPOSITORY,
        env={**os.environ, **given, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout
    assert SECRET not in done.stdout
    assert '"keyring": "keyring.backends.null.Keyring"' in done.stdout
    assert '"variables": []' in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_process_with_keys_leaves_no_image_of_its_memory(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from core.config import DataPaths
from core.secrets.book import open_key_book
_, most = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (most, most))
open_key_book(DataPaths(Path(sys.argv[1])), lambda *texts: None, lambda new: "")
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, most)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=REPOSITORY, timeout=60, check=True)
