"""Watching one run: what it does, its curves, its log, its checkpoints, and what the owner can do with it."""

import html
import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from ui.auth.access import Access, AccessDenied
from ui.components.curves import build_curves_view
from ui.components.formatting import escape_markdown, format_duration, format_progress_bar, format_table
from ui.components.html_component import build_html_component
from ui.components.inputs import RunDropdown
from ui.services.inference_service import InferenceService
from ui.services.run_view_models import STATE_LABELS
from ui.services.training_service import TrainingService
from ui.tabs.event_options import OWNER_EVENT, PRIVATE_EVENT, SILENT_EVENT, UNQUEUED_EVENT

NO_RUNS_MESSAGE = "### There is no run yet\nBegin one under *New run*."
NEWEST_STEP = "newest"
CONFIRMATIONS = {
    "kill": "End this run at once? What came after its last saved step is lost. *Stop and save* loses nothing.",
    "delete": "Delete this run with its curves, its log and all its checkpoints? What was published stays on the Hub.",
}


class RunMonitor:
    """The room, and its parts that other rooms turn to.

    Args:
        trainings: the one door to runs.
        services: names checkpoints for the Think tab.
        access: who may act; asked inside every action.
    """

    def __init__(self, training_service: TrainingService, inference_service: InferenceService, access: Access):
        self.training_service, self.inference_service, self.access = training_service, inference_service, access
        self.shown_version = gr.State("")  # what this visitor was shown last
        self.pending_action = gr.State(("", ""))  # what this visitor was asked: what to do, and with which run
        with gr.Row(equal_height=True):
            self.run_dropdown = RunDropdown(
                [], label="Run", elem_id="run", scale=4, min_width=280, info="the newest first"
            )
            with gr.Column(scale=6, min_width=280):
                self.headline = gr.Markdown(NO_RUNS_MESSAGE, elem_id="headline")
        with gr.Row(elem_id="run-actions"):
            small: dict[str, Any] = {"visible": False, "scale": 0, "size": "md"}
            self.step_dropdown = gr.Dropdown(
                [],
                label="Saved step",
                show_label=False,
                visible=False,
                elem_id="step",
                min_width=170,
                scale=0,
                container=False,
            )
            self.buttons = {
                "think": gr.Button("Think with this checkpoint", elem_id="think-with-run", min_width=240, **small),
                "stop": gr.Button("Stop and save", variant="stop", elem_id="stop", min_width=150, **small),
                "resume": gr.Button("Go on", variant="primary", elem_id="resume", min_width=110, **small),
                "again": gr.Button("New run like this", elem_id="again", min_width=170, **small),
                "pack": gr.Button("Pack for download", elem_id="pack", min_width=180, **small),
                "kill": gr.Button("Kill …", elem_id="kill", min_width=90, **small),
                "delete": gr.Button("Delete …", elem_id="delete", min_width=100, **small),
            }
            self.archive_button = gr.DownloadButton(
                "Download", variant="primary", elem_id="packed", min_width=120, **small
            )
        with gr.Row(visible=False, elem_id="sure") as self.sure:
            self.confirm_text = gr.Markdown(elem_id="question")
            self.confirm_button = gr.Button("Yes", variant="stop", elem_id="yes", scale=0, min_width=110)
            self.cancel_button = gr.Button("No", elem_id="no", scale=0, min_width=110)
        self.curves = build_curves_view("curves")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                self.facts = gr.Markdown(elem_id="run-facts", elem_classes="facts")
                with gr.Accordion("Publish to the Hugging Face Hub", open=False, visible=False) as self.publishing:
                    self.repo = gr.Textbox(
                        label="Repository",
                        placeholder="namespace/name",
                        max_length=200,
                        elem_id="repo",
                        info="the finished checkpoint, or else the newest saved step, in one commit",
                    )
                    self.private = gr.Checkbox(label="private, if the repository has to be made")
                    self.publish_button = gr.Button("Publish now", elem_id="publish")
            with gr.Column(scale=4, min_width=300):
                self.log = build_html_component("log", "log")
        self.timer = gr.Timer(1.0, active=False)

    @property
    def outputs(self) -> list[Any]:
        """What `show` fills."""
        return [
            self.run_dropdown,
            self.shown_version,
            self.headline,
            self.curves,
            self.facts,
            self.log,
            self.step_dropdown,
            self.publishing,
            self.repo,
            *self.buttons.values(),
        ]

    def show(self, run_id: str | None, shown_version: str, request: gr.Request) -> list[Any]:
        """Everything of a run that this visitor was not shown yet; nothing at all where nothing is new."""
        choices = self.training_service.run_views.list_run_choices()
        known = {known for _, known in choices}
        gone = run_id not in known
        run_id = self.training_service.run_views.get_current_run_id() if gone else run_id
        try:
            view = self.training_service.run_views.get_run_view(run_id) if run_id else None
        except ValueError:  # it was deleted this very moment
            return [gr.skip()] * len(self.outputs)
        may = self.access.get_current_user(request) is not None
        runs, version = f"{hash(tuple(choices))}", f"{may} {view['version'] if view else ''}"
        if f"{runs} {version}" == shown_version:
            return [gr.skip()] * len(self.outputs)
        # a choice that is being made while this is on its way must not be undone
        listed = gr.skip() if shown_version.startswith(f"{runs} ") else gr.Dropdown(choices)
        shown = [gr.Dropdown(choices, value=run_id) if gone else listed, f"{runs} {version}"]
        again = bool(run_id) and run_id in shown_version.split()
        if view is None:
            hidden = [gr.Button(visible=False)] * len(self.buttons)
            nothing = [
                NO_RUNS_MESSAGE,
                None,
                "",
                "",
                gr.Dropdown(visible=False),
                gr.Accordion(visible=False),
                gr.skip(),
            ]
            return [*shown, *nothing, *hidden]
        possible = get_allowed_actions(view, may)
        return [
            *shown,
            format_headline(view),
            view["curves"],
            format_run_facts(view),
            view["log"],
            build_step_dropdown(view, again),
            gr.Accordion(visible="publish" in possible),
            gr.skip() if again else view["repo"],
            *(gr.Button(visible=name in possible) for name in self.buttons),
        ]

    def connect(self, page: gr.Blocks, tabs: gr.Tabs, checkpoint_dropdown: gr.Dropdown | None) -> None:
        """Bring it up to date when the page is opened, when another run is chosen, and every second while it is open."""
        given = [self.run_dropdown, self.shown_version]

        def show_anew(id: str | None, request: gr.Request) -> list[Any]:
            return [*self.show(id, "", request), gr.Row(visible=False), gr.DownloadButton(visible=False)]

        page.load(self.show, given, self.outputs, **SILENT_EVENT)
        page.load(self._open_requested_tab, None, [tabs, self.timer], **SILENT_EVENT)
        tabs.select(self._toggle_timer, None, self.timer, **SILENT_EVENT)
        self.timer.tick(self.show, given, self.outputs, **SILENT_EVENT)
        self.run_dropdown.input(
            show_anew, self.run_dropdown, [*self.outputs, self.sure, self.archive_button], **SILENT_EVENT
        )
        self._connect_actions()
        if checkpoint_dropdown is not None:
            self.buttons["think"].click(
                self._open_in_think_tab,
                [self.run_dropdown, self.step_dropdown],
                [checkpoint_dropdown, tabs],
                **PRIVATE_EVENT,
            )

    def _open_requested_tab(self, request: gr.Request) -> tuple[Any, Any]:
        """An address that ends in `?tab=train` opens this tab."""
        asked = dict(request.query_params or {}).get("tab") == "train"
        return (gr.Tabs(selected="train"), gr.Timer(active=True)) if asked else (gr.skip(), gr.skip())

    def _toggle_timer(self, selection: gr.SelectData) -> Any:
        return gr.Timer(active=selection.value == "Train")

    def _connect_actions(self) -> None:
        given = [self.run_dropdown, self.shown_version]
        for name in ("stop", "resume"):
            act = getattr(self.training_service, name)
            self.buttons[name].click(self._make_action_handler(act), self.run_dropdown, None, **UNQUEUED_EVENT).then(
                self.show, given, self.outputs, **SILENT_EVENT
            )
        for name in CONFIRMATIONS:
            self.buttons[name].click(
                self._make_confirmation_handler(name),
                self.run_dropdown,
                [self.pending_action, self.confirm_text, self.sure],
                **UNQUEUED_EVENT,
            )
        self.cancel_button.click(lambda: gr.Row(visible=False), None, self.sure, **SILENT_EVENT)
        self.confirm_button.click(self._run_confirmed_action, self.pending_action, self.sure, **UNQUEUED_EVENT).then(
            self.show, given, self.outputs, **SILENT_EVENT
        )
        self.publish_button.click(
            self._make_action_handler(self.training_service.publish),
            [self.run_dropdown, self.repo, self.private],
            None,
            **OWNER_EVENT,
        )
        self.buttons["pack"].click(self._create_archive, self.run_dropdown, self.archive_button, **OWNER_EVENT)

    def _make_action_handler(self, act: Callable[..., Any]) -> Callable[..., None]:
        """An action that tells how it went."""

        def handle(request: gr.Request, *given: Any) -> None:
            if said := run_as_owner(self.access, request, act, *given):
                gr.Info(escape_markdown(said), duration=8)

        return handle

    def _make_confirmation_handler(self, name: str) -> Callable[..., Any]:
        def ask(id: str, request: gr.Request) -> tuple[Any, ...]:
            run_as_owner(self.access, request, self.training_service.run_views.get_run_view, id)
            return (name, id), f"**{escape_markdown(id)}**: {CONFIRMATIONS[name]}", gr.Row(visible=True)

        return ask

    def _run_confirmed_action(self, pending_action: tuple[str, str], request: gr.Request) -> Any:
        def act() -> None:
            name, id = pending_action
            if name not in CONFIRMATIONS:
                raise ValueError("Nothing was asked.")
            getattr(self.training_service, name)(id)

        run_as_owner(self.access, request, act)
        return gr.Row(visible=False)

    def _create_archive(self, run_id: str, request: gr.Request) -> Any:
        return gr.DownloadButton(
            value=run_as_owner(self.access, request, self.training_service.create_archive, run_id), visible=True
        )

    def _open_in_think_tab(self, run_id: str, step: str | None) -> tuple[Any, Any]:
        """Anybody may think with what is shown."""
        try:
            name = self.training_service.get_checkpoint_name(run_id, None if step in (None, NEWEST_STEP) else int(step))
            self.inference_service.get_checkpoint_info(name)
        except ValueError as error:
            raise gr.Error(html.escape(str(error), quote=False), title="Not done", print_exception=False) from None
        labels = [(label, known) for label, known in self.inference_service.list_checkpoint_labels() if known != name]
        return gr.Dropdown([*labels, (name, name)], value=name), gr.Tabs(selected="think")


