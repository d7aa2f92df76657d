"""Where a process may be killed: every await and every commit on the way of submit, cancel and replace.

The points are not written into the program. An import hook rewrites the listed functions while they are loaded: around
each `await`, each `async with` and each journal transaction it puts a call of `reached(name)`. Naming a function here
is all it takes; a new await inside it is a new point by itself.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
HOOK = "__point_reached__"

# Functions through which a submit, a cancel or a replace passes, by module.
WAYS: dict[str, frozenset[str]] = {
    "core.execution.order_desk": frozenset(
        {
            "OrderDesk.place_order",
            "OrderDesk.submit",
            "OrderDesk._send",
            "OrderDesk._settle",
            "OrderDesk.cancel_order",
            "OrderDesk._cancel",
            "OrderDesk.replace_order",
            "OrderDesk._replace",
        }
    ),
    "core.execution.order_manager": frozenset({"OrderManager.transmit", "OrderManager.cancel"}),
    "core.execution.synchroniser": frozenset({"Synchroniser.ask_about", "Synchroniser.book_missing_fills"}),
    "core.execution.book_keeper": frozenset({"BookKeeper.refresh_balances"}),
    "core.execution.book_reader": frozenset({"BookReader.look"}),
    "core.execution.mark_watcher": frozenset({"MarkWatcher.freshen"}),
    "core.execution.journal": frozenset({"Journal.insert_order", "Journal.update_order", "Journal.book_fill"}),
    "core.execution.api.ccxt_gateway": frozenset(
        {
            "CcxtGateway.submit_order",
            "CcxtGateway.cancel_order",
            "CcxtGateway.fetch_order",
            "CcxtGateway.fetch_balances",
        }
    ),
    "core.execution.api.ccxt_client": frozenset({"CcxtClient.call"}),
}


class _Rewriter(ast.NodeTransformer):
    """Puts calls of the hook around what may be interrupted, and notes their names."""

    def __init__(self, module: str, wanted: frozenset[str]) -> None:
        self.names: list[str] = []
        self._module = module
        self._wanted = wanted
        self._scope: list[str] = []
        self._count = 0

    def _scoped(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self._scope.append(node.name)
        before, self._count = self._count, 0
        self.generic_visit(node)
        self._count = before
        self._scope.pop()
        return node

    visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _scoped

    def _inside(self) -> bool:
        path = ".".join(self._scope)
        return any(path == name or path.startswith(f"{name}.") for name in self._wanted)

    def _call(self, label: str) -> ast.Call:
        short = self._module.rsplit(".", 1)[-1]
        name = f"{short}:{'.'.join(self._scope)}:{label}"
        self.names.append(name)
        return ast.Call(ast.Name(HOOK, ast.Load()), [ast.Constant(name)], [])

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        if not self._inside():
            return node
        self._count += 1
        parts = [self._call(f"{self._count} before await"), node, self._call(f"{self._count} after await")]
        pair = ast.Tuple(parts, ast.Load())
        return ast.copy_location(ast.Subscript(pair, ast.Constant(1), ast.Load()), node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST | list[ast.AST]:
        self.generic_visit(node)
        if not self._inside():
            return node
        self._count += 1
        return self._around(node, f"{self._count} enter", f"{self._count} exit")

    def visit_With(self, node: ast.With) -> ast.AST | list[ast.AST]:
        self.generic_visit(node)
        call = node.items[0].context_expr
        writes = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "_write"
        if not writes or not self._inside():
            return node
        self._count += 1
        node.body.append(ast.Expr(self._call(f"{self._count} before commit")))
        return [node, ast.Expr(self._call(f"{self._count} after commit"))]

    def _around(self, node: ast.stmt, before: str, after: str) -> list[ast.AST]:
        return [ast.Expr(self._call(before)), node, ast.Expr(self._call(after))]


def rewrite(module: str, source: str) -> tuple[ast.Module, list[str]]:
    """Return the instrumented syntax tree of a module and the names of its points."""
    rewriter = _Rewriter(module, WAYS[module])
    tree = rewriter.visit(ast.parse(source))
    return ast.fix_missing_locations(tree), rewriter.names


def all_points() -> list[str]:
    """Return the names of every point there is, in the order of the sources."""
    names: list[str] = []
    for module in WAYS:
        path = ROOT / f"{module.replace('.', '/')}.py"
        names += rewrite(module, path.read_text("utf-8"))[1]
    return names


class _Loader(importlib.abc.Loader):
    def __init__(self, module: str, path: str, reached: Callable[[str], None]) -> None:
        self._module = module
        self._path = path
        self._reached = reached

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        tree, _ = rewrite(self._module, Path(self._path).read_text("utf-8"))
        module.__dict__[HOOK] = self._reached
        exec(compile(tree, self._path, "exec"), module.__dict__)


class Instruments(importlib.abc.MetaPathFinder):
    """Loads the listed modules with a hook at every point."""

    def __init__(self, reached: Callable[[str], None]) -> None:
        self._reached = reached

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in WAYS:
            return None
        origin = str(ROOT / f"{fullname.replace('.', '/')}.py")
        loader = _Loader(fullname, origin, self._reached)
        return importlib.util.spec_from_loader(fullname, loader, origin=origin)


def install(reached: Callable[[str], None]) -> None:
    """Instrument what is imported from now on."""
    sys.meta_path.insert(0, Instruments(reached))
