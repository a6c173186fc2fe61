"""List of all settings of a new run as JSON data, and the errors of a submission at the fields that caused them."""

import re
from collections.abc import Mapping
from typing import Any

from ctm.config import CONFIG_CLASSES, SCHEDULE_KEYS, SCHEDULED_BACKBONE
from training.config import RunConfig
from ui.services.form_schema import FIELD_GROUPS, PRIMARY_FIELDS, FormField, get_form_values, list_fields

MAX_CHANGES = 400
FIRST_GROUPS = {"primary": "Main settings", "task": "Task"}  # before those of `FIELD_GROUPS`


def build_settings_list(config: RunConfig) -> dict[str, Any]:
    """Return the fields that a form may change, with their values, as JSON data.

    Args:
        config: Settings of the source.

    Returns:
        groups: title by name; fields: one per setting, those of other tasks left out; values: value by dotted name.
    """
    task = config.task["kind"]
    fields = [field for field in list_fields() if field.task in ("", task)]
    values = get_form_values(config)
    titles = FIRST_GROUPS | {name: title for name, (title, _) in FIELD_GROUPS.items()}
    return {
        "groups": [{"name": name, "title": title} for name, title in titles.items()],
        "fields": [describe_field(field) for field in fields],
        "values": {field.name: values.get(field.name) for field in fields},
    }


def describe_field(field: FormField) -> dict[str, Any]:
    """Return a field as JSON data.

    Returns:
        name, title, help, kind, choices, is_optional, group; kinds: the architectures that have the setting, [] for all of them;
        is_scheduled: whether only the backbone with an input schedule has it; defaults: its default by architecture.
    """
    kinds: list[str] = []
    defaults: dict[str, Any] = {}
    if field.group == "model" and field.label != "kind":
        kinds = [kind for kind in CONFIG_CLASSES if field.applies_to(kind, SCHEDULED_BACKBONE)]
        defaults = {kind: default for kind in kinds if (default := field.get_default(kind)) is not None}
    return {
        "name": field.name,
        "title": field.title,
        "help": field.help_text,
        "kind": field.kind,
        "choices": list(field.choices),
        "is_optional": field.is_optional,
        "group": "primary" if field.name in PRIMARY_FIELDS else field.group,
        "kinds": kinds,
        "is_scheduled": field.label in SCHEDULE_KEYS,
        "defaults": defaults,
    }


def parse_submitted_changes(value: Any) -> dict[str, Any]:
    """Return the changed settings that a browser sent, by dotted name.

    Raises:
        ValueError: They are not a mapping of a few names.
    """
    changes = value.get("changes") if isinstance(value, Mapping) else None
    if changes is None:
        return {}
    if (
        not isinstance(changes, Mapping)
        or len(changes) > MAX_CHANGES
        or not all(isinstance(name, str) for name in changes)
    ):
        raise ValueError("The settings of the form cannot be read: reload the page.")
    return dict(changes)


def locate_errors(message: str, config: RunConfig) -> list[dict[str, str]]:
    """Return the fields that an error message is about, each with its sentence under the title of the field.

    Args:
        message: One sentence per line, as `RunConfig.parse` raises it.
        config: Settings of the source.

    Returns:
        name and message of each field, in the order of the message; [] for an error that no field caused.
    """
    fields = [field for field in list_fields() if field.task in ("", config.task["kind"])]
    errors: dict[str, str] = {}
    for line in message.split("\n"):
        if (field := find_field(line, fields)) and field.name not in errors:
            errors[field.name] = name_settings(line, fields)
    return [{"name": name, "message": text} for name, text in errors.items()]


def find_field(line: str, fields: list[FormField]) -> FormField | None:
    """Return the field that a sentence names first, by its dotted name or else by its last part."""
    positions = [(match.start(), field) for field in fields if (match := find_name(field.name, line))]
    if not positions:
        positions = [
            (match.start(), field) for field in fields if (match := find_name(field.label, line)) and "_" in field.label
        ]
    return min(positions, key=lambda item: item[0])[1] if positions else None


def find_name(name: str, line: str) -> re.Match[str] | None:
    """Find a name as a whole word."""
    return re.search(rf"(?<![\w.]){re.escape(name)}(?![\w]|\.\w)", line)


def name_settings(line: str, fields: list[FormField]) -> str:
    """Return a sentence with the titles of the settings in place of their dotted names."""
    titles = {field.name: field.title for field in fields}
    line = re.sub(r"Setting `([\w.]+)`", lambda match: titles.get(match[1], match[1]), line)
    return re.sub(r"`([\w.]+)`", lambda match: titles.get(match[1], match[1]), line)
