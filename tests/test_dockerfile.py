"""What the image takes for granted: the paths, names and numbers in the Dockerfile are those of the repository."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from tests.paths import ROOT
from ui.server.app_settings import AppSettings, describe_unknown_variables

HADOLINT = Path(sys.executable).with_name("hadolint")


@pytest.fixture(scope="module")
def dockerfile() -> DockerfileParser:
    return DockerfileParser(path=str(ROOT / "Dockerfile"))


def get_instruction(dockerfile: DockerfileParser, instruction: str) -> list[str]:
    return [step["value"] for step in dockerfile.structure if step["instruction"] == instruction]


def read_dockerignore_exceptions() -> set[str]:
    """What of the repository reaches the build."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "nothing is sent to the build but what is named"
    return {rule.removeprefix("!") for rule in rules if rule.startswith("!")}


def test_the_lint_reports_nothing():
    done = subprocess.run([HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_base_is_named_in_full_and_suits_the_code(dockerfile):
    assert re.fullmatch(r"docker\.io/library/python:3\.11-slim", dockerfile.baseimage)


def test_everything_that_the_app_reads_is_sent_and_nothing_else(dockerfile):
    sent = read_dockerignore_exceptions()
    missing = [name for name in sent if not (ROOT / name).exists()]
    assert not missing
    ours = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file() or path.name == "training"}
    assert ours - {"benchmarks", "tests"} <= sent
    for name in get_instruction(dockerfile, "COPY")[0].split()[:-1]:
        assert name in sent
    assert not sent & {"tests", "runs", ".git", ".venv", ".env", "benchmarks", "."}


def test_every_folder_that_the_code_names_is_sent():
    """Paths beside the code, as `ROOT / "configs"`."""
    named = set()
    for folder in ("ctm", "inference", "training", "ui"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if (
                    isinstance(node, ast.BinOp)
                    and isinstance(node.op, ast.Div)
                    and isinstance(node.right, ast.Constant)
                ):
                    named.add(node.right.value)
    beside = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert {"checkpoints", "configs", "data"} <= named & beside <= read_dockerignore_exceptions() | {"runs"}


def test_the_app_is_the_first_process_of_an_ordinary_user(dockerfile):
    assert json.loads(get_instruction(dockerfile, "CMD")[-1]) == ["python", "app.py"] and not get_instruction(
        dockerfile, "ENTRYPOINT"
    )
    assert get_instruction(dockerfile, "USER") == ["1000"]
    assert "useradd --create-home --uid 1000" in dockerfile.content
    order = [step["instruction"] for step in dockerfile.structure]
    assert order.index("USER") < len(order) - 1 - order[::-1].index("COPY"), "the code belongs to the user"
    assert all("--chown" in copy for copy in get_instruction(dockerfile, "COPY")[1:])


def test_it_listens_on_the_port_of_a_space(dockerfile):
    front = yaml.safe_load((ROOT / "README.md").read_text("utf-8").split("---")[1])
    port = dockerfile.envs["GRADIO_SERVER_PORT"]
    assert (
        get_instruction(dockerfile, "EXPOSE") == [port] and front["app_port"] == int(port) and front["sdk"] == "docker"
    )
    assert dockerfile.envs["GRADIO_SERVER_NAME"] == "0.0.0.0"
    assert f"127.0.0.1:{port}/readyz" in get_instruction(dockerfile, "HEALTHCHECK")[0]
    assert dockerfile.envs["SYSTEM"] == "spaces", "or anybody could sign in as the owner"


def test_what_it_sets_is_known_to_the_app(dockerfile):
    ours = {name: value for name, value in dockerfile.envs.items() if name.startswith(("CTM_", "GRADIO_"))}
    assert not describe_unknown_variables(ours)
    read = AppSettings.from_environment(ours | {"CTM_HOME": str(ROOT)}, ROOT)
    assert read.resume_interrupted and read.host == "0.0.0.0"
    made = " ".join(get_instruction(dockerfile, "RUN"))
    assert dockerfile.envs["CTM_HOME"] in made and dockerfile.envs["HOME"] == "/home/user"


def test_no_secret_is_built_in(dockerfile):
    words = re.compile(r"token|secret|password|key", re.IGNORECASE)
    names = [*dockerfile.envs, *(arg.partition("=")[0] for arg in get_instruction(dockerfile, "ARG"))]
    assert not [name for name in names if words.search(name)]
    assert "--mount=type=secret" not in dockerfile.content


def test_what_is_installed_is_pinned(dockerfile):
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").split())
    wanted = re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    assert len(pins) > len(wanted) > 10
    assert {name.lower().replace("_", "-"): version for name, version in wanted if name != "torch"}.items() <= {
        name.lower().replace("_", "-"): version for name, version in pins.items()
    }.items(), "run `make lock`"
    installs = [step for step in get_instruction(dockerfile, "RUN") if "pip install" in step]
    assert all("--no-cache-dir" in step for step in installs)
    assert "--constraint constraints.txt" in installs[-1] and "requirements.txt" in installs[0]
    assert "apt-get" not in dockerfile.content and "gcc" not in dockerfile.content
