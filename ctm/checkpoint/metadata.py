"""What a checkpoint's JSON files say beside its config: their form, and reading them.

    task.json      what goes in and comes out: {"task", "settings", "labels", ...}
    halting.json   {"energy": {"kind", ...}, "policies": {name: {"policy", ...}}, "default": name}
    metrics.json   {"evaluations": [{"split", "n", "accuracy_halted", ...}], "training": {...}, ...}

Files from elsewhere may hold anything, so what the rest of the code relies on is checked here; more is allowed.
"""

import math
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from ctm.io.json_files import read_json
from ctm.messages import format_name

MAX_METADATA_BYTES = 2**20  # bytes of a file
MAX_JSON_DEPTH = 50  # levels of brackets


class MetadataModel(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class TaskMetadata(MetadataModel):
    task: str | None = Field(None, max_length=100)
    settings: dict[str, Any] = {}
    labels: list[str] = Field([], max_length=100_000)


class RiskGuaranteeRecord(MetadataModel):
    risk: float = Field(gt=0, lt=1)
    confidence: float = Field(0.95, gt=0, lt=1)
    method: str = Field("ltt", max_length=20)
    score: str = Field("energy", max_length=100)
    per_class: bool = False

    @property
    def confidence_text(self) -> str:
        return "on average" if self.method == "crc" else f"with {100 * self.confidence:.3g} % confidence"


class PolicyRecord(MetadataModel):
    """A rule, and what it did to the calibration samples that its threshold was chosen on."""

    policy: str = Field(max_length=500)
    accuracy: float | None = Field(None, ge=0, le=1)
    mean_ticks: float | None = Field(None, ge=0)
    n: int | None = Field(None, ge=0)
    tolerance: float | None = Field(None, ge=0, le=1)  # accuracy given up for fewer ticks
    promise: RiskGuaranteeRecord | None = None

    def describe(self) -> str:
        """What it promises and what is known of it, in sentences; empty if nothing is."""
        said = []
        if self.tolerance is not None:
            cost = f"at most {100 * self.tolerance:.3g} points of" if self.tolerance else "no"
            said.append(f"The fewest ticks that cost {cost} accuracy.")
        if self.promise and self.n is not None:
            risk, sure = f"{100 * self.promise.risk:.3g} %", self.promise.confidence_text
            said.append(
                f"At most {risk} of answers lost by stopping early, {sure}, on data like these {self.n:,} samples."
            )
        if self.accuracy is not None and self.mean_ticks is not None and self.n is not None:
            right = f"{self.accuracy:.1%} right in {self.mean_ticks:.1f} ticks on average"
            said.append(f"There: {right}." if self.promise else f"On {self.n:,} calibration samples: {right}.")
        return " ".join(said)


class CorrectnessModel(MetadataModel):
    """The chance of being right, as energy and mean certainty tell it: 1 / (1 + exp(energy E + certainty C + bias))."""

    energy: float = 1.0
    certainty: float = 0.0
    bias: float = 0.0

    def __call__(self, energy: Float[Tensor, "*n"], certainty: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return torch.sigmoid(-(self.energy * energy + self.certainty * certainty + self.bias))

    def __str__(self) -> str:
        parts = [f"{self.energy:.4g} * energy", f"{self.certainty:.4g} * certainty", f"{self.bias:.4g}"]
        return f"1 / (1 + exp({' + '.join(parts)}))" if self != CorrectnessModel() else "1 / (1 + exp(energy))"


class EnergyMetadata(MetadataModel):
    kind: str = Field("", max_length=100)
    margin: float = Field(1.0, gt=0)
    chance: CorrectnessModel | None = None

    def compute_p_correct(
        self, energy: Float[Tensor, "*n"], certainty: Float[Tensor, "*n"]
    ) -> Float[Tensor, "*n"] | None:
        """The chance of being right; None where the energy stands for none."""
        if self.chance is not None:
            return self.chance(energy, certainty)
        if self.kind == "contrastive":
            return (1 - energy / self.margin).clamp(0, 1)
        return CorrectnessModel()(energy, certainty) if self.kind == "calibrated" else None


FrontierPoint = Annotated[list[float], Field(min_length=3, max_length=3)]


class FrontierData(MetadataModel):
    """What every threshold of a rule gives: mean ticks, accuracy and the threshold, from the boldest to the most accurate."""

    split: str = Field("calibration", max_length=100)
    n: int = Field(ge=0)
    iterations: int | None = Field(None, ge=1)  # ticks of the longest of these thoughts
    rules: dict[str, Annotated[list[FrontierPoint], Field(max_length=2_000)]] = Field({}, max_length=20)


class HaltingMetadata(MetadataModel):
    energy: EnergyMetadata = Field(default_factory=lambda: EnergyMetadata.model_validate({}))
    policies: dict[str, PolicyRecord] = Field({}, max_length=100)
    default: str | None = None
    frontiers: FrontierData | None = None


class PolicyEvaluation(MetadataModel):
    """What a rule does to held-out samples, and the share of answers that it loses by stopping early."""

    accuracy: float
    mean_ticks: float
    lost: float


class ReliabilityRecord(MetadataModel):
    """How far the chance to be right can be believed; each bin: mean chance, share of right answers, samples."""

    ece: float
    brier: float
    nll: float
    bins: list[FrontierPoint] = Field([], max_length=1_000)


class EvaluationRecord(MetadataModel):
    split: str = Field(max_length=1_000)
    n: int = Field(ge=0)
    iterations: int = Field(ge=1)
    accuracy_by_tick: list[float] = Field([], max_length=100_000)
    accuracy_halted: float
    mean_ticks: float
    rules: dict[str, PolicyEvaluation] = Field({}, max_length=100)
    reliability: ReliabilityRecord | None = None


class MetricsMetadata(MetadataModel):
    evaluations: list[EvaluationRecord] = Field([], max_length=1_000)
    training: dict[str, Any] = {}


METADATA_SCHEMAS: dict[str, type[MetadataModel]] = {
    "task": TaskMetadata,
    "halting": HaltingMetadata,
    "metrics": MetricsMetadata,
}


def read_metadata(folder: Path) -> dict[str, dict[str, Any]]:
    """`task`, `halting` and `metrics` of a checkpoint folder; {} where there is no such file.

    Raises:
        ValueError: a file is too large, is no JSON object, or has another form.
    """
    return {name: read_metadata_file(folder / f"{name}.json", form) for name, form in METADATA_SCHEMAS.items()}


def read_metadata_file(path: Path, schema: type[MetadataModel]) -> dict[str, Any]:
    values = read_json(path, default={}, max_bytes=MAX_METADATA_BYTES)
    if odd := find_unserializable(values):
        raise ValueError(f"{path.name} is not what it should be: it holds {odd}.")
    try:
        schema.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(format_name, problem["loc"]))
        raise ValueError(f"{path.name} is not what it should be: `{where}`: {problem['msg'].lower()}.") from None
    return values


def find_unserializable(value: Any, depth: int = 0) -> str:
    """What in a JSON value could not be sent on to a screen, in words; empty if nothing."""
    if isinstance(value, str):
        return "letters that are none" if any("\ud800" <= letter <= "\udfff" for letter in value) else ""
    if isinstance(value, float):
        return "" if math.isfinite(value) else "a number that is none"
    if isinstance(value, int):
        return "a number of more than 64 bits" if abs(value) >= 2**63 else ""
    if value is None:
        return ""
    if depth > MAX_JSON_DEPTH:
        return f"more than {MAX_JSON_DEPTH} levels"
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    return next(filter(None, (find_unserializable(part, depth + 1) for part in parts)), "")
