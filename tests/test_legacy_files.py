"""Tests that files of version 0.1.0 stay readable: recipes, jobs, runs, outboxes, checkpoint metadata and halting policies.

`tests/data/legacy/README.md` lists the files. `expected.json` has the values that version 0.1.0 read from them.
"""

import hashlib
import json
import shutil
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ctm.checkpoint.metadata import HaltingMetadata, read_metadata
from ctm.config import read_config
from ctm.stores import HubStore
from inference.halting.policy_parser import parse
from tests.fake_hub.fixtures import TOKEN, hub, read_dir_files
from training.__main__ import main
from training.config import RunConfig, read_recipe
from training.finalize import get_default_policy
from training.jobs.store import JobStore
from training.publishing.outbox import Outbox
from training.tasks import Task, build_task

__all__ = ["hub"]

LEGACY_DIR = Path(__file__).parent / "data/legacy"
EXPECTED = json.loads((LEGACY_DIR / "expected.json").read_text("utf-8"))
ACCURACY_TOLERANCE = 0.05  # one or two of the few samples: other processors round differently
TICKS_TOLERANCE = 0.2


# --- names of 0.1.0 and current names -----------------------------------------------------------------------------


LATER_SETTINGS = {
    "max_unreadable_rate",
    "share_full",
    "even_lengths",
    "random_offset",
    "curriculum_length",
    "curriculum_route",
    "curriculum_operations",
    "length_draws",
    "longest_route",
    "horizon_encoding",
}  # of tasks, added after 0.1.0
DEFAULT_POLICY_FIGURES = ("policy", "mean_ticks", "accuracy_halted")
RENAMED_SETTINGS = {  # 0.1.0 -> current
    "loss.trunk": "loss.tick_reduction",
    "loss.mix": "loss.mean_share",
    "loss.energy": "loss.energy_kind",
    "loss.margin": "loss.energy_margin",
    "loss.cost": "loss.tick_cost",
    "loss.energy_reaches_trunk": "loss.energy_grad_to_trunk",
    "optim.warmup": "optim.warmup_steps",
    "optim.final_lr": "optim.min_lr_ratio",
    "optim.clip": "optim.max_grad_norm",
    "train.accumulate": "train.gradient_accumulation_steps",
    "train.takes": "train.init_mode",
    "train.frozen": "train.freeze",
    "train.keep": "train.save_total_limit",
    "train.minutes": "train.max_minutes",
    "train.spare_gb": "train.min_free_disk_gb",
    "finish.tolerance": "finalize.accuracy_tolerance",
    "publish.every_minutes": "publish.interval_minutes",
}
RENAMED_TASK_SETTINGS = {
    "brackets": {"deepest": "max_depth", "deeper": "ood_max_depth"},
    "chain": {"most": "max_operations", "longer": "ood_max_operations"},
    "digits": {"turn": "max_rotation", "shift": "max_shift", "scale": "max_scale_change"},
    "images": {
        "data": "dataset",
        "config": "subset",
        "files": "data_files",
        "train": "train_split",
        "test": "test_split",
        "image": "image_column",
        "label": "label_column",
        "size": "resize",
        "ground": "background",
    },
    "sorting": {"gap": "min_gap"},
    "tracking": {
        "ask": "target",
        "fastest": "max_speed",
        "ahead": "max_horizon",
        "further": "ood_horizon",
        "missed": "missing_rate",
    },
}
# Settings that 0.1.0 did not have, with the values that keep its behaviour.
NEW_SETTINGS: dict[str, dict[str, Any]] = {
    "loss": {
        "pace_delay": 3,
        "pace_ticks": None,
        "early_padding": False,
        "attention_loss_weight": 0.0,
        "probe_loss_weight": 0.0,
        "feature_loss_weight": 0.0,
        "auxiliary_loss_share": 0.7,
    },
    "optim": {"decay_start": 0.0, "fused": False},
    "train": {"report_to": "none", "token_init": "default", "prefetch": 0, "compile": False},
    "finalize": {"eval_samples": 4_096},
    "publish": {"example_images": False, "static_space": ""},
}
NEW_TOP_LEVEL_SETTINGS: dict[str, Any] = {"stages": []}
RENAMED_INIT_MODES = {"fitting": "matching", "grown": "expand"}


