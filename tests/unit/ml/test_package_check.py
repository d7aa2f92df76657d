"""Packages whose hashes are right and whose content is not."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from core.errors import UserError
from ml.model_storage import CONFIG, MANIFEST, WEIGHTS, package_files
from ml.package_check import MOST_BYTES, check_package, read_weights, strict_json
from tests.trained_model import Trained
from tests.unit.ml.packages import Json, edited, forged


@pytest.fixture(scope="module")
def files(trained: Trained) -> dict[str, bytes]:
    return package_files(trained.models_dir, trained.result.model_id)


def refuse(files: dict[str, bytes], match: str = ".") -> None:
    with pytest.raises(UserError, match=match) as caught:
        check_package(files)
    assert caught.value.message.endswith(".")


def put(*path: Any, value: Any) -> Callable[[Json], None]:
    """Return a change that sets one entry, named by the way to it."""

    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def test_a_forged_package_that_says_nothing_false_passes(files: dict[str, bytes]) -> None:
    assert check_package(forged(files)).model_id != check_package(files).model_id
    check_package(edited(files, "metrics", put("verdict", value="A fine model.")))


@pytest.mark.parametrize("key", ["manifest", "config", "metrics", "scaler"])
@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe{}",
        b"[" * 200_000,
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b'{"a": "\\u001b[2J"}',
        b'{"\\u202e": 1}',
        b'{"a": ' + b"9" * 5_000 + b"}",
        pickle.dumps({"a": 1}),
        b"cos\nsystem\n(S'true'\ntR.",
    ],
)
def test_json_that_is_none(files: dict[str, bytes], key: str, junk: bytes) -> None:
    refuse(forged(files, **{key: junk}))


def test_every_entry_of_another_kind_is_one_sentence(files: dict[str, bytes]) -> None:
    """Nothing a package may say, whatever it is, gets as far as a traceback."""
    values = (None, "x", -1, 2**62, 1e300, [], {}, [[]], True, [None])
    random = Random(1)
    refused = 0
    for key in ("manifest", "config", "scaler", "metrics"):
        (name,) = [name for name in files if name.startswith(key)]
        places = ways(json.loads(files[name]))
        for path in random.sample(places, min(40, len(places))):
            for value in random.sample(values, 4):
                try:
                    check_package(edited(files, key, put(*path, value=value)))
                except UserError:
                    refused += 1
    assert refused > 200


def ways(content: Any) -> list[tuple[Any, ...]]:
    """Return the way to every entry of parsed JSON, the first two of each list."""
    found: list[tuple[Any, ...]] = []
    keys = list(content) if isinstance(content, dict) else list(range(min(2, len(content))))
    for key in keys:
        found.append((key,))
        if isinstance(content[key], dict | list):
            found += [(key, *rest) for rest in ways(content[key])]
    return found


@pytest.mark.parametrize(
    ("key", "path", "value"),
    [
        ("manifest", ("format",), 99),
        ("manifest", ("created_ns",), -1),
        ("manifest", ("created_ns",), 2**63),
        ("manifest", ("files",), {}),
        ("manifest", ("data", "symbol"), "ETH/USDT"),
        ("manifest", ("data", "bars"), 0),
        ("manifest", ("data", "first_open_ns"), "soon"),
        ("manifest", ("split", "test"), 3),
        ("manifest", ("split", "test", "first_open_ns"), -5),
        ("manifest", ("seed",), 99),
        ("manifest", ("run",), "x"),
        ("manifest", ("run",), []),
        ("manifest", ("run",), None),
        ("manifest", ("run", "id"), 7),
        ("config", ("code",), "import os"),
        ("config", ("feature_digest",), "0" * 16),
        ("config", ("feature_names",), ["x"]),
        ("config", ("spec", "model", "hidden_size"), 10**9),
        ("config", ("spec", "model", "layers"), 0),
        ("config", ("spec", "model", "kind"), "experts"),
        ("config", ("spec", "model", "quantile_levels"), [0.9, 0.5, 0.1]),
        ("config", ("spec", "features", "window"), 10**9),
        ("config", ("spec", "data", "timeframe"), "1y"),
        ("config", ("spec", "data", "symbol"), "BTC\x1b[31m"),
        ("scaler", ("inputs", "names"), ["x"]),
        ("scaler", ("inputs", "center"), [0.0]),
        ("scaler", ("inputs", "scale"), [0.0] * 15),
        ("scaler", ("inputs", "scale", 0), -1.0),
        ("scaler", ("inputs", "clip"), 1e9),
        ("scaler", ("target", "horizons"), [7]),
        ("scaler", ("target", "floor"), 0.0),
        ("scaler", ("target", "scales"), [1e9]),
        ("metrics", ("coverage",), 1.5),
        ("metrics", ("edge_p_value",), -0.1),
        ("metrics", ("forecast_std",), 1e-300),  # would turn every forecast into the strongest signal
        ("metrics", ("forecast_std",), -1.0),
        ("metrics", ("targets",), -1),
        ("metrics", ("model", "r2"), 3.0),
        ("metrics", ("model", "ic"), 2.0),
        ("metrics", ("model", "mae"), 1e6),
        ("metrics", ("baselines", 0, "hit_rate"), 7.0),
        ("metrics", ("edge",), True),
        ("metrics", ("horizons", 0, "edge"), True),
        ("metrics", ("horizons",), []),
        ("metrics", ("horizons", 0, "horizon"), 2),
        ("metrics", ("conformal", 0, "offsets"), []),
        ("metrics", ("conformal", 0, "horizon"), 2),
        ("metrics", ("sharpe", "count"), 0),
        ("metrics", ("sharpe", "skew"), 100.0),
        ("metrics", ("sharpe", "kurtosis"), 0.5),
        ("metrics", ("sharpe", "kurtosis"), 1e6),
        ("scaler", ("target", "scales"), []),
        ("metrics", ("verdict",), "x" * 100_000),
    ],
)  # fmt: skip
def test_what_cannot_be(files: dict[str, bytes], key: str, path: tuple[Any, ...], value: Any) -> None:
    honest = files
    if path[-1] == "edge":  # however good the model happened to become
        honest = edited(
            edited(files, key, put("edge_p_value", value=0.9)), key, put("horizons", 0, "edge_p_value", value=0.9)
        )
    refuse(edited(honest, key, put(*path, value=value)))


def test_what_a_package_need_not_say(files: dict[str, bytes]) -> None:
    check_package(edited(files, "manifest", lambda manifest: manifest.pop("run")))
    check_package(edited(files, "metrics", put("conformal", value=[])))
    check_package(edited(files, "metrics", put("sharpe", value=None)))
    shown = edited(files, "metrics", lambda m: m.update(edge=True, edge_p_value=0.049))
    check_package(shown)


def test_files_missing_or_too_many_or_too_large(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    refuse({name: data for name, data in files.items() if name != CONFIG}, "exactly")
    refuse({**files, "run.py": b""}, "exactly")
    refuse({**files, "weights.safetensors": files[WEIGHTS][:-1] + b"\0"}, "the manifest names")
    monkeypatch.setitem(MOST_BYTES, WEIGHTS, 100)
    refuse(files, "larger")


def test_names_beside_the_files_of_a_package(files: dict[str, bytes]) -> None:
    refuse(edited(files, "manifest", lambda m: m["files"].update({"../x": "0" * 64})), "do not belong")


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../funding.csv", "a/funding.csv", "..", "C:\\funding.csv", "..\\funding.csv", "C:funding.csv"],
)
def test_no_package_names_a_place_on_this_computer(files: dict[str, bytes], path: str) -> None:
    series = [{"name": "funding", "path": path, "column": "value", "delay_s": 0.0}]
    refuse(edited(files, "config", put("spec", "data", "series", value=series)), "folder")
    refuse(edited(files, "config", put("spec", "data", "source", value=path)), "folder")


@pytest.mark.parametrize("path", ["funding.csv", "BTC_USDT:USDT-8h-funding rate.feather", "펀딩.parquet"])
def test_a_package_names_files(files: dict[str, bytes], path: str) -> None:
    series = [{"name": "funding", "path": path, "column": "value", "delay_s": 0.0}]
    check_package(edited(files, "config", put("spec", "data", "series", value=series)))


# --- weights ----------------------------------------------------------------------------------------------------


def tensors(header: Any, content: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def entry(shape: Any, begin: Any, end: Any, dtype: Any = "F32") -> Json:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_weights_are_read_as_the_library_writes_them() -> None:
    written = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.float32([[7.0]]),
        "c": np.zeros(0, np.float32),
    }
    read = read_weights(safetensors.numpy.save(written, {"by": "somebody"}))
    assert set(read) == set(written)
    for name, values in written.items():
        np.testing.assert_array_equal(read[name], values)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100) + b"{}",
        tensors(b"[]"),
        tensors(b"{"),
        tensors({}),
        tensors({"a": 3}),
        tensors({"a": entry([1], 0, 4)}),
        tensors({"a": entry([2], 0, 4)}, b"\0" * 4),
        tensors({"a": entry([-1], 0, 4)}, b"\0" * 4),
        tensors({"a": entry([1 << 39], 0, 4)}, b"\0" * 4),
        tensors({"a": entry([1], -4, 0)}, b"\0" * 4),
        tensors({"a": entry([1], 0, 4, "I64")}, b"\0" * 4),
        tensors({"a": entry([1], 0, 4) | {"code": "x"}}, b"\0" * 4),
        tensors({"a": entry([1], 4, 8)}, b"\0" * 8),  # a hole
        tensors({"a": entry([1], 0, 4)}, b"\0" * 8),  # something behind
        tensors({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, b"\0" * 8),  # overlapping
        tensors({"a": entry([1], 0, 4)}, struct.pack("<f", float("nan"))),
        tensors({"a": entry([1], 0, 4)}, struct.pack("<f", float("inf"))),
        tensors({"a": entry([1] * 5, 0, 4)}, b"\0" * 4),
        tensors({"a": entry("1", 0, 4)}, b"\0" * 4),
        pickle.dumps(np.zeros(3)),
    ],
)  # fmt: skip
def test_weights_that_are_none(data: bytes, files: dict[str, bytes]) -> None:
    with pytest.raises(UserError, match="refused"):
        read_weights(data)
    refuse(forged(files, weights=data), "refused")


def test_strict_json_reads_what_is_json() -> None:
    assert strict_json("x", '{"a": [1, 2.5, null, true, "가"]}'.encode()) == {"a": [1, 2.5, None, True, "가"]}


def test_the_manifest_is_named_by_its_hash(files: dict[str, bytes]) -> None:
    spaced = json.dumps(json.loads(files[MANIFEST]), indent=4).encode()
    assert check_package(forged(files, manifest=spaced)).model_id != check_package(files).model_id
