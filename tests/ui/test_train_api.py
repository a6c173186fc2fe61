"""Test every endpoint as an anonymous visitor, who may see everything and change nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import psutil
import pytest

from tests.ui.gradio_session import STATE_BY_RUN, GradioSession, get_handler_name, make_access, recording_service
from tests.ui.run_fixtures import ADMIN_TOKEN, build_page, serve_page
from tests.ui.space_fixtures import openid_provider, space_environment
from ui.auth.authenticators import ADMIN_TOKEN_HEADER

__all__ = ["openid_provider", "recording_service", "space_environment"]

OWNER_HANDLERS = {
    "RunActions._make_action_handler.<locals>.handle",
    "RunActions._make_confirmation_handler.<locals>.confirm",
    "RunActions._run_confirmed_action",
    "RunActions._create_archive",
    "NewRunForm._fill_from_hub",
    "NewRunForm._estimate",
    "NewRunForm._connect_start.<locals>.start",
    "NewRunForm._measure",
}
PUBLIC_HANDLERS = {
    "build_login_row.<locals>.describe",
    "build_login_buttons.<locals>.show",
    "RunViewModels.list_history_rows",
    "build_history_tab.<locals>.open_run",
    "RunDashboard.show",
    "RunDashboard.show_samples",
    "RunDashboard.connect.<locals>.open_requested_tab",
    "RunDashboard.connect.<locals>.<lambda>",
    "RunActions.connect.<locals>.<lambda>",
    "RunActions.connect_think_button.<locals>.open_in_think_tab",
    "NewRunForm._choose",
    "NewRunForm._list_settings",
    "NewRunForm._refresh_times",
    "describe_name",
    "NewRunForm._fill",
    "NewRunForm._refresh_choices",
    "NewRunForm._connect_duplicate.<locals>.fill_from_run",
    "NewRunForm._connect_estimate.<locals>.<lambda>",
}
DENIAL_MESSAGES = {
    "closed": "Training is off",
    "token": "Only the administrator may train",
    "space": "Only lab may train here: sign in",
    "local": "this request came through a proxy",
}
INVALID_CREDENTIALS = {  # per access mode
    "closed": {ADMIN_TOKEN_HEADER: ADMIN_TOKEN},
    "token": {"Cookie": "ctm_admin=9999999999.00; session=x", "Authorization": f"Bearer {ADMIN_TOKEN}"},
    "space": {ADMIN_TOKEN_HEADER: ADMIN_TOKEN, "Authorization": "Bearer hf_lab", "Cookie": "session=e30=.x.y"},
    "local": {"X-Forwarded-For": "127.0.0.1"},
}


def select_train_handlers(blocks: gr.Blocks) -> list[Any]:
    module_names = (
        "ui.tabs.dashboard",
        "ui.tabs.run_actions",
        "ui.tabs.new_run",
        "ui.tabs.run_history",
        "ui.tabs.login",
        "ui.services.training_service",
        "ui.services.run_view_models",
        "ui.tabs.train",
    )
    return [fn for fn in blocks.fns.values() if fn.fn is not None and fn.fn.__module__ in module_names]


def snapshot_dir(directory: Path) -> dict[str, tuple[int, int]]:
    """Return size and modification time of every file below a directory."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in directory.rglob("*") if path.is_file()
    }


@pytest.fixture(params=["closed", "token", "local", "space"])
def mode(request) -> str:
    return request.param


@pytest.fixture
def anonymous_session(mode, recording_service, request, monkeypatch) -> Iterator[GradioSession]:
    """Yield a session of a visitor who may not train, with all runs among its choices."""
    for target in ("training.jobs.launcher.launch", "training.jobs.estimate_process.launch"):
        monkeypatch.setattr(target, lambda *_, **__: pytest.fail("a process was started"))
    environment = request.getfixturevalue("space_environment") if mode == "space" else {}
    access = make_access(mode, environment)
    assert access.mode == mode
    blocks = build_page(recording_service, access)
    with serve_page(recording_service, access, blocks) as address:
        session = GradioSession(address, blocks, INVALID_CREDENTIALS[mode])
        session.load_tabs()
        yield session


def set_pending_confirmation(session: GradioSession, name: str, run_id: str) -> None:
    """Put a pending action into the session, as if the page had asked the visitor to confirm it."""
    pending_action = next(
        fn.inputs[0] for fn in session.blocks.fns.values() if get_handler_name(fn) == "RunActions._run_confirmed_action"
    )
    session.blocks.state_holder[session.session_hash].state_data[pending_action._id] = (name, run_id)


@pytest.mark.parametrize("mode", ["token", "space"])
def test_every_endpoint_of_the_train_tab_is_listed_as_owner_or_public(recording_service, mode, request):
    """A new endpoint must be added to `OWNER_HANDLERS` or `PUBLIC_HANDLERS`; the other tests then call it."""
    environment = request.getfixturevalue("space_environment") if mode == "space" else {}
    names = {
        get_handler_name(fn)
        for fn in select_train_handlers(build_page(recording_service, make_access(mode, environment)))
    }
    assert names <= OWNER_HANDLERS | PUBLIC_HANDLERS
    assert names >= OWNER_HANDLERS and names >= PUBLIC_HANDLERS - {"build_login_buttons.<locals>.show"}