def to_current_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run of 0.1.0 under the names of today.

    Args:
        settings: All settings, or some groups of them, such as `{"task": {...}}`.
    """
    current: dict[str, Any] = {}
    for group, values in settings.items():
        if group == "task":
            names = RENAMED_TASK_SETTINGS.get(values["kind"], {})
            current[group] = {names.get(name, name): value for name, value in values.items()}
        elif isinstance(values, dict):
            current_group = {"finish": "finalize"}.get(group, group)
            names = {name: RENAMED_SETTINGS.get(f"{group}.{name}", name).rpartition(".")[2] for name in values}
            current[current_group] = {names[name]: value for name, value in values.items()}
        else:
            current[group] = values
    if "train" in current:
        mode = current["train"]["init_mode"]
        current["train"]["init_mode"] = RENAMED_INIT_MODES.get(mode, mode)
    for group, defaults in NEW_SETTINGS.items():
        if group in current:
            current[group] |= defaults
    if "train" in current:  # more than a part of the settings
        current |= NEW_TOP_LEVEL_SETTINGS
    return current


RENAMED_JOB_COLUMNS = {
    "intent": "requested_action",
    "place": "target",
    "by": "submitted_by",
    "submitted": "submitted_at",
    "queued": "queued_at",
    "started": "started_at",
    "ended": "ended_at",
    "asked": "stop_requested_at",
    "from_step": "resumed_from_step",
    "sentence": "status_message",
    "remote": "remote_job_id",
    "timeout": "timeout_minutes",
}
RENAMED_JOB_VALUES = {("place", "here"): "local", ("intent", "leave"): "suspend"}


def to_current_job(columns: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a job of 0.1.0 under the names and with the values of today."""
    return {
        RENAMED_JOB_COLUMNS.get(name, name): RENAMED_JOB_VALUES.get((name, value), value)
        for name, value in columns.items()
    }


