"""The form of a run: one field a setting, with the default, bounds and help that the setting itself has.

What comes back from a form is data: only settings that are fields here can be changed, each becomes the value of a validated
setting, and where the run lies, what it begins with and where it is published are no fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from ctm.config import BACKBONES, CONFIG_CLASSES, SCHEDULED_BACKBONE, ModelTypeConfig
from ctm.messages import truncate_repr
from ctm.settings import Settings
from training.config import FinalizeConfig, LossConfig, OptimConfig, RunConfig, TrainConfig
from training.tasks import get_task_types

FieldKind = Literal["whole", "number", "switch", "choice", "text"]
EXPECTED_TYPES: dict[FieldKind, tuple[Any, str]] = {
    "whole": (int | float, "a whole number"),
    "number": (int | float, "a number"),
    "switch": (int | float, "yes or no"),
    "choice": (str, "one of its choices"),
    "text": (str, "a text"),
}
FIELD_GROUPS: dict[str, tuple[str, tuple[type[Settings], ...]]] = {
    "model": ("The machine", (ModelTypeConfig, *CONFIG_CLASSES.values())),
    "loss": ("The loss", (LossConfig,)),
    "optim": ("The optimiser", (OptimConfig,)),
    "train": ("The loop", (TrainConfig,)),
    "finish": ("After the last step", (FinalizeConfig,)),
}
PRIMARY_FIELDS = (  # unfolded
    "train.steps",
    "train.batch_size",
    "optim.lr",
    "model.kind",
    "model.iterations",
    "model.d_model",
    "train.seed",
)
DERIVED_FIELDS = {"out_dims", "prediction_reshaper", "energy_head_enabled"}  # from the task and the loss


@dataclass(frozen=True)
class FormField:
    """A setting as a form shows it."""

    name: str  # dotted, as in an override
    task: str  # the kind of task that it belongs to; empty for settings that every run has
    help_text: str
    kind: FieldKind
    choices: tuple[str, ...] = ()
    is_optional: bool = False  # whether no value is a value

    @property
    def group(self) -> str:
        return self.name.partition(".")[0]

    @property
    def label(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def is_primary(self) -> bool:
        return self.name in PRIMARY_FIELDS or bool(self.task)

    def parse(self, value: Any) -> Any:
        """The setting's value from what a form gives, or what was given if it is none: the setting then says what is wrong."""
        if value is None or value == "":
            return None if self.is_optional or self.kind != "text" else ""
        if self.kind == "whole" and isinstance(value, float) and value.is_integer():
            return int(value)
        kind, words = EXPECTED_TYPES[self.kind]
        if not isinstance(value, kind) or (isinstance(value, bool) and self.kind != "switch"):
            raise ValueError(f"Setting `{self.name}` must be {words}: got {truncate_repr(value)}.")
        return value


def list_fields() -> list[FormField]:
    """Every setting that a form may change, task settings first."""
    of_tasks = [
        build_field(f"task.{name}", info, kind)
        for kind, task in get_task_types().items()
        for name, info in task.Settings.model_fields.items()
    ]
    of_runs = [
        build_field(f"{group}.{name}", info)
        for group in FIELD_GROUPS
        for name, info in get_group_settings(group).items()
        if name not in DERIVED_FIELDS
    ]
    return [field for field in (*of_tasks, *of_runs) if field is not None]


def get_group_settings(group: str) -> dict[str, FieldInfo]:
    """The settings of a group; those of the machine are of all kinds."""
    return {name: info for owner in reversed(FIELD_GROUPS[group][1]) for name, info in owner.model_fields.items()}


