"""Checkpoint metadata: schemas of the JSON files beside config.json, and how they are read.

    task.json      input and output: {"task", "settings", "labels", ...}
    halting.json   {"energy": {"kind", ...}, "policies": {name: {"policy", ...}}, "default": name}
    metrics.json   {"evaluations": [{"split", "n", "accuracy_halted", ...}], "training": {...}, ...}

Files from elsewhere may hold anything, so every key that the code relies on is checked here. Further keys are allowed.
"""

import math
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from ctm.io.json_files import read_json
from ctm.messages import format_name

MAX_METADATA_BYTES = 2**20
MAX_JSON_DEPTH = 50


class MetadataModel(BaseModel):
    """Base of all metadata schemas: strict types, further keys allowed."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class TaskMetadata(MetadataModel):
    """Schema of task.json.

    Attributes:
        task: Name of the task.
        settings: Settings of the task.
        labels: Names of the answer classes.
    """

    task: str | None = Field(None, max_length=100)
    settings: dict[str, Any] = {}
    labels: list[str] = Field([], max_length=100_000)


class RiskGuaranteeRecord(MetadataModel):
    """Statistical guarantee of a halting policy.

    Attributes:
        risk: Maximum fraction of answers that early stopping may lose.
        confidence: Probability that the guarantee holds.
        method: "ltt" (learn then test) or "crc" (conformal risk control).
        score: Signal that the threshold applies to.
        per_class: Whether the guarantee holds for every class.
    """

    risk: float = Field(gt=0, lt=1)
    confidence: float = Field(0.95, gt=0, lt=1)
    method: str = Field("ltt", max_length=20)
    score: str = Field("energy", max_length=100)
    per_class: bool = False


class PolicyFigures(MetadataModel):
    """Results of a policy on n samples.

    Attributes:
        accuracy: Accuracy at the halting tick.
        mean_ticks: Mean number of ticks.
        n: Number of samples.
    """

    accuracy: float = Field(ge=0, le=1)
    mean_ticks: float = Field(ge=0)
    n: int = Field(ge=0)


class PolicyRecord(MetadataModel):
    """Halting policy, and its results on the calibration samples that its threshold was chosen on.

    Attributes:
        policy: Policy as text, see `inference.halting.policy_parser`.
        accuracy: Accuracy on the calibration samples.
        mean_ticks: Mean number of ticks on the calibration samples.
        n: Number of calibration samples.
        tolerance: Accuracy that may be lost for fewer ticks, in [0, 1].
        promise: Statistical guarantee.
        shifted: Results on the samples that differ from the training samples and that the threshold was chosen on as well,
            by split.
    """

    policy: str = Field(max_length=500)
    accuracy: float | None = Field(None, ge=0, le=1)
    mean_ticks: float | None = Field(None, ge=0)
    n: int | None = Field(None, ge=0)
    tolerance: float | None = Field(None, ge=0, le=1)
    promise: RiskGuaranteeRecord | None = None
    shifted: dict[str, PolicyFigures] = Field({}, max_length=20)


class CorrectnessModel(MetadataModel):
    """Logistic model of P(correct): 1 / (1 + exp(energy * E + certainty * C + bias)).

    Attributes:
        energy: Coefficient of the energy E.
        certainty: Coefficient of the mean certainty C.
        bias: Constant term.
    """

    energy: float = 1.0
    certainty: float = 0.0
    bias: float = 0.0

    def __call__(self, energy: Float[Tensor, "*n"], certainty: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Return P(correct)."""
        return torch.sigmoid(-(self.energy * energy + self.certainty * certainty + self.bias))

    def __str__(self) -> str:
        parts = [f"{self.energy:.4g} * energy", f"{self.certainty:.4g} * certainty", f"{self.bias:.4g}"]
        return f"1 / (1 + exp({' + '.join(parts)}))" if self != CorrectnessModel() else "1 / (1 + exp(energy))"


class EnergyMetadata(MetadataModel):
    """Kind of the energy head, and how its energy maps to P(correct).

    Attributes:
        kind: Loss that the head was trained with.
        margin: Margin of the contrastive loss.
        chance: Logistic model of P(correct); None if it was not fitted.
    """

    kind: str = Field("", max_length=100)
    margin: float = Field(1.0, gt=0)
    chance: CorrectnessModel | None = None

    def compute_p_correct(
        self, energy: Float[Tensor, "*n"], certainty: Float[Tensor, "*n"]
    ) -> Float[Tensor, "*n"] | None:
        """Return P(correct); None if the energy does not determine it."""
        if self.chance is not None:
            return self.chance(energy, certainty)
        if self.kind == "contrastive":
            return (1 - energy / self.margin).clamp(0, 1)
        return CorrectnessModel()(energy, certainty) if self.kind == "calibrated" else None


