"""Every endpoint of the page, called directly: a stranger sees all and changes nothing, the administrator can do everything."""

import io
import json
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import psutil
import pytest

from tests.hub.here import hub
from tests.training.jobs.conftest import end, until
from tests.ui.test_access import provider, space
from tests.ui.trained import SECRET, built, pretend, served, trainings_in
from training.jobs.courier import Courier
from training.jobs.runner import Runner
from ui.access import Access
from ui.gates import HEADER
from ui.trainings import Trainings

__all__ = ["hub", "provider", "space"]

ACTS = {
    "Watch._acting.<locals>.handle", "Watch._asking.<locals>.ask", "Watch._do_asked", "Watch._pack",
    "Form._fill_from_hub", "Form._estimate", "Form._start",
}  # fmt: skip
SHOWS = {
    "login_row.<locals>.say", "login_buttons.<locals>.show", "RunViews.history", "history_room.<locals>.open_run",
    "compare_room.<locals>.list_anew", "compare_room.<locals>.compare", "Watch.show", "Watch._open_asked",
    "Watch._look_or_not", "Watch.connect.<locals>.show_anew", "Watch._connect_actions.<locals>.<lambda>",
    "Watch._think_with", "Form._empty", "Form._fill", "Form._list_anew", "Form._fill_again", "Form.connect.<locals>.<lambda>",
}  # fmt: skip
RUNS = {"going-1": "running", "waiting-1": "queued", "stopped-1": "cancelled", "done-1": "succeeded"}
REFUSALS = {
    "closed": "Training is closed to everybody", "token": "Training is for this app's administrator",
    "space": "Only lab may train here: sign in", "local": "this request came through a proxy",
}  # fmt: skip
STRANGE = {  # what a stranger sends along who hopes to pass for somebody else
    "closed": {HEADER: SECRET},
    "token": {"Cookie": "ctm_admin=9999999999.00; session=x", "Authorization": f"Bearer {SECRET}"},
    "space": {HEADER: SECRET, "Authorization": "Bearer hf_lab", "Cookie": "session=e30=.x.y"},
    "local": {"X-Forwarded-For": "127.0.0.1"},
}  # fmt: skip


class Recorded(Trainings):
    """Trainings that note what was really asked of them."""

    def __init__(self, *given: Any, **more: Any):
        super().__init__(*given, **more)
        self.acts: list[str] = []


def recorded(name: str) -> Callable[..., Any]:
    def act(self: Recorded, *given: Any, **more: Any) -> Any:
        self.acts.append(name)
        return getattr(Trainings, name)(self, *given, **more)

    return act


for _name in ("start", "stop", "kill", "resume", "delete", "publish", "pack", "estimate"):
    setattr(Recorded, _name, recorded(_name))


class Visitor:
    """A program that speaks to the page as a browser does, in a session of its own."""

    def __init__(self, address: str, blocks: gr.Blocks, headers: dict[str, str] | None = None):
        self.blocks, self.session = blocks, uuid.uuid4().hex
        self.http = httpx.Client(base_url=address, headers=headers, timeout=60)

    def prepare(self) -> None:
        """Open the page and each of its rooms, so that the session knows what there is to choose from."""
        for name in ("Watch.show", "compare_room.<locals>.list_anew", "Form._list_anew"):
            self.direct(next(fn for fn in self.blocks.fns.values() if name_of(fn) == name))

    def fill(self, fn: Any, id: str = "", **given: Any) -> list[Any]:
        """Plausible values for an endpoint's inputs; `given` by the elem_id of a component, with _ for -."""
        named = {part: str(part.elem_id).replace("-", "_") for part in fn.inputs}
        assert given.keys() <= set(named.values()), "no such field"
        usual = {"run": id or None, "step": "newest", "source": "tiny", "compared": [id] if id else [], "place": "here",
                 "from_hub": "bob/parity", "repo": "alice/new"} | given  # fmt: skip
        return [
            usual[named[part]] if named[part] in usual else None if isinstance(part, gr.State) else part.value
            for part in fn.inputs
        ]  # fmt: skip

    def body(self, fn: Any, id: str, given: dict[str, Any]) -> dict[str, Any]:
        picked = {"index": [0, 0], "value": "Train", "row_value": [id], "selected": True}
        return {
            "fn_index": fn._id,
            "data": self.fill(fn, id, **given),
            "session_hash": self.session,
            "event_data": picked,
        }

    def direct(self, fn: Any, id: str = "", **given: Any) -> httpx.Response:
        """Without waiting in line."""
        return self.http.post("/gradio_api/run/predict", json=self.body(fn, id, given))

    def queued(self, fn: Any, id: str = "", **given: Any) -> dict[str, Any]:
        """In line, as the page does it: what the server says at the end."""
        event = self.http.post("/gradio_api/queue/join", json=self.body(fn, id, given)).json()["event_id"]
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                said = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if said.get("msg") == "process_completed" and said["event_id"] == event:
                    return said
        raise AssertionError("the server did not answer")

    def pressed(self, button: str, id: str = "", **given: Any) -> list[Any]:
        """What pressing a button answers."""
        said = self.queued(triggered(self.blocks, button), id, **given)
        assert said["success"], said["output"]
        return said["output"]["data"]

    def refused(self, button: str, id: str = "", **given: Any) -> str:
        said = self.queued(triggered(self.blocks, button), id, **given)
        assert not said["success"], said["output"]
        return said["output"]["error"]


