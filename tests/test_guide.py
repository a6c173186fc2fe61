"""GUIDE_HF.md says what is so: its commands have these options, its quotations are said, its example works."""

import re
import shlex
from pathlib import Path

import click
import pytest
import torch
import yaml
from dockerfile_parse import DockerfileParser
from huggingface_hub.cli.hf import app as hf

from ctm import ContinuousThoughtMachine, CTMConfig
from tests.paths import ROOT
from training import __main__ as training
from training.cli import calibrate
from training.config import RunConfig
from training.evaluation import build_split_batches
from training.tasks import make_task
from training.tasks.registry import get_task_types
from ui.server.app_settings import APP_VARIABLES

GUIDE = (ROOT / "GUIDE_HF.md").read_text("utf-8")
SOURCES = "\n".join(
    path.read_text("utf-8") for path in sorted(ROOT.glob("[cituv]*/**/*.py")) if "tests" not in path.parts
)
PROSE = re.sub(r"```.*?```", "", GUIDE, flags=re.DOTALL)


def find_code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def list_commands() -> list[list[str]]:
    """Every command of the guide's shell blocks and sentences, as words."""
    lines = [line for block in find_code_blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`((?:hf|make|python -m) [^`\n]+)`", GUIDE)
    return [shlex.split(line, comments=True) for line in lines if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("words", [words for words in list_commands() if words[0] == "hf" and words[2:]], ids=" ".join)
def test_the_hub_client_accepts_these_commands(words):
    """Its own parser knows the command, every option and how many words there may be."""
    command, context, rest = hf, click.Context(hf), words[1:]
    while isinstance(command, click.Group):
        name, *rest = rest
        command = command.get_command(context, name)
        assert command, f"there is no {name}"
        command = command.materialize() if hasattr(command, "materialize") else command  # it is read late
    command.make_context(" ".join(words), list(rest))


@pytest.mark.parametrize("words", [words for words in list_commands() if words[0] == "make"], ids=" ".join)
def test_the_makefile_has_these_targets(words):
    assert re.search(rf"^{words[1]}:.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    "words", [words[words.index("-m") + 1 :] for words in list_commands() if "-m" in words], ids=" ".join
)
def test_our_programs_accept_these_commands(words):
    programs = {"training": training.build_parser, "inference.calibrate": calibrate.build_parser}
    args, rest = programs[words[0]]().parse_known_args(words[1:])
    assert all("=" in word for word in rest)
    made_in_the_guide = "configs/majority.yaml"
    if words[1] == "train":
        assert words[2] == made_in_the_guide or ((ROOT / words[2]).is_file() and args.recipe == Path(words[2]))


def test_the_client_named_is_the_one_that_is_installed():
    assert '"huggingface_hub==2.4.0"' in GUIDE
    assert "huggingface_hub==2.4.0" in (ROOT / "requirements.txt").read_text("utf-8")


@pytest.mark.parametrize("quoted", sorted(set(re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", PROSE))))
def test_quoted_texts_exist_in_the_source(quoted):
    """Words of the page and of the log: each part between dots stands in the code, or in a page that it shows."""
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "ui" / "static").rglob("*.html"))
    recipes = " ".join(path.stem for path in (ROOT / "configs").glob("*.yaml"))
    said = re.sub(r'"\s*\n\s*f?"', "", SOURCES) + pages + recipes
    elsewhere = {"Duplicate this Space", "evicted", "write", "admin"}  # of the Hub
    for part in re.split(r"\s*…\s*|\s*→\s*", quoted):
        is_ours = part and part not in elsewhere and not part.startswith("run:")
        if is_ours and part not in said:
            pytest.fail(f"nobody says {part!r}")


def test_every_variable_is_documented_with_the_value_of_the_image():
    rows = dict(re.findall(r"^\| `(\w+)`(?:, `\w+`)? \|.*\| (.*?) ?\|$", GUIDE, re.MULTILINE))
    assert set(APP_VARIABLES) <= set(rows)
    image = DockerfileParser(path=str(ROOT / "Dockerfile")).envs
    for name, value in rows.items():
        if value and name in image:
            assert value.startswith(f"`{image[name]}`"), name


@pytest.fixture
def majority_task(monkeypatch):
    """The guide's own task, as if its file were there."""
    made: dict = {"__name__": "training.tasks.majority"}
    exec(compile(find_code_blocks("python")[0], "training/tasks/majority.py", "exec"), made)
    monkeypatch.setitem(get_task_types(), "majority", made["Majority"])
    return make_task({"kind": "majority"})


def test_the_task_of_the_guide_works(majority_task):
    config = RunConfig.parse(yaml.safe_load(find_code_blocks("yaml")[0]))
    assert config.task["kind"] == "majority"
    shape = majority_task.get_spec()
    told = config.model | {
        "backbone_type": shape.backbone,
        "out_dims": 2,
        "prediction_reshaper": shape.prediction_reshaper,
    }
    machine = ContinuousThoughtMachine(CTMConfig.parse(told), None).eval()
    seen: set = set()
    for split in ("train", "validation", "calibration", "test"):
        drawn = majority_task.sample(split, 300, torch.Generator().manual_seed(0))
        rows = {tuple(row) for row in drawn.inputs.tolist()}
        assert rows and not rows & seen
        seen |= rows
        right = (drawn.inputs.sum(1) > 5).long()
        assert torch.equal(drawn.targets[:, 0], right)
    assert sum(len(batch.inputs) for batch in build_split_batches(majority_task, "validation", 500)) > 20
    for example in majority_task.get_examples():
        given = majority_task.parse_input(example)
        choice = machine(given.inputs).answers[0, :, -1].argmax().item()
        assert majority_task.format_answer(given, [choice]).label in majority_task.get_labels()
    with pytest.raises(ValueError, match="Type 11 bits, such as"):
        majority_task.parse_input("0120")
