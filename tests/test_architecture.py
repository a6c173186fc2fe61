"""The layers and other laws of the tree.

    app -> ui -> ui/services/inference_service.py -> {inference, training} -> ctm

`tests/laws.py` says what a law is and how it is held to account.
"""

import ast
import graphlib
import re
from pathlib import Path

import pytest

from tests.laws import LAWS, Check, Source, law, parse, product, read_tree, refuse, refuse_all_but, under

# --- layers ------------------------------------------------------------------------------------------------------


@law(
    "ctm stands alone, on torch, safetensors, pydantic, jaxtyping and numpy: pass what it needs as an argument.",
    broken=[
        {"ctm/a.py": "from training.losses import two_tick"},
        {"ctm/a.py": "def f():\n    import gradio"},
        {"ctm/hub.py": "import huggingface_hub"},
        {"ctm/a/b.py": "from ... import ui"},
        {"ctm/a.py": "import yaml"},
        {"ctm/conversion/convert.py": "import huggingface_hub"},
    ],
    kept={
        "ctm/a/b.py": "import math, torch.nn\nfrom . import c\nfrom ..d import E",
        "ctm/stores/hub.py": "import huggingface_hub",
        "ctm/conversion/convert.py": "import torch, yaml",
    },
)
def ctm_stands_alone(sources):
    theirs = {"torch", "safetensors", "pydantic", "jaxtyping", "numpy"}
    more = {"ctm/stores/": "huggingface_hub", "ctm/conversion/convert.py": "yaml"}
    for source in sources:
        if under(source, "ctm/"):
            yield from refuse_all_but([source], {"ctm", *theirs, *(more[p] for p in more if under(source, p))})


@law(
    "inference knows ctm and arrays only: what it needs of a task passes as data or as an argument; its command line, "
    "training/cli/calibrate.py, may put training beside it.",
    broken=[
        {"inference/a.py": "from training.evaluation import Curves"},
        {"inference/a.py": "import accelerate"},
        {"inference/a.py": "import importlib\nimportlib.import_module('ui.components.plotly_figures')"},
    ],
    kept={
        "inference/a.py": "import torch\nfrom ctm import State\nfrom inference.tick_history import History",
        "training/cli/calibrate.py": "from training.evaluation import curves_of",
    },
)
def inference_knows_ctm_only(sources):
    allowed = {"ctm", "inference", "torch", "numpy", "jaxtyping", "pydantic", "safetensors"}
    for source in sources:
        if under(source, "inference/"):
            composes = under(source, "training/cli/calibrate.py")
            yield from refuse_all_but([source], allowed | ({"training"} if composes else set()))


@law(
    "training knows ctm only; its command line, training/__main__.py, and what finishes checkpoints, training/finalize.py, "
    "may put inference beside it.",
    broken=[
        {"training/trainer.py": "from inference import Engine"},
        {"training/__main__.py": "import ui"},
        {"training/jobs/scheduler.py": "from ui.services import Services"},
    ],
    kept={
        "training/__main__.py": "import inference",
        "training/finalize.py": "from inference.calibration import replay",
        "training/a.py": "import ctm\nimport training.runs",
    },
)
def training_knows_ctm_only(sources):
    for source in sources:
        if under(source, "training/"):
            composes = under(source, "training/__main__.py", "training/finalize.py", "training/cli/")
            yield from refuse([source], {"ui", "app", "benchmarks", "tests", *(() if composes else ["inference"])})


@law(
    "A screen reaches the rest through ui/services/inference_service.py alone: add a method there and call it.",
    broken=[
        {"ui/tabs/think.py": f"import {name}"}
        for name in ("ctm", "inference.engine", "training", "torch", "sqlite3", "subprocess", "threading")
    ],
    kept={
        "ui/services/inference_service.py": "import torch, ctm, inference, training, threading",
        "ui/tabs/a.py": "import numpy",
    },
)
def screens_go_through_services(sources):
    doors = (
        "ui/services/inference_service.py",
        "ui/services/model_catalog.py",
        "ui/services/downloads.py",
        "ui/services/thought_record.py",
    )  # the services and their parts
    doors += ("ui/services/halting_view_model.py",)  # which reads what checkpoints say of their rules
    doors += ("ui/auth/access.py", "ui/auth/authenticators.py")  # who may train, asked of the Hub's accounts
    doors += ("ui/server/app_factory.py",)  # puts all of them together
    doors += (
        "ui/services/training_service.py",
        "ui/services/run_view_models.py",
        "ui/services/run_archive.py",
        "ui/services/form_schema.py",
    )  # runs, and the form of their settings
    screens = (source for source in sources if under(source, "ui/") and not under(source, *doors))
    yield from refuse(screens, {"ctm", "inference", "training", "torch", "sqlite3", "subprocess", "threading"})


@law(
    "ui is imported by app.py, and app by nothing: move what is shared to a lower layer.",
    broken=[{"benchmarks/a.py": "import ui.figures"}, {"ui/a.py": "from app import build"}],
    kept={"app.py": "from ui import build", "ui/a.py": "from ui.services import Services", "tests/a.py": "import ui"},
)
def nothing_reaches_up_to_the_screens(sources):
    for source in product(sources):
        yield from refuse([source], {"app", *(() if under(source, "ui/", "app.py") else ["ui"])})