def name_of(fn: Any) -> str:
    return fn.fn.__qualname__ if fn.fn else ""


def triggered(blocks: gr.Blocks, button: str) -> Any:
    """What pressing a component of this elem_id calls."""
    places = {id for id, block in blocks.blocks.items() if block.elem_id == button}
    return next(fn for fn in blocks.fns.values() if fn.fn and places & {block for block, _ in fn.targets})


def of_train_tab(blocks: gr.Blocks) -> list[Any]:
    rooms = (
        "ui.tabs.watching",
        "ui.tabs.train_form",
        "ui.tabs.looking_back",
        "ui.tabs.login",
        "ui.trainings",
        "ui.run_views",
        "ui.tabs.train",
    )
    return [fn for fn in blocks.fns.values() if fn.fn is not None and fn.fn.__module__ in rooms]


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time of change; looking at the book changes nothing of it."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def access_of(mode: str, environment: dict[str, str]) -> Access:
    match mode:
        case "token":
            return Access.from_environment({"CTM_ADMIN_TOKEN": SECRET}, "0.0.0.0")
        case "local":
            return Access.from_environment({}, "127.0.0.1")
        case "space":
            return Access.from_environment(environment, "0.0.0.0")
    return Access.from_environment({}, "0.0.0.0")


@pytest.fixture
def tab(tmp_path, checkpoints, hub) -> Recorded:
    """Trainings with runs in every state, and a Hub to publish to; nothing of it moves by itself."""
    plain = trainings_in(tmp_path, checkpoints, models={"endpoint": hub.url})
    courier = Courier(plain.runner.runs, plain.models.listed)
    made = Recorded(plain.runner, plain.models, plain.recipes, courier)
    for id, state in RUNS.items():
        pretend(made, id, state, steps=(10, 20))
    return made


@pytest.fixture(params=["closed", "token", "local", "space"])
def mode(request) -> str:
    return request.param


@pytest.fixture
def stranger(mode, tab, request, monkeypatch) -> Iterator[Visitor]:
    """A visitor who may not train, in a session that knows every run."""
    for place in ("training.jobs.runner.launch", "training.jobs.measuring.launch"):
        monkeypatch.setattr(place, lambda *_, **__: pytest.fail("a process was begun"))
    environment = request.getfixturevalue("space") if mode == "space" else {}
    access = access_of(mode, environment)
    assert access.mode == mode
    blocks = built(tab, access)
    with served(tab, access, blocks) as address:
        visitor = Visitor(address, blocks, STRANGE[mode])
        visitor.prepare()
        yield visitor


def plant(visitor: Visitor, name: str, id: str) -> None:
    """As if the visitor had been asked and might have answered, which only the owner is."""
    asked = next(fn.inputs[0] for fn in visitor.blocks.fns.values() if name_of(fn) == "Watch._do_asked")
    visitor.blocks.state_holder[visitor.session].state_data[asked._id] = (name, id)


@pytest.mark.parametrize("mode", ["token", "space"])
def test_every_endpoint_of_the_tab_is_known_to_act_or_to_show(tab, mode, request):
    """A new one has to be entered above, and is then called by the stranger."""
    environment = request.getfixturevalue("space") if mode == "space" else {}
    names = {name_of(fn) for fn in of_train_tab(built(tab, access_of(mode, environment)))}
    assert names <= ACTS | SHOWS
    assert names >= ACTS and names >= SHOWS - {"login_buttons.<locals>.show"}


