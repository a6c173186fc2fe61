"""Python source files of the project, parsed and never imported, for tests that read the code."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from tests.paths import ROOT

PACKAGES = ("ctm", "inference", "training", "ui", "benchmarks")


@dataclass(frozen=True)
class SourceFile:
    """One parsed file.

    Attributes:
        path: Path relative to the root, with forward slashes.
        tree: Syntax tree of the file.
    """

    path: str
    tree: ast.Module

    def iterate_imports(self) -> Iterator[tuple[int, str]]:
        """Yield (line, full name) for every absolute import, at any depth."""
        for node in ast.walk(self.tree):
            match node:
                case ast.Import():
                    yield from ((node.lineno, alias.name) for alias in node.names)
                case ast.ImportFrom(module=str(module), level=0):
                    yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)

    def iterate_literals(self) -> Iterator[tuple[int, str]]:
        """Yield (line, text) for every string that is not a docstring."""
        types_with_docstring = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(self.tree)
            if isinstance(node, types_with_docstring) and node.body and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield node.lineno, node.value


def parse_sources(texts: dict[str, str]) -> list[SourceFile]:
    """Parse source texts by path."""
    return [SourceFile(path, ast.parse(text)) for path, text in sorted(texts.items())]


def read_product_sources() -> list[SourceFile]:
    """Parse all Python files of the app and its packages, without tests."""
    paths = [*ROOT.glob("*.py"), *(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))]
    return parse_sources({path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths})
