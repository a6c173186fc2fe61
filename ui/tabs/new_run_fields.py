"""Fields of the form for a new run: its settings, where it runs, and where its checkpoints are published."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ui.components.formatting import escape_markdown, format_duration, format_table
from ui.services.form_schema import FIELD_GROUPS, FormField, list_fields
from ui.services.training_service import LOCAL_TARGET
from ui.tabs.event_options import SILENT_EVENT, Updates

DEFAULT_TIMEOUT_MINUTES = 360


class SettingFields:
    """One component per setting: task settings and the most important ones first, the others in folded groups.

    Args:
        form: Initial values, see `RecipeCatalog.build_form`.

    Attributes:
        components: Component of each field.
        task_rows: Row with the settings of each task, of which one is visible.
    """

    def __init__(self, form: Mapping[str, Any]) -> None:
        self.components: dict[FormField, Any] = {}
        self.task_rows: dict[str, gr.Row] = {}
        fields = list_fields()
        for task in sorted({field.task for field in fields if field.task}):
            with gr.Row(visible=task == form["task"], elem_id=f"task-{task}", elem_classes="settings") as row:
                self._build_components([field for field in fields if field.task == task], form)
            self.task_rows[task] = row
        with gr.Row(elem_classes="settings"):
            self._build_components([field for field in fields if field.is_primary and not field.task], form)
        for group, (title, _) in FIELD_GROUPS.items():
            with gr.Accordion(title, open=False, elem_id=f"group-{group}"), gr.Row(elem_classes="settings"):
                others = [field for field in fields if field.group == group and not field.is_primary]
                self._build_components(others, form)

    def _build_components(self, fields: Sequence[FormField], form: Mapping[str, Any]) -> None:
        values = form["values"]
        for field in fields:
            component = build_field_component(field, values.get(field.name))
            component.visible = field.applies_to(values.get("model.kind"), values.get("model.backbone_type"))
            self.components[field] = component

    def connect(self) -> None:
        """Show only the settings that the selected model type and backbone have."""
        fields = {field.name: field for field in self.components}
        model_fields = [field for field in self.components if field.group == "model"]
        selectors = [fields["model.kind"], fields["model.backbone_type"]]

        def show_applicable_fields(kind: str, backbone: str, *values: Any) -> Updates:
            updates = {}
            for field, value in zip(model_fields, values, strict=True):
                shown = field.applies_to(kind, backbone)
                # Gradio 6.31 shows 0 for a number that appears without a value, unless None is sent again
                new_value = {"value": field.get_default(kind)} if shown and value is None else {}
                updates[self.components[field]] = gr.update(visible=shown, **new_value)
            return updates

        components = [self.components[field] for field in model_fields]
        gr.on(
            [self.components[field].change for field in selectors],
            show_applicable_fields,
            [*(self.components[field] for field in selectors), *components],
            components,
            **SILENT_EVENT,
        )

    @property
    def outputs(self) -> list[Any]:
        """Return the components that `build_updates` changes."""
        return [*self.task_rows.values(), *self.components.values()]

    @property
    def optional_components(self) -> list[Any]:
        """Return the components whose value may be empty."""
        return [component for field, component in self.components.items() if field.is_optional]

    def build_updates(self, form: Mapping[str, Any]) -> Updates:
        """Return updates with the values of another source."""
        rows = {row: gr.Row(visible=task == form["task"]) for task, row in self.task_rows.items()}
        values = {
            component: form["values"].get(field.name)
            for field, component in self.components.items()
            if field.task in ("", form["task"])
        }
        return rows | values


class TargetFields:
    """Components for the Hub repository, the hardware and the initial weights.

    Args:
        form: Initial values, see `RecipeCatalog.build_form`.
        available_devices: Number of devices of this host.
    """

    def __init__(self, form: Mapping[str, Any], available_devices: int) -> None:
        publish = form["publish"]
        with gr.Row():
            self.repo = gr.Textbox(
                publish.get("repo", ""),
                label="Hub repository",
                placeholder="owner/name; empty: nothing is published",
                max_length=200,
                elem_id="publish-repo",
                min_width=260,
                info="where the finished checkpoint is published",
            )
            self.publish_interval = gr.Number(
                publish.get("interval_minutes", 0),
                label="Publish every N minutes",
                min_width=160,
                info="min. 10; 0 = only at the end",
            )
            self.private = gr.Checkbox(
                publish.get("private", False), label="Create as private repository", min_width=160
            )
        with gr.Accordion("Hardware and initial weights", open=False), gr.Row():
            self.hardware = gr.Dropdown(
                [("this computer", LOCAL_TARGET)],
                value=LOCAL_TARGET,
                label="Hardware",
                elem_id="hardware",
                min_width=260,
                info="this computer, or Hugging Face Jobs, paid by the hour",
            )
            self.timeout = gr.Number(
                DEFAULT_TIMEOUT_MINUTES,
                precision=0,
                label="Time limit on HF Jobs (minutes)",
                min_width=160,
                info="Hugging Face Jobs ends the run after this time",
            )
            self.devices = gr.Number(
                1, precision=0, label="Devices", min_width=120, info=f"on this computer ({available_devices} available)"
            )
            self.initial_weights = gr.Dropdown(
                form["initial_weights"],
                value=form["init_from"],
                label="Initial weights",
                min_width=260,
                elem_id="initial-weights",
                info="random weights, or those of a checkpoint of the same shape",
            )

    @property
    def components(self) -> list[Any]:
        """Return the components in the order that `parse` expects."""
        return [
            self.repo,
            self.publish_interval,
            self.private,
            self.hardware,
            self.timeout,
            self.devices,
            self.initial_weights,
        ]

    @property
    def outputs(self) -> list[Any]:
        """Return the components that `build_updates` changes."""
        return [self.repo, self.publish_interval, self.private, self.initial_weights]

    def build_updates(self, form: Mapping[str, Any]) -> Updates:
        """Return updates with the values of another source."""
        publish = form["publish"]
        return {
            self.repo: publish["repo"],
            self.publish_interval: publish["interval_minutes"],
            self.private: publish["private"],
            self.initial_weights: gr.Dropdown(form["initial_weights"], value=form["init_from"]),
        }

    def parse(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return the submitted values of `components` as arguments of `TrainingService.start_run`."""
        repo, publish_interval, private, hardware, timeout, devices, initial_weights = values
        return {
            "publish": {
                "repo": (repo or "").strip(),
                "private": bool(private),
                "interval_minutes": publish_interval or 0,
            },
            "target": hardware or LOCAL_TARGET,
            "timeout_minutes": int(timeout or 0),
            "devices": int(devices or 1),
            "init_from": initial_weights,
        }


