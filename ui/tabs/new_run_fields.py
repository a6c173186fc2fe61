"""Fields of the form for a new run: where it runs, and where its checkpoints are published."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ui.components.formatting import escape_markdown, format_duration, format_table
from ui.services.training_service import LOCAL_TARGET
from ui.tabs.event_options import Updates

DEFAULT_TIMEOUT_MINUTES = 360


class TargetFields:
    """Components for the Hub repository, the hardware and the initial weights.

    Args:
        form: Initial values, see `RecipeCatalog.build_form`.
        available_devices: Number of devices of this host.
    """

    def __init__(self, form: Mapping[str, Any], available_devices: int) -> None:
        with gr.Accordion("Hardware, initial weights and publication", open=False, elem_id="run-target"):
            with gr.Row():
                self._build_hardware(form, available_devices)
            with gr.Row():
                self._build_publication(form["publish"])

    def _build_hardware(self, form: Mapping[str, Any], available_devices: int) -> None:
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

    def _build_publication(self, publish: Mapping[str, Any]) -> None:
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
        self.private = gr.Checkbox(publish.get("private", False), label="Create as private repository", min_width=160)
        self.static_space = gr.Textbox(
            publish.get("static_space", ""),
            label="Static Space",
            placeholder="owner/name; empty: none",
            max_length=200,
            elem_id="publish-static-space",
            min_width=260,
            info="a web page on the Hub that runs the finished model in the browser",
        )

    @property
    def components(self) -> list[Any]:
        """Return the components in the order that `parse` expects."""
        return [
            self.repo,
            self.publish_interval,
            self.private,
            self.static_space,
            self.hardware,
            self.timeout,
            self.devices,
            self.initial_weights,
        ]

    @property
    def outputs(self) -> list[Any]:
        """Return the components that `build_updates` changes."""
        return [self.repo, self.publish_interval, self.private, self.static_space, self.initial_weights]

    def build_updates(self, form: Mapping[str, Any]) -> Updates:
        """Return updates with the values of another source."""
        publish = form["publish"]
        return {
            self.repo: publish["repo"],
            self.publish_interval: publish["interval_minutes"],
            self.private: publish["private"],
            self.static_space: publish["static_space"],
            self.initial_weights: gr.Dropdown(form["initial_weights"], value=form["init_from"]),
        }

    def parse(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return the submitted values of `components` as arguments of `TrainingService.start_run`."""
        repo, publish_interval, private, static_space, hardware, timeout, devices, initial_weights = values
        return {
            "publish": {
                "repo": (repo or "").strip(),
                "private": bool(private),
                "static_space": (static_space or "").strip(),
                "interval_minutes": publish_interval or 0,
            },
            "target": hardware or LOCAL_TARGET,
            "timeout_minutes": int(timeout or 0),
            "devices": int(devices or 1),
            "init_from": initial_weights,
        }


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
        "time": f"**{total}** in total, of which {start} to start and {finalization} to finalize; "
        f"{per_1000_steps} per 1,000 steps, including evaluation",
        "memory": memory,
        "disk": f"at most {estimate['disk_gb'] * 1024:,.1f} MB; {estimate['save_gb'] * 1024:,.1f} MB per checkpoint; "
        f"{estimate['free_gb']:,.1f} GB free",
        "measured on": escape_markdown(estimate["device"]),
        "price": price,
    }
    return format_table(rows)
