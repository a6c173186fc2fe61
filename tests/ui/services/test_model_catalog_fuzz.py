"""Fuzz the names of checkpoints: each resolves to an existing checkpoint or run, or is rejected."""

import shutil
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import HOSTILE_TEXTS, texts, time_limit, try_read
from tests.ui.conftest import make_checkpoint
from training.jobs.job import Job
from training.jobs.scheduler import JobScheduler
from training.run_dir import RunDir
from ui.services.model_catalog import ModelCatalog, split_purpose

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOCAL_NAMES = ["digits", "run:one-1", "run:one-1@4"]

IDS = (
    "..",
    "../..",
    "../secret",
    "/",
    "//",
    ".",
    "",
    "one-1",
    "one-1/../../secret",
    "secret",
    "digits",
    "*",
    "[a-z]*",
    "~",
    "\\",
    "\x00",
    "a\nb",
)
STEPS = ("", "@", "@4", "@00000004", "@-4", "@+4", "@4.0", "@\u0664", "@\u00b2", "@ 4", "@4_0", "@..", "@4@4")

ids = st.sampled_from(IDS) | texts
purposes = st.sampled_from(["", "#", "#digits", "#parity", "#..", "#\ud800", "##"])
places = st.sampled_from(["", f"@{COMMIT}", "@..", ":a/..", ":../.."])
prefixes = st.sampled_from(["", "run:", "run:run:", "RUN:", " run:", "hub:"])
names = st.one_of(
    st.builds("{}{}{}{}".format, prefixes, ids, st.sampled_from(STEPS), purposes),
    st.builds("{}/{}{}{}".format, texts | st.just("alice"), texts | st.just("x"), places, purposes),
    texts,
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> ModelCatalog:
    """Return a catalog with one bundled checkpoint, one run with a saved step, and checkpoints beside both that must stay unreachable."""
    home = tmp_path_factory.mktemp("home")
    checkpoint_dir = make_checkpoint(home / "secret", "digits")
    for path in (
        "bundled/digits",
        "runs/one-1/checkpoint",
        "runs/one-1/checkpoints/00000004",
        "runs/one-1/checkpoints/.00000006",
        "secret/checkpoint",
        "secret/checkpoints/00000004",
        "cache/models--alice--x/refs/secret",
    ):
        shutil.copytree(checkpoint_dir, home / path, ignore=shutil.ignore_patterns("checkpoint*"))
    return ModelCatalog(home / "bundled", home / "runs", cache_dir=home / "cache", endpoint="http://127.0.0.1:9")


def resolve_name(catalog: ModelCatalog, name: str) -> Path | None:
    """Return the directory of a checkpoint after calling every other method that takes a name."""
    bare, purpose = split_purpose(name)
    assert bare + ("#" + purpose if "#" in name else "") == name.strip()
    directory = try_read(lambda: catalog.get_local_dir(name))
    task = try_read(lambda: catalog.read_local(name))
    assert directory is not None or task is None
    url = try_read(lambda: catalog.get_hub_url(name))
    assert not url or url.startswith(catalog.owner_store.api.endpoint + "/")
    assert catalog.get_download(name) is None
    return directory


@given(name=names)
@example(name="run:one-1@\u0664")
@example(name="run:../secret")
@example(name="run:one-1/../../secret@4")
@example(name="alice/x@secret")
@example(name="alice/x:" + "\u00e9" * 200)
def test_any_name_is_an_existing_checkpoint_or_rejected_in_one_sentence(catalog, name):
    directory = resolve_name(catalog, name)
    if directory is not None:
        assert split_purpose(name)[0] in LOCAL_NAMES
        assert directory.relative_to(catalog.bundled_store.root.parent).parts[0] in ("bundled", "runs")


@pytest.mark.parametrize("name", LOCAL_NAMES)
def test_every_existing_name_is_resolved(catalog, name):
    assert (resolve_name(catalog, name) / "config.json").is_file()


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text)[:20])
def test_hostile_names_are_rejected_at_once(catalog, text):
    with time_limit(3):
        for form in ("{}", "run:{}", "run:one-1@{}", "{}/x", "alice/x@{}", "alice/x:{}", "digits#{}"):
            if form.format(text).strip() not in ("digits#", *LOCAL_NAMES):
                try_read(lambda form=form: resolve_name(catalog, form.format(text)))


@given(run_id=ids | names)
def test_only_runs_in_the_job_store_have_a_run_directory(run_id, tmp_path_factory):
    runs = tmp_path_factory.getbasetemp() / "job-store"
    runs.mkdir(exist_ok=True)
    scheduler = JobScheduler(runs)
    if not scheduler.store.list_jobs():
        scheduler.store.add(Job("one-1", "failed"))
    directory = try_read(lambda: scheduler.get_run_dir(run_id))
    assert directory == (RunDir(scheduler.runs_dir / "one-1") if run_id == "one-1" else None)
