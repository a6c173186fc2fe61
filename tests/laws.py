"""Laws over source files, read and never imported.

A law is a function over parsed files that yields what breaks it, as `path:line: what`. Each carries sources that break
it and sources that keep it, so that a law which cannot fail is itself a failure.
"""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tests.paths import ROOT

PACKAGES = ("ctm", "inference", "training", "ui", "benchmarks")


@dataclass(frozen=True)
class Source:
    path: str  # from the root, with slashes
    tree: ast.Module

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def package(self) -> str:
        return self.module if self.path.endswith("/__init__.py") else self.module.rpartition(".")[0]

    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, full name) of everything that is imported, at whatever depth; `import_module("...")` counts too."""
        for node in ast.walk(self.tree):
            match node:
                case ast.Import():
                    yield from ((node.lineno, alias.name) for alias in node.names)
                case ast.ImportFrom():
                    above = self.package.split(".")[: 1 - node.level or None] if node.level else []
                    base = [*above, node.module] if node.module else above
                    yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)
                case ast.Call(args=[ast.Constant(value=str(name)), *_]):
                    if ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__"):
                        yield node.lineno, name

    def calls(self) -> Iterator[tuple[int, str]]:
        """(line, full name) of every call of something imported or built in: `np.random.rand` is numpy.random.rand."""
        known = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                for alias in node.names:
                    name = alias.asname or alias.name.partition(".")[0]
                    known[name] = prefix + (alias.name if alias.asname or prefix else name)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                root, *rest = ast.unparse(node.func).split(".")
                if root in known or not rest:
                    yield node.lineno, ".".join([known.get(root, root), *rest])

    def literals(self) -> Iterator[tuple[int, str]]:
        """(line, text) of every string that is not a docstring."""
        owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        documented = [node.body[0] for node in ast.walk(self.tree) if isinstance(node, owners) and node.body]
        docstrings = {id(node.value) for node in documented if isinstance(node, ast.Expr)}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield node.lineno, node.value


def parse(files: dict[str, str]) -> list[Source]:
    return [Source(path, ast.parse(text, path)) for path, text in sorted(files.items())]


def read_tree() -> list[Source]:
    paths = [*ROOT.glob("*.py"), *(path for top in (*PACKAGES, "tests") for path in (ROOT / top).rglob("*.py"))]
    return parse({path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths})


Check = Callable[[list[Source]], Iterator[str]]


@dataclass(frozen=True)
class Law:
    check: Check
    remedy: str
    broken: list[dict[str, str]]
    kept: dict[str, str]


LAWS: dict[str, Law] = {}


def law(remedy: str, broken: list[dict[str, str]], kept: dict[str, str]) -> Callable[[Check], Check]:
    """Register a check, with what to do where it fails, trees that must fail it, and one tree that must not."""

    def register(check: Check) -> Check:
        LAWS[check.__name__] = Law(check, remedy, broken, kept)
        return check

    return register


def under(source: Source, *places: str) -> bool:
    """Whether a file is one of these, or in one of these folders (which end with a slash)."""
    return any(source.path == place or (place.endswith("/") and source.path.startswith(place)) for place in places)


def top(name: str) -> str:
    return name.partition(".")[0]


def refuse(sources: Iterable[Source], names: set[str]) -> Iterator[str]:
    """Imports of these."""
    for source in sources:
        for line, name in source.imports():
            if top(name) in names:
                yield f"{source.path}:{line}: imports {name}"


def refuse_all_but(sources: Iterable[Source], names: set[str]) -> Iterator[str]:
    """Imports of anything but these and the standard library."""
    for source in sources:
        for line, name in source.imports():
            if top(name) not in names | sys.stdlib_module_names:
                yield f"{source.path}:{line}: imports {name}"


def product(sources: Iterable[Source]) -> list[Source]:
    return [source for source in sources if not under(source, "tests/")]
