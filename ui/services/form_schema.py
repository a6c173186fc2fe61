"""Schema of the form for a new run: one field per setting, with the default, bounds and help of the setting.

Submitted values are untrusted data. Only settings with a field can be changed, and every value passes the validation of its
setting. The run directory, the initial weights and the target repository are not fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from ctm.config import BACKBONES, CONFIG_CLASSES, SCHEDULE_KEYS, SCHEDULED_BACKBONE, ModelTypeConfig
from ctm.messages import truncate_repr
from ctm.settings import Settings
from training.config import (
    FinalizeConfig,
    LossConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
    states_every_position,
    supports_attention_loss,
    supports_feature_loss,
    supports_probe_loss,
)
from training.tasks.registry import get_task_types
from training.token_init import has_token_attention

FieldKind = Literal["whole", "number", "switch", "choice", "text"]
EXPECTED_TYPES: dict[FieldKind, tuple[Any, str]] = {
    "whole": (int | float, "a whole number"),
    "number": (int | float, "a number"),
    "switch": (int | float, "yes or no"),
    "choice": (str, "one of its choices"),
    "text": (str, "a text"),
}
FIELD_GROUPS: dict[str, tuple[str, tuple[type[Settings], ...]]] = {
    "model": ("Model", (ModelTypeConfig, *CONFIG_CLASSES.values())),
    "loss": ("Loss", (LossConfig,)),
    "optim": ("Optimizer", (OptimConfig,)),
    "train": ("Training", (TrainConfig,)),
    "finalize": ("Stopping-rule calibration", (FinalizeConfig,)),
}
PRIMARY_FIELDS = (  # listed before the groups
    "train.steps",
    "train.batch_size",
    "optim.lr",
    "model.kind",
    "model.iterations",
    "model.d_model",
    "train.seed",
)
NEUTRAL_SETTINGS = {  # values that every model and task supports
    "train.token_init": "default",
    "loss.early_padding": False,
    "loss.attention_loss_weight": 0.0,
    "loss.probe_loss_weight": 0.0,
    "loss.feature_loss_weight": 0.0,
}
DERIVED_FIELDS = {"out_dims", "prediction_reshaper", "energy_head_enabled"}  # set by the task and the loss


@dataclass(frozen=True)
class FormField:
    """One setting in the form.

    Attributes:
        name: Dotted name, as in an override.
        task: Kind of task that the setting belongs to; empty for settings of every run.
        title: Name for users.
        help_text: Help text with the bounds.
        kind: Kind of value.
        choices: Allowed values of a choice.
        is_optional: Whether None is a valid value.
    """

    name: str
    task: str
    title: str
    help_text: str
    kind: FieldKind
    choices: tuple[str, ...] = ()
    is_optional: bool = False

    @property
    def group(self) -> str:
        """Return the group of the setting, the first part of its name."""
        return self.name.partition(".")[0]

    @property
    def label(self) -> str:
        """Return the last part of the name."""
        return self.name.rpartition(".")[2]

    def applies_to(self, kind: str | None, backbone: str | None) -> bool:
        """Return whether models of a type, with a backbone, have this setting.

        Args:
            kind: Value of `model.kind`.
            backbone: Value of `model.backbone_type`.
        """
        if self.group != "model" or self.label == "kind" or kind not in CONFIG_CLASSES:
            return True
        if self.label in SCHEDULE_KEYS and backbone != SCHEDULED_BACKBONE:
            return False
        return self.label in CONFIG_CLASSES[kind].model_fields

    def get_default(self, kind: str) -> Any:
        """Return the default of a setting in models of a type; None if it has none."""
        info = CONFIG_CLASSES[kind].model_fields.get(self.label) if self.group == "model" else None
        return None if info is None or info.is_required() else info.default

    def parse(self, value: Any) -> Any:
        """Convert a submitted value to the type of the setting. The setting itself checks its bounds.

        Raises:
            ValueError: The value has another type.
        """
        if value is None or value == "":
            return None if self.is_optional or self.kind != "text" else ""
        if self.kind == "whole" and isinstance(value, float) and value.is_integer():
            return int(value)
        expected_type, type_name = EXPECTED_TYPES[self.kind]
        if not isinstance(value, expected_type) or (isinstance(value, bool) and self.kind != "switch"):
            raise ValueError(f"Setting `{self.name}` must be {type_name}: got {truncate_repr(value)}.")
        return value


def list_fields() -> list[FormField]:
    """Return the fields of all settings that a form may change, task settings first."""
    task_fields = [
        build_field(f"task.{name}", info, kind)
        for kind, task in get_task_types().items()
        for name, info in task.Settings.model_fields.items()
    ]
    run_fields = [
        build_field(f"{group}.{name}", info)
        for group in FIELD_GROUPS
        for name, info in get_group_settings(group).items()
        if name not in DERIVED_FIELDS
    ]
    return [field for field in (*task_fields, *run_fields) if field is not None]


def get_group_settings(group: str) -> dict[str, FieldInfo]:
    """Return the settings of a group by name; the model group contains those of all model types."""
    owners = reversed(FIELD_GROUPS[group][1])
    return {name: info for owner in owners for name, info in owner.model_fields.items()}


def build_field(name: str, info: FieldInfo, task: str = "") -> FormField | None:
    """Build the field of a setting, or return None if a form cannot represent its values.

    Args:
        name: Dotted name of the setting.
        info: The setting.
        task: Kind of task that the setting belongs to.
    """
    types = get_args(info.annotation) if NoneType in get_args(info.annotation) else (info.annotation,)
    value_type, *other_types = (item for item in types if item is not NoneType)
    if other_types:
        return None
    title, help_text = info.title or name.rpartition(".")[2].replace("_", " ").capitalize(), info.description or ""
    if name == "model.backbone_type":
        return FormField(name, task, title, help_text, "choice", (*BACKBONES, SCHEDULED_BACKBONE))
    if get_origin(value_type) is Literal:
        return FormField(name, task, title, help_text, "choice", tuple(map(str, get_args(value_type))))
    field_kinds: dict[Any, FieldKind] = {bool: "switch", int: "whole", float: "number", str: "text"}
    if value_type not in field_kinds:
        return None
    bounds = format_bounds(info) if value_type in (int, float) else ""
    if bounds:
        help_text = f"{help_text} ({bounds})"
    return FormField(name, task, title, help_text, field_kinds[value_type], is_optional=NoneType in types)


def format_bounds(info: FieldInfo) -> str:
    """Format the bounds of a setting: `1 to 100`, `at least 1`, `above 0 to 1`; empty without bounds."""
    bounds: dict[str, Any] = {}
    for constraint in info.metadata:
        for name in ("ge", "gt", "le", "lt"):
            if (value := getattr(constraint, name, None)) is not None:
                bounds[name] = f"{value:,}"
    low = bounds.get("ge") or (f"above {bounds['gt']}" if "gt" in bounds else "")
    high = bounds.get("le") or (f"below {bounds['lt']}" if "lt" in bounds else "")
    if low and high:
        return f"{low} to {high}"
    if low:
        return low if low.startswith("above") else f"at least {low}"
    return high if not high or high.startswith("below") else f"at most {high}"


def get_form_values(config: RunConfig) -> dict[str, Any]:
    """Return the value of every field of the form for the settings of a run."""
    task = config.make_task()
    groups: dict[str, Any] = config.model_dump(mode="json")
    groups["task"] = task.settings.model_dump(mode="json")
    model_config = config.build_model_config(task)
    groups["model"] = {"kind": model_config.model_type, **model_config.model_dump(mode="json")}
    values = {}
    for field in list_fields():
        if field.task in ("", config.task["kind"]):
            values[field.name] = groups[field.group].get(field.label)
    return values


def compute_form_changes(config: RunConfig, form_values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a submitted form changes, as overrides.

    Args:
        config: Settings that the form was built from.
        form_values: Submitted values by field name.

    Raises:
        ValueError: A name is not a field of this run, or a value has the wrong type.
    """
    fields = {field.name: field for field in list_fields() if field.task in ("", config.task["kind"])}
    if unknown := form_values.keys() - fields.keys():
        raise ValueError(f"{truncate_repr(min(map(str, unknown)))} is not a setting of this form.")
    initial_values = get_form_values(config)
    parsed = {name: fields[name].parse(value) for name, value in form_values.items()}
    changes = {name: value for name, value in parsed.items() if value != initial_values[name]}
    for name, value in changes.items():
        field = fields[name]
        if value is None and not field.is_optional and field.kind in ("whole", "number"):
            raise ValueError(f"Setting `{name}` is empty: it needs {EXPECTED_TYPES[field.kind][1]}.")
    kind = changes.get("model.kind")
    if isinstance(kind, str) and kind in CONFIG_CLASSES:
        model_changes = {fields[name].label: value for name, value in changes.items() if fields[name].group == "model"}
        other_changes = {name: value for name, value in changes.items() if fields[name].group != "model"}
        changes = other_changes | {"model": convert_model_settings(kind, config.model | model_changes)}
    return changes | find_unsupported_settings(config, changes)


