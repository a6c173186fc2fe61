"""Tests that the paths, names and numbers in the Dockerfile are those of the repository."""

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
    """Return the values of all steps of an instruction."""
    return [step["value"] for step in dockerfile.structure if step["instruction"] == instruction]


def read_dockerignore_exceptions() -> set[str]:
    """Return the paths of the repository that are sent to the build."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*", "only named paths are sent to the build"
    return {pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")}


def test_hadolint_reports_no_problem():
    process = subprocess.run([HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (0, ""), process.stdout + process.stderr


def test_the_base_image_is_fully_qualified(dockerfile):
    assert re.fullmatch(r"docker\.io/library/python:3\.11-slim", dockerfile.baseimage)


def test_build_context_has_only_the_files_of_the_app(dockerfile):
    build_paths = read_dockerignore_exceptions()
    missing = [name for name in build_paths if not (ROOT / name).exists()]
    assert not missing
    packages = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file() or path.name == "training"}
    assert packages - {"benchmarks", "tests"} <= build_paths
    for name in get_instruction(dockerfile, "COPY")[0].split()[:-1]:
        assert name in build_paths
    assert not build_paths & {"tests", "runs", ".git", ".venv", ".env", "benchmarks", "."}


def test_build_context_has_every_directory_that_the_code_names():
    """Collect the names in path expressions such as `ROOT / "configs"`."""
    path_parts = set()
    for package in ("ctm", "inference", "training", "ui"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if (
                    isinstance(node, ast.BinOp)
                    and isinstance(node.op, ast.Div)
                    and isinstance(node.left, ast.Name)
                    and node.left.id.lower() == "root"
                    and isinstance(node.right, ast.Constant)
                ):
                    path_parts.add(node.right.value)
    directories = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert {"checkpoints", "configs", "data"} <= path_parts & directories <= read_dockerignore_exceptions() | {"runs"}


def test_the_app_is_the_first_process_and_runs_as_an_unprivileged_user(dockerfile):
    command = json.loads(get_instruction(dockerfile, "CMD")[-1])
    assert command == ["python", "app.py"] and not get_instruction(dockerfile, "ENTRYPOINT")
    assert get_instruction(dockerfile, "USER") == ["1000"]
    assert "useradd --create-home --uid 1000" in dockerfile.content
    order = [step["instruction"] for step in dockerfile.structure]
    assert order.index("USER") < len(order) - 1 - order[::-1].index("COPY"), (
        "the code is copied after USER, so that the user owns it"
    )
    assert all("--chown" in copy for copy in get_instruction(dockerfile, "COPY")[1:])


def test_the_app_listens_on_the_port_of_the_space(dockerfile):
    front_matter = yaml.safe_load((ROOT / "README.md").read_text("utf-8").split("---")[1])
    port = dockerfile.envs["GRADIO_SERVER_PORT"]
    exposed_ports = get_instruction(dockerfile, "EXPOSE")
    assert exposed_ports == [port] and front_matter["app_port"] == int(port) and front_matter["sdk"] == "docker"
    assert dockerfile.envs["GRADIO_SERVER_NAME"] == "0.0.0.0"
    assert f"127.0.0.1:{port}/readyz" in get_instruction(dockerfile, "HEALTHCHECK")[0]
    assert dockerfile.envs["SYSTEM"] == "spaces", "otherwise anyone could sign in as the owner"


def test_app_settings_accept_the_environment_variables_of_the_image(dockerfile):
    app_variables = {name: value for name, value in dockerfile.envs.items() if name.startswith(("CTM_", "GRADIO_"))}
    assert not describe_unknown_variables(app_variables)
    app_settings = AppSettings.from_environment(app_variables | {"CTM_HOME": str(ROOT)}, ROOT)
    assert app_settings.resume_interrupted and app_settings.host == "0.0.0.0"
    run_steps = " ".join(get_instruction(dockerfile, "RUN"))
    assert dockerfile.envs["CTM_HOME"] in run_steps and dockerfile.envs["HOME"] == "/home/user"


def test_image_contains_no_secret(dockerfile):
    secret_name = re.compile(r"token|secret|password|key", re.IGNORECASE)
    names = [*dockerfile.envs, *(arg.partition("=")[0] for arg in get_instruction(dockerfile, "ARG"))]
    assert not [name for name in names if secret_name.search(name)]
    assert "--mount=type=secret" not in dockerfile.content


def test_installed_packages_are_pinned(dockerfile):
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").split())
    requirements = re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    assert len(pins) > len(requirements) > 10
    pin_by_name = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    requirement_by_name = {name.lower().replace("_", "-"): version for name, version in requirements if name != "torch"}
    assert requirement_by_name.items() <= pin_by_name.items(), "run `make lock`"
    installs = [step for step in get_instruction(dockerfile, "RUN") if "pip install" in step]
    assert all("--no-cache-dir" in step for step in installs)
    assert "--constraint constraints.txt" in installs[-1] and "requirements.txt" in installs[0]
    assert "apt-get" not in dockerfile.content and "gcc" not in dockerfile.content
