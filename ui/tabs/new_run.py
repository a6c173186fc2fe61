"""A new run: a recipe, what is changed of it, what it would cost, and where it goes."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ui.auth.access import Access
from ui.components.formatting import escape_markdown, format_duration, format_table
from ui.services.form_schema import FIELD_GROUPS, FormField, list_fields
from ui.services.training_service import HUB_SOURCE_PREFIX, LOCAL_TARGET, RUN_SOURCE_PREFIX, TrainingService
from ui.tabs.event_options import ESTIMATE_EVENT, OWNER_EVENT, PRIVATE_EVENT, SILENT_EVENT
from ui.tabs.run_monitor import RunMonitor, run_as_owner

NO_ESTIMATE_MESSAGE = "*Estimate* trains a few steps to see what the run would take."


class NewRunForm:
    """The room, and its parts.

    Args:
        trainings: the one door to runs.
        access: who may start one; asked inside every action.
    """

    def __init__(self, training_service: TrainingService, access: Access):
        self.training_service, self.access = training_service, access
        sources = training_service.list_sources()
        self.default_source = sources[0][1] if sources else ""
        filled = (
            training_service.build_form(self.default_source)
            if self.default_source
            else {"task": "", "values": {}, "name": "", "publish": {}}
        )
        with gr.Row():
            self.source = gr.Dropdown(
                sources,
                value=self.default_source or None,
                label="Recipe",
                elem_id="source",
                scale=2,
                min_width=280,
                info="settings to begin with: a file of configs/, or an earlier run",
            )
            self.hub_name = gr.Textbox(
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
        self.components = self._build_fields(filled)
        self._build_target_fields(filled)
        with gr.Row():
            self.estimate_button = gr.Button("Estimate", elem_id="estimate", min_width=160)
            self.start_button = gr.Button("Start training", variant="primary", elem_id="start", min_width=160)
        self.cost = gr.Markdown(NO_ESTIMATE_MESSAGE, elem_id="cost", elem_classes="facts")

    def _build_fields(self, initial: Mapping[str, Any]) -> dict[FormField, Any]:
        """A component for each setting: those that matter first, the others folded."""
        all_fields, found = list_fields(), {}
        kinds = sorted({field.task for field in all_fields if field.task})
        self.task_rows = {}
        for kind in kinds:
            with gr.Row(visible=kind == initial["task"], elem_id=f"task-{kind}", elem_classes="settings") as row:
                found |= {field: build_field_component(field, initial) for field in all_fields if field.task == kind}
            self.task_rows[kind] = row
        with gr.Row(elem_classes="settings"):
            found |= {
                field: build_field_component(field, initial)
                for field in all_fields
                if field.is_primary and not field.task
            }
        for group, (title, _) in FIELD_GROUPS.items():
            with gr.Accordion(title, open=False, elem_id=f"group-{group}"), gr.Row(elem_classes="settings"):
                rest = [field for field in all_fields if field.group == group and not field.is_primary]
                found |= {field: build_field_component(field, initial) for field in rest}
        return found

    def _build_target_fields(self, initial: Mapping[str, Any]) -> None:
        """What it begins with, where it runs and where its checkpoint goes."""
        publish = initial["publish"]
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
            self.publish_interval = gr.Number(
                publish.get("interval_minutes", 0),
                label="publish every … minutes",
                min_width=160,
                info="while it trains, 10 at least; 0: at the end alone",
            )
            self.private = gr.Checkbox(
                publish.get("private", False), label="private, if it has to be made", min_width=160
            )
        with gr.Accordion("Where it runs, and what it begins with", open=False), gr.Row():
            self.hardware = gr.Dropdown(
                [("this machine", LOCAL_TARGET)],
                value=LOCAL_TARGET,
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
                info=f"processes on this machine, one a device; it has {self.training_service.count_devices()}",
            )
            self.initial_weights = gr.Dropdown(
                self.training_service.list_initial_weight_choices(),
                value="",
                label="Begin with",
                min_width=260,
                elem_id="beginning",
                info="new weights, or those of a checkpoint of the same shape",
            )

    @property
    def target_components(self) -> list[Any]:
        return [
            self.name,
            self.repo,
            self.publish_interval,
            self.private,
            self.hardware,
            self.timeout,
            self.devices,
            self.initial_weights,
        ]

    def connect(self, page: gr.Blocks, tab: gr.Tab, train_tabs: gr.Tabs, run_monitor: RunMonitor) -> None:
        filled = [
            self.name,
            self.repo,
            self.publish_interval,
            self.private,
            *self.task_rows.values(),
            *self.components.values(),
            self.initial_weights,
            self.cost,
        ]
        page.load(
            self._get_empty_values,
            None,
            [part for field, part in self.components.items() if field.is_optional],
            **SILENT_EVENT,
        )
        self.source.input(self._fill, self.source, filled, **PRIVATE_EVENT)
        self.hub_name.submit(self._fill_from_hub, self.hub_name, [self.source, *filled], **OWNER_EVENT)
        tab.select(self._refresh_choices, None, [self.source, self.hardware], **OWNER_EVENT, show_progress="hidden")
        run_monitor.buttons["again"].click(
            self._fill_from_run, run_monitor.run_dropdown, [self.source, train_tabs, *filled], **PRIVATE_EVENT
        )
        given = [self.source, *self.target_components, *self.components.values()]
        self.estimate_button.click(lambda: "Measuring a few steps …", None, self.cost, **SILENT_EVENT).then(
            self._estimate, [self.source, self.hardware, *self.components.values()], self.cost, **ESTIMATE_EVENT
        ).failure(lambda: NO_ESTIMATE_MESSAGE, None, self.cost, **SILENT_EVENT)
        self.start_button.click(self._start, given, [run_monitor.run_dropdown, train_tabs], **OWNER_EVENT).success(
            run_monitor.show, [run_monitor.run_dropdown, run_monitor.shown_version], run_monitor.outputs, **SILENT_EVENT
        )

    def _get_empty_values(self) -> list[Any]:
        """The first source's values of settings that may be empty: Gradio 6.31 begins with 0 where a number has no value."""
        values = self.training_service.build_form(self.default_source)["values"] if self.default_source else {}
        return [values.get(field.name) for field in self.components if field.is_optional]

    def _fill(self, source: str) -> list[Any]:
        """Put a source's settings into the form."""
        try:
            form = self.training_service.build_form(source)
        except ValueError as error:
            raise gr.Error(str(error), title="Not done", print_exception=False) from None
        publish, values = form["publish"], form["values"]
        return [
            form["name"],
            publish["repo"],
            publish["interval_minutes"],
            publish["private"],
            *(gr.Row(visible=kind == form["task"]) for kind in self.task_rows),
            *(values.get(field.name) if field.task in ("", form["task"]) else gr.skip() for field in self.components),
            gr.Dropdown(form["beginnings"], value=form["init_from"]),
            NO_ESTIMATE_MESSAGE,
        ]

    def _fill_from_run(self, run_id: str) -> list[Any]:
        source = RUN_SOURCE_PREFIX + (run_id or "")
        return [
            gr.Dropdown(self.training_service.list_sources(), value=source),
            gr.Tabs(selected="new"),
            *self._fill(source),
        ]

    def _fill_from_hub(self, name: str, request: gr.Request) -> list[Any]:
        source = HUB_SOURCE_PREFIX + (name or "").strip()
        run_as_owner(self.access, request, self.training_service.build_form, source)  # asks the Hub
        return [
            gr.Dropdown([*self.training_service.list_sources(), (f"as {name}, from the Hub", source)], value=source),
            *self._fill(source),
        ]

    def _refresh_choices(self, request: gr.Request) -> list[Any]:
        """What there is to choose from now; only who may start asks what hardware there is."""
        places = self.training_service.list_hardware_options() if self.access.get_current_user(request) else []
        where = gr.Dropdown([(place.label, place.name) for place in places]) if places else gr.skip()
        return [gr.Dropdown(self.training_service.list_sources()), where]

    def _collect_values(self, source: str, values: tuple[Any, ...]) -> dict[str, Any]:
        """What was filled in, for the fields of this source's task."""
        task = self.training_service.load_source(source)[0].task["kind"]
        pairs = zip(self.components, values, strict=True)
        return {field.name: value for field, value in pairs if field.task in ("", task)}

    def _estimate(self, request: gr.Request, source: str, hardware: str, *values: Any) -> str:
        def ask() -> str:
            found = self.training_service.estimate(source, self._collect_values(source, values))
            prices = {known.name: known.price_per_hour for known in self.training_service.list_hardware_options()}
            return format_estimate(found, prices.get(hardware))

        return run_as_owner(self.access, request, ask)

    def _start(
        self,
        request: gr.Request,
        source: str,
        name: str,
        repo: str,
        publish_interval: float,
        private: bool,
        hardware: str,
        timeout: float,
        devices: float,
        initial_weights: str,
        *values: Any,
    ) -> tuple[Any, Any]:
        def begin() -> str:
            person = self.access.require_owner(request)
            by = person.name if person.auth_method == "oauth" else ""
            publish = {
                "repo": (repo or "").strip(),
                "private": bool(private),
                "interval_minutes": publish_interval or 0,
            }
            return self.training_service.start_run(
                source,
                self._collect_values(source, values),
                by,
                name=(name or "").strip(),
                publish=publish,
                place=hardware or LOCAL_TARGET,
                init_from=initial_weights,
                timeout=int(timeout or 0),
                devices=int(devices or 1),
            )

        id = run_as_owner(self.access, request, begin)
        return gr.Dropdown(self.training_service.run_views.list_run_choices(), value=id), gr.Tabs(selected="watch")