def run_as_owner(access: Access, request: gr.Request, act: Callable[..., Any], *args: Any) -> Any:
    """Do something for whoever may; what is wrong becomes one sentence, on screen and for programs."""
    try:
        access.require_owner(request)
        return act(*args)
    except AccessDenied as error:
        raise gr.Error(html.escape(str(error), quote=False), title="Not allowed", print_exception=False) from None
    except ValueError as error:
        raise gr.Error(html.escape(str(error), quote=False), title="Not done", print_exception=False) from None


def get_allowed_actions(view: dict[str, Any], is_owner: bool) -> set[str]:
    """What can be done with a run now, by whom the page is shown to."""
    there = bool(view["saved"] or view["finished"])
    found = {"think"} if there else set()
    if not is_owner:
        return found
    found |= {"again", "pack"} | ({"publish"} if there else set())
    if view["state"] in ("queued", "running"):
        saves = view["place"] == "here" and not view["intent"]  # elsewhere the machine is gone with what it saved
        return found | {"kill"} | ({"stop"} if saves else set())
    resumes = view["state"] != "succeeded" and view["place"] == "here"
    return found | {"delete"} | ({"resume"} if resumes else set())


def format_headline(view: dict[str, Any]) -> str:
    """State in words, how far it is, how long it will take, and why it is as it is."""
    parts = []
    if view["steps"]:
        parts.append(format_progress_bar(view["share"]))
    if view["left"]:
        parts.append(f"about {format_duration(view['left'])} left")
    if view["state"] == "running" and view["speed"]:
        parts.append(f"{view['speed']:.3g} steps a second")
    return f"### {view['headline']}\n\n{' · '.join(parts)}\n\n{escape_markdown(view['sentence'])}"


