"""Components of the form for a new run: task cards with presets, and the list of all settings."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ui.components.html_component import build_html_component

# What a visitor chose on the cards; for the handler of their `input` event, which needs nothing else of them.
JS_GET_REQUEST = "(cards, source) => [cards?.request ?? null, source]"
# The changed settings, without the fields themselves.
JS_GET_CHANGES = "(settings, source) => [{ changes: settings?.changes ?? {} }, source]"


def build_task_cards(view: Mapping[str, Any]) -> gr.HTML:
    """Build the task cards and presets. Their `input` event says that a visitor chose something.

    Args:
        view: Value of `RunChoices.build_view`.
    """
    return build_html_component("task-cards", "task-cards", dict(view))


def build_run_settings(source: str) -> gr.HTML:
    """Build the list of all settings, without fields. Its `input` event asks for them.

    Args:
        source: Source of the settings.
    """
    return build_html_component("run-settings", "run-settings", build_settings_value(source))


def build_settings_value(source: str, changes: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return the value of the list of settings.

    Args:
        source: Source of the settings.
        changes: Changed settings by dotted name.
        more: `groups`, `fields` and `values` of `build_settings_list`; without them the list is empty until it is opened. `errors`
            of `locate_errors`, and `problem`: an error that no field caused.
    """
    return {"source": source, "changes": dict(changes or {}), "fields": None, "errors": [], "problem": "", **more}