def test_a_stranger_changes_nothing_by_any_endpoint(stranger, mode, tab, hub):
    """All of the page's, in line and directly, for a run in every state."""
    before, jobs = state_of(tab.runner.runs), tab.runner.book.all()
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    hub.forget_requests()
    refused = []
    for fn in stranger.blocks.fns.values():
        acts = name_of(fn) in ACTS
        for id in RUNS if acts else ["done-1"]:
            for planted in ("kill", "delete") if name_of(fn) == "Watch._do_asked" else ("",):
                if planted:
                    plant(stranger, planted, id)
                answer = stranger.direct(fn, id)
                if acts and answer.status_code != 404:
                    assert answer.status_code == 500 and REFUSALS[mode] in answer.json()["error"], (
                        name_of(fn),
                        answer.text,
                    )
            if acts:
                if planted:
                    plant(stranger, planted, id)
                said = stranger.queued(fn, id)
                assert not said["success"] and REFUSALS[mode] in said["output"]["error"], (name_of(fn), said)
                assert said["output"]["title"] == "Not allowed" and "\n" not in said["output"]["error"]
                refused.append(name_of(fn))
    assert set(refused) == ACTS
    assert tab.acts == [], "none of it was even tried"
    assert tab.runner.book.all() == jobs and {job.id: job.state for job in jobs} == RUNS
    assert state_of(tab.runner.runs) == before, "no file was written, changed or removed"
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= children
    assert not [seen for seen in hub.requests if seen.method != "GET"], "nothing was sent to the Hub"


@pytest.mark.parametrize("mode", ["token"])
def test_a_stranger_is_refused_under_every_address_of_an_endpoint(stranger, mode, tab):
    """By its name, without a session, and as a batch, where Gradio hands on a list of requests."""
    for fn in of_train_tab(stranger.blocks):
        if name_of(fn) not in ACTS:
            continue
        data = stranger.fill(fn, "going-1")
        for path in (f"/gradio_api/run/{fn.api_name}", f"/gradio_api/api/{fn.api_name}"):
            answer = stranger.http.post(path, json={"data": data, "session_hash": stranger.session})
            assert answer.status_code in (404, 500), answer.text
            assert answer.status_code == 404 or REFUSALS[mode] in answer.json()["error"]
        for body in ({}, {"batched": True, "session_hash": stranger.session}):
            answer = stranger.http.post("/gradio_api/run/predict", json={"data": data, "fn_index": fn._id} | body)
            assert answer.status_code in (404, 500, 422), answer.text
        event = stranger.http.post(f"/gradio_api/call/{fn.api_name}", json={"data": data}).json().get("event_id")
        if event:
            assert "event: error" in stranger.http.get(f"/gradio_api/call/{fn.api_name}/{event}").text
    assert tab.acts == [] and {job.id: job.state for job in tab.runner.book.all()} == RUNS


@pytest.mark.parametrize("mode", ["closed"])
def test_a_stranger_sees_what_runs_ran_and_differs(stranger, tab):
    """Everything that only shows does answer."""
    for fn in of_train_tab(stranger.blocks):
        if name_of(fn) in SHOWS:
            answer = stranger.direct(fn, "done-1")
            if answer.status_code == 404:  # of an endpoint that is only called in line
                assert stranger.queued(fn, "done-1")["success"], name_of(fn)
            else:
                assert answer.status_code == 200, (name_of(fn), answer.text)
    show = next(fn for fn in stranger.blocks.fns.values() if name_of(fn) == "Watch.show")
    answer = stranger.direct(show, "going-1").json()["data"]
    shown = dict(zip([part.elem_id for part in show.outputs], answer, strict=True))
    assert "Training: step 20 of 100" in str(shown["headline"]) and "step 10 of 100: loss 0.1" in str(shown["log"])
    assert shown["curves"]["runs"][0]["points"]["loss"]
    buttons = ("stop", "kill", "resume", "delete", "again", "pack", "think-with-run")
    visible = {name for name in buttons if shown[name]["visible"]}
    assert visible == {"think-with-run"}, "no button that acts"
    history = next(fn for fn in stranger.blocks.fns.values() if name_of(fn) == "RunViews.history")
    assert {row[0] for row in stranger.direct(history).json()["data"][0]["data"]} == set(RUNS)
    thought = stranger.pressed("think-with-run", "going-1", step="10")
    assert thought[0]["value"] == "run:going-1@10"


