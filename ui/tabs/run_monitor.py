"""Watching one run: what it does, its curves, its log, its checkpoints, and what the owner can do with it."""

import html
import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from ui.auth.access import Access, Refused
from ui.components.curves import curves_view
from ui.components.formatting import bar_of, duration, plain, table_of
from ui.components.html_component import drawn
from ui.components.inputs import RunInput
from ui.services.inference_service import Services
from ui.services.run_view_models import STATES
from ui.services.training_service import Trainings
from ui.tabs.event_options import ACTS, PRIVATE, QUIET, SOON

NOTHING = "### There is no run yet\nBegin one under *New run*."
NEWEST = "newest"
QUESTIONS = {
    "kill": "End this run at once? What came after its last saved step is lost. *Stop and save* loses nothing.",
    "delete": "Delete this run with its curves, its log and all its checkpoints? What was published stays on the Hub.",
}


class Watch:
    """The room, and its parts that other rooms turn to.

    Args:
        trainings: the one door to runs.
        services: names checkpoints for the Think tab.
        access: who may act; asked inside every action.
    """

    def __init__(self, trainings: Trainings, services: Services, access: Access):
        self.trainings, self.services, self.access = trainings, services, access
        self.seen = gr.State("")  # what this visitor was shown last
        self.asked = gr.State(("", ""))  # what this visitor was asked: what to do, and with which run
        with gr.Row(equal_height=True):
            self.run = RunInput([], label="Run", elem_id="run", scale=4, min_width=280, info="the newest first")
            with gr.Column(scale=6, min_width=280):
                self.headline = gr.Markdown(NOTHING, elem_id="headline")
        with gr.Row(elem_id="run-actions"):
            small: dict[str, Any] = {"visible": False, "scale": 0, "size": "md"}
            self.step = gr.Dropdown(
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
            self.packed = gr.DownloadButton("Download", variant="primary", elem_id="packed", min_width=120, **small)
        with gr.Row(visible=False, elem_id="sure") as self.sure:
            self.question = gr.Markdown(elem_id="question")
            self.yes = gr.Button("Yes", variant="stop", elem_id="yes", scale=0, min_width=110)
            self.no = gr.Button("No", elem_id="no", scale=0, min_width=110)
        self.curves = curves_view("curves")
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
                    self.publish = gr.Button("Publish now", elem_id="publish")
            with gr.Column(scale=4, min_width=300):
                self.log = drawn("log", ("log",), "log")
        self.timer = gr.Timer(1.0, active=False)

    @property
    def parts(self) -> list[Any]:
        """What `show` fills."""
        return [
            self.run,
            self.seen,
            self.headline,
            self.curves,
            self.facts,
            self.log,
            self.step,
            self.publishing,
            self.repo,
            *self.buttons.values(),
        ]

    def show(self, id: str | None, seen: str, request: gr.Request) -> list[Any]:
        """Everything of a run that this visitor was not shown yet; nothing at all where nothing is new."""
        choices = self.trainings.views.choices()
        known = {known for _, known in choices}
        gone = id not in known
        id = self.trainings.views.current() if gone else id
        try:
            view = self.trainings.views.watch(id) if id else None
        except ValueError:  # it was deleted this very moment
            return [gr.skip()] * len(self.parts)
        may = self.access.who(request) is not None
        runs, version = f"{hash(tuple(choices))}", f"{may} {view['version'] if view else ''}"
        if f"{runs} {version}" == seen:
            return [gr.skip()] * len(self.parts)
        # a choice that is being made while this is on its way must not be undone
        listed = gr.skip() if seen.startswith(f"{runs} ") else gr.Dropdown(choices)
        shown = [gr.Dropdown(choices, value=id) if gone else listed, f"{runs} {version}"]
        again = bool(id) and id in seen.split()
        if view is None:
            hidden = [gr.Button(visible=False)] * len(self.buttons)
            nothing = [NOTHING, None, "", "", gr.Dropdown(visible=False), gr.Accordion(visible=False), gr.skip()]
            return [*shown, *nothing, *hidden]
        possible = what_is_possible(view, may)
        return [
            *shown,
            headline_of(view),
            view["curves"],
            facts_of(view),
            view["log"],
            steps_of(view, again),
            gr.Accordion(visible="publish" in possible),
            gr.skip() if again else view["repo"],
            *(gr.Button(visible=name in possible) for name in self.buttons),
        ]

    def connect(self, page: gr.Blocks, tabs: gr.Tabs, thinker: gr.Dropdown | None) -> None:
        """Bring it up to date when the page is opened, when another run is chosen, and every second while it is open."""
        given = [self.run, self.seen]

        def show_anew(id: str | None, request: gr.Request) -> list[Any]:
            return [*self.show(id, "", request), gr.Row(visible=False), gr.DownloadButton(visible=False)]

        page.load(self.show, given, self.parts, **QUIET)
        page.load(self._open_asked, None, [tabs, self.timer], **QUIET)
        tabs.select(self._look_or_not, None, self.timer, **QUIET)
        self.timer.tick(self.show, given, self.parts, **QUIET)
        self.run.input(show_anew, self.run, [*self.parts, self.sure, self.packed], **QUIET)
        self._connect_actions()
        if thinker is not None:
            self.buttons["think"].click(self._think_with, [self.run, self.step], [thinker, tabs], **PRIVATE)

    def _open_asked(self, request: gr.Request) -> tuple[Any, Any]:
        """An address that ends in `?tab=train` opens this tab."""
        asked = dict(request.query_params or {}).get("tab") == "train"
        return (gr.Tabs(selected="train"), gr.Timer(active=True)) if asked else (gr.skip(), gr.skip())

    def _look_or_not(self, opened: gr.SelectData) -> Any:
        return gr.Timer(active=opened.value == "Train")

    def _connect_actions(self) -> None:
        given = [self.run, self.seen]
        for name in ("stop", "resume"):
            act = getattr(self.trainings, name)
            self.buttons[name].click(self._acting(act), self.run, None, **SOON).then(
                self.show, given, self.parts, **QUIET
            )
        for name in QUESTIONS:
            self.buttons[name].click(self._asking(name), self.run, [self.asked, self.question, self.sure], **SOON)
        self.no.click(lambda: gr.Row(visible=False), None, self.sure, **QUIET)
        self.yes.click(self._do_asked, self.asked, self.sure, **SOON).then(self.show, given, self.parts, **QUIET)
        self.publish.click(self._acting(self.trainings.publish), [self.run, self.repo, self.private], None, **ACTS)
        self.buttons["pack"].click(self._pack, self.run, self.packed, **ACTS)

    def _acting(self, act: Callable[..., Any]) -> Callable[..., None]:
        """An action that tells how it went."""

        def handle(request: gr.Request, *given: Any) -> None:
            if said := owner_only(self.access, request, act, *given):
                gr.Info(plain(said), duration=8)

        return handle

    def _asking(self, name: str) -> Callable[..., Any]:
        def ask(id: str, request: gr.Request) -> tuple[Any, ...]:
            owner_only(self.access, request, self.trainings.views.watch, id)
            return (name, id), f"**{plain(id)}**: {QUESTIONS[name]}", gr.Row(visible=True)

        return ask

    def _do_asked(self, asked: tuple[str, str], request: gr.Request) -> Any:
        def act() -> None:
            name, id = asked
            if name not in QUESTIONS:
                raise ValueError("Nothing was asked.")
            getattr(self.trainings, name)(id)

        owner_only(self.access, request, act)
        return gr.Row(visible=False)

    def _pack(self, id: str, request: gr.Request) -> Any:
        return gr.DownloadButton(value=owner_only(self.access, request, self.trainings.pack, id), visible=True)

    def _think_with(self, id: str, step: str | None) -> tuple[Any, Any]:
        """Anybody may think with what is shown."""
        try:
            name = self.trainings.checkpoint_name(id, None if step in (None, NEWEST) else int(step))
            self.services.info(name)
        except ValueError as error:
            raise gr.Error(html.escape(str(error), quote=False), title="Not done", print_exception=False) from None
        labels = [(label, known) for label, known in self.services.labels() if known != name]
        return gr.Dropdown([*labels, (name, name)], value=name), gr.Tabs(selected="think")


def owner_only(access: Access, request: gr.Request, act: Callable[..., Any], *given: Any) -> Any:
    """Do something for whoever may; what is wrong becomes one sentence, on screen and for programs."""
    try:
        access.check(request)
        return act(*given)
    except Refused as error:
        raise gr.Error(html.escape(str(error), quote=False), title="Not allowed", print_exception=False) from None
    except ValueError as error:
        raise gr.Error(html.escape(str(error), quote=False), title="Not done", print_exception=False) from None


def what_is_possible(view: dict[str, Any], may: bool) -> set[str]:
    """What can be done with a run now, by whom the page is shown to."""
    there = bool(view["saved"] or view["finished"])
    found = {"think"} if there else set()
    if not may:
        return found
    found |= {"again", "pack"} | ({"publish"} if there else set())
    if view["state"] in ("queued", "running"):
        saves = view["place"] == "here" and not view["intent"]  # elsewhere the machine is gone with what it saved
        return found | {"kill"} | ({"stop"} if saves else set())
    resumes = view["state"] != "succeeded" and view["place"] == "here"
    return found | {"delete"} | ({"resume"} if resumes else set())


def headline_of(view: dict[str, Any]) -> str:
    """State in words, how far it is, how long it will take, and why it is as it is."""
    parts = []
    if view["steps"]:
        parts.append(bar_of(view["share"]))
    if view["left"]:
        parts.append(f"about {duration(view['left'])} left")
    if view["state"] == "running" and view["speed"]:
        parts.append(f"{view['speed']:.3g} steps a second")
    return f"### {view['headline']}\n\n{' · '.join(parts)}\n\n{plain(view['sentence'])}"


def facts_of(view: dict[str, Any]) -> str:
    """A short table of what else matters."""
    took = (view["ended"] or time.time()) - view["started"] if view["started"] else 0
    where = "this machine" if view["place"] == "here" else f"Hugging Face Jobs, {plain(view['place'])}"
    if view["url"].startswith("https://"):
        where += f" ([its page]({view['url']}))"
    saved = ", ".join(f"{step:,}" for step in view["saved"])
    published = plain(view["published"])
    if view["address"].startswith(("https://", "http://")):
        published = f"[{plain(view['address'])}]({view['address']})"
    begun = time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(view["submitted"]))
    rows = {
        "state": STATES[view["state"]],
        "begun": begun + (f" by {plain(view['by'])}" if view["by"] else ""),
        "took": duration(took) if took and view["ended"] else "",
        "where": where,
        "saved steps": saved,
        "checkpoint": f"`runs/{view['id']}/checkpoint`, and in the Think and Models tabs" if view["finished"] else "",
        "published": published,
        "disk": f"{view['size'] / 2**20:,.1f} MB",
        "by hand": f"`{' '.join(view['command'].replace('`', '').replace('|', '/').split())}`",
    }
    return table_of(rows)


def steps_of(view: dict[str, Any], again: bool) -> Any:
    """The choice of a saved step; what was chosen stays chosen while the same run is shown again."""
    steps = [(f"step {step:,}", str(step)) for step in reversed(view["saved"])]
    newest = ("finished" if view["finished"] else "newest step", NEWEST)
    chosen = {} if again else {"value": NEWEST}
    return gr.Dropdown([newest, *steps], visible=bool(steps or view["finished"]), **chosen)
