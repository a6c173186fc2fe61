"""The scripts of examples/ run and print what they promise in their first lines."""

import re
import runpy
import sys

import pytest

from tests.fake_hub.fixtures import TOKEN, hub
from tests.paths import ROOT

__all__ = ["hub"]

TINY_SETTINGS = [
    "train.steps=4",
    "train.batch_size=8",
    "train.eval_samples=16",
    "train.device=cpu",
    "model.d_model=16",
    "model.d_input=8",
    "model.heads=2",
    "model.n_synch_out=8",
    "model.n_synch_action=8",
    "model.iterations=3",
    "finalize.fit_samples=40",
    "finalize.fit_steps=3",
]


def run_example(name: str, monkeypatch, *arguments: str) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_module(f"examples.{name}", run_name="__main__")


def test_quickstart_predicts_and_streams(monkeypatch, capsys):
    run_example("quickstart", monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("It is a 3.")
    assert [line.split()[0] for line in lines[1:3]] == ["0", "7"]
    assert [int(line.split()[1].rstrip(":")) for line in lines[3:]] == list(range(1, len(lines) - 2))
    assert ": 8, certainty" in lines[-1]


def test_halting_policies_compares_accuracy_and_ticks(monkeypatch, capsys):
    run_example("halting_policies", monkeypatch)
    rows = re.findall(r"^(\S.*?)  +(\S+) +([\d.]+)% in +([\d.]+) ticks$", capsys.readouterr().out, re.MULTILINE)
    ticks = {name: float(mean) for name, _, _, mean in rows}
    assert ticks["two ticks"] == 2 and ticks["every tick"] == 16 and 1 <= ticks["energy"] < 16
    assert all(float(accuracy) > 80 for _, policy, accuracy, _ in rows if policy != "ticks=2")


@pytest.mark.slow
def test_train_and_publish_loads_what_it_published(monkeypatch, capsys, hub, tmp_path):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    run_example(
        "train_and_publish",
        monkeypatch,
        "--repo",
        "alice/ctm-arithmetic",
        "--run-dir",
        str(tmp_path / "run"),
        *TINY_SETTINGS,
    )
    output = capsys.readouterr().out
    assert f"Published: {hub.url}/alice/ctm-arithmetic/commit/" in output
    assert len(re.findall(r"of 3|3 ticks", output)) >= 2
    assert {"model.safetensors", "preview.json", "README.md"} <= hub.read_files("alice/ctm-arithmetic").keys()
