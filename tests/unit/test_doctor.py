"""Every check of the doctor can pass, warn and fail; the command prints the contract."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from app.commands.doctor import print_table
from app.commands.root import run_cli
from core.diagnostics import checks_machine as machine
from core.diagnostics import checks_software as software
from core.diagnostics import probes as real
from core.diagnostics.model import Check, ChildReport, Status, is_healthy, to_json
from core.diagnostics.runner import run_checks
from core.errors import UserError

DEAD = ChildReport(False, error="ModuleNotFoundError: No module named 'x'")
GOOD: dict[str, ChildReport] = {
    "torch": ChildReport(True, {"version": "2.13.0+cpu", "devices": ["cpu"], "threads": 2}),
    "qt": ChildReport(True, {"version": "6.11.3", "platform": "xcb", "korean_families": ["Sans"]}),
    "keyring": ChildReport(True, {"backends": ["keyring.backends.SecretService.Keyring"]}),
    "ta-lib": ChildReport(True, {"version": "0.8.2", "sma": 2.0}),
    "onnxruntime": ChildReport(True, {"version": "1.32.0", "providers": ["CPUExecutionProvider"], "result": 3.0}),
}


def healthy_probes(tmp_path: Path, **changes: object) -> real.Probes:
    fonts = tmp_path / "fonts"
    fonts.mkdir(exist_ok=True)
    (fonts / "Sans.otf").write_bytes(b"")
    values: dict[str, object] = {
        "python": lambda: ((3, 11, 7), "CPython", 64),
        "pins": lambda: {"torch": "2.13.0", "typer": "0.29.2"},
        "installed": {"torch": "2.13.0+cpu", "typer": "0.29.2", "PySide6-Essentials": "6.11.3"}.get,
        "child": lambda name, arguments, environment: GOOD[name],
        "system": lambda: "Linux",
        "distribution": lambda: "debian",
        "environment": lambda: {"DISPLAY": ":0"},
        "loads_library": lambda soname: True,
        "gpus": list,
        "fonts": lambda: fonts,
        "free_bytes": lambda folder: 100 * machine.GIB,
        "write_error": lambda folder: "",
        "folder_mode": lambda folder: 0o700,
        "year": lambda: 2026,
        "clock_drift": lambda: 0.0,
        "venue_skew": lambda url: 0.01,
        "time_zone_error": lambda: "",
        "loopback": lambda: ("", 40_000),
        "memory": lambda: (16 * machine.GIB, 8 * machine.GIB),
        "cpu": lambda: (8, "x86_64"),
        "sqlite": lambda: ("3.45.0", True),
    }
    return real.Probes(**{**values, **changes})  # type: ignore[arg-type]


def test_healthy_machine_has_only_ok(tmp_path: Path) -> None:
    checks = run_checks(tmp_path / "data", venue_url="http://127.0.0.1:1", probes=healthy_probes(tmp_path))
    assert [check for check in checks if check.status is not Status.OK] == []
    assert all(check.remedy == "" and check.detail for check in checks)
    assert len({check.name for check in checks}) == len(checks) == 20
    assert not (tmp_path / "data").exists()


BROKEN: list[tuple[str, str, dict[str, object]]] = [
    ("python", "fail", {"python": lambda: ((3, 10, 1), "CPython", 64)}),
    ("python", "fail", {"python": lambda: ((3, 11, 1), "CPython", 32)}),
    ("python", "warn", {"python": lambda: ((3, 11, 1), "PyPy", 64)}),
    ("packages", "fail", {"pins": dict}),
    ("packages", "fail", {"pins": lambda: {f"p{index}": "1" for index in range(9)}}),
    ("packages", "warn", {"pins": lambda: {"typer": "0.1.0"}}),
    ("pyside6", "fail", {"installed": {"torch": "2.13.0", "typer": "0.29.2"}.get}),
    ("pyside6", "fail", {"installed": {"torch": "2.13.0", "typer": "0.29.2", "PySide6-Essentials": "6.12.0"}.get}),
    ("gpu", "warn", {"gpus": lambda: ["GPU A, 8 GiB, driver 1"]}),
    ("sqlite", "fail", {"sqlite": lambda: ("3.31.1", True)}),
    ("sqlite", "fail", {"sqlite": lambda: ("3.45.0", False)}),
    ("display", "warn", {"environment": dict}),
    ("display", "warn", {"environment": lambda: {"QT_QPA_PLATFORM": "offscreen"}}),
    ("qt-libraries", "fail", {"loads_library": lambda soname: "EGL" not in soname}),
    ("qt-libraries", "fail", {"loads_library": lambda soname: "cursor" not in soname}),
    (
        "qt-libraries",
        "warn",
        {"loads_library": lambda soname: "cursor" not in soname, "environment": lambda: {"WAYLAND_DISPLAY": "w-0"}},
    ),
    ("fonts", "fail", {"fonts": lambda: Path("nowhere")}),
    ("data-folder", "fail", {"write_error": lambda folder: "Read-only file system"}),
    ("data-folder", "warn", {"folder_mode": lambda folder: 0o755}),
    ("disk", "fail", {"free_bytes": lambda folder: 1_000}),
    ("disk", "warn", {"free_bytes": lambda folder: 2 * machine.GIB}),
    ("clock", "fail", {"year": lambda: 1970}),
    ("clock", "fail", {"clock_drift": lambda: -3.0}),
    ("clock", "fail", {"venue_skew": lambda url: -1.5}),
    ("clock", "warn", {"venue_skew": lambda url: 0.7}),
    ("time-zones", "fail", {"time_zone_error": lambda: "No time zone found with key Asia/Seoul"}),
    ("ports", "fail", {"loopback": lambda: ("Operation not permitted", 0)}),
    ("memory", "fail", {"memory": lambda: (machine.GIB, machine.GIB)}),
    ("memory", "fail", {"memory": lambda: None}),
    ("memory", "warn", {"memory": lambda: (16 * machine.GIB, machine.GIB // 2)}),
    ("cpu", "warn", {"cpu": lambda: (1, "")}),
]


@pytest.mark.parametrize(("name", "status", "changes"), BROKEN)
def test_broken_machine_is_named_with_a_remedy(
    name: str, status: str, changes: dict[str, object], tmp_path: Path
) -> None:
    checks = run_checks(tmp_path / "data", venue_url="http://127.0.0.1:1", probes=healthy_probes(tmp_path, **changes))
    found = {check.name: check for check in checks}[name]
    assert found.status.value == status
    assert found.remedy.strip()
    assert is_healthy(checks) is (status == "warn")


CHILDREN: list[tuple[str, str, ChildReport]] = [
    ("torch", "fail", DEAD),
    ("keyring", "warn", DEAD),
    ("keyring", "warn", ChildReport(True, {"backends": ["keyring.backends.fail.Keyring"]})),
    ("keyring", "fail", ChildReport(True, {"backends": ["keyring.backends.null.Keyring"]})),
    ("keyring", "fail", ChildReport(True, {"backends": ["keyrings.alt.file.PlaintextKeyring"]})),
    ("qt", "fail", DEAD),
    ("fonts", "warn", DEAD),
    ("fonts", "fail", ChildReport(True, {"version": "6.11.3", "platform": "xcb", "korean_families": []})),
    ("ta-lib", "fail", DEAD),
    ("ta-lib", "fail", ChildReport(True, {"version": "0.8.2", "sma": 2.5})),
    ("onnxruntime", "fail", DEAD),
    ("onnxruntime", "fail", ChildReport(True, {"version": "1", "providers": [], "result": 0.0})),
]


@pytest.mark.parametrize(("name", "status", "report"), CHILDREN)
def test_broken_child_is_named_with_a_remedy(name: str, status: str, report: ChildReport, tmp_path: Path) -> None:
    child = "qt" if name == "fonts" else name
    probes = healthy_probes(tmp_path, child=lambda asked, arguments, environment: {**GOOD, child: report}[asked])
    found = {check.name: check for check in run_checks(tmp_path, probes=probes)}[name]
    assert found.status.value == status
    assert found.remedy.strip()


def test_gpu_in_use_is_fine() -> None:
    used = ChildReport(True, {"version": "2.13.0", "devices": ["cpu", "CUDA: A"], "threads": 2})
    assert software.check_gpu(["A, 8 GiB, driver 1"], used) == Check("gpu", Status.OK, "A, 8 GiB, driver 1")
    assert software.check_gpu([], used).detail == "CUDA: A"
    assert software.check_gpu(["A"], DEAD).status is Status.WARN


def test_a_gpu_whose_memory_others_hold_is_a_limitation() -> None:
    facts = {"version": "2.13.0", "devices": ["cpu", "CUDA 0: A", "CUDA 1: B"], "threads": 2}
    full = software.check_gpu([], ChildReport(True, {**facts, "gpu_free_bytes": [2**29, 2**29]}))
    assert (full.status, full.detail) == (
        Status.WARN,
        "CUDA 0: A; CUDA 1: B: less than 1 GiB of its memory is free; training runs on the CPU.",
    )
    one_left = software.check_gpu([], ChildReport(True, {**facts, "gpu_free_bytes": [2**29, 2**32]}))
    assert one_left.status is Status.OK


def test_mps_is_named_with_when_it_is_used() -> None:
    apple = ChildReport(True, {"version": "2.13.0", "devices": ["cpu", software.MPS], "threads": 2})
    found = software.check_gpu([], apple)
    assert found.status is Status.OK
    assert "only when asked for" in found.detail


def test_install_line_speaks_the_distributions_language() -> None:
    def remedy(distribution: str) -> str:
        return machine.check_qt_libraries(
            "Linux", distribution, "", lambda soname: soname != "libEGL.so.1", machine.QT_LIBRARIES
        ).remedy

    assert remedy("ubuntu debian") == "Install them: sudo apt-get install -y libegl1"
    assert remedy("fedora") == "Install them: sudo dnf install libglvnd-egl"
    assert "libegl1" in remedy("arch")
    assert "sudo" not in remedy("arch")
    mac = machine.check_qt_libraries("Darwin", "", "desktop", lambda soname: False, machine.QT_LIBRARIES)
    assert mac.status is Status.OK


@pytest.mark.parametrize(
    ("system", "environment", "expected"),
    [
        ("Windows", {}, "desktop"),
        ("Linux", {"WAYLAND_DISPLAY": "w-0", "DISPLAY": ":0"}, "Wayland w-0"),
        ("Linux", {"DISPLAY": ":1"}, "X11 :1"),
        ("Linux", {"DISPLAY": ":1", "QT_QPA_PLATFORM": "offscreen"}, "offscreen"),
        ("Linux", {}, ""),
    ],
)
def test_display(system: str, environment: dict[str, str], expected: str) -> None:
    assert machine.describe_display(system, environment) == expected


def test_parse_version() -> None:
    assert software.parse_version("2.13.0+cpu") == (2, 13, 0)
    assert software.parse_version("6.12.0rc1") == (6, 12, 0)
    assert software.parse_version("abc") == ()


def test_pins_leave_out_foreign_markers(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        '# comment\n-r other.txt\na==1.0\nb==2.0 ; python_version < "3"\nc>=3\n', encoding="utf-8"
    )
    assert real.read_pins(tmp_path) == {"a": "1.0"}
    assert real.read_pins(tmp_path / "nowhere") == {}


def test_child_that_hangs_or_crashes_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert real.run_child("torch", timeout_s=0.01).error == "no answer within 0 s"
    assert "KeyError" in real.run_child("unknown").error
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert "did not start" in real.run_child("keyring").error


def test_qt_child_without_its_display_names_the_cause() -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux has a display server to miss")
    report = real.run_child("qt", ["."], {"QT_QPA_PLATFORM": "xcb", "DISPLAY": ":987"})
    assert not report.ok
    assert "display" in report.error or "xcb" in report.error


def test_venue_clock() -> None:
    class Venue(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"serverTime": int((time.time() + 5) * 1_000)}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Venue) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        skew = real.venue_skew(f"http://127.0.0.1:{server.server_address[1]}")
        thread.join()
    assert skew is not None
    assert 4.5 < skew < 5.5


def test_silent_venue_is_no_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert real.venue_skew(f"http://127.0.0.1:{port}") is None
    assert machine.check_clock(2026, 0.0, None, asked=True).status is Status.OK
    with pytest.raises(UserError, match="not an address"):
        real.venue_skew("nonsense")


def test_real_probes_work_here(tmp_path: Path) -> None:
    error, port = real.loopback_error()
    assert error == ""
    assert port > 0
    memory = real.memory_bytes()
    assert memory is not None
    assert memory[0] >= memory[1] > 0
    assert real.sqlite_facts()[1]
    assert abs(real.clock_drift(0.01)) < 0.2
    assert real.existing_parent(tmp_path / "a" / "b") == tmp_path
    assert real.write_error(tmp_path / "a") == ""
    blocked = tmp_path / "file"
    blocked.write_text("x", encoding="utf-8")
    assert "is a file" in real.write_error(blocked / "data")
    assert real.parse_nvidia_smi("NVIDIA A, 8192, 560.1\nbroken\n") == ["NVIDIA A, 8 GiB, driver 560.1"]


def test_json_contract() -> None:
    checks = [Check("a", Status.OK, "fine"), Check("b", Status.FAIL, "bad", "do this")]
    assert to_json(checks) == {
        "checks": [
            {"name": "a", "status": "ok", "detail": "fine", "remedy": ""},
            {"name": "b", "status": "fail", "detail": "bad", "remedy": "do this"},
        ],
        "ok": False,
    }


@pytest.mark.parametrize("free", [100 * machine.GIB, 0])
def test_command_prints_json_or_a_table(
    free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = healthy_probes(tmp_path, free_bytes=lambda folder: free)
    monkeypatch.setattr(
        "app.commands.doctor.run_checks", lambda folder, venue_url: run_checks(folder, venue_url=venue_url, probes=fake)
    )
    code = run_cli(["doctor", "--json", "--data-dir", str(tmp_path)])
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert (code, result["ok"]) == ((0, True) if free else (1, False))
    assert output.out.count("\n") == 1
    assert run_cli(["doctor", "--data-dir", str(tmp_path)]) == code
    table = capsys.readouterr().out
    assert ("1 to repair" in table) is (free == 0)


def test_plain_table_and_missing_folders_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    print_table([Check("a", Status.OK, "fine"), Check("b", Status.WARN, "so so", "do this")])
    assert capsys.readouterr().out.splitlines() == [
        "ok    a             fine",
        "warn  b             so so",
        "                    -> do this",
        "",
        "1 ok, 1 with a limitation, 0 to repair",
    ]
    monkeypatch.delenv("MARU_DATA_DIR")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert run_cli(["doctor", "--json"]) == 2
    assert "platformdirs is missing" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.slow
def test_doctor_runs_without_qt_in_its_own_process(tmp_path: Path) -> None:
    blocked = ("PySide6", "torch", "rich", "packaging", "psutil", "numpy")
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "from app.commands.root import run_cli\n"
        f"sys.exit(run_cli(['doctor', '--json', '--data-dir', {str(tmp_path)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=real.PROJECT_ROOT, capture_output=True, text=True, timeout=150, check=False
    )
    result = json.loads(done.stdout)
    named = {check["name"]: check for check in result["checks"]}
    assert named["memory"]["status"] == "fail"
    assert named["torch"]["status"] == "ok"
    assert named["qt"]["status"] == "ok"
    assert named["fonts"]["status"] == "ok"
    assert done.returncode == (0 if result["ok"] else 1)
