"""Bad input to every subcommand: exit code 2, one clear sentence, nothing lost, no traceback."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.programs import Ended, files_of, run, start

pytestmark = pytest.mark.slow

HOUR_MS = 3_600_000
BARS = 60


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good and bad files and a data folder with some stored bars."""
    folder = tmp_path_factory.mktemp("desk")
    first = 1_600_000_000_000 // HOUR_MS * HOUR_MS
    rows = [f"{first + i * HOUR_MS},100,110,90,105,5" for i in range(BARS)]
    (folder / "BTC_USDT-1h.csv").write_text("\n".join(["time,open,high,low,close,volume", *rows]))
    (folder / "unnamed.csv").write_text("\n".join(["time,open,high,low,close,volume", *rows]))
    (folder / "ETH_USDT-1h.csv").write_text("hello\nworld\n")
    (folder / "ETH_USDT-1h.feather").write_bytes(b"ARROW1\0\0 and then nothing of the kind")
    (folder / "ETH_USDT-1h.parquet").write_bytes(bytes(2_000))
    (folder / "ETH_USDT-4h.csv").write_text("")
    (folder / "broken.toml").write_text("[data\n")
    (folder / "strange.toml").write_text("[nonsense]\nx = 1\n")
    (folder / "typed.toml").write_text('[algorithm]\nsteps = "many"\n')
    (folder / "empty.json").write_text("{}")
    (folder / "down.json").write_text(json.dumps(endpoints(_free_port())))
    (folder / "file").write_text("not a folder")
    assert run(folder, "data", "import", "BTC_USDT-1h.csv", "--data-dir", folder / "data").code == 0
    return folder


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The ready line of a practice exchange that runs."""
    folder = tmp_path_factory.mktemp("exchange")
    process = start(folder, "practice-exchange", "--json", "--data-dir", folder / "data")
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def endpoints(port: int) -> dict[str, object]:
    return {
        "rest": f"http://127.0.0.1:{port}",
        "ws": f"ws://127.0.0.1:{port}/stream/ws",
        "ws_api": f"ws://127.0.0.1:{port}/ws-api/v3",
        "control": f"http://127.0.0.1:{port}/control",
        "token": "t",
        "api_key": "k",
        "api_secret": "s",
        "symbols": ["BTCUSDT"],
    }


def full_disk(limit: int = 1_024) -> Callable[[], None]:
    """Return what makes every file end at `limit` bytes in a child: to the program it looks like a full disk."""

    def before() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return before


def sentence(ended: Ended, *expected: str) -> str:
    """Check the promise about bad input with `--json` and return the error."""
    assert "Traceback" not in ended.err
    answer = ended.result()
    assert set(answer) == {"error", "remedy"}, answer
    assert ended.code == 2
    error, remedy = answer["error"], answer["remedy"]
    assert error.endswith(".")
    assert "\n" not in error
    assert "Error(" not in error
    assert "\n" not in remedy
    for part in expected:
        assert part in f"{error} {remedy}"
    return str(error)


CASES = [
    ("nonsense", "No such command 'nonsense'"),
    ("data nonsense", "No such command 'nonsense'"),
    ("data import", "Missing argument"),
    ("demo --nonsense", "No such option"),
    ("demo --minutes 0", "--minutes"),
    ("practice-exchange --port 99999", "--port"),
    ("data fetch --timeframe 7m", "7m"),
    ("data fetch --start yesterday", "yesterday"),
    ("data fetch --rest http://example.com", "this machine only"),
    ("data import missing.csv", "There is no file missing.csv."),
    ("data import .", "There is no file"),
    ("data import file", "file type"),
    ("data import ETH_USDT-1h.csv", "no column for time"),
    ("data import ETH_USDT-1h.feather", "ETH_USDT-1h.feather is damaged"),
    ("data import ETH_USDT-1h.parquet", "ETH_USDT-1h.parquet is damaged"),
    ("data import ETH_USDT-4h.csv", "ETH_USDT-4h.csv is damaged"),
    ("data import unnamed.csv", "The market cannot be told", "--symbol"),
    ("data import unnamed.csv --symbol BTCUSDT", "BTCUSDT", "BTC/USDT"),
    ("data import BTC_USDT-1h.csv --timeframe 1m", "1h apart, not 1m"),
    ("data export out.csv --symbol NO/PE", "NO/PE"),
    ("data export file/out.csv", "file"),
    ("data list --data-dir absent", "absent"),
    ("practice-exchange --speed fast", "fast"),
    ("practice-exchange --balance lots", "lots"),
    ("practice-exchange --replay missing.feather", "missing.feather"),
    ("practice-exchange --replay ETH_USDT-1h.feather", "ETH_USDT-1h.feather"),
    ("trade", "Where to trade is not clear."),
    ("trade --endpoints missing.json", "missing.json"),
    ("trade --endpoints empty.json", "empty.json"),
    ("trade --endpoints down.json --minutes 0.01", "The practice exchange does not answer."),
    ("train forecast --data missing.csv", "missing.csv"),
    ("train forecast --data BTC_USDT-1h.csv", f"{BARS} bars are too few"),
    ("train forecast --config broken.toml", "broken.toml"),
    ("train forecast --epochs 0", "epochs"),
    ("train forecast --resume nope", "nope"),
    ("train forecast --resume nope --config strange.toml", "its own settings"),
    ("train agent --symbol ETH/USDT", "in that range"),
    ("train agent --data missing.csv", "missing.csv"),
    ("train agent --data BTC_USDT-1h.csv", f"{BARS} bars are too few"),
    ("train agent --data ETH_USDT-1h.csv", "no column for time"),
    ("train agent --config broken.toml", "broken.toml"),
    ("train agent --config strange.toml", "'nonsense' is not part of this configuration"),
    ("train agent --config typed.toml", "algorithm.steps must be a whole number, not 'many'"),
    ("train agent --config typed.toml --algorithm sac", "names its algorithm itself"),
    ("train agent --algorithm dqn", "algorithm 'dqn' is not known"),
    ("train agent --steps 5", "number of steps 5"),
    ("train agent --seed -1", "seed -1"),
    ("train agent --seeds 0", "number of seeds 0"),
    ("train agent --encoder nope", "no model 'nope'"),
    ("train agent --resume nope", "nope"),
    ("train agent --resume run-20261126-164913-0a1b2c", "of an agent to resume"),
    ("train agent --resume agent-20261126-164913-0a1b2c --algorithm sac", "its own settings"),
    ("demo --data missing.csv --out demo", "missing.csv"),
    ("demo --out file", "file"),
    ("demo --out .", "was not made by the demo"),
    ("models show nope", "nope"),
    ("models show ../../data", "There is no model"),
    ("kill --endpoints missing.json", "missing.json"),
    ("rearm --data-dir missing", "There is no data folder"),
    ("rearm --data-dir file", "There is no data folder"),
    ("risk show --data-dir missing", "There is no data folder"),
    ("risk set max_hope=1", "There is no risk setting max_hope."),
    ("bench nonsense", "nonsense"),
    ("selftest forecast Z", "no task 'Z'"),
    ("selftest rl A", "no task 'A'"),
    ("selftest forecast --seeds 1", "seeds"),
    ("selftest forecast --kind tcn", "tcn"),
    ("screenshots --only nonsense", "nonsense"),
    ("screenshots --theme pink", "pink"),
    ("screenshots --out file --only dialog_about", "file"),
    ("doctor --venue nonsense", "nonsense"),
]
WITHOUT_DATA = ("nonsense", "demo", "bench", "screenshots", "selftest rl")


@pytest.fixture(scope="module")
def answers(desk: Path) -> dict[str, Ended]:
    """What every bad line came to; two at a time, because most of it is Python starting up."""

    def ask(line: str) -> Ended:
        words = line.split()
        if not line.startswith(WITHOUT_DATA) and "nonsense" not in words[1:2] and "--data-dir" not in words:
            words += ["--data-dir", str(desk / "data")]
        return run(desk, *words, "--json", timeout_s=200)

    candles = dict(files_of(desk / "data" / "candles"))
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip([case[0] for case in CASES], pool.map(ask, [case[0] for case in CASES]), strict=True))
    assert dict(files_of(desk / "data" / "candles")) == candles, "bad input changed stored bars"
    return found


@pytest.mark.parametrize(("line", "expected"), [(case[0], case[1:]) for case in CASES], ids=[c[0] for c in CASES])
def test_bad_input_is_one_sentence(answers: dict[str, Ended], line: str, expected: tuple[str, ...]) -> None:
    sentence(answers[line], *expected)


def test_without_json_it_is_a_sentence_for_people(desk: Path) -> None:
    ended = run(desk, "data", "import", "missing.csv", "--data-dir", desk / "data")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "Error: There is no file missing.csv. Check the path.\n"
    ended = run(desk, "demo", "--nonsense")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Error: No such option: --nonsense")
    assert len(ended.err.splitlines()) == 1


def test_an_unknown_market(desk: Path, exchange: dict[str, str]) -> None:
    ended = run(desk, "data", "fetch", "--symbol", "NO/PE", "--rest", exchange["rest"], "--json")
    sentence(ended, "The practice exchange has no market NO/PE.", "BTC/USDT")


def test_a_port_in_use(desk: Path, exchange: dict[str, str], tmp_path: Path) -> None:
    port = exchange["rest"].rpartition(":")[2]
    ended = run(desk, "practice-exchange", "--port", port, "--data-dir", tmp_path, "--json")
    assert sentence(ended) == f"Port {port} is already in use."


def test_an_account_in_use(desk: Path, exchange: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = next(tmp_path_factory.getbasetemp().glob("exchange*")) / "data"
    sentence(run(desk, "practice-exchange", "--data-dir", folder, "--json"), "another")


@pytest.mark.parametrize("wrong", ["api_key", "api_secret", "token"])
def test_a_wrong_key(desk: Path, exchange: dict[str, str], tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps({**exchange, wrong: "x" * 64}))
    ended = run(desk, "trade", "--endpoints", file, "--minutes", "0.01", "--data-dir", tmp_path / "data", "--json")
    sentence(ended)
    assert exchange[wrong] not in ended.out + ended.err


@pytest.mark.parametrize(
    "line",
    [
        "data import BTC_USDT-1h.csv --venue other",
        "data fetch --start 2024-01-01 --end 2024-01-03",
        "practice-exchange",
        "trade --practice --minutes 0.01",
        "train forecast --data BTC_USDT-1h.csv",
    ],
)
def test_a_full_disk(desk: Path, tmp_path: Path, line: str) -> None:
    data = tmp_path / "data"
    assert run(desk, "data", "import", "BTC_USDT-1h.csv", "--data-dir", data).code == 0
    before = dict(files_of(data))
    sentence(run(desk, *line.split(), "--data-dir", data, "--json", before=full_disk()))
    after = dict(files_of(data))
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if name.endswith(".tmp")]
    assert run(desk, "data", "check", "--data-dir", data, "--json").result()["clean"]


def test_a_folder_that_cannot_be_written(desk: Path) -> None:
    sentence(run(desk, "data", "import", "BTC_USDT-1h.csv", "--data-dir", desk / "file" / "data", "--json"), "file")
    ended = run(desk, "--data-dir", desk / "file" / "data", "--quit-after", "1")
    assert ended.code == 2
    assert ended.err.startswith("Error: The data folder")
    assert "Traceback" not in ended.err


def test_a_damaged_journal(desk: Path, tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(os.urandom(5_000))
    damaged = (tmp_path / "journal.sqlite").read_bytes()
    sentence(run(desk, "trade", "--practice", "--minutes", "0.01", "--data-dir", tmp_path, "--json"), "journal.sqlite")
    assert (tmp_path / "journal.sqlite").read_bytes() == damaged
