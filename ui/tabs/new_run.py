"""A new run: a recipe, what is changed of it, what it would cost, and where it goes."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ui.auth.access import Access
from ui.components.formatting import duration, plain, table_of
from ui.services.form_schema import GROUPS, Field, fields
from ui.services.training_service import EARLIER, HERE, HUB, Trainings
from ui.tabs.event_options import ACTS, MEASURES, PRIVATE, QUIET
from ui.tabs.run_monitor import Watch, owner_only

NOT_ESTIMATED = "*Estimate* trains a few steps to see what the run would take."


class Form:
    """The room, and its parts.

    Args:
        trainings: the one door to runs.
        access: who may start one; asked inside every action.
    """

    def __init__(self, trainings: Trainings, access: Access):
        self.trainings, self.access = trainings, access
        sources = trainings.sources()
        self.first = sources[0][1] if sources else ""
        filled = trainings.form(self.first) if self.first else {"task": "", "values": {}, "name": "", "publish": {}}
        with gr.Row():
            self.source = gr.Dropdown(
                sources,
                value=self.first or None,
                label="Recipe",
                elem_id="source",
                scale=2,
                min_width=280,
                info="settings to begin with: a file of configs/, or an earlier run",
            )
            self.hub = gr.Textbox(
                label="… or go on from a checkpoint on the Hub",
                placeholder="namespace/name",
                max_length=300,
                scale=2,
                min_width=280,
                elem_id="from-hub",
                submit_btn="Take its settings",
                info="its settings and weights; optimiser and step count begin anew",
            )
            self.name = gr.Textbox(
                filled["name"], label="Name", max_length=40, elem_id="run-name", min_width=160, info="its time is added"
            )
        self.components = self._lay_out(filled)
        self._lay_out_goal(filled)
        with gr.Row():
            self.ask = gr.Button("Estimate", elem_id="estimate", min_width=160)
            self.start = gr.Button("Start training", variant="primary", elem_id="start", min_width=160)
        self.cost = gr.Markdown(NOT_ESTIMATED, elem_id="cost", elem_classes="facts")

    def _lay_out(self, filled: Mapping[str, Any]) -> dict[Field, Any]:
        """A component for each setting: those that matter first, the others folded."""
        all_fields, found = fields(), {}
        kinds = sorted({field.task for field in all_fields if field.task})
        self.of_task = {}
        for kind in kinds:
            with gr.Row(visible=kind == filled["task"], elem_id=f"task-{kind}", elem_classes="settings") as row:
                found |= {field: component_of(field, filled) for field in all_fields if field.task == kind}
            self.of_task[kind] = row
        with gr.Row(elem_classes="settings"):
            found |= {field: component_of(field, filled) for field in all_fields if field.is_first and not field.task}
        for group, (title, _) in GROUPS.items():
            with gr.Accordion(title, open=False, elem_id=f"group-{group}"), gr.Row(elem_classes="settings"):
                rest = [field for field in all_fields if field.group == group and not field.is_first]
                found |= {field: component_of(field, filled) for field in rest}
        return found

    def _lay_out_goal(self, filled: Mapping[str, Any]) -> None:
        """What it begins with, where it runs and where its checkpoint goes."""
        publish = filled["publish"]
        with gr.Row():
            self.repo = gr.Textbox(
                publish.get("repo", ""),
                label="Hub repository",
                placeholder="namespace/name; empty: nothing is published",
                max_length=200,
                elem_id="start-repo",
                min_width=260,
                info="where the finished checkpoint is published",
            )
            self.every = gr.Number(
                publish.get("every_minutes", 0),
                label="publish every … minutes",
                min_width=160,
                info="while it trains, 10 at least; 0: at the end alone",
            )
            self.private = gr.Checkbox(
                publish.get("private", False), label="private, if it has to be made", min_width=160
            )
        with gr.Accordion("Where it runs, and what it begins with", open=False), gr.Row():
            self.place = gr.Dropdown(
                [("this machine", HERE)],
                value=HERE,
                label="Where",
                elem_id="place",
                min_width=260,
                info="this machine, or bigger hardware of Hugging Face Jobs, paid by the hour",
            )
            self.timeout = gr.Number(
                360,
                precision=0,
                label="… for at most … minutes",
                min_width=160,
                info="on Hugging Face Jobs, which then end it",
            )
            self.devices = gr.Number(
                1,
                precision=0,
                label="devices",
                min_width=120,
                info=f"processes on this machine, one a device; it has {self.trainings.devices()}",
            )
            self.beginning = gr.Dropdown(
                self.trainings.beginnings(),
                value="",
                label="Begin with",
                min_width=260,
                elem_id="beginning",
                info="new weights, or those of a checkpoint of the same shape",
            )

    @property
    def goal(self) -> list[Any]:
        return [self.name, self.repo, self.every, self.private, self.place, self.timeout, self.devices, self.beginning]

    def connect(self, page: gr.Blocks, tab: gr.Tab, rooms: gr.Tabs, watch: Watch) -> None:
        filled = [
            self.name,
            self.repo,
            self.every,
            self.private,
            *self.of_task.values(),
            *self.components.values(),
            self.beginning,
            self.cost,
        ]
        page.load(self._empty, None, [part for field, part in self.components.items() if field.empty], **QUIET)
        self.source.input(self._fill, self.source, filled, **PRIVATE)
        self.hub.submit(self._fill_from_hub, self.hub, [self.source, *filled], **ACTS)
        tab.select(self._list_anew, None, [self.source, self.place], **ACTS, show_progress="hidden")
        watch.buttons["again"].click(self._fill_again, watch.run, [self.source, rooms, *filled], **PRIVATE)
        given = [self.source, *self.goal, *self.components.values()]
        self.ask.click(lambda: "Measuring a few steps …", None, self.cost, **QUIET).then(
            self._estimate, [self.source, self.place, *self.components.values()], self.cost, **MEASURES
        ).failure(lambda: NOT_ESTIMATED, None, self.cost, **QUIET)
        self.start.click(self._start, given, [watch.run, rooms], **ACTS).success(
            watch.show, [watch.run, watch.seen], watch.parts, **QUIET
        )

    def _empty(self) -> list[Any]:
        """The first source's values of settings that may be empty: Gradio 6.31 begins with 0 where a number has no value."""
        values = self.trainings.form(self.first)["values"] if self.first else {}
        return [values.get(field.name) for field in self.components if field.empty]

    def _fill(self, source: str) -> list[Any]:
        """Put a source's settings into the form."""
        try:
            form = self.trainings.form(source)
        except ValueError as error:
            raise gr.Error(str(error), title="Not done", print_exception=False) from None
        publish, values = form["publish"], form["values"]
        return [
            form["name"],
            publish["repo"],
            publish["every_minutes"],
            publish["private"],
            *(gr.Row(visible=kind == form["task"]) for kind in self.of_task),
            *(values.get(field.name) if field.task in ("", form["task"]) else gr.skip() for field in self.components),
            gr.Dropdown(form["beginnings"], value=form["init_from"]),
            NOT_ESTIMATED,
        ]

    def _fill_again(self, id: str) -> list[Any]:
        source = EARLIER + (id or "")
        return [gr.Dropdown(self.trainings.sources(), value=source), gr.Tabs(selected="new"), *self._fill(source)]

    def _fill_from_hub(self, name: str, request: gr.Request) -> list[Any]:
        source = HUB + (name or "").strip()
        owner_only(self.access, request, self.trainings.form, source)  # asks the Hub
        return [
            gr.Dropdown([*self.trainings.sources(), (f"as {name}, from the Hub", source)], value=source),
            *self._fill(source),
        ]

    def _list_anew(self, request: gr.Request) -> list[Any]:
        """What there is to choose from now; only who may start asks what hardware there is."""
        places = self.trainings.places() if self.access.who(request) else []
        where = gr.Dropdown([(place.label, place.name) for place in places]) if places else gr.skip()
        return [gr.Dropdown(self.trainings.sources()), where]

    def _given(self, source: str, values: tuple[Any, ...]) -> dict[str, Any]:
        """What was filled in, for the fields of this source's task."""
        task = self.trainings.settings(source)[0].task["kind"]
        pairs = zip(self.components, values, strict=True)
        return {field.name: value for field, value in pairs if field.task in ("", task)}

    def _estimate(self, request: gr.Request, source: str, place: str, *values: Any) -> str:
        def ask() -> str:
            found = self.trainings.estimate(source, self._given(source, values))
            prices = {known.name: known.price for known in self.trainings.places()}
            return cost_of(found, prices.get(place))

        return owner_only(self.access, request, ask)

    def _start(
        self,
        request: gr.Request,
        source: str,
        name: str,
        repo: str,
        every: float,
        private: bool,
        place: str,
        timeout: float,
        devices: float,
        beginning: str,
        *values: Any,
    ) -> tuple[Any, Any]:
        def begin() -> str:
            person = self.access.check(request)
            by = person.name if person.how == "oauth" else ""
            publish = {"repo": (repo or "").strip(), "private": bool(private), "every_minutes": every or 0}
            return self.trainings.start(
                source,
                self._given(source, values),
                by,
                name=(name or "").strip(),
                publish=publish,
                place=place or HERE,
                init_from=beginning,
                timeout=int(timeout or 0),
                devices=int(devices or 1),
            )

        id = owner_only(self.access, request, begin)
        return gr.Dropdown(self.trainings.views.choices(), value=id), gr.Tabs(selected="watch")


