"""Bundle the JavaScript modules of the page into one classic script.

A page that is opened from a file cannot import modules from disk, and a Web Worker from a Blob cannot resolve relative
imports. The bundle has neither: every module becomes a function, which runs when another one imports it first.

Only the forms that the modules of this project use are supported. Anything else is an error with its file and line:

    import { a, b as c } from "./module.js";     on one or several lines
    export function a(...)                       also async and generator functions
    export class A
    export const A = ...
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from posixpath import dirname, join, normpath

IMPORT_START = "import "
NAME = r"[\w$]+(?: as [\w$]+)?"
IMPORT_PATTERN = re.compile(
    rf'import \{{\s*(?P<names>{NAME}(?:\s*,\s*{NAME})*)\s*,?\s*\}} from "(?P<path>\.\.?/[\w./-]+\.js)";'
)
EXPORT_PATTERN = re.compile(r"export (?P<code>(?:(?:async )?function\*? |class |const )(?P<name>[A-Za-z_$][\w$]*)\b.*)")
BLOCK_COMMENT_PATTERN = re.compile(r"/\*.*?\*/")
# Forms that need the module system, in lines that are no comments.
DYNAMIC_PATTERN = re.compile(r"\bimport\s*\(|\bimport\.meta\b")
TOP_LEVEL_AWAIT_PATTERN = re.compile(r"(?:await|for await|(?:export )?const [^=]+= await)\b")
MODULE_KEYWORD_PATTERN = re.compile(r"(?:import|export)\b")
MARKUP_PATTERN = re.compile(r"</script|<!--", re.IGNORECASE)
RUNTIME = """"use strict";
(() => {{
const factories = {{
{factories}
}};
const loaded = new Map();
function load(path) {{
if (!loaded.has(path)) loaded.set(path, factories[path]());
return loaded.get(path);
}}
load(typeof document === "undefined" ? {worker} : {page});
}})();
"""


class BundleError(ValueError):
    """A module has a form that the bundler does not support."""


@dataclass(frozen=True)
class Import:
    """One import declaration.

    Attributes:
        path: Path of the imported module.
        names: For each imported name its name in the importing module.
        line: Line number, from 1.
    """

    path: str
    names: dict[str, str]
    line: int


@dataclass
class Module:
    """A parsed module.

    Attributes:
        path: Path relative to the directory of the modules.
        imports: Its import declarations.
        exports: Names that it exports.
        body: Its code without imports and without `export`.
    """

    path: str
    imports: list[Import] = field(default_factory=list)
    exports: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)


def bundle_modules(sources: Mapping[str, str], page_entry: str, worker_entry: str) -> str:
    """Bundle two entry modules and everything that they import.

    The script runs the entry of the page where there is a document, and that of the worker elsewhere.

    Args:
        sources: Code of every module by its path, with forward slashes.
        page_entry: Path of the entry module of the page.
        worker_entry: Path of the entry module of the Web Worker.

    Returns:
        Code of a classic script, without imports.

    Raises:
        BundleError: A module is missing, has an unsupported form, or imports itself through others. The message names file
            and line.
    """
    modules: dict[str, Module] = {}
    for entry in (page_entry, worker_entry):
        _collect_modules(entry, sources, modules, ())
    for module in modules.values():
        _check_imported_names(module, modules)
    factories = "\n".join(_render_factory(module) for module in modules.values())
    return RUNTIME.format(factories=factories, worker=json.dumps(worker_entry), page=json.dumps(page_entry))


def parse_module(path: str, source: str) -> Module:
    """Parse one module.

    Args:
        path: Path of the module, with forward slashes.
        source: Its code, formatted by biome.

    Raises:
        BundleError: It has an unsupported form.
    """
    module = Module(path)
    lines = source.split("\n")
    index = 0
    while index < len(lines):
        line = lines[index]
        if line.startswith(IMPORT_START):
            index = _parse_import(module, lines, index)
            continue
        if exported := EXPORT_PATTERN.fullmatch(line):
            module.exports.append(exported["name"])
            line = exported["code"]
        _check_line(path, index + 1, line)
        module.body.append(line)
        index += 1
    return module


def _parse_import(module: Module, lines: list[str], start: int) -> int:
    """Add an import declaration to a module; return the index of the line after it."""
    end = start
    while ";" not in lines[end] and end + 1 < len(lines):
        end += 1
    match = IMPORT_PATTERN.fullmatch(" ".join(lines[start : end + 1]))
    if not match:
        raise BundleError(
            f'{module.path}:{start + 1}: an import must have the form import {{ a, b }} from "./module.js"; '
            f"got {lines[start].strip()[:80]!r}."
        )
    target = normpath(join(dirname(module.path), match["path"]))
    names = {
        name: alias or name for name, _, alias in (item.strip().partition(" as ") for item in match["names"].split(","))
    }
    module.imports.append(Import(target, names, start + 1))
    module.body.extend([""] * (end + 1 - start))  # keeps line numbers of errors
    return end + 1


def _check_line(path: str, number: int, line: str) -> None:
    """Check that a line needs no module system and can stand in a `script` element.

    Raises:
        BundleError: It does not.
    """
    if MARKUP_PATTERN.search(line):
        raise BundleError(
            f"{path}:{number}: </script or <!-- would end the script element of the page; split the text."
        )
    if MODULE_KEYWORD_PATTERN.match(line):
        raise BundleError(
            f"{path}:{number}: the bundler supports named imports, and export before function, class or const; "
            f"got {line.strip()[:80]!r}."
        )
    if line.lstrip().startswith(("*", "//")):
        return
    if DYNAMIC_PATTERN.search(BLOCK_COMMENT_PATTERN.sub("", line)):
        raise BundleError(f"{path}:{number}: import() and import.meta are not available in a bundle.")
    if TOP_LEVEL_AWAIT_PATTERN.match(line):
        raise BundleError(f"{path}:{number}: a module of a bundle cannot use await at its top level.")


def _collect_modules(path: str, sources: Mapping[str, str], modules: dict[str, Module], chain: tuple[str, ...]) -> None:
    """Parse a module and those that it imports, imported ones first."""
    if path in chain:
        raise BundleError(f"{chain[-1]}: the modules import each other: {' -> '.join([*chain, path])}.")
    if path in modules:
        return
    if path not in sources:
        raise BundleError(f"{path}: there is no such module.")
    module = parse_module(path, sources[path])
    for declaration in module.imports:
        if declaration.path not in sources:
            raise BundleError(f"{path}:{declaration.line}: there is no module {declaration.path}.")
        _collect_modules(declaration.path, sources, modules, (*chain, path))
    modules[path] = module


def _check_imported_names(module: Module, modules: Mapping[str, Module]) -> None:
    """Check that every imported name is exported.

    Raises:
        BundleError: A name is not.
    """
    for declaration in module.imports:
        if missing := [name for name in declaration.names if name not in modules[declaration.path].exports]:
            raise BundleError(f"{module.path}:{declaration.line}: {declaration.path} does not export {missing[0]}.")


def _render_factory(module: Module) -> str:
    """Return a module as a property: a function that returns what the module exports."""
    imports = "".join(
        f"const {{ {_render_names(declaration.names)} }} = load({json.dumps(declaration.path)});\n"
        for declaration in module.imports
    )
    body = "\n".join(module.body).strip("\n")
    return f"{json.dumps(module.path)}: () => {{\n{imports}{body}\nreturn {{ {', '.join(module.exports)} }};\n}},"


def _render_names(names: Mapping[str, str]) -> str:
    """Return imported names as the properties of a destructuring pattern."""
    return ", ".join(name if name == alias else f"{name}: {alias}" for name, alias in names.items())