def build_field_component(field: FormField, initial: Mapping[str, Any]) -> Any:
    """What a setting is filled in with."""
    value = initial["values"].get(field.name)
    common: dict[str, Any] = {
        "label": field.label,
        "info": field.help_text,
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


def format_estimate(estimate: Mapping[str, Any], price_per_hour: float | None) -> str:
    """An estimate as people read it."""
    memory = f"{estimate['memory_gb']:.1f} GB of memory"
    if estimate["gpu_memory_gb"] is not None:
        memory += f", {estimate['gpu_memory_gb']:.1f} GB of the accelerator's"
    rows = {
        "weights": f"{estimate['parameters']:,}",
        "time": f"**{format_duration(estimate['seconds_in_all'])}** in all, {format_duration(estimate['seconds_per_1000_steps'])} for 1,000 steps "
        "with their evaluations",
        "memory": memory,
        "disk": f"{estimate['disk_gb'] * 1024:,.1f} MB at most, {estimate['save_gb'] * 1024:,.1f} MB a saved step; "
        f"{estimate['free_gb']:,.1f} GB are free",
        "measured on": escape_markdown(estimate["device"]),
        "price": f"${price_per_hour * estimate['seconds_in_all'] / 3600:.2f}, were that hardware as fast as this machine"
        if price_per_hour
        else "",
    }
    return format_table(rows)
