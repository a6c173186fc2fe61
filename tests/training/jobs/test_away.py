"""Runs that were sent to Hugging Face Jobs: what becomes of them there is seen here, whatever fails on the way."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ctm.checkpoint import load
from ctm.stores import HubStore
from tests.hub.here import TOKEN
from tests.hub.here import hub as here
from tests.training.jobs.conftest import environment, submit, tiny, until
from training.config import RunConfig
from training.jobs import away, remote
from training.jobs.away import keep_echo
from training.jobs.book import Job
from training.jobs.courier import Courier
from training.jobs.remote import RemoteJobs
from training.jobs.runner import Runner
from training.outbox import Entry, Outbox
from training.runs import ECHO, ECHOED, RunFolder, echo

__all__ = ["here"]

REPO = "alice/made"
PLACE = {"place": "cpu-basic", "timeout": 60, "namespace": "alice"}
FINISHED = {"reason": "finished", "sentence": "All 12 steps are done.", "time": 1.0}
STOPPED = {"reason": "stopped", "sentence": "Stopped and saved at step 8 of 12.", "time": 1.0}
ENTRY = {"id": "0123456789ab", "repo": REPO, "private": False, "title": "run: finished", "source": "x", "created": 1.5}
OWN = "outbox/000000000001500-0123456789ab/entry.json"


@pytest.fixture
def hub(here, monkeypatch):
    """A Hub with a Space on it; nobody waits long for it."""
    here.add_repo("alice/space", kind="spaces")
    monkeypatch.setattr(remote, "REST", 0.02)
    monkeypatch.setattr(remote, "PAUSES", (0.02,) * 3)
    monkeypatch.setattr(remote, "QUIET", 0.3)
    monkeypatch.setattr(away, "AGAIN", 0.1)
    return here


@pytest.fixture
def app(hub, tmp_path):
    """Begin an app on the one folder of runs, as often as one likes; each ends with the test."""
    begun = []

    def begin(token: str = TOKEN, **options) -> Runner:
        made = Runner(
            tmp_path / "runs", token=token, environment=environment(), remote=RemoteJobs(token, hub.url, seconds=2.0),
            hub=HubStore(token=token, cache=tmp_path / "cache", endpoint=hub.url, seconds=2.0, spare=0), space="alice/space",
            **options,
        )  # fmt: skip
        made.start()
        assert made.writes
        begun.append(made)
        return made

    yield begin
    for made in begun:
        made.close(patience=1.0)


@pytest.fixture
def runner(app) -> Runner:
    return app()


def config(**train) -> RunConfig:
    return tiny(**train).changed({"publish.repo": REPO})


def send(runner: Runner) -> str:
    return submit(runner, config(), **PLACE)


def running(runner: Runner, id: str) -> bool:
    return runner.book.get(id).state == "running"


def over(runner: Runner, id: str) -> Job | None:
    job = runner.book.get(id)
    return job if job.is_over else None


def wait(runner: Runner, id: str) -> Job:
    until(lambda: over(runner, id), 30)
    return runner.book.get(id)


def echoed(file: str, values: object) -> str:
    return f"{ECHOED}{file} {json.dumps(values)}"


def step(number: int) -> str:
    return echoed("metrics.jsonl", {"step": number, "loss": 1.0 / number})


def steps(folder: RunFolder) -> list[int]:
    return [line["step"] for line in folder.read_metrics()]


@pytest.fixture
def sent(hub, runner):
    """The id of a run, and its job, which has got its machine."""
    id = send(runner)
    until(lambda: running(runner, id))
    hub.jobs.newest.start()
    return id, hub.jobs.newest


# --- from beginning to end -----------------------------------------------------------------------------------------


def test_a_run_trains_there_and_its_checkpoint_comes_back(hub, runner):
    """Real processes: curves, state and publication arrive through what is printed, and the token nowhere."""
    hub.jobs.executes = True
    seen = []
    change = runner.book.change
    runner.book.change = lambda id, **values: seen.append(values.get("state")) or change(id, **values)
    id = send(runner)
    assert runner.book.get(id).state == "queued"
    job = wait(runner, id)
    folder = runner.folder(id)
    assert job.state == "succeeded", folder.log_file.read_text()
    assert [state for state in seen if state] == ["running", "succeeded"]
    assert job.sentence == "All 12 steps are done." and job.attempt == 1 and job.remote in job.url
    assert [line["step"] for line in folder.read_metrics() if "loss" in line] == [2, 4, 6, 8, 10, 12]
    assert folder.status()["phase"] == "finished" and folder.ending()["reason"] == "finished"
    assert "step 12 of 12: loss" in folder.log_file.read_text() and ECHOED not in folder.log_file.read_text()
    (entry,) = Outbox(folder.path).entries()
    assert entry.state == "published" and entry.url == f"{hub.url}/{REPO}/commit/{hub.commits(REPO)[0].oid}"
    assert id in hub.commits(REPO)[0].title, "the run is known by its name there, too"
    made = load(folder.finished)
    assert made.metrics["training"]["command"] == "python -m training train tiny.yaml"
    assert (folder.finished / "model.safetensors").read_bytes() == hub.files(REPO)["model.safetensors"]
    assert_no_token(hub, runner)


def assert_no_token(hub, runner: Runner) -> None:
    spec = hub.jobs.newest.spec
    assert spec["secrets"] == {"HF_TOKEN": TOKEN}
    assert TOKEN not in json.dumps({name: value for name, value in spec.items() if name != "secrets"})
    files = [path for path in runner.runs.rglob("*") if path.is_file()]
    assert len(files) > 8 and not [path for path in files if TOKEN.encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_run_is_stopped_there(hub, runner):
    """It saves and says so; what it saved is gone, and that is said, too."""
    hub.jobs.executes = True
    id = submit(runner, config(steps=1_000_000, save_every=1_000_000, eval_every=1_000_000), **PLACE)
    until(lambda: runner.folder(id).metrics.is_file())
    assert runner.stop(id).intent == "stop"
    job = wait(runner, id)
    assert job.state == "cancelled" and job.sentence.startswith("Stopped and saved at step ")
    assert job.sentence.endswith("Nothing was published, so what it had saved is gone with its machine.")
    assert hub.jobs.newest.stage == "CANCELED" and not hub.jobs.newest.process.returncode


def test_it_is_said_that_it_waits_until_its_first_line(hub, runner):
    id = send(runner)
    until(lambda: running(runner, id))
    assert runner.book.get(id).sentence == "Sent to Hugging Face Jobs (cpu-basic); waits for a machine there."
    hub.jobs.newest.start()
    hub.jobs.newest.say("hello", step(2))
    until(lambda: not runner.book.get(id).sentence)
    assert steps(runner.folder(id)) == [2] and runner.folder(id).log_file.read_text() == "hello\n"


def test_other_runs_do_not_wait_for_it(hub, runner, sent):
    """There and here are two machines."""
    another = send(runner)
    until(lambda: running(runner, another))
    assert len(hub.jobs.table) == 2 and len(runner.book.running()) == 2


# --- how it ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "message", "ending", "state", "says"),
    [
        ("ERROR", "Job timeout", None, "failed", "The Hub says: Job timeout."),
        ("ERROR", "Job timeout", STOPPED, "failed", "The Hub says: Job timeout. Stopped and saved at step 8 of 12."),
        ("ERROR", "exit code: 1", {"reason": "nan", "sentence": "Lower optim.lr."}, "failed", "Lower optim.lr."),
        ("DELETED", None, None, "failed", "The Hub says: the job is not known there any more."),
        ("CANCELED", None, None, "cancelled", "It was cancelled on the Hub's page."),
        ("COMPLETED", None, STOPPED, "cancelled", "Stopped and saved at step 8 of 12."),
        ("COMPLETED", None, {"reason": "time", "sentence": "Its time was over."}, "cancelled", "Its time was over."),
        ("COMPLETED", None, None, "failed", "It ended without saying that it had finished."),
    ],
)  # fmt: skip
def test_an_end_that_nobody_here_wanted_is_told(runner, sent, stage, message, ending, state, says):
    id, there = sent
    there.say(step(2), *([echoed("ending.json", ending)] if ending else []))
    there.finish(stage, message)
    job = wait(runner, id)
    assert job.state == state and job.sentence.startswith(says), job.sentence
    assert job.ended and runner.folder(id).log_file.exists() is False


def test_what_is_lost_with_the_machine_is_said_and_what_is_not(runner, sent):
    id, there = sent
    there.say(echoed("status.json", {"phase": "training", "step": 8, "steps": 12}))
    there.say(echoed(OWN, ENTRY | {"state": "published", "revision": "0" * 40, "url": "https://hub/commit/0"}))
    there.finish("ERROR", "Out of memory")
    assert wait(runner, id).sentence == "The Hub says: Out of memory. What it published last: https://hub/commit/0"


def test_a_publication_that_was_under_way_is_given_up_with_its_machine(runner, sent):
    """The entry is all there is of it here, so nobody tries to send it."""
    id, there = sent
    there.say(echoed(OWN, ENTRY | {"state": "sending"}), echoed("ending.json", FINISHED))
    folder = runner.folder(id)
    until(lambda: Outbox(folder.path).entries())
    courier = Courier(runner.runs, runner.away.hub)
    assert Outbox(folder.path).deliver(courier.store) is None
    assert Outbox(folder.path).entries()[0].state == "sending"
    there.finish()
    job = wait(runner, id)
    assert job.state == "succeeded" and job.sentence.endswith("so its checkpoint is gone with the machine.")
    assert Outbox(folder.path).entries()[0].say() == "Not published (given up): Its machine is gone."


def test_a_checkpoint_that_cannot_be_brought_here_is_no_failure_of_the_run(hub, runner, sent):
    id, there = sent
    there.say(echoed(OWN, ENTRY | {"state": "published", "revision": "0" * 40}), echoed("ending.json", FINISHED))
    there.finish()
    job = wait(runner, id)
    assert job.state == "succeeded" and "is published but could not be brought here: There is no model" in job.sentence
    assert not runner.folder(id).finished.exists()


def test_a_run_that_was_stopped_here_is_cancelled(hub, runner, sent):
    id, there = sent
    there.say(step(2), step(4))
    until(lambda: steps(runner.folder(id)) == [2, 4])
    runner.stop(id)
    assert wait(runner, id).state == "cancelled" and there.cancelled
    with pytest.raises(ValueError, match="is over already: cancelled"):
        runner.kill(id)


def test_a_stop_that_the_hub_does_not_hear_changes_nothing(hub, runner, sent):
    """It can be asked for again; until then the run goes on, and ends as it ends."""
    id, there = sent
    deaf = hub.fault("drop", "/cancel|/api/jobs/alice/[0-9a-f]+$", times=None)
    with pytest.raises(ValueError, match="cannot be reached"):
        runner.stop(id)
    deaf.lift()
    assert running(runner, id) and not runner.book.get(id).intent
    runner.stop(id)
    assert wait(runner, id).state == "cancelled" and there.cancelled


def test_a_job_that_is_not_there_any_more_has_failed(hub, runner, sent):
    id, there = sent
    there.say(step(2))
    until(lambda: runner.folder(id).metrics.exists())
    del hub.jobs.table[there.id]
    there.hang_up()
    job = wait(runner, id)
    assert job.state == "failed" and f"alice has no job {there.id}" in job.sentence
    assert steps(runner.folder(id)) == [2], "what it said is kept"


def test_it_cannot_be_gone_on_with(runner, sent):
    id, there = sent
    there.finish("ERROR", "Job timeout")
    wait(runner, id)
    with pytest.raises(
        ValueError, match=r"was on a machine that is gone\. Begin a new one; init_from takes the weights"
    ):
        runner.resume(id)


# --- the Hub, which fails ------------------------------------------------------------------------------------------


def test_without_credit_it_fails_with_the_remedy(hub, runner):
    hub.jobs.without_credit.add("alice")
    job = wait(runner, send(runner))
    assert job.state == "failed" and "no credit for the jobs of alice" in job.sentence and "billing" in job.sentence
    assert not hub.jobs.table and not job.remote


def test_a_hub_that_is_away_is_asked_again(hub, runner):
    gone = hub.fault("answer", "/api/jobs/", status=503, times=None)
    id = send(runner)
    until(lambda: "It is tried again." in runner.book.get(id).sentence)
    assert runner.book.get(id).state == "queued" and not hub.jobs.table
    gone.lift()
    until(lambda: running(runner, id))
    assert len(hub.jobs.table) == 1


def test_an_answer_that_got_lost_starts_no_second_job(hub, runner):
    hub.fault("lost_reply", "alice$", "POST")
    hub.fault("drop", r"alice\?label", "GET", after=1)
    id = send(runner)
    until(lambda: running(runner, id))
    assert len(hub.jobs.table) == 1 and runner.book.get(id).remote == hub.jobs.newest.id


def test_a_hub_that_is_away_for_long_does_not_end_a_run(hub, runner, sent):
    """More failures than one following bears; what was told stays meanwhile, and nothing is there twice."""
    id, there = sent
    there.say(step(2))
    until(lambda: runner.folder(id).metrics.exists())
    gone = hub.fault("answer", "/api/jobs/", status=503, times=None)
    there.cut()
    until(lambda: "is looked for again" in runner.book.get(id).sentence)
    assert running(runner, id) and steps(runner.folder(id)) == [2]
    gone.lift()
    there.say(step(4), echoed("ending.json", {"reason": "data", "sentence": "Put it back."}))
    there.finish("ERROR", "exit code: 1")
    assert wait(runner, id).sentence.startswith("Put it back.")
    assert steps(runner.folder(id)) == [2, 4]


# --- the app, which ends and begins --------------------------------------------------------------------------------


def test_another_app_goes_on_following(hub, app, runner, sent):
    id, there = sent
    there.say(step(2), step(4))
    until(lambda: steps(runner.folder(id)) == [2, 4])
    runner.close()
    assert running(runner, id) and not there.is_over, "it needs no app"
    there.say(step(6))
    other = app()
    until(lambda: steps(other.folder(id)) == [2, 4, 6])
    there.say(step(8), echoed("ending.json", STOPPED))
    there.finish()
    assert wait(other, id).state == "cancelled"
    assert steps(other.folder(id)) == [2, 4, 6, 8] and len(hub.jobs.table) == 1


def test_what_ended_while_there_was_no_app_is_told_to_the_next_one(app, runner, sent):
    id, there = sent
    runner.close()
    there.say(step(2), "a line", echoed("ending.json", {"reason": "nan", "sentence": "Lower optim.lr."}))
    there.finish("ERROR", "exit code: 1")
    other = app()
    assert wait(other, id).sentence == "Lower optim.lr."
    assert steps(other.folder(id)) == [2] and other.folder(id).log_file.read_text() == "a line\n"


def test_an_app_that_ended_while_it_sent_starts_no_second_job(hub, app, runner):
    """The start came through, its answer did not, and the app was closed before it could ask."""
    hub.fault("lost_reply", "alice$", "POST")
    deaf = hub.fault("drop", r"alice\?label", "GET", after=1, times=None)
    id = send(runner)
    until(lambda: "It is tried again." in runner.book.get(id).sentence)
    runner.close()
    assert runner.book.get(id).state == "queued" and len(hub.jobs.table) == 1
    deaf.lift()
    other = app()
    until(lambda: running(other, id))
    assert len(hub.jobs.table) == 1 and other.book.get(id).remote == hub.jobs.newest.id


def test_a_run_that_cannot_go_on_does_not_keep_the_app_from_starting(app, runner, sent):
    """An app that goes on with interrupted runs by itself leaves one that was elsewhere, and one whose folder is gone."""
    id, _ = sent
    runner.book.change(id, state="interrupted")
    runner.book.add(Job("gone", "interrupted", attempt=1))
    runner.close()
    other = app(resumes=True)
    assert {other.book.get(one).state for one in (id, "gone")} == {"interrupted"}


# --- taken back ----------------------------------------------------------------------------------------------------


def test_one_that_is_taken_back_before_it_is_sent_is_never_sent(hub, runner):
    gone = hub.fault("drop", "/api/jobs/", times=None)
    id = send(runner)
    until(lambda: "It is tried again." in runner.book.get(id).sentence)
    assert runner.stop(id).sentence == "Taken out of the line."
    gone.lift()
    until(lambda: not runner.away._threads[id].is_alive(), 10)
    assert not hub.jobs.table and runner.book.get(id).state == "cancelled"


def test_one_that_is_taken_back_while_it_is_sent_is_ended_there(hub, runner):
    """Nobody would know of it, and somebody would pay."""
    hub.fault("stall", "alice$", "POST", seconds=0.7)
    id = send(runner)
    until(lambda: hub.seen("hardware"))
    runner.stop(id)
    until(lambda: hub.jobs.table and hub.jobs.newest.is_over, 10)
    assert hub.jobs.newest.cancelled and runner.book.get(id).state == "cancelled"


def test_one_that_is_taken_back_though_its_start_came_through_unseen_is_ended_there(hub, runner):
    hub.fault("lost_reply", "alice$", "POST")
    deaf = hub.fault("drop", r"alice\?label", "GET", after=1, times=None)
    id = send(runner)
    until(lambda: "It is tried again." in runner.book.get(id).sentence)
    runner.stop(id)
    runner.remove(id)
    deaf.lift()
    until(lambda: hub.jobs.newest.is_over, 10)
    assert hub.jobs.newest.cancelled and len(hub.jobs.table) == 1


# --- where there is nothing to send to -----------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["remote", "hub", "space"])
def test_without_a_space_and_a_token_it_is_refused_at_once(hub, tmp_path, missing):
    parts = {"remote": RemoteJobs(TOKEN, hub.url), "hub": HubStore(token=TOKEN, cache=tmp_path), "space": "alice/space"}
    made = Runner(
        tmp_path / "runs", environment=environment(), **{name: parts[name] for name in parts if name != missing}
    )
    made.start()
    try:
        with pytest.raises(ValueError, match=r"needs a Space, whose image runs there, and a token \(HF_TOKEN\)"):
            send(made)
        assert made.book.all() == [] and not list(made.runs.glob("*/config.yaml"))
    finally:
        made.close()


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ({"place": "moon"}, "There is no hardware 'moon' for jobs"), ({"timeout": 1}, "A job is given 10 to"),
        ({"namespace": "bob"}, "the right to run jobs"), ({"namespace": "../x"}, "is not the name"),
    ],
)  # fmt: skip
def test_what_the_hub_would_not_do_fails_with_its_sentence(hub, runner, place, says):
    job = wait(runner, submit(runner, config(), **PLACE | place))
    assert job.state == "failed" and says in job.sentence and not hub.jobs.table


# --- what a run prints ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "", "metrics.jsonl", "metrics.jsonl ", "metrics.jsonl {", 'metrics.jsonl "text"', "metrics.jsonl [1]",
        "metrics.jsonl {}", 'metrics.jsonl {"step": "3"}', 'metrics.jsonl {"step": true}', "metrics.jsonl " + "[" * 100_000,
        'metrics.jsonl {"step": 1, "text": "' + "x" * 200_000 + '"}', 'status.json {"phase": "x", "step": NaN, "steps": 1}',
        'status.json {"phase": "x", "step": 1, "steps": 1, "speed": NaN}', 'status.json {"phase": [], "step": 1, "steps": 2}',
        'ending.json {"reason": "finished"}', 'config.yaml {"step": 1}', 'log.txt {"step": 1}', 'lock {"step": 1}',
        '../metrics.jsonl {"step": 1}', '/etc/metrics.jsonl {"step": 1}', 'checkpoint/metrics.jsonl {"step": 1}',
        'metrics.jsonl\u2028 {"step": 1}', 'metrics.jsonl\n {"step": 1}',
        f"{OWN} {{}}", f"{OWN} {json.dumps(ENTRY | {'created': 2.5})}", f"{OWN} {json.dumps(ENTRY | {'created': 'x'})}",
        f"{OWN} {json.dumps(ENTRY | {'created': float('inf')})}", f"{OWN} {json.dumps(ENTRY | {'id': '../../up'})}",
        f"{OWN} {json.dumps(ENTRY | {'state': 'sunny'})}", f"outbox/../up/entry.json {json.dumps(ENTRY)}",
        f"outbox/000000000001500-0123456789ab/checkpoint/config.json {json.dumps(ENTRY)}",
    ],
)  # fmt: skip
def test_lines_that_no_run_prints_are_passed_over(tmp_path, line):
    folder = RunFolder(tmp_path / "runs" / "run")
    folder.path.mkdir(parents=True)
    keep_echo(folder, line)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_a_run_prints_is_what_it_wrote(tmp_path, monkeypatch, capsys):
    """Every file of a run folder that is echoed arrives as it is; an entry of an outbox can be read again."""
    monkeypatch.setenv(ECHO, "1")
    there, here = (RunFolder(tmp_path / name) for name in ("there", "here"))
    for folder in (there, here):
        folder.path.mkdir()
    there.log({"step": 1, "loss": float("nan"), "words": "a\u2028b"})
    there.log({"step": 2})
    there.say("training", 2, 12, steps_per_second=3.5)
    there.note_ending("disk", "Make room.")
    outbox = Outbox(there.path)
    (there.path / "checkpoint").mkdir()
    for name in ("config.json", "model.safetensors"):
        (there.path / "checkpoint" / name).write_text("{}")
    outbox._note(outbox.put(there.path / "checkpoint", REPO, "title"), state="waiting", problem="away")
    for line in capsys.readouterr().out.split("\n"):
        assert not line or line.startswith(ECHOED)
        keep_echo(here, line.removeprefix(ECHOED))
    for name in ("status.json", "ending.json"):
        assert json.loads((here.path / name).read_text()) == json.loads((there.path / name).read_text())
    assert here.metrics.read_text() == there.metrics.read_text()
    assert Outbox(here.path).entries() == outbox.entries() and isinstance(outbox.entries()[0], Entry)


def test_a_line_and_its_end_are_printed_in_one_piece(monkeypatch):
    """Another thread of the same program may print at any moment, and a line that begins in another one is lost."""
    written: list[str] = []
    monkeypatch.setenv(ECHO, "1")
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=written.append, flush=lambda: None))
    echo("status.json", {"step": 1})
    assert [text for text in written if text] == ['::ctm status.json {"step": 1}\n']


def test_a_log_is_kept_line_by_line_however_long(runner, sent):
    id, there = sent
    there.say("x" * 50_000, "short", f"not at the start {ECHOED}metrics.jsonl {{}}")
    there.finish("ERROR")
    wait(runner, id)
    lines = Path(runner.folder(id).log_file).read_text().split("\n")
    assert [len(line) for line in lines[:2]] == [10_000, 5] and len(lines) == 4