def find_unsupported_settings(config: RunConfig, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training settings that a changed model or task does not support, with the values that turn them off.

    A setting that the form itself changes stays, so that its error message is shown.

    Args:
        config: Settings before the changes.
        changes: Changes of the form, as overrides.
    """
    resets = {name: value for name, value in NEUTRAL_SETTINGS.items() if name not in changes}
    try:
        changed = config.with_overrides({**resets, **changes})
    except ValueError:  # reported when the caller applies the changes
        return {}
    task = changed.make_task()
    model_config = changed.build_model_config(task)
    unsupported = set()
    if not has_token_attention(model_config):
        unsupported.add("train.token_init")
    if not states_every_position(task):
        unsupported.add("loss.early_padding")
    if not supports_attention_loss(task, model_config):
        unsupported.add("loss.attention_loss_weight")
    if not supports_probe_loss(task, model_config):
        unsupported.add("loss.probe_loss_weight")
    if not supports_feature_loss(task, model_config):
        unsupported.add("loss.feature_loss_weight")
    values = flatten(config.model_dump(mode="json"))
    return {name: value for name, value in resets.items() if name in unsupported and values[name] != value}


def convert_model_settings(kind: str, model_settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a model that changes its type: those that the new type has too."""
    known_settings = CONFIG_CLASSES[kind].model_fields
    return {"kind": kind} | {
        name: value for name, value in model_settings.items() if name in known_settings and value is not None
    }


def build_settings_comparison(runs: Sequence[tuple[str, RunConfig]]) -> list[list[str]]:
    """Build a table of settings: name, one value per run, and a mark; differing settings come first."""
    flat = [flatten(config.model_dump(mode="json")) for _, config in runs]
    names = sorted({name for values in flat for name in values})
    rows = []
    for name in names:
        values = [str(values.get(name, "")) for values in flat]
        rows.append([name, *values, "differs" if len(set(values)) > 1 else ""])
    return sorted(rows, key=lambda row: (row[-1] == "", row[0]))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one mapping with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