# --- who may -----------------------------------------------------------------------------------------------------


@pytest.fixture
def owner(tab) -> Iterator[Visitor]:
    """The administrator, before a tab in which nothing moves by itself."""
    access = access_of("token", {})
    blocks = built(tab, access)
    with served(tab, access, blocks) as address:
        visitor = Visitor(address, blocks, {HEADER: SECRET})
        visitor.prepare()
        yield visitor


def jobs_of(tab: Trainings) -> dict[str, str]:
    return {job.id: job.state for job in tab.runner.book.all()}


def test_the_owner_takes_a_run_out_of_the_line_and_puts_it_back(owner, tab):
    owner.pressed("stop", "waiting-1")
    assert jobs_of(tab)["waiting-1"] == "cancelled"
    owner.pressed("resume", "waiting-1")
    assert jobs_of(tab)["waiting-1"] == "queued"
    assert "finished; begin a new one" in owner.refused("resume", "done-1")
    assert "over already" in owner.refused("stop", "done-1")


def test_a_run_is_deleted_only_after_the_question(owner, tab):
    assert "Nothing was asked" in owner.refused("yes")
    _, question, row = owner.pressed("delete", "done-1")
    assert "done-1" in str(question) and "all its checkpoints" in str(question) and row["visible"]
    assert (tab.runner.runs / "done-1").is_dir()
    assert owner.direct(triggered(owner.blocks, "no")).json()["data"][0]["visible"] is False
    assert (tab.runner.runs / "done-1").is_dir()
    owner.pressed("delete", "done-1")
    owner.pressed("yes")
    assert not (tab.runner.runs / "done-1").exists() and "done-1" not in jobs_of(tab)
    assert "no run called" in owner.refused("yes"), "asked once, answered once"


def test_a_run_that_vanishes_while_it_is_looked_at_is_no_error(owner, tab, monkeypatch):
    """Another page has deleted it between two looks at the book."""
    show = next(fn for fn in owner.blocks.fns.values() if name_of(fn) == "Watch.show")
    listed = tab.views.choices()
    monkeypatch.setattr(tab.views, "choices", lambda: listed)
    tab.runner.book.remove("done-1")
    assert owner.direct(show, "done-1").status_code == 200
    monkeypatch.undo()
    for odd in ("done-1", "../x", ["done-1"], {"a": 1}, 7, None):  # also for a session that the server knows nothing of
        assert Visitor(str(owner.http.base_url), owner.blocks).direct(show, run=odd).status_code == 200
        assert "no run called" in owner.refused("stop", run=odd)


def test_what_was_asked_of_one_run_is_not_done_to_another(owner, tab):
    owner.pressed("delete", "done-1")
    owner.pressed("yes", "stopped-1")
    assert "done-1" not in jobs_of(tab) and "stopped-1" in jobs_of(tab)


def test_a_run_is_packed_and_downloaded(owner, tab):
    (button,) = owner.pressed("pack", "done-1")
    assert button["visible"]
    answer = owner.http.get(button["value"]["url"])
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert {"done-1/config.yaml", "done-1/checkpoint/model.safetensors"} <= set(packed.namelist())
    assert button["value"]["orig_name"] == "done-1.zip"