def build_field_component(field: FormField, value: Any) -> Any:
    """Build the component of a setting.

    Args:
        field: The field.
        value: Initial value.
    """
    name_parts = [field.task] if field.task else []
    common: dict[str, Any] = {
        "label": field.label,
        "info": field.help_text,
        "min_width": 200,
        "elem_id": "-".join(("set", *name_parts, *field.name.split("."))),
    }
    match field.kind:
        case "switch":
            return gr.Checkbox(value, **common)
        case "choice":
            return gr.Dropdown(list(field.choices), value=value, allow_custom_value=True, **common)
        case "text":
            return gr.Textbox(value, max_length=200, **common)
        case "whole":
            return gr.Number(value, precision=None, step=1, **common)
        case "number":
            return gr.Number(value, precision=None, **common)


def format_estimate(estimate: Mapping[str, Any], price_per_hour: float | None) -> str:
    """Format an estimate as a Markdown table.

    Args:
        estimate: See `TrainingService.estimate`.
        price_per_hour: Price of the selected hardware in US dollars per hour; None if it is free or unknown.
    """
    memory = f"{estimate['memory_gb']:.1f} GB"
    if estimate["gpu_memory_gb"] is not None:
        memory += f", and {estimate['gpu_memory_gb']:.1f} GB of GPU memory"
    total = format_duration(estimate["seconds_in_all"])
    per_1000_steps = format_duration(estimate["seconds_per_1000_steps"])
    start = format_duration(estimate["seconds_to_start"])
    finalization = format_duration(estimate["seconds_to_finalize"])
    price = ""
    if price_per_hour:
        price = f"${price_per_hour * estimate['seconds_in_all'] / 3600:.2f}, assuming the same speed as this computer"
    rows = {
        "parameters": f"{estimate['parameters']:,}",
        "time": f"**{total}** in total, of which {start} to start and at most {finalization} to finalize; "
        f"{per_1000_steps} per 1,000 steps, including evaluation",
        "memory": memory,
        "disk": f"at most {estimate['disk_gb'] * 1024:,.1f} MB; {estimate['save_gb'] * 1024:,.1f} MB per checkpoint; "
        f"{estimate['free_gb']:,.1f} GB free",
        "measured on": escape_markdown(estimate["device"]),
        "price": price,
    }
    return format_table(rows)
