"""Load ccxt for the configured venue only. Runs on the gateway's thread, before any gateway of that venue is built.

`import ccxt` loads every venue: 180 MB and 2 s in which other threads, the window among them, get little of the
interpreter. The library is used unmodified; only its three package initialisers, which import every venue, are replaced
by shells that import a venue when it is asked for. Where ccxt was imported in the usual way already, that is used.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from core.execution.api.gateway import FatalGatewayError

_PACKAGES = ("ccxt", "ccxt.async_support", "ccxt.pro")
# What the venue modules need, smallest first: imported one by one, other threads get their turn in between.
_STEPS = (
    "aiohttp",
    "ccxt.base.errors",
    "ccxt.base.types",
    "ccxt.base.precise",
    "requests",
    "ccxt.base.exchange",
    "ccxt.async_support.base.exchange",
    "ccxt.async_support.base.ws.cache",
)
_PAUSE_S = 0.002
_lock = threading.Lock()


def load_exchange_class(exchange_id: str) -> type[Any]:
    """Return the ccxt.pro class of one venue, importing only what it needs.

    Raises:
        FatalGatewayError: ccxt has no such venue with streams.
    """
    with _lock:
        install_shells()
        modules = [f"ccxt.abstract.{exchange_id}", f"ccxt.async_support.{exchange_id}", f"ccxt.pro.{exchange_id}"]
        _compile_missing(modules)
        try:
            for name in (*_STEPS, *modules[:2]):
                importlib.import_module(name)
                time.sleep(_PAUSE_S)
            return _venue_class("ccxt.pro", exchange_id)
        except ModuleNotFoundError as exc:
            raise FatalGatewayError(f"ccxt knows no venue named {exchange_id!r}") from exc


def install_shells() -> None:
    """Put the shells in place of ccxt's package initialisers unless ccxt is loaded already."""
    for name in _PACKAGES:
        if name in sys.modules:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise FatalGatewayError("ccxt is not installed")
        module = importlib.util.module_from_spec(spec)
        module.__dict__["__getattr__"] = _lazy_attribute(name)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def _lazy_attribute(package: str) -> Callable[[str], Any]:
    """Return a module-level `__getattr__` that finds what the package's initialiser would have exported."""

    def find(name: str) -> Any:
        if name == "__version__":
            return importlib.metadata.version("ccxt")
        if name.startswith("__"):
            raise AttributeError(name)
        errors = importlib.import_module("ccxt.base.errors")
        if hasattr(errors, name):
            return getattr(errors, name)
        if name == "Exchange":
            base = "ccxt.base.exchange" if package == "ccxt" else "ccxt.async_support.base.exchange"
            return importlib.import_module(base).Exchange
        try:
            return _venue_class(package, name)
        except ModuleNotFoundError as exc:
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from exc

    return find


def _venue_class(package: str, exchange_id: str) -> type[Any]:
    """Import one venue's module and expose its class under the package, as ccxt's initialisers do."""
    if package == "ccxt.pro":
        _venue_class("ccxt.async_support", exchange_id)
    module: ModuleType = importlib.import_module(f"{package}.{exchange_id}")
    found: type[Any] = getattr(module, exchange_id)
    setattr(sys.modules[package], exchange_id, found)
    return found


def _compile_missing(modules: list[str]) -> None:
    """Compile in a child what has no bytecode yet: compiling 15,000 lines here would block every thread for seconds."""
    if getattr(sys, "frozen", False) or sys.dont_write_bytecode:
        return
    stale = []
    for name in modules:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin and spec.cached and not Path(spec.cached).exists():
            stale.append(spec.origin)
    if stale:
        subprocess.run([sys.executable, "-m", "py_compile", *stale], check=False, capture_output=True, timeout=120)
