"""Every endpoint of the page, called directly by a stranger, who sees all and changes nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import psutil
import pytest

from tests.ui.gradio_session import RUNS, Visitor, access_of, name_of, tab
from tests.ui.run_fixtures import SECRET, built, served
from tests.ui.space_fixtures import provider, space
from ui.auth.authenticators import ADMIN_TOKEN_HEADER

__all__ = ["provider", "space", "tab"]

ACTS = {
    "Watch._acting.<locals>.handle",
    "Watch._asking.<locals>.ask",
    "Watch._do_asked",
    "Watch._pack",
    "Form._fill_from_hub",
    "Form._estimate",
    "Form._start",
}
SHOWS = {
    "login_row.<locals>.say",
    "login_buttons.<locals>.show",
    "RunViews.history",
    "history_room.<locals>.open_run",
    "compare_room.<locals>.list_anew",
    "compare_room.<locals>.compare",
    "Watch.show",
    "Watch._open_asked",
    "Watch._look_or_not",
    "Watch.connect.<locals>.show_anew",
    "Watch._connect_actions.<locals>.<lambda>",
    "Watch._think_with",
    "Form._empty",
    "Form._fill",
    "Form._list_anew",
    "Form._fill_again",
    "Form.connect.<locals>.<lambda>",
}
REFUSALS = {
    "closed": "Training is closed to everybody",
    "token": "Training is for this app's administrator",
    "space": "Only lab may train here: sign in",
    "local": "this request came through a proxy",
}
STRANGE = {  # what a stranger sends along who hopes to pass for somebody else
    "closed": {ADMIN_TOKEN_HEADER: SECRET},
    "token": {"Cookie": "ctm_admin=9999999999.00; session=x", "Authorization": f"Bearer {SECRET}"},
    "space": {ADMIN_TOKEN_HEADER: SECRET, "Authorization": "Bearer hf_lab", "Cookie": "session=e30=.x.y"},
    "local": {"X-Forwarded-For": "127.0.0.1"},
}


def of_train_tab(blocks: gr.Blocks) -> list[Any]:
    rooms = (
        "ui.tabs.run_monitor",
        "ui.tabs.new_run",
        "ui.tabs.run_history",
        "ui.tabs.login",
        "ui.services.training_service",
        "ui.services.run_view_models",
        "ui.tabs.train",
    )
    return [fn for fn in blocks.fns.values() if fn.fn is not None and fn.fn.__module__ in rooms]


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time of change; looking at the book changes nothing of it."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["closed", "token", "local", "space"])
def mode(request) -> str:
    return request.param


@pytest.fixture
def stranger(mode, tab, request, monkeypatch) -> Iterator[Visitor]:
    """A visitor who may not train, in a session that knows every run."""
    for place in ("training.jobs.scheduler.launch", "training.jobs.estimate_process.launch"):
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
    before, jobs = state_of(tab.scheduler.runs_dir), tab.scheduler.store.list_jobs()
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
    assert tab.scheduler.store.list_jobs() == jobs and {job.id: job.state for job in jobs} == RUNS
    assert state_of(tab.scheduler.runs_dir) == before, "no file was written, changed or removed"
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
    assert tab.acts == [] and {job.id: job.state for job in tab.scheduler.store.list_jobs()} == RUNS


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
