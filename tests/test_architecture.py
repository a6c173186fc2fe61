"""Tests of the architecture.

The layers are import-linter contracts in `.importlinter`; ruff checks prints, bare excepts and global random state. The two
checks in this file are those that neither tool supports.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.source_tree import SourceFile, parse_sources, read_product_sources

TASK_INFRASTRUCTURE = {
    "__init__",
    "base",
    "registry",
    "samples",
    "splits",
}  # modules of training/tasks that are not tasks
SHARED_CODE = ("training/trainer.py", "training/losses.py", "training/evaluation.py", "inference/", "ctm/")
UNSPECIFIC_NAMES = {"util", "utils", "helper", "helpers", "misc", "common"}


def find_task_names(sources: Iterable[SourceFile]) -> Iterator[str]:
    """Yield `path:line: problem` for each place where shared code names a task; it must call the task object instead."""
    sources = list(sources)
    matches = (re.fullmatch(r"training/tasks/(\w+)\.py", source.path) for source in sources)
    tasks = {match[1] for match in matches if match} - TASK_INFRASTRUCTURE
    for source in sources:
        if not source.path.startswith(SHARED_CODE):
            continue
        for line, text in source.iterate_literals():
            words = set() if re.search(r"\s", text.strip()) else set(re.findall(r"[a-z0-9_]+", text.lower()))
            yield from (f"{source.path}:{line}: names the task {task!r}" for task in sorted(words & tasks))
        for line, name in source.iterate_imports():
            if name.startswith(tuple(f"training.tasks.{task}" for task in tasks)):
                yield f"{source.path}:{line}: imports {name}"


def find_unspecific_module_names(paths: Iterable[str]) -> Iterator[str]:
    """Yield `path: problem` for modules whose name does not describe their content."""
    for path in paths:
        for part in path.removesuffix(".py").split("/"):
            if part.removeprefix("test_").strip("_") in UNSPECIFIC_NAMES:
                yield f"{path}: `{part}` does not describe the content"


def test_import_contracts_hold():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]  # in-process it would disable all loggers
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr


def test_shared_code_does_not_name_a_task():
    problems = list(find_task_names(read_product_sources()))
    assert not problems, "\n".join(["Call the task object, or add a setting to the task:", *problems])


@pytest.mark.parametrize(
    "texts",
    [
        {"training/tasks/parity.py": "", "training/trainer.py": "if kind == 'parity': pass"},
        {"training/tasks/parity.py": "", "inference/a.py": "path = f'checkpoints/Parity-{n}'"},
        {"training/tasks/parity.py": "", "training/losses.py": "from training.tasks import parity"},
    ],
)
def test_task_name_in_shared_code_is_reported(texts):
    assert list(find_task_names(parse_sources(texts)))


def test_task_names_in_docstrings_and_longer_words_are_allowed():
    texts = {
        "training/tasks/parity.py": "name = 'parity'",
        "training/tasks/base.py": "",
        "ctm/a.py": "'''Such as parity.'''\nkinds = ('parity_backbone', 'base', 'odd or even parity is meant')",
    }
    assert not list(find_task_names(parse_sources(texts)))


def test_module_names_are_specific():
    paths = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")]
    assert not list(find_unspecific_module_names([*paths, *(source.path for source in read_product_sources())]))


def test_unspecific_module_names_are_reported():
    assert (
        len([*find_unspecific_module_names(["ctm/utils.py", "training/_helpers/a.py", "tests/ui/test_misc.py"])]) == 3
    )
    assert not list(find_unspecific_module_names(["ctm/uncommon.py", "tests/conftest.py"]))
