"""What runs in the doctor's child processes: `python -m core.diagnostics.child NAME` prints one JSON line of facts.

A library that is missing or crashes takes only this child with it. Libraries are imported by name here because the
program itself must load neither torch nor Qt for a check.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Facts = dict[str, Any]


def probe_torch() -> Facts:
    """Import torch, multiply on every device, name the devices and the free memory of each GPU in bytes."""
    torch = importlib.import_module("torch")
    devices, free_bytes = ["cpu"], []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        ones = torch.ones(8, 8, device=f"cuda:{index}")
        ones.matmul(ones).sum().item()
        free, total = torch.cuda.mem_get_info(index)
        known = torch.cuda.get_device_properties(index)
        memory = f"{total / 2**30:.0f} GiB, {free / 2**30:.1f} GiB free"
        devices.append(f"CUDA {index}: {known.name}, {memory}, compute capability {known.major}.{known.minor}")
        free_bytes.append(free)
    if torch.backends.mps.is_available():
        devices.append("Apple MPS")
    torch.ones(8, 8).matmul(torch.ones(8, 8)).sum().item()
    return {
        "version": torch.__version__,
        "devices": devices,
        "gpu_free_bytes": free_bytes,
        "threads": torch.get_num_threads(),
    }


def probe_keyring() -> Facts:
    """Name the key store in use; a chain is named part by part."""
    keyring = importlib.import_module("keyring")
    backend = keyring.get_keyring()
    parts = getattr(backend, "backends", None) or [backend]
    return {"backends": [f"{type(part).__module__}.{type(part).__qualname__}" for part in parts]}


def probe_qt() -> Facts:
    """Start Qt on the display the environment names and look for Korean in the fonts of `sys.argv[2]`."""
    core = importlib.import_module("PySide6.QtCore")
    gui = importlib.import_module("PySide6.QtGui")
    application = gui.QGuiApplication(["doctor"])
    korean: list[str] = []
    for path in sorted(Path(sys.argv[2]).glob("*.[ot]tf")):
        identifier = gui.QFontDatabase.addApplicationFont(str(path))
        font = gui.QRawFont(str(path), 12.0)
        if identifier >= 0 and font.isValid() and font.supportsCharacter(ord("한")):
            korean += gui.QFontDatabase.applicationFontFamilies(identifier)
    return {"version": core.qVersion(), "platform": application.platformName(), "korean_families": korean}


def probe_talib() -> Facts:
    """Import TA-Lib and average 1, 2, 3."""
    numpy = importlib.import_module("numpy")
    talib = importlib.import_module("talib")
    return {"version": talib.__version__, "sma": float(talib.SMA(numpy.array([1.0, 2.0, 3.0]), 3)[-1])}


def probe_onnxruntime() -> Facts:
    """Build the model y = x + x and run it on 1.5."""
    numpy = importlib.import_module("numpy")
    onnx = importlib.import_module("onnx")
    runtime = importlib.import_module("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "twice",
        [helper.make_tensor_value_info("x", kind, [1])],
        [helper.make_tensor_value_info("y", kind, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": numpy.array([1.5], dtype=numpy.float32)})
    return {
        "version": runtime.__version__,
        "providers": list(runtime.get_available_providers()),
        "result": float(result[0]),
    }


PROBES: dict[str, Callable[[], Facts]] = {
    "torch": probe_torch,
    "keyring": probe_keyring,
    "qt": probe_qt,
    "ta-lib": probe_talib,
    "onnxruntime": probe_onnxruntime,
}


def main() -> int:
    """Run the probe named by the first argument; a library's own output goes to standard error."""
    answer = os.dup(1)
    os.dup2(2, 1)
    try:
        facts = PROBES[sys.argv[1]]()
    except (ImportError, OSError, RuntimeError, AttributeError) as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
        return 1
    with os.fdopen(answer, "w", encoding="utf-8") as out:
        out.write(json.dumps(facts) + "\n")
    return 0


if __name__ == "__main__":
    sys.stdout.flush()
    sys.stderr.flush()
    code = main()
    # Some libraries crash while the interpreter tears them down; the facts are written, so leave at once.
    os._exit(code)
