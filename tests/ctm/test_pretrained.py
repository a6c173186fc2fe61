"""Tests of from_pretrained, save_pretrained, push_to_hub and load_pretrained, with the real client and a local fake Hub."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import ctm
from ctm import ContinuousThoughtMachine, FFBaseline, LSTMBaseline, TickModel
from ctm.checkpoint import load, save
from ctm.pretrained import UNSUPPORTED_ARGUMENTS
from ctm.stores import StoreUnavailable
from tests.ctm.conftest import build_tiny_model
from tests.fake_hub.fixtures import TOKEN, hub, read_dir_files
from tests.paths import ROOT

__all__ = ["hub"]

WEIGHTS = "model.safetensors"
REPO = "alice/ctm-digits"
BUNDLED = {"digits": ContinuousThoughtMachine, "digits-lstm": LSTMBaseline, "digits-ff": FFBaseline}


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Use a cache of this test, and leave the directory of the project."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.fixture
def repo(hub, checkpoint_dir) -> str:
    hub.add_repo(REPO, read_dir_files(checkpoint_dir))
    return REPO


def has_equal_weights(model: TickModel, other: TickModel) -> bool:
    state, expected = model.state_dict(), other.state_dict()
    return state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)


def get_error_message(call, *args, **options) -> str:
    with pytest.raises(ValueError) as exc_info:
        call(*args, **options)
    assert "\n" not in str(exc_info.value) and str(exc_info.value).endswith(".")
    return str(exc_info.value)


# --- local directories -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUNDLED)
def test_each_class_loads_a_bundled_checkpoint(name):
    model = BUNDLED[name].from_pretrained(ROOT / "checkpoints" / name)
    assert type(model) is BUNDLED[name] and not model.training
    assert has_equal_weights(model, load(ROOT / "checkpoints" / name).model)
    assert type(TickModel.from_pretrained(str(ROOT / "checkpoints" / name))) is BUNDLED[name]


@pytest.mark.parametrize(
    ("name", "wrong_class"),
    [("digits", LSTMBaseline), ("digits-lstm", FFBaseline), ("digits-ff", ContinuousThoughtMachine)],
)
def test_a_checkpoint_of_another_model_type_names_the_right_class(name, wrong_class):
    message = get_error_message(wrong_class.from_pretrained, ROOT / "checkpoints" / name)
    model_class = BUNDLED[name]
    model_type = {"digits": "ctm", "digits-lstm": "lstm", "digits-ff": "ff"}[name]
    assert f"{name} is a {model_class.__name__} (model type {model_type})" in message
    assert f"not a {wrong_class.__name__}" in message and f"{model_class.__name__}.from_pretrained" in message


def test_load_pretrained_returns_model_task_and_halting_policies(monkeypatch):
    monkeypatch.chdir(ROOT)
    checkpoint = ctm.load_pretrained("checkpoints/digits")
    assert isinstance(checkpoint.model, ContinuousThoughtMachine) and checkpoint.task["task"] == "digits"
    assert checkpoint.halting["default"] in checkpoint.halting["policies"]


def test_names_that_do_not_exist_get_one_sentence(hub, tmp_path):
    assert "There is no checkpoint at nowhere: name a directory" in get_error_message(ctm.load_pretrained, "nowhere")
    assert "There is no checkpoint at" in get_error_message(ctm.load_pretrained, tmp_path / "a" / "b")
    message = get_error_message(ctm.load_pretrained, "checkpoints/nothing")
    assert "no model checkpoints/nothing on the Hub" in message and "Nor is there a directory" in message
    assert "namespace/name" in get_error_message(ctm.load_pretrained, "hub:nothing")
    assert "`revision` is for checkpoints on the Hub" in get_error_message(
        ctm.load_pretrained, ROOT / "checkpoints/digits", revision="main"
    )


def test_loading_is_strict(checkpoint_dir):
    tensors = load_file(checkpoint_dir / WEIGHTS)
    del tensors["start_trace"]
    save_file(tensors, checkpoint_dir / WEIGHTS)
    assert "missing: start_trace" in get_error_message(ContinuousThoughtMachine.from_pretrained, checkpoint_dir)


@pytest.mark.parametrize("name", UNSUPPORTED_ARGUMENTS)
def test_arguments_without_effect_are_rejected_with_the_reason(name, checkpoint_dir):
    message = get_error_message(ContinuousThoughtMachine.from_pretrained, checkpoint_dir, **{name: "other"})
    assert f"`{name}` is not supported: " in message and "'other'" in message


def test_arguments_that_ask_for_what_happens_anyway_are_accepted(checkpoint_dir):
    options = {"strict": True, "use_safetensors": True, "map_location": "cpu", "config": None}
    assert ContinuousThoughtMachine.from_pretrained(checkpoint_dir, **options)
    with pytest.raises(TypeError, match="no argument `magic`"):
        ContinuousThoughtMachine.from_pretrained(checkpoint_dir, magic=1)


# --- the Hub ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [REPO, f"hub:{REPO}", f"https://huggingface.co/{REPO}", f"{REPO}@main"])
def test_a_model_of_the_hub_loads(name, repo, checkpoint_dir):
    expected = load(checkpoint_dir)
    assert has_equal_weights(ContinuousThoughtMachine.from_pretrained(name), expected.model)
    checkpoint = ctm.load_pretrained(name)
    assert (checkpoint.task, checkpoint.card) == (expected.task, expected.card)


def test_a_revision_selects_an_earlier_commit(hub, repo, checkpoint_dir, tmp_path):
    first = hub.list_commits(repo)[0].oid
    old_model = load(checkpoint_dir).model
    new_model = build_tiny_model(seed=5, energy_head_enabled=True)
    new_model.save_pretrained(tmp_path / "new")
    hub.commit(repo, read_dir_files(tmp_path / "new"))
    assert has_equal_weights(ContinuousThoughtMachine.from_pretrained(repo), new_model)
    for name, revision in ((repo, first), (f"{repo}@{first}", None), (f"{repo}@{first}", first)):
        assert has_equal_weights(ContinuousThoughtMachine.from_pretrained(name, revision=revision), old_model)


@pytest.mark.parametrize("revision", ["nowhere", "0" * 40])
def test_a_wrong_revision_is_named(repo, revision):
    assert f"has no revision '{revision}'" in get_error_message(ctm.load_pretrained, repo, revision=revision)


def test_contradicting_and_invalid_revisions_are_rejected(repo):
    assert "Two revisions" in get_error_message(ctm.load_pretrained, f"{repo}@main", revision="v1")
    assert "namespace/name" in get_error_message(ctm.load_pretrained, repo, revision="../x")


def test_an_existing_directory_comes_before_the_hub(hub, repo, checkpoint_dir):
    shutil.copytree(checkpoint_dir, REPO)
    hub.clear_requests()
    assert ctm.load_pretrained(REPO) and not hub.requests


def test_the_model_type_is_checked_on_the_hub(hub):
    hub.add_repo("alice/lstm", read_dir_files(ROOT / "checkpoints/digits-lstm"))
    assert "is a LSTMBaseline" in get_error_message(ContinuousThoughtMachine.from_pretrained, "alice/lstm")


def test_a_repository_of_pickles_is_never_opened(hub, checkpoint_dir):
    files = read_dir_files(checkpoint_dir)
    hub.add_repo("alice/pickles", {"pytorch_model.bin": files.pop(WEIGHTS), **files})
    assert "never opened" in get_error_message(ContinuousThoughtMachine.from_pretrained, "alice/pickles")
    assert not hub.find_requests(r"pytorch_model\.bin")


def test_local_files_only_sends_no_request(hub, repo):
    hub.clear_requests()
    assert "is not in the cache" in get_error_message(ctm.load_pretrained, repo, local_files_only=True)
    assert not hub.requests
    ctm.load_pretrained(repo)
    hub.clear_requests()
    assert ContinuousThoughtMachine.from_pretrained(repo, local_files_only=True) and not hub.requests


def test_a_cached_model_loads_while_the_hub_is_down(hub, repo, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    ctm.load_pretrained(repo)
    hub.add_fault("drop", max_count=None)
    assert ctm.load_pretrained(repo)
    with pytest.raises(StoreUnavailable):
        ctm.load_pretrained("alice/other")


def test_force_download_requests_the_weights_again(hub, repo):
    for options, count in (({}, 1), ({}, 1), ({"force_download": True}, 2)):
        ctm.load_pretrained(repo, **options)
        requests = [request for request in hub.find_requests(WEIGHTS) if request.method == "GET"]
        assert len(requests) >= count and (count == 2 or len(requests) == 1)


def test_cache_dir_and_token_are_used(hub, checkpoint_dir, tmp_path):
    hub.add_repo("alice/secret", read_dir_files(checkpoint_dir), private=True)
    assert "private" in get_error_message(ctm.load_pretrained, "alice/secret", token=False)
    assert ctm.load_pretrained("alice/secret", token=TOKEN, cache_dir=str(tmp_path / "mine"))
    assert list((tmp_path / "mine").glob("models--alice--secret/snapshots/*/config.json"))


# --- save and publish ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ctm", "lstm", "ff"])
def test_a_saved_model_loads_unchanged_with_its_metadata(kind, tmp_path):
    model = build_tiny_model(kind=kind)
    halting = {"policies": {"two": {"policy": "ticks=2"}}, "default": "two"}
    assert model.save_pretrained(tmp_path / "saved", task={"task": "parity"}, halting=halting) is None
    checkpoint = ctm.load_pretrained(tmp_path / "saved")
    assert has_equal_weights(checkpoint.model, model) and checkpoint.halting == halting
    assert f"{type(model).__name__}.from_pretrained" in checkpoint.card
    (tmp_path / "saved" / "thesis.txt").write_text("years of work")
    assert "holds other things" in get_error_message(model.save_pretrained, tmp_path / "saved")


def test_a_published_model_loads_and_a_second_push_is_a_second_commit(hub, tmp_path):
    models = [build_tiny_model(seed=seed) for seed in (0, 1)]
    for model in models:
        url = model.push_to_hub("alice/made", token=TOKEN, commit_message="Weights", task={"task": "parity"})
        assert url.startswith(f"{hub.url}/alice/made/commit/")
        assert has_equal_weights(ContinuousThoughtMachine.from_pretrained("alice/made"), model)
    assert [commit.title[:9] for commit in hub.list_commits("alice/made")][:2] == ["Weights ["] * 2
    assert 'from_pretrained("alice/made")' in hub.read_files("alice/made")["README.md"].decode()
    url = models[0].save_pretrained(tmp_path / "saved", repo_id="alice/made", push_to_hub=True, token=TOKEN)
    assert url.endswith(hub.list_commits("alice/made")[0].oid) and load(tmp_path / "saved")


def test_a_private_repository_is_created(hub):
    build_tiny_model().push_to_hub("alice/hidden", token=TOKEN, private=True)
    assert "private" in get_error_message(ctm.load_pretrained, "alice/hidden", token=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"branch": "dev"}, "on the main branch"),
        ({"create_pr": True}, "on the main branch"),
        ({"allow_patterns": "*.json"}, "published whole"),
        ({"token": "hf_alice_read"}, "right to write"),
    ],
)
def test_a_push_that_cannot_be_honoured_is_rejected(hub, options, words):
    assert words in get_error_message(build_tiny_model().push_to_hub, "alice/new", **{"token": TOKEN} | options)


def test_arguments_of_a_push_need_a_push(tmp_path):
    model = build_tiny_model()
    assert "push_to_hub=True" in get_error_message(model.save_pretrained, tmp_path / "a", repo_id="alice/new")
    assert "`repo_id` is needed" in get_error_message(model.save_pretrained, tmp_path / "a", push_to_hub=True)
    assert not (tmp_path / "a").exists()


# --- imports ---------------------------------------------------------------------------------------------------------


def test_importing_ctm_imports_neither_the_hub_client_nor_the_packages_above():
    code = "import ctm, sys; print(json.dumps([n for n in ('huggingface_hub', 'training', 'inference') if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", f"import json; {code}"], cwd=ROOT, capture_output=True, text=True)
    assert json.loads(done.stdout) == [], done.stderr


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'magic'"):
        ctm.magic  # noqa: B018


def test_a_checkpoint_saved_again_has_no_preview(checkpoint_dir, tmp_path):
    (checkpoint_dir / "preview.json").write_text('{"input_type": "text", "inputs": ["1"]}')
    save(load(checkpoint_dir), checkpoint_dir)
    assert not (checkpoint_dir / "preview.json").exists()
