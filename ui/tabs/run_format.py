"""Texts and choices of the dashboard, built from the view model of a run."""

import time
from typing import Any

import gradio as gr

from ui.components.formatting import escape_markdown, format_duration, format_progress_bar, format_table
from ui.services.training_service import LOCAL_TARGET

NEWEST_STEP = "newest"  # choice of the newest checkpoint of a run


def get_allowed_actions(view: dict[str, Any], is_owner: bool) -> set[str]:
    """Return the names of the actions that this visitor may take on a run now.

    Args:
        view: View model of the run.
        is_owner: Whether the visitor may train.
    """
    has_checkpoint = bool(view["saved"] or view["finished"])
    public_actions = {"try"} if has_checkpoint else set()
    if not is_owner:
        return public_actions
    actions = public_actions | {"duplicate", "archive"} | ({"publish"} if has_checkpoint else set())
    is_local = view["place"] == LOCAL_TARGET
    if view["state"] in ("queued", "running"):
        can_stop = is_local and not view["intent"]  # a remote host is deleted with the checkpoint that it would save
        return actions | {"kill"} | ({"stop"} if can_stop else set())
    can_resume = view["state"] != "succeeded" and is_local
    return actions | {"delete"} | ({"resume"} if can_resume else set())


def format_headline(view: dict[str, Any]) -> str:
    """Return name and task of a run, what it is doing, its progress, the time left and the reason of its state, as Markdown."""
    parts = [f"{escape_markdown(view['task'])}"]
    if view["steps"]:
        parts.append(format_progress_bar(view["share"]))
    if view["left"]:
        parts.append(f"about {format_duration(view['left'])} left")
    if view["state"] == "running" and view["speed"]:
        parts.append(f"{view['speed']:.3g} steps/s")
    name = f"### {escape_markdown(view['id'])}\n\n**{view['headline']}**"
    sentences = " ".join(filter(None, [view["progress"], view["expectation"], view["sentence"]]))
    return f"{name} · {' · '.join(parts)}\n\n{escape_markdown(sentences)}"


def format_run_facts(view: dict[str, Any]) -> str:
    """Return a table of further facts about a run, as Markdown."""
    duration_s = (view["ended"] or time.time()) - view["started"] if view["started"] else 0
    host = "this computer" if view["place"] == LOCAL_TARGET else f"Hugging Face Jobs, {escape_markdown(view['place'])}"
    if view["url"].startswith("https://"):
        host += f" ([open]({view['url']}))"
    publication = escape_markdown(view["published"])
    if view["address"].startswith(("https://", "http://")):
        publication = f"[{escape_markdown(view['address'])}]({view['address']})"
    submitted = time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(view["submitted"]))
    rows = {
        "state": view["state_label"],
        "started": submitted + (f" by {escape_markdown(view['by'])}" if view["by"] else ""),
        "duration": format_duration(duration_s) if duration_s and view["ended"] else "",
        "hardware": host,
        "checkpoints": ", ".join(f"{step:,}" for step in view["saved"]),
        "result": f"`runs/{view['id']}/checkpoint`, also in the Think and Models tabs" if view["finished"] else "",
        "published": publication,
        "disk": f"{view['size'] / 2**20:,.1f} MB",
    }
    return format_table(rows)


def build_step_dropdown(view: dict[str, Any], is_same_run: bool) -> gr.Dropdown:
    """Return the choice of a saved step.

    Args:
        view: View model of the run.
        is_same_run: Whether the page already shows this run; then the selected step stays selected.
    """
    steps = [(f"step {step:,}", str(step)) for step in reversed(view["saved"])]
    newest = ("finished" if view["finished"] else "newest step", NEWEST_STEP)
    selection: dict[str, Any] = {} if is_same_run else {"value": NEWEST_STEP}
    return gr.Dropdown([newest, *steps], visible=bool(steps or view["finished"]), **selection)