class ConfidenceModel(MetadataModel):
    """Logistic model of P(correct): sigmoid(energy * E + certainty * C + log_odds * L + bias).

    Attributes:
        energy: Coefficient of the energy E; unused without an energy head.
        certainty: Coefficient of the certainty C.
        log_odds: Coefficient of the log odds L of the answer's own probability.
        bias: Constant term.
    """

    energy: float = 0.0
    certainty: float = 0.0
    log_odds: float = 1.0
    bias: float = 0.0

    def __call__(
        self, energy: Float[Tensor, "*n"] | None, certainty: Float[Tensor, "*n"], log_probability: Float[Tensor, "*n"]
    ) -> Float[Tensor, "*n"]:
        """Return P(correct), at most the probability itself.

        Args:
            energy: Energy; None without an energy head.
            certainty: Certainty of the positions that the answer consists of.
            log_probability: Logarithm of the answer's own probability.
        """
        logits = self.certainty * certainty + self.log_odds * compute_log_odds(log_probability) + self.bias
        if energy is not None:
            logits = logits + self.energy * energy
        return torch.minimum(torch.sigmoid(logits), log_probability.exp())


def compute_log_odds(log_probability: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return log(p / (1 - p)) of probabilities given as logarithms, for p within 1e-6 of 0 and 1 that of the bound."""
    p = log_probability.exp().clamp(1e-6, 1 - 1e-6)
    return torch.log(p) - torch.log1p(-p)


class ConfidenceMetadata(MetadataModel):
    """Calibrated confidence of answers.

    Attributes:
        temperatures: Temperature of the logits at each tick (Guo et al. 2017); the last one holds for later ticks.
        whole: P(all scored positions are correct).
        last: P(the last position is correct); None unless a sentence about it is shown beside the whole answer.
        split: Split that the values were fitted on.
        n: Number of samples.
    """

    temperatures: list[Annotated[float, Field(gt=0)]] = Field(min_length=1, max_length=100_000)
    whole: ConfidenceModel
    last: ConfidenceModel | None = None
    split: str = Field("calibration", max_length=100)
    n: int = Field(0, ge=0)

    def get_temperatures(self, ticks: int) -> Float[Tensor, " T"]:
        """Return the temperature of each of the first `ticks` ticks."""
        return torch.tensor(self.temperatures)[torch.arange(ticks).clamp(max=len(self.temperatures) - 1)]


class FamiliarityMetadata(MetadataModel):
    """Distribution of the features of training inputs: a Gaussian with a low-rank covariance.

    Attributes:
        mean: Mean of the F features.
        components: Orthonormal directions of largest variance, each of F numbers.
        variances: Variance along each direction.
        residual_variance: Mean variance along the other directions.
        threshold: Distance above which an input is unfamiliar: a quantile of the distances of calibration samples.
        split: Split of the samples that the threshold comes from.
        n: Number of these samples.
    """

    mean: list[float] = Field(min_length=1, max_length=10_000)
    components: list[list[float]] = Field(max_length=256)
    variances: list[Annotated[float, Field(gt=0)]] = Field(max_length=256)
    residual_variance: float = Field(gt=0)
    threshold: float = Field(gt=0)
    split: str = Field("calibration", max_length=100)
    n: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check_shapes(self) -> "FamiliarityMetadata":
        if len(self.components) != len(self.variances) or any(len(row) != len(self.mean) for row in self.components):
            raise ValueError("components, variances and mean must have the same number of directions and features")
        return self

    def compute_distance(self, features: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """Return the squared Mahalanobis distance of features from the training features."""
        centered = features.double() - torch.tensor(self.mean, dtype=torch.double)
        components = torch.tensor(self.components, dtype=torch.double).reshape(-1, len(self.mean))
        coordinates = centered @ components.T
        residual = (centered.square().sum(1) - coordinates.square().sum(1)).clamp(min=0)
        along = (coordinates.square() / torch.tensor(self.variances, dtype=torch.double)).sum(1)
        return along + residual / self.residual_variance


FrontierPoint = Annotated[list[float], Field(min_length=3, max_length=3)]


class FrontierData(MetadataModel):
    """Pareto frontiers of halting policies.

    Attributes:
        split: Split that was measured.
        n: Number of samples.
        iterations: Maximum number of ticks.
        rules: Policy name -> points (mean ticks, accuracy, threshold), from the earliest to the most accurate.
    """

    split: str = Field("calibration", max_length=100)
    n: int = Field(ge=0)
    iterations: int | None = Field(None, ge=1)
    rules: dict[str, Annotated[list[FrontierPoint], Field(max_length=2_000)]] = Field({}, max_length=20)


class HaltingMetadata(MetadataModel):
    """Schema of halting.json.

    Attributes:
        energy: Energy head.
        policies: Policy name -> policy.
        default: Name of the default policy.
        frontiers: Pareto frontiers.
        confidence: Calibrated confidence; None in files of version 0.1.0, where `energy` gives P(correct).
        familiarity: Distribution of the features of training inputs; None if it is not known.
    """

    energy: EnergyMetadata = Field(default_factory=lambda: EnergyMetadata.model_validate({}))
    policies: dict[str, PolicyRecord] = Field({}, max_length=100)
    default: str | None = None
    frontiers: FrontierData | None = None
    confidence: ConfidenceMetadata | None = None
    familiarity: FamiliarityMetadata | None = None


class PolicyEvaluation(MetadataModel):
    """Result of a halting policy on held-out samples.

    Attributes:
        accuracy: Accuracy at the halting tick.
        mean_ticks: Mean number of ticks.
        lost: Fraction of answers that early stopping loses.
    """

    accuracy: float
    mean_ticks: float
    lost: float


class ReliabilityRecord(MetadataModel):
    """Calibration of P(correct).

    Attributes:
        ece: Expected calibration error.
        brier: Brier score.
        nll: Negative log-likelihood, nats.
        bins: Mean P(correct), accuracy and number of samples per bin.
    """

    ece: float
    brier: float
    nll: float
    bins: list[FrontierPoint] = Field([], max_length=1_000)


class EvaluationRecord(MetadataModel):
    """Evaluation on one split.

    Attributes:
        split: Name of the split.
        n: Number of samples.
        iterations: Maximum number of ticks.
        accuracy_by_tick: Accuracy at each tick.
        accuracy_halted: Accuracy at the tick at which the default policy halts.
        mean_ticks: Mean number of ticks of the default policy.
        rules: Policy name -> result.
        reliability: Calibration of P(correct).
        reliability_last: Calibration of P(the last position is correct).
    """

    split: str = Field(max_length=1_000)
    n: int = Field(ge=0)
    iterations: int = Field(ge=1)
    accuracy_by_tick: list[float] = Field([], max_length=100_000)
    accuracy_halted: float
    mean_ticks: float
    rules: dict[str, PolicyEvaluation] = Field({}, max_length=100)
    reliability: ReliabilityRecord | None = None
    reliability_last: ReliabilityRecord | None = None


class MetricsMetadata(MetadataModel):
    """Schema of metrics.json.

    Attributes:
        evaluations: Evaluations, one per split.
        training: Facts about the training run.
    """

    evaluations: list[EvaluationRecord] = Field([], max_length=1_000)
    training: dict[str, Any] = {}


METADATA_SCHEMAS: dict[str, type[MetadataModel]] = {
    "task": TaskMetadata,
    "halting": HaltingMetadata,
    "metrics": MetricsMetadata,
}


def read_metadata(folder: Path) -> dict[str, dict[str, Any]]:
    """Read task.json, halting.json and metrics.json of a checkpoint directory; {} for a missing file.

    Raises:
        ValueError: A file is too large, is not a JSON object, or does not fit its schema.
    """
    return {name: read_metadata_file(folder / f"{name}.json", schema) for name, schema in METADATA_SCHEMAS.items()}


def read_metadata_file(path: Path, schema: type[MetadataModel], max_bytes: int = MAX_METADATA_BYTES) -> dict[str, Any]:
    """Read and validate a metadata file of at most `max_bytes`; see `read_metadata`."""
    values = read_json(path, default={}, max_bytes=max_bytes)
    if description := find_unserializable(values):
        raise ValueError(f"{path.name} is not what it should be: it holds {description}.")
    try:
        schema.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(format_name, problem["loc"]))
        raise ValueError(f"{path.name} is not what it should be: `{where}`: {problem['msg'].lower()}.") from None
    return values


def find_unserializable(value: Any, depth: int = 0) -> str:
    """Return in words which part of a JSON value a browser cannot receive; empty if there is none."""
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
