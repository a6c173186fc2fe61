"""Tests of all files: no unfinished marks, no local paths, and complete requirements."""

import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import render_results
from benchmarks.checkpoint_tables import load_checkpoint_metrics
from benchmarks.paths import find_recipe
from tests.paths import ROOT
from tests.source_tree import PACKAGES, read_product_sources
from training.config import read_recipe

TEXT_SUFFIXES = {
    "",
    ".cfg",
    ".css",
    ".html",
    ".ini",
    ".ipynb",
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
    """Yield the code, settings and documents of the project."""
    for directory, subdirectories, files in os.walk(ROOT):
        subdirectories[:] = [
            name
            for name in subdirectories
            if name not in SKIPPED_DIRS and (not name.startswith(".") or name in HIDDEN_SOURCES)
        ]
        for name in files:
            path = Path(directory, name)
            if path.suffix in TEXT_SUFFIXES and (not name.startswith(".") or name in HIDDEN_SOURCES):
                yield path


def find_lines(pattern: re.Pattern[str]) -> list[str]:
    """Return `path:line: text` for every line that matches the pattern."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in list_text_files()
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def read_requirements(name: str) -> list[str]:
    """Return the requirements of a file, without comments and options."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def test_text_files_of_the_project_are_listed():
    paths = {path.relative_to(ROOT).as_posix() for path in list_text_files()}
    assert {"Makefile", ".ci/run", "ctm/models/ctm.py", "CHANGELOG.md", "requirements.txt"} <= paths
    assert not any(path.startswith((".git/", ".venv/")) for path in paths)


def test_files_contain_no_local_path():
    lines = find_lines(LOCAL_PATH)
    assert not lines, "\n".join(["Make the path relative, or take it from a setting:", *lines])


def test_files_contain_no_unfinished_mark():
    lines = find_lines(UNFINISHED_MARK)
    assert not lines, "\n".join(["Finish it, or file an issue and remove the mark:", *lines])


@pytest.mark.parametrize("text", ["cd /" + "work/x", '"/' + 'root/.cache"', "=/" + "home/ann/x", "(/" + "tmp/w)"])
def test_local_paths_are_detected(text):
    assert LOCAL_PATH.search(text)


@pytest.mark.parametrize("text", ["/home/user/app", "https://a.example/work/b", "../work/a", "/workers", "a/root/b"])
def test_other_paths_are_not_reported(text):
    assert not LOCAL_PATH.search(text)


@pytest.mark.parametrize("text", ["# TO" + "DO: later", "FIX" + "ME", "a XX" + "X b"])
def test_unfinished_marks_are_detected(text):
    assert UNFINISHED_MARK.search(text)


def test_similar_words_are_not_reported_as_marks():
    assert not UNFINISHED_MARK.search("todo TODOS XXXL mastodon")


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_pinned_exactly(name):
    assert read_requirements(name)
    not_pinned = [
        line for line in read_requirements(name) if not re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==\d[\w.]*", line)
    ]
    assert not not_pinned, f"{name}: pin with `==`: {not_pinned}"


def test_every_import_of_the_app_is_in_the_requirements():
    available = {re.split(r"[\[=]", line)[0].lower() for line in read_requirements("requirements.txt")}
    available |= {*PACKAGES, *sys.stdlib_module_names}
    imports = (
        (f"{source.path}:{line}", name.partition(".")[0])
        for source in read_product_sources()
        if not source.path.startswith("benchmarks/")  # its optional imports include the original code
        for line, name in source.iterate_imports()
    )
    missing = sorted(
        f"{location}: {name}" for location, name in imports if PACKAGE_BY_MODULE.get(name, name) not in available
    )
    assert not missing, "\n".join(["Add it to requirements.txt, or remove the import:", *missing])


def test_ci_runs_make_test():
    script = ROOT / ".ci/run"
    assert re.search(r"^make test$", script.read_text("utf-8"), re.MULTILINE)
    assert script.stat().st_mode & stat.S_IXUSR


def test_documents_contain_the_current_results():
    """Compare README.md and the other generated documents with the output of `benchmarks.render_results`."""
    outdated = [
        str(path.relative_to(ROOT))
        for path, text in render_results.render_files().items()
        if path.read_text("utf-8") != text
    ]
    assert not outdated, f"{', '.join(outdated)}: run `make render-results`"


def test_no_recipe_starts_from_its_own_checkpoint():
    """A recipe that starts from its own checkpoint would train it further instead of reproducing it."""
    circular = []
    for checkpoint_dir, _, metrics in load_checkpoint_metrics():
        recipe = find_recipe(metrics)
        if read_recipe(recipe).init_from == f"checkpoints/{checkpoint_dir.name}":
            circular.append(recipe.name)
    assert not circular, f"{', '.join(circular)}: start from the previous run (`runs/NAME/checkpoint`)"
