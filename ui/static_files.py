"""JavaScript modules of the page, served under a hash of their content.

The hash covers the whole directory, so that relative imports between modules keep working and every change gives new
addresses. Browsers may therefore cache a module for a year without asking again.

All modules are read once, at import. A request is answered from this table alone: no path of a request reaches the file
system.
"""

import functools
import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ui.bundler import bundle_modules
from ui.paths import STATIC_DIR

MODULE_PATH = r"/modules/[0-9a-f]{16}/[a-z-]+(/[a-z0-9-]+){1,3}\.js"  # regular expression of every path that is served
HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept-Encoding",
}
# Modules that the page does not need at first: the JavaScript engine, and the exported page.
ON_DEMAND_PREFIXES = ("ctm/", "standalone/")
WORKER_PATH, WORKER_BUNDLE_PATH = "ctm/worker.js", "ctm/worker-bundle.js"
LOAD_FAILED = "This part of the page could not be loaded. Reload the page."


def read_static(path: str) -> str:
    """Return the text of a file of the static directory.

    Args:
        path: Path relative to the directory, from code only.
    """
    return (STATIC_DIR / path).read_text(encoding="utf-8")


def read_modules(directory: Path) -> dict[str, bytes]:
    """Return the content of every JavaScript module of a directory, by its relative path with forward slashes."""
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in sorted(directory.rglob("*.js"))}


def compute_version(modules: Mapping[str, bytes]) -> str:
    """Return 16 hexadecimal digits that change with every path and every byte of the modules."""
    digest = hashlib.sha256()
    for path, content in sorted(modules.items()):
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def bundle_worker(modules: Mapping[str, bytes]) -> bytes:
    """Return the Web Worker of the engine as one script, which a browser fetches faster than eighty modules."""
    sources = {path: content.decode("utf-8") for path, content in modules.items()}
    return bundle_modules(sources, WORKER_PATH, WORKER_PATH).encode()


SOURCE_MODULES = read_modules(STATIC_DIR)
MODULES = MappingProxyType(SOURCE_MODULES | {WORKER_BUNDLE_PATH: bundle_worker(SOURCE_MODULES)})
VERSION = compute_version(MODULES)


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
    url = get_module_url(f"{component}/index.js")
    return (
        f'import(new URL("{url}", document.baseURI)).then((module) => module.mount(element, props, trigger, watch), '
        f'() => {{ element.textContent = "{LOAD_FAILED}"; }});'
    )


def build_preload_links() -> str:
    """Return elements for the head of the page that make browsers fetch its modules at once, not import by import.

    The engine is left out: a page loads it only when a user runs a model in the browser. So is the exported page.
    """
    paths = [path for path in MODULES if not path.startswith(ON_DEMAND_PREFIXES)]
    return "\n".join(f'<link rel="modulepreload" href="{get_module_url(path)}">' for path in paths)


def build_page_script() -> str:
    """Return the element for the head of the page that runs what belongs to no component: menus, and models in the browser."""
    paths = ("common/menus.js", "ctm/page.js")
    return "\n".join(f'<script type="module" src="{get_module_url(path)}"></script>' for path in paths)


def build_route() -> Route:
    """Return the route that serves the modules, for GET and HEAD."""
    return Route("/modules/{version}/{path:path}", serve_module, methods=["GET"])


async def serve_module(request: Request) -> Response:
    """Answer with a module, or with 404 for another version or an unknown path."""
    content = MODULES.get(request.path_params["path"]) if request.path_params["version"] == VERSION else None
    if content is None:
        return PlainTextResponse("Not found.", 404, {"Cache-Control": "no-store"})
    headers = HEADERS
    if "gzip" in request.headers.get("accept-encoding", ""):
        content, headers = compress_module(request.path_params["path"]), HEADERS | {"Content-Encoding": "gzip"}
    return Response(content, headers=headers, media_type="text/javascript; charset=utf-8")


@functools.cache
def compress_module(path: str) -> bytes:
    """Return a module, compressed with gzip."""
    return gzip.compress(MODULES[path], mtime=0)
