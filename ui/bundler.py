"""Bundle the JavaScript modules of the page: into one classic script, or into one module that others import.

A page that is opened from a file cannot import modules from disk, and a Web Worker from a Blob cannot resolve relative
imports. The classic script has neither: every module becomes a function, which runs when another one imports it first.

The page of the app has one module with everything that it needs at first, instead of a request for each. Modules that are
fetched later import from it, so every module exists once.

Only the forms that the modules of this project use are supported. Anything else is an error with its file and line:

    import { a, b as c } from "./module.js";     on one or several lines
    export function a(...)                       also async and generator functions
    export class A
    export const A = ...

A bundle that is a module itself may also hold these, with a path in quotes; the path becomes relative to the bundle:

    import("./module.js")
    new URL("./module.js", import.meta.url)
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from posixpath import dirname, join, normpath, relpath

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
URL_PATTERN = re.compile(
    r'(?P<start>\bimport\(|\bnew URL\()"(?P<path>\.\.?/[\w./-]+\.js)"(?P<end>(?:, import\.meta\.url)?\))'
)
LOADER = """const factories = {{
{factories}
}};
const loaded = new Map();
function load(path) {{
if (!loaded.has(path)) loaded.set(path, factories[path]());
return loaded.get(path);
}}
"""
SCRIPT = (
    """"use strict";
(() => {{
"""
    + LOADER
    + """load(typeof document === "undefined" ? {worker} : {page});
}})();
"""
)
LIBRARY = (
    LOADER
    + """export {{ load }};
for (const path of {entries}) load(path);
"""
)


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
    return SCRIPT.format(factories=factories, worker=json.dumps(worker_entry), page=json.dumps(page_entry))


def bundle_library(
    sources: Mapping[str, str], paths: Sequence[str], entries: Sequence[str], bundle_path: str
) -> dict[str, str]:
    """Bundle modules, and everything that they import, into one module.

    The bundle exports `load(path)`, which returns what a module exports.

    Args:
        sources: Code of every module by its path, with forward slashes.
        paths: Paths of the modules to bundle.
        entries: Those that the bundle runs itself.
        bundle_path: Path of the bundle.

    Returns:
        Code of the bundle by its path; and, for each bundled module, the code of a module at its own path that exports the same
        names from the bundle.

    Raises:
        BundleError: See `bundle_modules`.
    """
    modules: dict[str, Module] = {}
    for path in paths:
        _collect_modules(path, sources, modules, (), bundle_path)
    for module in modules.values():
        _check_imported_names(module, modules)
    factories = "\n".join(_render_factory(module) for module in modules.values())
    bundle = LIBRARY.format(factories=factories, entries=json.dumps(list(entries)))
    return {bundle_path: bundle} | {path: _render_reexport(module, bundle_path) for path, module in modules.items()}


def parse_module(path: str, source: str, bundle_path: str | None = None) -> Module:
    """Parse one module.

    Args:
        path: Path of the module, with forward slashes.
        source: Its code, formatted by biome.
        bundle_path: Path of the bundle if it is a module; addresses in the code become relative to it.

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
        if bundle_path:
            line = URL_PATTERN.sub(functools.partial(_resolve_url, path, bundle_path), line)
        _check_line(path, index + 1, line, is_script=not bundle_path)
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


def _resolve_url(module_path: str, bundle_path: str, match: re.Match[str]) -> str:
    """Return an address relative to the bundle instead of its module."""
    target = normpath(join(dirname(module_path), match["path"]))
    return f"{match['start']}{_quote_relative(target, bundle_path)}{match['end']}"


def _render_reexport(module: Module, bundle_path: str) -> str:
    """Return a module that exports the names of a bundled one."""
    load = f"load({json.dumps(module.path)})"
    statement = f"export const {{ {', '.join(module.exports)} }} = {load};" if module.exports else f"{load};"
    return f"import {{ load }} from {_quote_relative(bundle_path, module.path)};\n{statement}\n"


def _quote_relative(path: str, importer: str) -> str:
    """Return the address of a module, relative to the one that imports it, in quotes."""
    target = relpath(path, dirname(importer) or ".")
    return json.dumps(target if target.startswith(".") else f"./{target}")


def _check_line(path: str, number: int, line: str, is_script: bool) -> None:
    """Check that a line needs no module system and can stand in a `script` element.

    Args:
        path: Path of the module.
        number: Line number.
        line: The line.
        is_script: Whether the bundle is a classic script. Other bundles may have `import()` with an address that was resolved.

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
    code = BLOCK_COMMENT_PATTERN.sub("", line)
    if DYNAMIC_PATTERN.search(code if is_script else URL_PATTERN.sub("", code)):
        raise BundleError(f"{path}:{number}: import() and import.meta are not available in a bundle.")
    if TOP_LEVEL_AWAIT_PATTERN.match(line):
        raise BundleError(f"{path}:{number}: a module of a bundle cannot use await at its top level.")


def _collect_modules(
    path: str,
    sources: Mapping[str, str],
    modules: dict[str, Module],
    chain: tuple[str, ...],
    bundle_path: str | None = None,
) -> None:
    """Parse a module and those that it imports, imported ones first."""
    if path in chain:
        raise BundleError(f"{chain[-1]}: the modules import each other: {' -> '.join([*chain, path])}.")
    if path in modules:
        return
    if path not in sources:
        raise BundleError(f"{path}: there is no such module.")
    module = parse_module(path, sources[path], bundle_path)
    for declaration in module.imports:
        if declaration.path not in sources:
            raise BundleError(f"{path}:{declaration.line}: there is no module {declaration.path}.")
        _collect_modules(declaration.path, sources, modules, (*chain, path), bundle_path)
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
