"""What holds for every file: it is finished, it fits any machine, and what it needs is written down."""

import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import render_results
from tests.paths import ROOT
from tests.source_tree import PACKAGES, read_product_sources
from training.config import read_recipe

READABLE = {
    "",
    ".cfg",
    ".css",
    ".html",
    ".ini",
    ".js",
    ".json",
    ".md",
    ".mjs",
    ".py",
    ".sh",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
}
SKIPPED_DIRS = {"__pycache__", "golden", "node_modules", "runs"}
HIDDEN_SOURCES = {".ci", ".dockerignore", ".gitattributes", ".github", ".gitignore"}
LOCAL_PATH = re.compile(r"(?<![\w.~/-])/(?:work|farm|root|Users|mnt|tmp/\w+|home/(?!user\b))\b")
UNFINISHED_MARK = re.compile(r"\b(?:TO[D]O|FIX[M]E|X[X]X|TB[D]|HAC[K])\b")
PACKAGE_BY_MODULE = {"PIL": "pillow", "gradio_client": "gradio", "yaml": "pyyaml"}


def list_text_files() -> Iterator[Path]:
    """Code, settings and documents, as far as they are ours."""
    for folder, inside, files in os.walk(ROOT):
        inside[:] = [n for n in inside if n not in SKIPPED_DIRS and (not n.startswith(".") or n in HIDDEN_SOURCES)]
        for name in files:
            path = Path(folder, name)
            if path.suffix in READABLE and (not name.startswith(".") or name in HIDDEN_SOURCES):
                yield path


def find_lines(pattern: re.Pattern[str]) -> list[str]:
    """`path:line: text` of every line that holds the pattern."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in list_text_files()
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def read_requirements(name: str) -> list[str]:
    """The requirements of a file, without comments and options."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def test_files_are_found():
    found = {path.relative_to(ROOT).as_posix() for path in list_text_files()}
    assert {"Makefile", ".ci/run", "ctm/models/ctm.py", "CHANGELOG.md", "requirements.txt"} <= found
    assert not any(path.startswith((".git/", ".venv/")) for path in found)


def test_no_local_path_is_in_the_files():
    found = find_lines(LOCAL_PATH)
    assert not found, "\n".join(["Make the path relative, or take it from a setting:", *found])


def test_nothing_is_left_unfinished():
    found = find_lines(UNFINISHED_MARK)
    assert not found, "\n".join(["Finish it, or file an issue and drop the mark:", *found])


@pytest.mark.parametrize("text", ["cd /" + "work/x", '"/' + 'root/.cache"', "=/" + "home/ann/x", "(/" + "tmp/w)"])
def test_local_paths_are_noticed(text):
    assert LOCAL_PATH.search(text)


@pytest.mark.parametrize("text", ["/home/user/app", "https://a.example/work/b", "../work/a", "/workers", "a/root/b"])
def test_other_paths_are_not_reported(text):
    assert not LOCAL_PATH.search(text)


@pytest.mark.parametrize("text", ["# TO" + "DO: later", "FIX" + "ME", "a XX" + "X b"])
def test_unfinished_marks_are_noticed(text):
    assert UNFINISHED_MARK.search(text)


def test_words_like_the_marks_are_not_reported():
    assert not UNFINISHED_MARK.search("todo TODOS XXXL mastodon")


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_pinned_exactly(name):
    assert read_requirements(name)
    loose = [line for line in read_requirements(name) if not re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==\d[\w.]*", line)]
    assert not loose, f"{name}: pin with `==`: {loose}"


def test_every_import_of_the_app_is_required():
    known = {re.split(r"[\[=]", line)[0].lower() for line in read_requirements("requirements.txt")}
    known |= {*PACKAGES, *sys.stdlib_module_names}
    found = (
        (f"{source.path}:{line}", name.partition(".")[0])
        for source in read_product_sources()
        if not source.path.startswith("benchmarks/")  # it imports the original code too, where it is given
        for line, name in source.iterate_imports()
    )
    missing = sorted(f"{place}: {name}" for place, name in found if PACKAGE_BY_MODULE.get(name, name) not in known)
    assert not missing, "\n".join(["Add it to requirements.txt, or do without:", *missing])


def test_ci_runs_the_command_of_the_readme():
    script = ROOT / ".ci/run"
    assert re.search(r"^make test$", script.read_text("utf-8"), re.MULTILINE)
    assert script.stat().st_mode & stat.S_IXUSR


def test_measured_figures_in_the_text_are_those_of_the_files():
    """README.md and the recipes say what the runs wrote, to the letter."""
    stale = [path.name for path, text in render_results.render_files().items() if path.read_text("utf-8") != text]
    assert not stale, f"{', '.join(stale)}: run `make render-results`"


def test_no_bundled_model_starts_from_the_final_weights_of_its_own_recipe():
    """A recipe that names the checkpoint which it made would train that one further instead of making it again."""
    wrong = [
        recipe.name
        for recipe, folder in (
            (render_results.find_recipe(metrics), folder)
            for folder, _, metrics in render_results.load_checkpoint_metrics()
        )
        if read_recipe(recipe).init_from == f"checkpoints/{folder.name}"
    ]
    assert not wrong, f"{', '.join(wrong)}: begin with the run that came before (`runs/NAME/checkpoint`)"