def component_of(field: Field, filled: Mapping[str, Any]) -> Any:
    """What a setting is filled in with."""
    value = filled["values"].get(field.name)
    common: dict[str, Any] = {
        "label": field.label,
        "info": field.help,
        "elem_id": "-".join(("set", *([field.task] if field.task else []), *field.name.split("."))),
    }
    match field.kind:
        case "switch":
            return gr.Checkbox(value, min_width=200, **common)
        case "choice":
            return gr.Dropdown(list(field.choices), value=value, allow_custom_value=True, min_width=200, **common)
        case "text":
            return gr.Textbox(value, max_length=200, min_width=200, **common)
        case "whole":
            return gr.Number(value, precision=None, step=1, min_width=200, **common)
        case "number":
            return gr.Number(value, precision=None, min_width=200, **common)


def cost_of(found: Mapping[str, Any], price: float | None) -> str:
    """An estimate as people read it."""
    memory = f"{found['memory_gb']:.1f} GB of memory"
    if found["gpu_memory_gb"] is not None:
        memory += f", {found['gpu_memory_gb']:.1f} GB of the accelerator's"
    rows = {
        "weights": f"{found['parameters']:,}",
        "time": f"**{duration(found['seconds_in_all'])}** in all, {duration(found['seconds_per_1000_steps'])} for 1,000 steps "
        "with their evaluations",
        "memory": memory,
        "disk": f"{found['disk_gb'] * 1024:,.1f} MB at most, {found['save_gb'] * 1024:,.1f} MB a saved step; "
        f"{found['free_gb']:,.1f} GB are free",
        "measured on": plain(found["device"]),
        "price": f"${price * found['seconds_in_all'] / 3600:.2f}, were that hardware as fast as this machine"
        if price
        else "",
    }
    return table_of(rows)
