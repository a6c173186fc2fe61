"""Test how JavaScript modules are served: under a content hash, cacheable for a year, and no other files."""

import re
from pathlib import PurePosixPath

import gradio as gr
import pytest
from starlette.testclient import TestClient

from ui import page as pages
from ui.auth.access import Access
from ui.components.html_component import UNSAFE_IN_TEMPLATE, build_html_component
from ui.server.app_factory import create_fastapi_app
from ui.static_files import (
    LOAD_FAILED,
    MODULE_PATH,
    MODULES,
    STATIC_DIR,
    VERSION,
    build_bootstrap,
    build_preload_links,
    compute_version,
    get_module_url,
    read_static,
)

COMPONENTS = sorted({PurePosixPath(path).parts[0] for path in MODULES} - {"common", "ctm", "standalone"})
INVALID_PATHS = ("../static_files.py", "..%2fstatic_files.py", "%2e%2e/%2e%2e/app.py", "thought/../../guard.py", "/etc/passwd",
           "..\\..\\app.py", "thought/index.js%00", "thought//index.js", "thought/thought.css",
           "pages/login.html", "package.json", "thought", "", "THOUGHT/INDEX.JS", "thought/index.mjs")  # fmt: skip


@pytest.fixture(scope="module")
def client():
    with gr.Blocks() as page:
        gr.Markdown("Nothing.")
    app = create_fastapi_app(page, Access.from_environment({}, "127.0.0.1"))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5000)) as client:
        yield client


def test_modules_are_compressed_for_browsers_that_accept_it(client):
    url = f"/{get_module_url('ctm/worker-bundle.js')}"
    plain = client.get(url, headers={"Accept-Encoding": "identity"})
    compressed = client.get(url, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers and compressed.headers["content-encoding"] == "gzip"
    assert compressed.content == plain.content == MODULES["ctm/worker-bundle.js"]
    assert int(compressed.headers["content-length"]) < len(plain.content) / 3
    assert plain.headers["vary"] == compressed.headers["vary"] == "Accept-Encoding"


def test_every_module_is_served_as_immutable_and_cacheable_for_a_year(client):
    for path, content in MODULES.items():
        response = client.get(f"/{get_module_url(path)}")
        assert (response.status_code, response.content) == (200, content), path
        assert response.headers["content-type"] == "text/javascript; charset=utf-8"
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "'self'" in response.headers["content-security-policy"]
        assert "access-control-allow-origin" not in response.headers


def test_a_shared_link_has_one_title_and_description_and_no_picture_of_another_host(client):
    pages.install_page_head("A <title>", "What it does.")
    text = client.get("/").text
    tags = re.findall(r"<meta (?:property|name)=\"((?:og|twitter):\w+)\" content=\"([^\"]*)\">", text)
    assert tags == [
        ("og:type", "website"),
        ("og:title", "A &lt;title&gt;"),
        ("og:description", "What it does."),
        ("twitter:card", "summary"),
    ]
    assert len(re.findall("og:|twitter:", text)) == len(tags) and "header-image" not in text


def test_the_icon_of_the_page_is_its_own(client):
    response = client.get("/favicon.ico")
    assert response.headers["content-type"] == "image/png"
    assert response.content == (STATIC_DIR / "favicon.png").read_bytes()


def test_head_is_allowed_and_other_methods_are_rejected(client):
    url = f"/{get_module_url('thought/index.js')}"
    response = client.head(url)
    assert response.status_code == 200 and response.content == b"" and int(response.headers["content-length"]) > 0
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        assert client.request(method, url).status_code in (404, 405), method


@pytest.mark.parametrize("path", INVALID_PATHS)
def test_nothing_but_modules_is_served(client, path):
    response = client.get(f"/modules/{VERSION}/{path}")
    assert response.status_code == 404 and "import " not in response.text


@pytest.mark.parametrize("version", ["0" * 16, VERSION[:-1], f"{VERSION}0", VERSION.upper() + "a", "", "..", "latest"])
def test_another_version_is_not_found(client, version):
    response = client.get(f"/modules/{version}/thought/index.js")
    assert response.status_code == 404 and "immutable" not in response.headers.get("cache-control", "")


def test_the_version_depends_on_every_path_and_byte():
    versions = [
        compute_version(modules)
        for modules in (
            {"a.js": b"1"},
            {"a.js": b"2"},
            {"b.js": b"1"},
            {"a.js": b"1", "b.js": b""},
            {"a.jsb": b"1"},
            {},
        )
    ]
    assert len(set(versions)) == len(versions) and re.fullmatch("[0-9a-f]{16}", VERSION)
    assert compute_version({"a.js": b"1", "b.js": b"2"}) == compute_version({"b.js": b"2", "a.js": b"1"})


@pytest.mark.parametrize("path", sorted(MODULES))
def test_a_module_has_a_valid_path_and_imports_existing_modules(path):
    assert re.fullmatch(MODULE_PATH, f"/{get_module_url(path)}")
    text = MODULES[path].decode()
    for target in re.findall(r'^(?:import|export)\s(?:[^;"]*\sfrom\s)?"([^"]+)"', text, re.MULTILINE):
        assert target.startswith("."), "a module imports relative paths only"
        parts: list[str] = []
        for part in (PurePosixPath(path).parent / target).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        assert "/".join(parts) in MODULES, target


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_is_a_static_template_and_one_line_that_imports_its_module(component):
    for kind in ("html", "css"):
        content = read_static(f"{component}/{component}.{kind}")
        assert not [mark for mark in UNSAFE_IN_TEMPLATE if mark in content], "Gradio evaluates templates"
    with gr.Blocks():
        html_component = build_html_component(component, component)
    assert html_component.js_on_load == build_bootstrap(component) and "\n" not in html_component.js_on_load
    assert (
        get_module_url(f"{component}/index.js") in html_component.js_on_load
        and LOAD_FAILED in html_component.js_on_load
    )


def test_every_component_directory_is_complete():
    directories = {path.name for path in STATIC_DIR.iterdir() if path.is_dir()} - {
        "common",
        "ctm",
        "pages",
        "standalone",
    }
    assert directories == set(COMPONENTS) and all(f"{name}/index.js" in MODULES for name in COMPONENTS)


def test_all_modules_but_those_of_engine_and_export_are_preloaded():
    preloaded = [get_module_url(path) for path in MODULES if not path.startswith(("ctm/", "standalone/"))]
    assert re.findall('href="([^"]+)"', build_preload_links()) == preloaded and len(preloaded) < len(MODULES)
    assert build_preload_links() in pages.get_launch_options()["head"]
