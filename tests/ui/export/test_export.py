"""Test the exported page and the static Space: content, limits, metadata, and the command."""

import base64
import gzip
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from ctm.checkpoint import load
from ctm.io.yaml import parse_yaml
from tests.paths import ROOT
from training.pipeline import Pipeline
from training.tasks import build_task
from ui.export.checkpoint_data import load_page_checkpoint, read_license
from ui.export.cli import main
from ui.export.page_builder import build_json_block, build_page
from ui.export.space_builder import build_readme
from ui.services import browser_limits
from ui.services.browser_checkpoint import read_digit_images
from ui.services.browser_limits import BROWSER_TASKS
from ui.static_files import read_static

PARITY, BRACKETS = ROOT / "checkpoints" / "parity-16", ROOT / "checkpoints" / "brackets"
LOADING_ATTRIBUTES = {"src", "srcset", "action", "formaction", "data", "poster", "background"}


class PageReader(HTMLParser):
    """Collects elements with their attributes, and the text of elements with an id."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: dict[str, str] = {}
        self.key = ""

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.key = dict(attributes).get("id", tag) if tag in ("script", "title", "style") else ""

    def handle_endtag(self, tag):
        self.key = ""

    def handle_data(self, data):
        if self.key:
            self.texts[self.key] = self.texts.get(self.key, "") + data


def read_page(text: str) -> PageReader:
    reader = PageReader()
    reader.feed(text)
    return reader


@pytest.fixture(scope="module")
def parity():
    return load_page_checkpoint(str(PARITY))


@pytest.fixture(scope="module")
def page(parity) -> str:
    return build_page([parity])


def test_the_page_holds_the_files_of_the_checkpoint_as_they_are(page, parity):
    reader = read_page(page)
    (checkpoint,) = json.loads(reader.texts["page-data"])["checkpoints"]
    assert checkpoint["name"] == "parity-16"
    for name, text in checkpoint["files"].items():
        assert text == (PARITY / name).read_text("utf-8")
    assert set(checkpoint["files"]) == {"config.json", "task.json", "halting.json", "layout.json"}
    assert base64.b64decode(reader.texts["weights-0"]) == (PARITY / "model.safetensors").read_bytes()
    assert checkpoint["policies"][0]["policy"] == Pipeline(load(PARITY), build_task(load(PARITY).task)).default_policy
    assert checkpoint["examples"] == build_task(load(PARITY).task).get_examples()


def test_the_page_loads_nothing_and_its_policy_allows_its_own_script_alone(page):
    reader = read_page(page)
    for tag, attributes in reader.elements:
        loading = {name: attributes[name] for name in LOADING_ATTRIBUTES & attributes.keys()}
        if tag == "link":
            loading["href"] = attributes["href"]
        assert all(url.startswith("data:") for url in loading.values()), (tag, loading)
    assert not re.search(r"@import|url\(", reader.texts["style"])
    script = reader.texts["bundle"]
    modules = dict(
        re.findall(r'^"([\w/-]+\.js)": \(\) => \{(.*?)(?=^"[\w/-]+\.js": |\Z)', script, re.MULTILINE | re.DOTALL)
    )
    assert modules.keys() >= {"thought/component.js", "thought/demo.js", "ctm/worker.js"}
    del modules["thought/demo.js"]  # loads recorded examples, which an exported page does not list
    loads = re.compile(r"\bfetch\(|XMLHttpRequest|WebSocket|EventSource|importScripts|sendBeacon|\beval\(")
    assert [name for name, text in modules.items() if loads.search(text)] == []
    (policy,) = [values["content"] for _, values in reader.elements if "http-equiv" in values]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert directives["default-src"] == "'none'" and directives["script-src"] == f"'sha256-{digest}'"
    assert "connect-src" not in directives
    assert reader.texts["title"] == "Continuous Thought Machine: Parity"


def test_the_page_is_deterministic_and_its_links_name_no_other_host(page):
    assert build_page([load_page_checkpoint(str(PARITY))]) == page
    links = [values["href"] for tag, values in read_page(page).elements if tag == "a" and "href" in values]
    assert links == ["https://arxiv.org/abs/2505.05522"]


def test_golden_samples_are_what_the_pipeline_answers(parity):
    pipeline = Pipeline(load(PARITY), build_task(load(PARITY).task))
    golden = parity.data["golden"]
    assert len(golden) == 16 and len({sample["input"] for sample in golden}) > 10
    for sample in golden[:4]:
        response = pipeline(sample["input"])
        assert (sample["ticks"], sample["label"]) == (response["ticks_used"], response["label"])
        logits = np.frombuffer(base64.b64decode(sample["logits"]), "<f4").reshape(16, 2)
        bits = "".join(map(str, logits.argmax(1)))
        assert bits.startswith("".join(map(str, response["answers_by_tick"][sample["answer_tick"] - 1])))


def test_data_cannot_end_its_element():
    block = build_json_block("x", {"a": "</script><!--<script>"})
    assert block.count("<") == 2 and "\\u003c/script" in block
    assert json.loads(re.fullmatch(r"<script[^>]*>(.*)</script>", block)[1]) == {"a": "</script><!--<script>"}


def test_qamnist_brings_its_digits_and_images_are_opaque_png():
    reader = read_page(build_page([load_page_checkpoint(str(ROOT / "checkpoints" / "qamnist"))]))
    assert gzip.decompress(base64.b64decode(reader.texts["digits"])) == read_digit_images()
    digits = load_page_checkpoint(str(ROOT / "checkpoints" / "digits"))
    inputs = [*digits.data["examples"], *(sample["input"] for sample in digits.data["golden"])]
    headers = [base64.b64decode(url.removeprefix("data:image/png;base64,"))[:26] for url in inputs]
    assert all(header.startswith(b"\x89PNG") and header[24:26] == b"\x08\x02" for header in headers)  # 8 bits, RGB
    assert len(digits.data["golden"]) == 16 and digits.digits is None


def test_what_cannot_run_in_a_browser_is_refused_in_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"Error: There is no checkpoint at .*nothing: name a directory"):
        main(["page", str(tmp_path / "nothing"), "--out", str(tmp_path / "page.html")])
    with pytest.raises(SystemExit, match="Error: Two checkpoints have the name 'brackets'"):
        main(["page", str(BRACKETS), str(BRACKETS), "--out", str(tmp_path / "page.html")])
    with pytest.raises(SystemExit, match="Error: A page holds at most 16 checkpoints: got 17"):
        main(["page", *[str(BRACKETS)] * 17, "--out", str(tmp_path / "page.html")])
    assert not (tmp_path / "page.html").exists()


def test_the_limits_of_the_page_hold_for_the_export(tmp_path, monkeypatch):
    out = tmp_path / "page.html"
    monkeypatch.setattr(browser_limits, "BROWSER_TASKS", frozenset(("parity",)))
    with pytest.raises(
        SystemExit, match="brackets cannot run in a browser: its task is 'brackets', the browser knows parity;"
    ):
        main(["page", str(BRACKETS), "--out", str(out)])
    monkeypatch.undo()
    monkeypatch.setattr(browser_limits, "MAX_UNROLL_FLOPS", 10**6)
    with pytest.raises(
        SystemExit, match=r"brackets cannot .*takes \d+\.\d\d GFLOP, at most 0\.001 GFLOP are .*Docker Space\.$"
    ):
        main(["page", str(BRACKETS), "--out", str(out)])
    monkeypatch.undo()
    large = shutil.copytree(BRACKETS, tmp_path / "large")
    (large / "model.safetensors").write_bytes(b"0" * (20 * 2**20 + 2**19))
    with pytest.raises(
        SystemExit, match=r"large cannot .*its weights have 20\.5 MiB, at most 20 MiB are loaded; train"
    ):
        main(["page", str(large), "--out", str(out)])
    assert not out.exists()


def test_the_list_of_tasks_is_that_of_the_registry_in_javascript():
    table = re.search(r"const TASK_TYPES = \{(.*?)\};", read_static("ctm/tasks/registry.js"), re.DOTALL)[1]
    assert set(re.findall(r"^\s+(\w+):", table, re.MULTILINE)) == BROWSER_TASKS


def test_the_command_writes_a_page_and_a_space_with_valid_front_matter(tmp_path, capsys):
    main(["page", str(BRACKETS), "--out", str(tmp_path / "a" / "page.html"), "--space", str(tmp_path / "space")])
    names = {path.name for path in (tmp_path / "space").iterdir()}
    assert names == {"index.html", "README.md"} and "page.html: " in capsys.readouterr().out
    assert (tmp_path / "space" / "index.html").read_bytes() == (tmp_path / "a" / "page.html").read_bytes()
    _, front_matter, body = (tmp_path / "space" / "README.md").read_text("utf-8").split("---\n", 2)
    settings = parse_yaml(front_matter, "README.md")
    assert settings["sdk"] == "static" and settings["license"] == "mit" and settings["app_file"] == "index.html"
    assert settings["title"] == "Continuous Thought Machine: Brackets" and "models" not in settings
    assert len(settings["short_description"]) <= 60 and "brackets: 99." in body


def test_a_space_names_the_models_of_the_hub_and_its_upload_reaches_the_hub(hub, tmp_path, monkeypatch, capsys):
    hub.add_repo("alice/brackets", {path.name: path.read_bytes() for path in BRACKETS.iterdir()})
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    main(["space", "alice/brackets", "--out", str(tmp_path / "space"), "--repo", "alice/demo"])
    files = hub.state.repos[("spaces", "alice/demo")]
    assert "spaces/alice/demo" in capsys.readouterr().out and files
    settings = parse_yaml((tmp_path / "space" / "README.md").read_text("utf-8").split("---\n")[1], "README.md")
    assert settings["models"] == ["alice/brackets"]
    assert 'href="https://huggingface.co/alice/brackets"' in (tmp_path / "space" / "index.html").read_text("utf-8")
    monkeypatch.setenv("HF_TOKEN", "hf_alice_read")
    with pytest.raises(SystemExit, match="Error: "):
        main(["space", str(BRACKETS), "--out", str(tmp_path / "space"), "--repo", "alice/other"])
    with pytest.raises(SystemExit, match="Error: A Space is published to its main branch"):
        main(["space", str(BRACKETS), "--out", str(tmp_path / "space"), "--repo", "alice/other@v1"])


def test_licenses_that_differ_or_are_unknown_are_left_out(parity):
    assert read_license("---\nlicense: apache-2.0\n---\n") == "apache-2.0"
    assert (
        read_license("---\nlicense: [a]\n---\n")
        == read_license("no front matter")
        == read_license("---\n: -\n---\n")
        == ""
    )
    other = type(parity)("other", "", "", "", "", {"name": "other"}, b"", None)
    assert "license" not in parse_yaml(build_readme([parity, other]).split("---\n")[1], "README.md")