def build_field(name: str, info: FieldInfo, task: str = "") -> FormField | None:
    """A setting as a field; None for one whose values no form can hold."""
    kinds = get_args(info.annotation) if NoneType in get_args(info.annotation) else (info.annotation,)
    kind, *others = (one for one in kinds if one is not NoneType)
    if others:
        return None
    help = info.description or ""
    if name == "model.backbone_type":
        return FormField(name, task, help, "choice", (*BACKBONES, SCHEDULED_BACKBONE))
    if get_origin(kind) is Literal:
        return FormField(name, task, help, "choice", tuple(map(str, get_args(kind))))
    known: dict[Any, FieldKind] = {bool: "switch", int: "whole", float: "number", str: "text"}
    if kind not in known:
        return None
    bounds = format_bounds(info) if kind in (int, float) else ""
    return FormField(name, task, f"{help} ({bounds})" if bounds else help, known[kind], is_optional=NoneType in kinds)


def format_bounds(info: FieldInfo) -> str:
    """`1 to 100`, `at least 1`, `above 0 to 1`; empty where a setting has no bounds."""
    found: dict[str, Any] = {}
    for rule in info.metadata:
        for name in ("ge", "gt", "le", "lt"):
            if (value := getattr(rule, name, None)) is not None:
                found[name] = f"{value:,}"
    low = found.get("ge") or (f"above {found['gt']}" if "gt" in found else "")
    high = found.get("le") or (f"below {found['lt']}" if "lt" in found else "")
    if low and high:
        return f"{low} to {high}"
    if low:
        return low if low.startswith("above") else f"at least {low}"
    return high if not high or high.startswith("below") else f"at most {high}"


def get_form_values(config: RunConfig) -> dict[str, Any]:
    """What a run's settings put into the fields of its form."""
    task = config.make_task()
    groups = config.model_dump(mode="json")
    groups["task"] = task.settings.model_dump(mode="json")
    machine = config.build_model_config(task)
    groups["model"] = {"kind": machine.model_type, **machine.model_dump(mode="json")}
    found = {}
    for field in list_fields():
        if field.task in ("", config.task["kind"]):
            found[field.name] = groups[field.group].get(field.label)
    return found


def compute_form_changes(config: RunConfig, form_values: Mapping[str, Any]) -> dict[str, Any]:
    """What a filled-in form changes of a run's settings.

    Args:
        config: what the form began with.
        given: field name -> what was filled in. Names that are no fields of this run are refused.

    Raises:
        ValueError: a name that is no field, or a value of another kind.
    """
    mine = {field.name: field for field in list_fields() if field.task in ("", config.task["kind"])}
    if odd := form_values.keys() - mine.keys():
        raise ValueError(f"{truncate_repr(min(map(str, odd)))} is no setting of this form.")
    before = get_form_values(config)
    read = {name: mine[name].parse(value) for name, value in form_values.items()}
    changes = {name: value for name, value in read.items() if value != before[name]}
    kind = changes.get("model.kind")
    if not isinstance(kind, str) or kind not in CONFIG_CLASSES:
        return changes
    chosen = {mine[name].label: value for name, value in changes.items() if mine[name].group == "model"}
    others = {name: value for name, value in changes.items() if mine[name].group != "model"}
    return others | {"model": convert_model_settings(kind, config.model | chosen)}


def convert_model_settings(kind: str, model_settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen of a machine that becomes one of another kind, as far as that knows such settings."""
    known = CONFIG_CLASSES[kind].model_fields
    return {"kind": kind} | {
        name: value for name, value in model_settings.items() if name in known and value is not None
    }


def build_settings_comparison(runs: Sequence[tuple[str, RunConfig]]) -> list[list[str]]:
    """A table of settings: name, one value a run, and a mark where they differ; those that differ come first."""
    flat = [flatten(config.model_dump(mode="json")) for _, config in runs]
    names = sorted({name for values in flat for name in values})
    rows = []
    for name in names:
        values = [str(values.get(name, "")) for values in flat]
        rows.append([name, *values, "differs" if len(set(values)) > 1 else ""])
    return sorted(rows, key=lambda row: (row[-1] == "", row[0]))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