def to_current_task(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a task of 0.1.0 under the names of today, without `kind`."""
    task = to_current_settings({"task": {"kind": kind, **settings}})["task"]
    return {name: value for name, value in task.items() if name != "kind"}


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_every_recipe_has_expected_values():
    names = {path.relative_to(LEGACY_DIR / "recipes").as_posix() for path in (LEGACY_DIR / "recipes").rglob("*.yaml")}
    assert {name for name in names if not name.startswith("community/")} == EXPECTED["recipes"].keys()


def select_known_settings(task: Task) -> dict[str, Any]:
    """Return the settings of a task that version 0.1 had; the later ones must have their defaults."""
    settings = task.settings.model_dump(mode="json")
    later = LATER_SETTINGS & settings.keys()
    defaults = type(task.settings).model_fields
    assert all(settings[name] == defaults[name].default for name in later)
    return {name: value for name, value in settings.items() if name not in later}


@pytest.mark.parametrize("name", EXPECTED["recipes"])
def test_recipe_has_the_same_settings(name, monkeypatch):
    monkeypatch.chdir(LEGACY_DIR)  # `task.data_files` is relative
    config = read_recipe(LEGACY_DIR / "recipes" / name)
    expected = EXPECTED["recipes"][name]
    task = config.make_task()
    assert config.model_dump(mode="json") == to_current_settings(expected["settings"])
    assert select_known_settings(task) == to_current_task(expected["settings"]["task"]["kind"], expected["task"])
    assert json.loads(json.dumps(config.build_model_config(task).to_dict())) == expected["model"]


@pytest.mark.parametrize("name", EXPECTED["overrides"])
def test_overrides_set_the_same_settings(name):
    expected = EXPECTED["overrides"][name]
    config = read_recipe(LEGACY_DIR / "recipes" / name, expected["words"])
    assert config.model_dump(mode="json") == to_current_settings(expected["settings"])


# --- metadata of checkpoints and policies ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPECTED["metadata"])
def test_metadata_of_a_checkpoint_has_the_same_meaning(name):
    checkpoint_dir = LEGACY_DIR / "metadata" / name
    expected = EXPECTED["metadata"][name]
    metadata = read_metadata(checkpoint_dir)
    assert metadata == {kind: json.loads((checkpoint_dir / f"{kind}.json").read_text("utf-8")) for kind in metadata}
    model = read_config(json.loads((checkpoint_dir / "config.json").read_text("utf-8")), "config.json").to_dict()
    assert json.loads(json.dumps(model)) == expected["model"]
    task = build_task(metadata["task"], model)
    assert select_known_settings(task) == to_current_task(metadata["task"]["task"], expected["task"])
    # Version 0.1 wrote another label for the blank of CTC answers.
    assert task.get_labels() == ["(blank)" if label == "silence" else label for label in expected["labels"]]
    assert str(get_default_policy(metadata["halting"])) == expected["policy"]
    if expected["settings"] is not None:
        config = RunConfig.parse(metadata["metrics"]["training"]["settings"])
        assert config.model_dump(mode="json") == to_current_settings(expected["settings"])


@pytest.mark.parametrize("name", EXPECTED["metadata"])
def test_energy_has_the_same_probability_of_a_correct_answer(name):
    energy, certainty = (torch.tensor(EXPECTED["p_correct_at"][key]) for key in ("energy", "certainty"))
    metadata = HaltingMetadata.model_validate(read_metadata(LEGACY_DIR / "metadata" / name)["halting"])
    probability = metadata.energy.compute_p_correct(energy, certainty)
    expected = EXPECTED["metadata"][name]["p_correct"]
    assert (probability is None) == (expected is None)
    assert expected is None or probability.tolist() == pytest.approx(expected, abs=1e-6)


def test_policies_are_parsed_and_printed_the_same():
    assert {text: str(parse(text)) for text in EXPECTED["policies"]} == EXPECTED["policies"]
    assert {text: str(parse(text)) for text in EXPECTED["policies"].values()} == {
        text: text for text in EXPECTED["policies"].values()
    }


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_jobs_have_the_same_columns(tmp_path):
    path = Path(shutil.copy(LEGACY_DIR / "jobs.sqlite", tmp_path))
    with sqlite3.connect(path) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(jobs)")]
    connection.close()
    assert columns == EXPECTED["job_columns"], "the test data was written by 0.1.0"
    expected = [to_current_job(job) for job in EXPECTED["jobs"]]
    assert [asdict(job) for job in JobStore(tmp_path / "jobs.json").list_jobs()] == expected
    assert [child.name for child in tmp_path.iterdir()] == ["jobs.sqlite"], "reading does not write"
    assert path.read_bytes() == (LEGACY_DIR / "jobs.sqlite").read_bytes(), "reading does not write"


def test_jobs_are_the_same_after_a_change(tmp_path):
    shutil.copy(LEGACY_DIR / "jobs.sqlite", tmp_path)
    path = tmp_path / "jobs.json"
    expected = [to_current_job(job) for job in EXPECTED["jobs"]]
    JobStore(path).update(expected[0]["id"], pid=77)
    expected[0] = expected[0] | {"pid": 77}
    assert [asdict(job) for job in JobStore(path).list_jobs()] == expected
    imported = tmp_path / "jobs.sqlite.imported"
    assert list(tmp_path.glob("jobs.sqlite*")) == [imported], "the jobs are imported once"
    assert imported.read_bytes() == (LEGACY_DIR / "jobs.sqlite").read_bytes()


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Provide a copy of the runs, with the paths that they had when they started."""
    for name in ("finished", "stopped", "pictures"):
        shutil.copytree(LEGACY_DIR / f"run-{name}", tmp_path / "runs" / name)
    shutil.copytree(LEGACY_DIR / "recipes/of-runs", tmp_path / "recipes")
    shutil.copytree(LEGACY_DIR / "pictures", tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_evaluations(checkpoint: Path) -> list[dict[str, Any]]:
    return json.loads((checkpoint / "metrics.json").read_text("utf-8"))["evaluations"]


def check_figures(evaluation: dict[str, Any], expected: dict[str, Any]) -> None:
    """Check the figures of an evaluation; the threshold of a policy may differ in its last digits."""
    for name, value in expected.items():
        if name == "policy":
            assert evaluation[name].partition("<")[0] == value.partition("<")[0]
        elif name == "mean_ticks":
            assert evaluation[name] == pytest.approx(value, abs=TICKS_TOLERANCE)
        elif name.startswith("accuracy"):
            assert evaluation[name] == pytest.approx(value, abs=ACCURACY_TOLERANCE), name
        elif name != "best_tick":
            assert evaluation[name] == value, name


def compute_digest(path: Path) -> str:
    """Return the SHA-256 of all tensors of a safetensors file, with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def test_stopped_run_resumes_as_if_it_had_not_stopped(home):
    run = home / "runs/stopped"
    expected = EXPECTED["stopped"]
    mtimes = {path: path.stat().st_mtime_ns for path in run.glob("checkpoints/*/model.safetensors")}
    main(["train", "recipes/stopped.yaml", "--folder", "runs/stopped"])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    losses = {str(line["step"]): line["loss"] for line in lines if "loss" in line}
    assert losses == pytest.approx(expected["losses"], abs=1e-3)
    assert [line["step"] for line in lines if "loss" in line] == list(range(2, 17, 2)), "each step is logged once"
    assert all(path.stat().st_mtime_ns == mtime for path, mtime in mtimes.items() if path.exists()), "no step ran twice"
    weights = run / f"checkpoints/{expected['steps']:08d}/model.safetensors"
    if compute_digest(weights) != expected["digest"]:  # another processor or another version of PyTorch
        expected_tensors = load_file(LEGACY_DIR / "resumed.safetensors")
        tensors = load_file(weights)
        assert expected_tensors.keys() == tensors.keys()
        for name, expected_tensor in expected_tensors.items():
            torch.testing.assert_close(tensors[name], expected_tensor, rtol=1e-3, atol=1e-3, msg=name)
    # The split `longer` of untrained places is no result any more.
    figures_by_split = {figures["split"]: figures for figures in expected["evaluations"]}
    for evaluation in read_evaluations(run / "checkpoint"):
        figures = figures_by_split[evaluation["split"]]
        # Version 0.1 made the energy the default policy, whatever it saved.
        check_figures(evaluation, {name: figures[name] for name in figures if name not in DEFAULT_POLICY_FIGURES})


def test_resumed_weights_are_those_of_the_digest():
    assert compute_digest(LEGACY_DIR / "resumed.safetensors") == EXPECTED["stopped"]["digest"]


def test_run_that_reached_its_time_limit_is_finished(home):
    main(["finish", "runs/pictures"])
    evaluations = read_evaluations(home / "runs/pictures/checkpoint")
    for evaluation, expected in zip(evaluations, EXPECTED["pictures"], strict=True):
        check_figures(evaluation, expected)


def test_finished_checkpoint_is_evaluated(home, capsys):
    main(["evaluate", "runs/finished/checkpoint"])
    evaluation = json.loads(capsys.readouterr().out.splitlines()[-1])
    check_figures(evaluation, EXPECTED["finished"])
    assert evaluation["policy"] == EXPECTED["finished"]["policy"], "its threshold comes from halting.json"


# --- outboxes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPECTED["outbox"])
def test_outbox_has_the_same_entries(home, name):
    run = home / "runs" / name.removeprefix("run-")
    assert [asdict(entry) for entry in Outbox(run).entries()] == EXPECTED["outbox"][name]


@pytest.mark.parametrize("name", EXPECTED["outbox"])
def test_pending_entry_is_published_exactly_once(home, hub, name, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    store = HubStore(token=TOKEN, endpoint=hub.url, cache_dir=home / "cache")
    run = home / "runs" / name.removeprefix("run-")
    expected = EXPECTED["outbox"][name][-1]
    (checkpoint,) = run.glob("outbox/*/checkpoint")
    entry = checkpoint.parent / "entry.json"
    files = read_dir_files(checkpoint)
    assert sorted(files) == EXPECTED["outbox_files"][name]
    for response in ("arrives", "is lost", "is lost again"):
        if response != "arrives":  # restore the entry; the repository has the commit
            shutil.rmtree(entry.parent)
            shutil.copytree(LEGACY_DIR / name / "outbox" / entry.parent.name, entry.parent)
        Outbox(run).deliver(store)
        assert Outbox(run).deliver(store) is None, "the outbox has no pending entry"
        state = json.loads(entry.read_text("utf-8"))
        assert (state["state"], state["problem"], state["tries"]) == ("published", "", expected["tries"] + 1), response
        assert not checkpoint.exists()
        (commit, _) = hub.list_commits(expected["repo"])
        assert commit.title == f"{expected['title']} [{expected['id']}]"
        assert state["url"] == f"{hub.url}/{expected['repo']}/commit/{commit.oid}"
    assert hub.read_files(expected["repo"]) == files
