"""JavaScript modules of the page, served under a hash of their content.

The hash covers the whole directory, so that relative imports between modules keep working and every change gives new
addresses. Browsers may therefore cache a module for a year without asking again.

All modules are read once, at import. A request is answered from this table alone: no path of a request reaches the file
system.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ui.bundler import bundle_library, bundle_modules
from ui.compressed_files import JAVASCRIPT_TYPE, CompressedFiles
from ui.minify import strip_comments
from ui.paths import STATIC_DIR

MODULE_PATH = r"/modules/[0-9a-f]{16}/[a-z-]+(/[a-z0-9-]+){1,3}\.js"  # regular expression of every path that is served
# Modules that the page does not need at first: the JavaScript engine, what closed sections and other tabs show, films, and the
# exported page.
ON_DEMAND_PREFIXES = (
    "common/dashboard-address.js",
    "common/plotly.js",
    "common/run-colours.js",
    "ctm/",
    "curves/",
    "halting/",
    "inside/",
    "log/",
    "run-settings/",
    "runs/",
    "samples/",
    "share/film/",
    "standalone/",
    "task-cards/",
)
WORKER_PATH, WORKER_BUNDLE_PATH = "ctm/worker.js", "ctm/worker-bundle.js"
PAGE_BUNDLE_PATH = "common/page-bundle.js"
PAGE_ENTRIES = ("common/menus.js", "common/accessibility.js", "ctm/page.js")  # belong to no component
LOAD_FAILED = "This part of the page could not be loaded. Reload the page."


def read_static(path: str) -> str:
    """Return the text of a file of the static directory.

    Args:
        path: Path relative to the directory, from code only.
    """
    return (STATIC_DIR / path).read_text(encoding="utf-8")


def read_modules(directory: Path) -> dict[str, str]:
    """Return the code of every JavaScript module of a directory, by its relative path with forward slashes."""
    paths = sorted(directory.rglob("*.js"))
    return {path.relative_to(directory).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def compute_version(modules: Mapping[str, bytes]) -> str:
    """Return 16 hexadecimal digits that change with every path and every byte of the modules."""
    digest = hashlib.sha256()
    for path, content in sorted(modules.items()):
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def build_served_modules(sources: Mapping[str, str]) -> dict[str, bytes]:
    """Return what the server sends for every module: without comments, and bundled where a browser needs many at once.

    The Web Worker of the engine is one script, and what the page needs at first is one module. A single file is fetched faster
    than a hundred, and compresses better.

    Args:
        sources: Code of every module by its path.
    """
    sources = {path: strip_comments(source) for path, source in sources.items()}
    first_paths = [path for path in sources if not path.startswith(ON_DEMAND_PREFIXES)]
    served = sources | bundle_library(sources, [*first_paths, *PAGE_ENTRIES], PAGE_ENTRIES, PAGE_BUNDLE_PATH)
    served[WORKER_BUNDLE_PATH] = bundle_modules(sources, WORKER_PATH, WORKER_PATH)
    return {path: source.encode() for path, source in served.items()}


SOURCE_MODULES = MappingProxyType(read_modules(STATIC_DIR))
MODULES = MappingProxyType(build_served_modules(SOURCE_MODULES))
VERSION = compute_version(MODULES)
COMPRESSED_MODULES = CompressedFiles(MODULES.get, quality=11)


def get_module_url(path: str) -> str:
    """Return the address of a module, relative to the page.

    A relative address works behind a proxy and under any root path, as Gradio's own files do.

    Args:
        path: Path of the module in the static directory.
    """
    assert path in MODULES, f"there is no module {path}"
    return f"modules/{VERSION}/{path}"


def build_bootstrap(component: str) -> str:
    """Return the line that Gradio runs for each rendered component.

    It imports the component's module and mounts it. A component whose module cannot be loaded shows one sentence.

    Args:
        component: Name of the component's directory.
    """
    path = f"{component}/index.js"
    is_first = not path.startswith(ON_DEMAND_PREFIXES)
    url = get_module_url(PAGE_BUNDLE_PATH if is_first else path)
    module = f'bundle.load("{path}")' if is_first else "bundle"
    return (
        f'import(new URL("{url}", document.baseURI)).then((bundle) => {module}.mount(element, props, trigger, watch), '
        f'() => {{ element.textContent = "{LOAD_FAILED}"; }});'
    )


def build_page_script() -> str:
    """Return the element for the head of the page that loads its first modules.

    It runs what belongs to no component: menus, accessibility, and models in the browser. Other modules are fetched when they are
    needed: the engine when a user runs a model in the browser, charts when their tab or section is opened.
    """
    return f'<script type="module" src="{get_module_url(PAGE_BUNDLE_PATH)}"></script>'


def build_embedded_views_head() -> str:
    """Return the elements for the head of the page that show the stage alone at `?view=stage`, and the charts at `?view=charts`.

    They are part of the page itself: other sites may frame these views, so nothing else may appear if a script does not load.
    """
    styles = read_static("share/stage-view.css") + read_static("curves/charts-view.css")
    script = (
        'const view = new URLSearchParams(location.search).get("view"); '
        'if (["stage", "charts"].includes(view)) document.documentElement.dataset.view = view;'
    )
    return f"<style>{styles}</style>\n<script>{{ {script} }}</script>"


def build_route() -> Route:
    """Return the route that serves the modules, for GET and HEAD."""
    return Route("/modules/{version}/{path:path}", serve_module, methods=["GET"])


async def serve_module(request: Request) -> Response:
    """Answer with a module, or with 404 for another version or an unknown path."""
    path, version = request.path_params["path"], request.path_params["version"]
    return await COMPRESSED_MODULES.respond(request, path if version == VERSION else "", JAVASCRIPT_TYPE)