def format_run_facts(view: dict[str, Any]) -> str:
    """A short table of what else matters."""
    took = (view["ended"] or time.time()) - view["started"] if view["started"] else 0
    where = "this machine" if view["place"] == "here" else f"Hugging Face Jobs, {escape_markdown(view['place'])}"
    if view["url"].startswith("https://"):
        where += f" ([its page]({view['url']}))"
    saved = ", ".join(f"{step:,}" for step in view["saved"])
    published = escape_markdown(view["published"])
    if view["address"].startswith(("https://", "http://")):
        published = f"[{escape_markdown(view['address'])}]({view['address']})"
    begun = time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(view["submitted"]))
    rows = {
        "state": STATE_LABELS[view["state"]],
        "begun": begun + (f" by {escape_markdown(view['by'])}" if view["by"] else ""),
        "took": format_duration(took) if took and view["ended"] else "",
        "where": where,
        "saved steps": saved,
        "checkpoint": f"`runs/{view['id']}/checkpoint`, and in the Think and Models tabs" if view["finished"] else "",
        "published": published,
        "disk": f"{view['size'] / 2**20:,.1f} MB",
        "by hand": f"`{' '.join(view['command'].replace('`', '').replace('|', '/').split())}`",
    }
    return format_table(rows)


def build_step_dropdown(view: dict[str, Any], is_same_run: bool) -> Any:
    """The choice of a saved step; what was chosen stays chosen while the same run is shown again."""
    steps = [(f"step {step:,}", str(step)) for step in reversed(view["saved"])]
    newest = ("finished" if view["finished"] else "newest step", NEWEST_STEP)
    chosen = {} if is_same_run else {"value": NEWEST_STEP}
    return gr.Dropdown([newest, *steps], visible=bool(steps or view["finished"]), **chosen)