def test_an_anonymous_visitor_changes_nothing_through_any_endpoint(anonymous_session, mode, recording_service, hub):
    """Call all endpoints, queued and directly, for a run in every state."""
    before, jobs = snapshot_dir(recording_service.scheduler.runs_dir), recording_service.scheduler.store.list_jobs()
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    hub.clear_requests()
    rejected = []
    for fn in anonymous_session.blocks.fns.values():
        is_owner_handler = get_handler_name(fn) in OWNER_HANDLERS
        for run_id in STATE_BY_RUN if is_owner_handler else ["done-1"]:
            for pending_action in (
                ("kill", "delete") if get_handler_name(fn) == "RunActions._run_confirmed_action" else ("",)
            ):
                if pending_action:
                    set_pending_confirmation(anonymous_session, pending_action, run_id)
                response = anonymous_session.call_directly(fn, run_id)
                if is_owner_handler and response.status_code != 404:
                    assert response.status_code == 500 and DENIAL_MESSAGES[mode] in response.json()["error"], (
                        get_handler_name(fn),
                        response.text,
                    )
            if is_owner_handler:
                if pending_action:
                    set_pending_confirmation(anonymous_session, pending_action, run_id)
                message = anonymous_session.call_queued(fn, run_id)
                assert not message["success"] and DENIAL_MESSAGES[mode] in message["output"]["error"], (
                    get_handler_name(fn),
                    message,
                )
                assert message["output"]["title"] == "Not allowed" and "\n" not in message["output"]["error"]
                rejected.append(get_handler_name(fn))
    assert set(rejected) == OWNER_HANDLERS
    assert recording_service.calls == [], "no method of the training service was called"
    assert recording_service.scheduler.store.list_jobs() == jobs and {job.id: job.state for job in jobs} == STATE_BY_RUN
    assert snapshot_dir(recording_service.scheduler.runs_dir) == before, "no file was written, changed or removed"
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= children
    assert not [request for request in hub.requests if request.method != "GET"], "nothing was sent to the Hub"


@pytest.mark.parametrize("mode", ["token"])
def test_an_anonymous_client_is_denied_at_every_url_of_an_owner_endpoint(anonymous_session, mode, recording_service):
    """Call endpoints by name, without a session, and as a batch, for which Gradio passes a list of requests."""
    for fn in select_train_handlers(anonymous_session.blocks):
        if get_handler_name(fn) not in OWNER_HANDLERS:
            continue
        data = anonymous_session.build_inputs(fn, "going-1")
        for path in (f"/gradio_api/run/{fn.api_name}", f"/gradio_api/api/{fn.api_name}"):
            response = anonymous_session.http.post(
                path, json={"data": data, "session_hash": anonymous_session.session_hash}
            )
            assert response.status_code in (404, 500), response.text
            assert response.status_code == 404 or DENIAL_MESSAGES[mode] in response.json()["error"]
        for body in ({}, {"batched": True, "session_hash": anonymous_session.session_hash}):
            response = anonymous_session.http.post(
                "/gradio_api/run/predict", json={"data": data, "fn_index": fn._id} | body
            )
            assert response.status_code in (404, 500, 422), response.text
        event_id = (
            anonymous_session.http.post(f"/gradio_api/call/{fn.api_name}", json={"data": data}).json().get("event_id")
        )
        if event_id:
            assert "event: error" in anonymous_session.http.get(f"/gradio_api/call/{fn.api_name}/{event_id}").text
    assert (
        recording_service.calls == []
        and {job.id: job.state for job in recording_service.scheduler.store.list_jobs()} == STATE_BY_RUN
    )


@pytest.mark.parametrize("mode", ["closed"])
def test_an_anonymous_visitor_may_call_every_public_endpoint(anonymous_session, recording_service):
    """Every read-only endpoint answers."""
    for fn in select_train_handlers(anonymous_session.blocks):
        if get_handler_name(fn) in PUBLIC_HANDLERS:
            response = anonymous_session.call_directly(fn, "done-1")
            if response.status_code == 404:  # this endpoint is available through the queue only
                assert anonymous_session.call_queued(fn, "done-1")["success"], get_handler_name(fn)
            elif get_handler_name(fn) == "NewRunForm._choose":  # the recipes of this page have no task cards
                assert "There is no such task card" in response.json()["error"]
            else:
                assert response.status_code == 200, (get_handler_name(fn), response.text)
    show = next(fn for fn in anonymous_session.blocks.fns.values() if get_handler_name(fn) == "RunDashboard.show")
    values = anonymous_session.call_directly(show, "going-1").json()["data"]
    outputs = dict(zip([part.elem_id for part in show.outputs], values, strict=True))
    assert "Training: step 20 of 100" in str(outputs["headline"]) and "step 10 of 100: loss 0.1" in str(outputs["log"])
    assert outputs["curves"]["runs"][0]["points"]["loss"] and outputs["runs"]["shown"] == "going-1"
    buttons = ("stop", "kill", "resume", "delete", "duplicate", "create-archive", "try-run")
    visible = {name for name in buttons if outputs[name]["visible"]}
    assert visible == {"try-run"}, "owner buttons are hidden"
    history = next(
        fn for fn in anonymous_session.blocks.fns.values() if get_handler_name(fn) == "RunViewModels.list_history_rows"
    )
    assert {row[0] for row in anonymous_session.call_directly(history).json()["data"][0]["data"]} == set(STATE_BY_RUN)
    outputs_of_try_run = anonymous_session.press_button("try-run", "going-1", step="10")
    assert outputs_of_try_run[0]["value"] == "run:going-1@10"
