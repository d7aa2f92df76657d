"""Where a process may be killed: every await and every commit of the execution core.

The points are not written into the program. An import hook rewrites the modules of `core.execution` while they are
loaded: around each `await`, each `async with`, each `async for` and each transaction of the journal it puts a call of
`reached(name)`, and one at the head of each coroutine. No list of functions decides what is a point: a new await is one
by itself. Which of them lie on the ways of submit, cancel and replace is found by walking these (`ways.py`).
"""

from __future__ import annotations

import ast
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import marshal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).parents[2]
PACKAGE = "core.execution"
HOOK = "__point_reached__"
ENTERED = "entered"  # no point to die at: it tells which coroutines a way leads into
WRITE = "_write"  # the journal's one transaction


@dataclass
class Found:
    """What a module holds: the names of its points and coroutines, and who lets the journal write what."""

    points: list[str] = field(default_factory=list)
    coroutines: set[str] = field(default_factory=set)
    attributes: set[tuple[str, str]] = field(default_factory=set)  # (function, attribute it calls)


def short_name(module: str) -> str:
    """Return the name of a module within the execution core."""
    return module.removeprefix(f"{PACKAGE}.").removeprefix("api.")


def function_of(point: str) -> str:
    """Return the function in which a point lies."""
    return point.rpartition(":")[0]


class _Rewriter(ast.NodeTransformer):
    """Puts calls of the hook around what may be interrupted, and notes their names."""

    def __init__(self, module: str) -> None:
        self.found = Found()
        self._module = short_name(module)
        self._scope: list[str] = []
        self._count = 0

    @property
    def _function(self) -> str:
        return f"{self._module}:{'.'.join(self._scope)}"

    def _scoped(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self._scope.append(node.name)
        before, self._count = self._count, 0
        self.generic_visit(node)
        if isinstance(node, ast.AsyncFunctionDef):
            self.found.coroutines.add(self._function)
            head = 1 if ast.get_docstring(node, clean=False) is not None else 0
            node.body.insert(head, ast.Expr(_hook(f"{self._function}:{ENTERED}")))
        self._count = before
        self._scope.pop()
        return node

    visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _scoped

    def _call(self, label: str) -> ast.Call:
        name = f"{self._function}:{self._count} {label}"
        self.found.points.append(name)
        return _hook(name)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute):
            self.found.attributes.add((self._function, node.func.attr))
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        if node.is_async:
            raise NotImplementedError(f"{self._function}: write an async comprehension as a loop")
        return self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        self._count += 1
        pair = ast.Tuple([self._call("before await"), node, self._call("after await")], ast.Load())
        return ast.copy_location(ast.Subscript(pair, ast.Constant(1), ast.Load()), node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> list[ast.AST]:
        self.generic_visit(node)
        self._count += 1
        return [ast.Expr(self._call("enter")), ast.Try([node], [], [], [ast.Expr(self._call("exit"))])]

    def visit_AsyncFor(self, node: ast.AsyncFor) -> list[ast.AST]:
        self.generic_visit(node)
        self._count += 1
        first = ast.Expr(self._call("before loop"))
        node.body.insert(0, ast.Expr(self._call("in loop")))
        return [first, node]

    def visit_With(self, node: ast.With) -> ast.AST | list[ast.AST]:
        self.generic_visit(node)
        call = node.items[0].context_expr
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == WRITE):
            return node
        self._count += 1
        node.body.append(ast.Expr(self._call("before commit")))
        return [node, ast.Expr(self._call("after commit"))]


def _hook(name: str) -> ast.Call:
    return ast.Call(ast.Name(HOOK, ast.Load()), [ast.Constant(name)], [])


def rewrite(module: str, source: str) -> tuple[ast.Module, Found]:
    """Return the instrumented syntax tree of a module and what was found in it."""
    rewriter = _Rewriter(module)
    tree = rewriter.visit(ast.parse(source))
    return ast.fix_missing_locations(tree), rewriter.found


def sources() -> dict[str, Path]:
    """Return the file of every module of the execution core."""
    files = sorted((ROOT / PACKAGE.replace(".", "/")).rglob("*.py"))
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}
    return {name: path for name, path in names.items() if not name.endswith(".__init__")}


@functools.cache
def everything() -> Found:
    """Return what there is in all modules, in the order of the sources."""
    whole = Found()
    for module, path in sources().items():
        found = rewrite(module, path.read_text("utf-8"))[1]
        whole.points += found.points
        whole.coroutines |= found.coroutines
        whole.attributes |= found.attributes
    return whole


def all_points() -> list[str]:
    """Return the names of every point there is, in the order of the sources."""
    return everything().points


@functools.cache
def _compiled() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="maru-crash-")
    for module, path in sources().items():
        code = compile(rewrite(module, path.read_text("utf-8"))[0], str(path), "exec")
        (Path(folder.name) / module).write_bytes(marshal.dumps(code))
    return folder


def compiled() -> Path:
    """Return a folder with the instrumented code of every module: hundreds of processes load the same."""
    return Path(_compiled().name)


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, module: str, source: Path, code: Path, reached: Callable[[str], None]) -> None:
        super().__init__(module, str(source))
        self._code = code
        self._reached = reached

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = marshal.loads((self._code / fullname).read_bytes())  # noqa: S302 - `compiled` wrote it
        return code

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__[HOOK] = self._reached
        super().exec_module(module)


class Instruments(importlib.abc.MetaPathFinder):
    """Loads the modules of the execution core with a hook at every point."""

    def __init__(self, code: Path, reached: Callable[[str], None]) -> None:
        self._code = code
        self._reached = reached
        self._sources = sources()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._sources:
            return None
        source = self._sources[fullname]
        return importlib.util.spec_from_file_location(
            fullname, source, loader=_Loader(fullname, source, self._code, self._reached)
        )


def install(code: Path, reached: Callable[[str], None]) -> None:
    """Instrument what is imported from now on, with the code in a folder that `compiled` has made."""
    sys.meta_path.insert(0, Instruments(code, reached))
