"""The form of a run: one field a setting, with the default, bounds and help that the setting itself has.

What comes back from a form is data: only settings that are fields here can be changed, each becomes the value of a validated
setting, and where the run lies, what it begins with and where it is published are no fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from ctm.config import BACKBONES, CONFIGS, PHASED, KindConfig
from ctm.settings import Settings, short
from training.config import FinishConfig, LossConfig, OptimConfig, RunConfig, TrainConfig
from training.tasks import registry

Kind = Literal["whole", "number", "switch", "choice", "text"]
EXPECTED: dict[Kind, tuple[Any, str]] = {
    "whole": (int | float, "a whole number"),
    "number": (int | float, "a number"),
    "switch": (int | float, "yes or no"),
    "choice": (str, "one of its choices"),
    "text": (str, "a text"),
}
GROUPS: dict[str, tuple[str, tuple[type[Settings], ...]]] = {
    "model": ("The machine", (KindConfig, *CONFIGS.values())),
    "loss": ("The loss", (LossConfig,)),
    "optim": ("The optimiser", (OptimConfig,)),
    "train": ("The loop", (TrainConfig,)),
    "finish": ("After the last step", (FinishConfig,)),
}
FIRST = (  # unfolded
    "train.steps",
    "train.batch_size",
    "optim.lr",
    "model.kind",
    "model.iterations",
    "model.d_model",
    "train.seed",
)
FOLLOWS = {"out_dims", "prediction_reshaper", "energy_head_enabled"}  # from the task and the loss


@dataclass(frozen=True)
class Field:
    """A setting as a form shows it."""

    name: str  # dotted, as in an override
    task: str  # the kind of task that it belongs to; empty for settings that every run has
    help: str
    kind: Kind
    choices: tuple[str, ...] = ()
    empty: bool = False  # whether no value is a value

    @property
    def group(self) -> str:
        return self.name.partition(".")[0]

    @property
    def label(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def is_first(self) -> bool:
        return self.name in FIRST or bool(self.task)

    def read(self, given: Any) -> Any:
        """The setting's value from what a form gives, or what was given if it is none: the setting then says what is wrong."""
        if given is None or given == "":
            return None if self.empty or self.kind != "text" else ""
        if self.kind == "whole" and isinstance(given, float) and given.is_integer():
            return int(given)
        kind, words = EXPECTED[self.kind]
        if not isinstance(given, kind) or (isinstance(given, bool) and self.kind != "switch"):
            raise ValueError(f"Setting `{self.name}` must be {words}: got {short(given)}.")
        return given


def fields() -> list[Field]:
    """Every setting that a form may change, task settings first."""
    of_tasks = [
        field_of(f"task.{name}", info, kind)
        for kind, task in registry().items()
        for name, info in task.Settings.model_fields.items()
    ]
    of_runs = [
        field_of(f"{group}.{name}", info)
        for group in GROUPS
        for name, info in settings_of(group).items()
        if name not in FOLLOWS
    ]
    return [field for field in (*of_tasks, *of_runs) if field is not None]


def settings_of(group: str) -> dict[str, FieldInfo]:
    """The settings of a group; those of the machine are of all kinds."""
    return {name: info for owner in reversed(GROUPS[group][1]) for name, info in owner.model_fields.items()}


def field_of(name: str, info: FieldInfo, task: str = "") -> Field | None:
    """A setting as a field; None for one whose values no form can hold."""
    kinds = get_args(info.annotation) if NoneType in get_args(info.annotation) else (info.annotation,)
    kind, *others = (one for one in kinds if one is not NoneType)
    if others:
        return None
    help = info.description or ""
    if name == "model.backbone_type":
        return Field(name, task, help, "choice", (*BACKBONES, PHASED))
    if get_origin(kind) is Literal:
        return Field(name, task, help, "choice", tuple(map(str, get_args(kind))))
    known: dict[Any, Kind] = {bool: "switch", int: "whole", float: "number", str: "text"}
    if kind not in known:
        return None
    bounds = bounds_of(info) if kind in (int, float) else ""
    return Field(name, task, f"{help} ({bounds})" if bounds else help, known[kind], empty=NoneType in kinds)


def bounds_of(info: FieldInfo) -> str:
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


def values_of(config: RunConfig) -> dict[str, Any]:
    """What a run's settings put into the fields of its form."""
    task = config.make_task()
    groups = config.model_dump(mode="json")
    groups["task"] = task.settings.model_dump(mode="json")
    machine = config.machine(task)
    groups["model"] = {"kind": machine.kind, **machine.model_dump(mode="json")}
    found = {}
    for field in fields():
        if field.task in ("", config.task["kind"]):
            found[field.name] = groups[field.group].get(field.label)
    return found


def changes_of(config: RunConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a filled-in form changes of a run's settings.

    Args:
        config: what the form began with.
        given: field name -> what was filled in. Names that are no fields of this run are refused.

    Raises:
        ValueError: a name that is no field, or a value of another kind.
    """
    mine = {field.name: field for field in fields() if field.task in ("", config.task["kind"])}
    if odd := given.keys() - mine.keys():
        raise ValueError(f"{short(min(map(str, odd)))} is no setting of this form.")
    before = values_of(config)
    read = {name: mine[name].read(value) for name, value in given.items()}
    changes = {name: value for name, value in read.items() if value != before[name]}
    kind = changes.get("model.kind")
    if not isinstance(kind, str) or kind not in CONFIGS:
        return changes
    chosen = {mine[name].label: value for name, value in changes.items() if mine[name].group == "model"}
    others = {name: value for name, value in changes.items() if mine[name].group != "model"}
    return others | {"model": model_of(kind, config.model | chosen)}


def model_of(kind: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen of a machine that becomes one of another kind, as far as that knows such settings."""
    known = CONFIGS[kind].model_fields
    return {"kind": kind} | {name: value for name, value in chosen.items() if name in known and value is not None}


def side_by_side(runs: Sequence[tuple[str, RunConfig]]) -> list[list[str]]:
    """A table of settings: name, one value a run, and a mark where they differ; those that differ come first."""
    flat = [flatten(config.model_dump(mode="json")) for _, config in runs]
    names = sorted({name for values in flat for name in values})
    rows = []
    for name in names:
        values = [str(values.get(name, "")) for values in flat]
        rows.append([name, *values, "differs" if len(set(values)) > 1 else ""])
    return sorted(rows, key=lambda row: (row[-1] == "", row[0]))


def flatten(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{above}{name}.")
        else:
            found[f"{above}{name}"] = value
    return found
