"""Render docs/configuration.md: every setting of a recipe and of a model, from the settings classes.

`python -m benchmarks.render_results` calls this module.
"""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from ctm.config import CONFIG_CLASSES, ModelConfig, ModelTypeConfig
from ctm.settings import Settings
from training.config import FinalizeConfig, LossConfig, OptimConfig, PublishConfig, RunConfig, TrainConfig
from training.resume_rules import ResumeRule, find_rule
from training.tasks.registry import get_task_types

INTRODUCTION = """# Configuration

`python -m benchmarks.render_results` (`make render-results`) writes this page from the settings classes. Do not edit it.

A run is configured by a YAML recipe with the groups below. A recipe in `configs/` lists only what differs from the defaults, and
any setting can be overridden on the command line by its dotted name, for example `optim.lr=5e-4`. Unknown names, values outside
the bounds, NaN and infinity are errors that name the setting, the value and the remedy.

The column *name* is what the form of the page calls a setting.

The column *resume* states whether a setting may change when a run is resumed ([training.md](training.md#resume-with-other-settings));
settings of `model` are fixed.

A recipe may have `stages`, a list of overrides of `task`, `model`, `loss`, `optim` and parts of `train`
([training.md](training.md#stages-and-initial-weights)); `stages.2.optim.lr=5e-4` overrides a setting of the second one.

Environment variables of the app are listed in [GUIDE_HF.md](../GUIDE_HF.md#8-run-it-on-your-own-computer).
"""
RUN_GROUPS: dict[str, tuple[type[Settings], str]] = {
    "loss": (LossConfig, "Loss of the answer, and kind and loss of the energy."),
    "optim": (OptimConfig, "AdamW with linear warm-up, an optional constant phase and cosine decay."),
    "train": (TrainConfig, "The training loop."),
    "finalize": (FinalizeConfig, "What happens after the last step: fit the energy head, choose thresholds, evaluate."),
    "publish": (PublishConfig, "Publication on the Hugging Face Hub."),
}

RULE_LABELS = {
    ResumeRule.CHANGEABLE: "may change",
    ResumeRule.BATCH_SPLIT: "same product",
    ResumeRule.FIXED: "fixed",
}


def render_configuration() -> str:
    """Return the text of docs/configuration.md."""
    return "\n".join([INTRODUCTION, *render_run_settings(), *render_model_settings(), *render_task_settings()])


def render_run_settings() -> Iterator[str]:
    """Yield the sections of the settings of a run, without task and model."""
    yield "## Top level\n"
    yield "Class `RunConfig` in `training/config.py`.\n"
    yield render_table("", {name: RunConfig.model_fields[name] for name in ("task", "model", "init_from", "stages")})
    for name, (settings_class, summary) in RUN_GROUPS.items():
        yield f"## `{name}`\n"
        yield f"{summary} Class `{settings_class.__name__}` in `training/setting_groups.py`.\n"
        yield render_table(f"{name}.", settings_class.model_fields)


def render_model_settings() -> Iterator[str]:
    """Yield the sections of the settings of a model."""
    yield "## `model`\n"
    yield (
        "Published constructor keys, in `ctm/config.py`. The task determines `backbone_type` by default, and always `out_dims` and\n"
        "`prediction_reshaper`. With an energy (`loss.energy_kind` other than `none`) the defaults of a recipe are\n"
        "`energy_head_enabled=true`, `energy_sees_certainty=true`, `energy_sees_neurons=true` and `energy_hidden_dim=128`.\n"
    )
    yield render_table("model.", ModelTypeConfig.model_fields)
    yield "### All model types\n"
    yield render_table("model.", ModelConfig.model_fields)
    titles = {"ctm": "Continuous Thought Machine", "lstm": "LSTM baseline", "ff": "Feed-forward baseline"}
    for kind, config_class in CONFIG_CLASSES.items():
        own_fields = {
            name: info for name, info in config_class.model_fields.items() if name not in ModelConfig.model_fields
        }
        yield f"### {titles[kind]} (`model.kind={kind}`)\n"
        yield render_table("model.", own_fields) if own_fields else "No further settings.\n"


def render_task_settings() -> Iterator[str]:
    """Yield the sections of the settings of every task."""
    yield "## `task`\n"
    yield "`task.kind` selects the task; the other settings depend on it. One file per task, in `training/tasks/`.\n"
    for kind, task in get_task_types().items():
        yield f"### {task.title} (`task.kind={kind}`)\n"
        yield render_table("task.", task.Settings.model_fields)


def render_table(prefix: str, fields: dict[str, FieldInfo]) -> str:
    """Return a table with a row for every setting.

    Args:
        prefix: Dotted prefix of the names.
        fields: Settings by name.
    """
    has_rules = prefix != "model."
    columns = ["setting", "name", "type", "default", "bounds", *(["resume"] if has_rules else []), "description"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, info in fields.items():
        cells = (
            f"`{prefix}{name}`",
            info.title or "",
            format_type(info.annotation),
            format_default(info),
            format_bounds(info),
            *([RULE_LABELS[find_rule(info) or ResumeRule.FIXED]] if has_rules else []),
            info.description or "",
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def format_type(annotation: object) -> str:
    """Return a type in words; the choices of a literal as code."""
    if annotation is NoneType:
        return "null"
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(format_type(part) for part in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {format_type(get_args(annotation)[0])}"
    names: dict[object, str] = {bool: "bool", int: "int", float: "float", str: "string"}
    return names.get(annotation) or "mapping"


def format_default(info: FieldInfo) -> str:
    """Return the default value as YAML; a dash if the setting is required."""
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    match value:
        case None:
            return "null"
        case bool():
            return f"`{str(value).lower()}`"
        case tuple():
            return f"`[{', '.join(map(str, value))}]`"
        case "":
            return "empty"
    return f"`{value}`"


def format_bounds(info: FieldInfo) -> str:
    """Return the bounds of a number, such as `>= 1, <= 64`, or of a length; empty without bounds."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    lengths = {"min_length": "length >=", "max_length": "length <="}
    bounds = [
        f"{sign} {value:,}"
        for constraint in info.metadata
        for name, sign in (signs | lengths).items()
        if (value := getattr(constraint, name, None)) is not None
    ]
    return ", ".join(bounds)
