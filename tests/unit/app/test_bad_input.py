"""What people mistype, in a configuration or on the command line: one sentence and exit code 2, before any run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.commands.root import run_cli


def refusal(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> str:
    """Run a command that must refuse, and return what it says."""
    assert run_cli([*words, "--data-dir", str(folder), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert "Traceback" not in captured.err
    assert "Training" not in captured.err  # no run had begun
    told = json.loads(captured.out)
    assert len(told["error"]) < 300
    return f"{told['error']} {told['remedy']}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"[training]\nepochs = 1{'0' * 400}", "epochs must be a whole number"),
        (f"[training]\nlearning_rate = 1{'0' * 400}", "learning_rate must be a number"),
        (f"[training]\nepochs = 1{'0' * 5_000}", "a number that is too long"),
        (f"[training]\nepochs = [0x{'F' * 5_000}]", "epochs must be a whole number"),
        ('[data]\nsource = "a\\u0000b"', "cannot be used"),
        (f'[data]\nsource = "/{"a" * 5_000}"', "cannot be used"),
        ('[data]\nsource = "~no-such-user/x.csv"', "cannot be used"),
        (f'[data]\nsymbol = "{"A" * 5_000}/USDT"', "no name of a market"),
        (f'[data]\nvenue = "{"v" * 300}"', "no name of a market"),
        ('[data]\nsymbol = "BTCUSDT"', "'BTCUSDT' is no market. BTC/USDT is meant"),
        ('[data]\nsymbol = "gold"', "'gold' is no market. Write it like BTC/USDT"),
    ],
)
def test_configurations(text: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.toml"
    config.write_text(text, encoding="utf-8")
    for words in (("train", "forecast"), ("evaluate",)):
        assert sentence in refusal(capsys, tmp_path / "data", *words, "--config", str(config))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("train", "forecast", "--data", "~no-such-user/x.csv"), "cannot be used"),
        (("train", "forecast", "--data", f"/{'a' * 5_000}"), "cannot be used"),
        (("train", "forecast", "--symbol", "BTCUSDT"), "BTC/USDT is meant"),
        (("train", "forecast", "--symbol", "ETHUSDT", "--venue", "binance"), "ETH/USDT is meant"),
        (("train", "forecast", "--symbol", "\udcff/USDT"), "no name of a market"),
        (("models", "import", "~no-such-user/x.maru-model"), "cannot be used"),
        (("models", "import", "a" * 5_000), "cannot be used"),
        (("data", "import", "a" * 5_000), "cannot be used"),
    ],
)
def test_command_lines(
    words: tuple[str, ...], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refusal(capsys, tmp_path, *words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "models list --sort foo",
            "Invalid value for '--sort': 'foo' is not one of 'created', 'r2', 'symbol', 'size'. ",
        ),
        ("models list --sort {ge}", "Invalid value for '--sort': '{ge}' is not one of 'created', 'r2', "),
        ("train forecast --epochs abc", "Invalid value for '--epochs': a whole number is needed. "),
        ("train forecast --epochs 1.5", "Invalid value for '--epochs': a whole number is needed. "),
        (f"train forecast --epochs 1{'0' * 5_000}", "Invalid value for '--epochs': the number is too long. "),
        ("demo --minutes x", "Invalid value for '--minutes': a number is needed. "),
        ("demo --minutes 601", "Invalid value for '--minutes': at most 600 is possible. "),
        ("demo --seed -1", "Invalid value for '--seed': at least 0 is needed. "),
        ("models show", "Missing argument 'model_id'. "),
    ],
)
def test_values_of_options(words: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(words.split()) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"Error: {sentence}")
    assert told.endswith("--help to see what there is.\n")
    assert told.count("\n") == 1