def test_a_wrong_repository_gets_a_sentence(owner, tab, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    hub.add_repo("bob/theirs", {"a.txt": b"x"})
    for repo, says in {"": "Name the repository", "alice": "namespace/name", "../../x": "namespace/name",
                       "bob/theirs": "bob/theirs"}.items():  # fmt: skip
        said = owner.refused("publish", "stopped-1", repo=repo)
        assert says in said and "\n" not in said and "Traceback" not in said
    assert tab.views.watch("stopped-1")["published"] == ""


def test_a_run_is_published_from_the_page(owner, tab, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_write")
    owner.pressed("publish", "stopped-1", repo="alice/new")
    assert tab.views.watch("stopped-1")["published"].startswith("Waiting to be sent to alice/new")


WRONG_FORMS = [
    ({"set_train_steps": 0}, "train.steps"), ({"set_train_steps": "many"}, "train.steps"),
    ({"set_train_steps": None}, "train.steps"), ({"set_train_steps": True}, "train.steps"), ({"set_optim_lr": 7}, "optim.lr"),
    ({"set_model_heads": 7}, "multiple of heads"), ({"set_loss_trunk": "x"}, "loss.trunk"),
    ({"set_loss_trunk": ["mean"]}, "loss.trunk"), ({"set_model_backbone_type": "/etc"}, "backbone_type"),
    ({"run_name": "../x"}, "small letters"), ({"run_name": "A B"}, "small letters"),
    ({"start_repo": "nowhere"}, "namespace/name"),
    ({"source": "../tiny"}, "not in the list"), ({"place": "a100"}, "not in the list"),
    ({"beginning": "/etc"}, "not in the list"), ({"beginning": "hub:../../x"}, "not in the list"),
]  # fmt: skip


def test_a_wrong_form_gets_a_sentence_and_begins_nothing(owner, tab):
    before = jobs_of(tab)
    for given, says in WRONG_FORMS:
        said = owner.refused("start", **given)
        assert says in said and "\n" not in said and "Traceback" not in said, given
    assert jobs_of(tab) == before


def test_a_form_begins_a_run_with_just_its_settings(owner, tab):
    run, rooms = owner.pressed("start", run_name="from-the-page", set_train_steps=33, set_parity_task_length=7)
    assert run["value"].startswith("from-the-page-") and rooms["selected"] == "watch"
    config = tab.runner.folder(run["value"]).config()
    assert (config.train.steps, config.task["length"]) == (33, 7)
    assert tab.runner.book.get(run["value"]).by == "", "who knows the token has no name"


def test_an_estimate_is_told_as_people_read_it(owner, tab, monkeypatch):
    found = {"parameters": 12_345, "seconds_per_1000_steps": 60.0, "seconds_in_all": 7200.0, "memory_gb": 0.5,
             "gpu_memory_gb": None, "disk_gb": 0.25, "save_gb": 0.001, "device": "2 cores"}  # fmt: skip
    monkeypatch.setattr("ui.trainings.measure", lambda *_: found)
    estimate = next(fn for fn in owner.blocks.fns.values() if name_of(fn) == "Form._estimate")
    said = owner.queued(estimate)["output"]["data"][0]
    assert "12,345" in str(said) and "2 h" in str(said) and "0.5 GB" in str(said)
    refused = owner.queued(estimate, set_train_steps=0)
    assert not refused["success"] and "train.steps" in refused["output"]["error"]


def test_a_checkpoint_of_the_hub_fills_the_form(owner, hub):
    assert "bob/parity" in owner.refused("from-hub", from_hub="bob/parity")
    assert "namespace/name" in owner.refused("from-hub", from_hub="../x")


@pytest.mark.slow
def test_a_real_run_is_begun_stopped_gone_on_with_killed_and_deleted(tmp_path, checkpoints):
    """All of it through the page's endpoints, with processes."""
    trainings = trainings_in(tmp_path, checkpoints, starts=True)
    access = access_of("token", {})
    blocks = built(trainings, access)
    runner: Runner = trainings.runner
    try:
        with served(trainings, access, blocks) as address:
            owner = Visitor(address, blocks, {HEADER: SECRET})
            owner.prepare()
            id = owner.pressed("start", source="endless")[0]["value"]
            until(lambda: trainings.views.watch(id)["step"] > 0)
            owner.pressed("stop", id)
            until(lambda: jobs_of(trainings)[id] == "cancelled")
            saved = trainings.views.watch(id)["saved"][-1]
            owner.pressed("resume", id)
            until(lambda: jobs_of(trainings)[id] == "running" and trainings.views.watch(id)["step"] > saved)
            assert "stop it first" in (owner.pressed("delete", id) and owner.refused("yes"))
            owner.pressed("kill", id)
            owner.pressed("yes")
            until(lambda: jobs_of(trainings)[id] == "cancelled")
            assert trainings.views.watch(id)["sentence"].startswith("Killed.") and trainings.views.watch(id)[
                "saved"
            ] == [saved]
            owner.pressed("delete", id)
            owner.pressed("yes")
            assert jobs_of(trainings) == {} and not (runner.runs / id).exists()
    finally:
        end(runner)