@law(
    "Move what both modules need into a third one, lower down.",
    broken=[
        {"ctm/a.py": "from ctm import b", "ctm/b.py": "def f():\n    from .c import d", "ctm/c.py": "import ctm.a"},
        {"ctm/__init__.py": "from ctm.a import A", "ctm/a.py": "from ctm import A"},
    ],
    kept={"ctm/__init__.py": "from ctm.a import A", "ctm/a.py": "from ctm.b import B", "ctm/b.py": "import torch"},
)
def imports_make_no_circle(sources):
    modules = {source.module: source for source in product(sources)}
    graph: dict[str, dict[str, int]] = {}
    for name, source in modules.items():
        found = (
            (line, imported) for line, full in source.imports() if (imported := find_enclosing_module(full, modules))
        )
        graph[name] = {imported: line for line, imported in found if imported != name}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        circle = error.args[1][::-1]  # given from imported to importer
        first = modules[circle[0]]
        yield f"{first.path}:{graph[circle[0]][circle[1]]}: {' imports '.join(circle)}"


def find_enclosing_module(name: str, modules: dict[str, Source]) -> str | None:
    """The module of ours that an imported name is, or lies in."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


# --- one place for each library ----------------------------------------------------------------------------------


def find_imports_outside(names: set[str], *places: str) -> Check:
    return lambda sources: refuse((s for s in product(sources) if not under(s, *places)), names)


@law(
    "gradio belongs to ui/ and app.py: return plain data, and let a tab show it.",
    broken=[{"training/a.py": "from gradio import Progress"}, {"inference/a.py": "import gradio_client"}],
    kept={"ui/tabs/a.py": "import gradio as gr", "app.py": "import gradio"},
)
def gradio_only_on_screen(sources):
    yield from find_imports_outside({"gradio", "gradio_client"}, "ui/", "app.py")(sources)


@law(
    "accelerate belongs to training/trainer.py: pass plain values out of it.",
    broken=[{"training/evaluation.py": "from accelerate import Accelerator"}],
    kept={"training/trainer.py": "import accelerate"},
)
def accelerate_only_in_the_loop(sources):
    yield from find_imports_outside({"accelerate"}, "training/trainer.py")(sources)


@law(
    "The Hub is met in ctm/stores/, where training data is fetched (training/tasks/, training/data*) and where jobs are "
    "sent to it (training/jobs/remote/hf_jobs.py).",
    broken=[
        {"ui/services/inference_service.py": "import huggingface_hub"},
        {"ctm/stores/hub.py": "import datasets"},
        {"training/jobs/scheduler.py": "import huggingface_hub"},
        {"training/jobs/remote/hf_jobs.py": "import datasets"},
    ],
    kept={
        "ctm/stores/hub.py": "import huggingface_hub",
        "training/data/image_dataset.py": "import huggingface_hub, datasets",
        "training/jobs/remote/hf_jobs.py": "import huggingface_hub",
    },
)
def hub_only_where_it_is_met(sources):
    data = [s.path for s in sources if under(s, "training/tasks/", "training/data/") or is_data_module(s)]
    yield from find_imports_outside({"huggingface_hub"}, "ctm/stores/", "training/jobs/remote/hf_jobs.py", *data)(
        sources
    )
    yield from find_imports_outside({"datasets"}, *data)(sources)


def is_data_module(source: Source) -> bool:
    return re.fullmatch(r"training/data\w*\.py", source.path) is not None


@law(
    "Processes are started by training/jobs/ (and benchmarks/, to measure them) alone: submit a job.",
    broken=[
        {"ui/services/inference_service.py": "import subprocess"},
        {"training/trainer.py": "from multiprocessing import Process"},
    ],
    kept={"training/jobs/scheduler.py": "import subprocess", "benchmarks/a.py": "import subprocess"},
)
def subprocess_only_in_the_job_runner(sources):
    yield from find_imports_outside({"subprocess", "multiprocessing"}, "training/jobs/", "benchmarks/")(sources)


@law(
    "Figures are drawn in ui/components/plotly_figures.py (and benchmarks/): return arrays.",
    broken=[{"ui/tabs/think.py": "import plotly.graph_objects as go"}, {"inference/recorder.py": "import plotly"}],
    kept={"ui/components/plotly_figures.py": "import plotly.graph_objects", "benchmarks/a.py": "import plotly"},
)
def plotly_only_in_figures(sources):
    yield from find_imports_outside({"plotly"}, "ui/components/plotly_figures.py", "benchmarks/")(sources)


# --- what code may not do ----------------------------------------------------------------------------------------


@law(
    "What is shared knows no task: ask the task object, or add a setting to it.",
    broken=[
        {"training/tasks/parity.py": "", "training/trainer.py": "if kind == 'parity': pass"},
        {"training/tasks/parity.py": "", "inference/a.py": "path = f'checkpoints/Parity-{n}'"},
        {"training/tasks/parity.py": "", "training/losses.py": "from training.tasks import parity"},
    ],
    kept={
        "training/tasks/parity.py": "name = 'parity'",
        "training/tasks/base.py": "",
        "ctm/a.py": "'''Such as parity.'''\nkinds = ('parity_backbone', 'base', 'odd or even parity is meant')",
    },
)
def shared_code_names_no_task(sources):
    found = (re.fullmatch(r"training/tasks/(\w+)\.py", source.path) for source in sources)
    tasks = {match[1] for match in found if match} - {"__init__", "base"}
    shared = ("training/trainer.py", "training/losses.py", "training/evaluation.py", "inference/", "ctm/")
    for source in sources:
        if under(source, *shared):
            for line, text in source.literals():
                words = set() if re.search(r"\s", text.strip()) else set(re.findall(r"[a-z0-9_]+", text.lower()))
                for task in sorted(words & tasks):
                    yield f"{source.path}:{line}: names the task {task!r}"
            for line, name in source.imports():
                if name.startswith(tuple(f"training.tasks.{task}" for task in tasks)):
                    yield f"{source.path}:{line}: imports {name}"


@law(
    "Name the module after the one thing it holds.",
    broken=[{"ctm/utils.py": ""}, {"training/_helpers/a.py": ""}, {"tests/ui/test_misc.py": ""}],
    kept={"ctm/uncommon.py": "", "tests/conftest.py": ""},
)
def modules_are_named_for_what_they_hold(sources):
    for source in sources:
        for part in source.path.removesuffix(".py").split("/"):
            if part.removeprefix("test_").strip("_") in {"util", "utils", "helper", "helpers", "misc", "common"}:
                yield f"{source.path}:1: `{part}` says nothing"


@law(
    "A library does not print: return the value, or call back; printing is for __main__, calibrate and convert.",
    broken=[{"ctm/a.py": "def f():\n    print('x')"}, {"inference/a.py": "print()"}],
    kept={
        "training/cli/calibrate.py": "print()",
        "ctm/conversion/convert.py": "print()",
        "ctm/a.py": "'print()'\nself.print()",
        "training/a.py": "print()",
    },
)
def libraries_do_not_print(sources):
    for source in sources:
        if under(source, "ctm/", "inference/") and Path(source.path).stem not in ("__main__", "calibrate", "convert"):
            for line, name in source.calls():
                if name == "print":
                    yield f"{source.path}:{line}: prints"


@law(
    "Name the errors that are expected, and let the others out.",
    broken=[{"ui/a.py": "try:\n    pass\nexcept:\n    pass"}, {"tests/a.py": "try:\n    pass\nexcept:\n    raise"}],
    kept={"ui/a.py": "try:\n    pass\nexcept (OSError, ValueError):\n    pass"},
)
def no_bare_except(sources):
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                yield f"{source.path}:{node.lineno}: a bare except"


@law(
    "Randomness is passed: take a torch.Generator, or make a numpy.random.Generator from a seed.",
    broken=[
        {"ctm/a.py": "import numpy as np\nnp.random.shuffle(x)"},
        {"training/a.py": "import random\nrandom.seed(0)"},
        {"training/a.py": "from random import choice\nchoice(x)"},
        {"inference/a.py": "from numpy import random as r\nr.rand(3)"},
    ],
    kept={
        "ctm/a.py": "import numpy as np\nimport random\nnp.random.RandomState(0).rand(3)\nrandom.Random(0).random()",
        "training/a.py": "import numpy\nimport torch\nnumpy.random.default_rng(0).random(2)\ntorch.random.fork_rng()",
    },
)
def no_global_random_state(sources):
    for source in sources:
        if under(source, "ctm/", "inference/", "training/"):
            for line, name in source.calls():
                if re.fullmatch(r"(numpy\.)?random\.(?!default_rng\b)[a-z]\w*", name):
                    yield f"{source.path}:{line}: {name} draws from a state that everyone shares"


# --- the tests ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source_tree() -> list[Source]:
    return read_tree()


def test_the_tree_is_found(source_tree):
    found = {source.path for source in source_tree}
    assert {"ctm/models/ctm.py", "training/trainer.py", "tests/test_architecture.py"} <= found


@pytest.mark.parametrize("name", LAWS)
def test_the_source_tree_follows(name, source_tree):
    found = list(LAWS[name].check(source_tree))
    assert not found, "\n".join([LAWS[name].remedy, *found])


@pytest.mark.parametrize(("name", "number"), [(name, n) for name in LAWS for n in range(len(LAWS[name].broken))])
def test_a_failing_tree_is_noticed(name, number):
    found = list(LAWS[name].check(parse(LAWS[name].broken[number])))
    assert found and all(re.match(r"[\w/]+\.py:\d+: ", line) for line in found), found


@pytest.mark.parametrize("name", LAWS)
def test_a_passing_tree_gives_no_findings(name):
    assert list(LAWS[name].check(parse(LAWS[name].kept))) == []
