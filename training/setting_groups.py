"""Groups of the settings of a run: loss, optimiser, training loop, finalization and publication.

Every setting states whether it may change when a run is resumed; see `training.resume_rules`.
"""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from ctm.stores import HubRef
from training.energy.losses import DEFAULT_ENERGY_KIND, EnergyKind, EnergyLossParams
from training.losses import TickReduction, TickReductionKind
from training.pace import Pace
from training.resume_rules import BatchSplit, Changeable, Fixed, RunSettings

MAX_ACCUMULATION_STEPS = 4_096


class LossConfig(RunSettings):
    """Loss of the answer, and kind and loss of the energy."""

    tick_reduction: Fixed[TickReductionKind] = Field(
        "two_tick",
        title="Ticks that count",
        description="ticks that count: the lowest-loss and the most certain one (two_tick), all (mean), a mix, or for each "
        "position of a structured answer all ticks from its due tick on (paced)",
    )
    mean_share: Fixed[float] = Field(
        0.5,
        ge=0,
        le=1,
        title="Share of the mean over ticks",
        description="share of the mean over ticks at the first step, falling to 0 (mix)",
    )
    lookahead: Fixed[int | None] = Field(
        None,
        ge=1,
        le=1_000_000,
        title="Positions trained ahead",
        description="structured answers: train only this many positions after the longest correct prefix; paced: after the "
        "prefix that is correct when it is due",
    )
    pace_delay: Fixed[int] = Field(
        3,
        ge=0,
        le=1_000,
        title="Ticks before an answer is due",
        description="ticks between the attention to a position and its due tick (paced, auxiliary losses)",
    )
    pace_ticks: Fixed[float | None] = Field(
        None,
        gt=0,
        le=1_000,
        title="Ticks per position",
        description="ticks from one position to the next (paced, auxiliary losses); null: spread over the ticks, with "
        "pace_delay ticks left at the end",
    )
    early_padding: Fixed[bool] = Field(
        False,
        title="Padding is due at the end",
        description="positions after the end of a sequence are due with the first of them, so that short sequences "
        "can halt early (paced)",
    )
    attention_loss_weight: Fixed[float] = Field(
        0.0,
        ge=0,
        le=1_000,
        title="Attention loss weight",
        description="weight of -log of the attention to the place that the pace states, of the best head, at the first step",
    )
    probe_loss_weight: Fixed[float] = Field(
        0.0,
        ge=0,
        le=1_000,
        title="Probe loss weight",
        description="weight of the loss of a linear probe that reads intermediate results from the neurons, at the first step; "
        "no checkpoint holds the probe",
    )
    feature_loss_weight: Fixed[float] = Field(
        0.0,
        ge=0,
        le=1_000,
        title="Feature loss weight",
        description="weight of the loss of a linear probe that reads from the features of the input what the task states of every "
        "place, at the first step; no checkpoint holds the probe",
    )
    auxiliary_loss_share: Fixed[float] = Field(
        0.7,
        gt=0,
        le=10,
        title="Share of steps with auxiliary losses",
        description="share of the steps in which the weights of the attention, probe and feature loss fall linearly to 0",
    )
    energy_kind: Fixed[Literal[EnergyKind, "none"]] = Field(
        DEFAULT_ENERGY_KIND,
        title="Meaning of the energy",
        description="what the energy estimates: gain of waiting (wait), -logit P(correct) (calibrated), P(wrong) times a margin "
        "as in the energy-halting fork (contrastive), or another; none: no energy head",
    )
    energy_weight: Fixed[float] = Field(
        0.5,
        ge=0,
        title="Energy loss weight",
        description="weight of the energy loss (energy_scale of the energy-halting fork)",
    )
    energy_margin: Fixed[float] = Field(
        1.0, gt=0, title="Energy margin", description="energy that a wrong answer is pushed above (contrastive)"
    )
    tick_cost: Fixed[float] = Field(
        0.005,
        ge=0,
        le=1,
        title="Cost of a tick",
        description="cost of a tick, in correct answers (value and hindsight energies)",
    )
    energy_grad_to_trunk: Fixed[bool] = Field(
        False,
        title="Energy trains the whole model",
        description="backpropagate the energy loss into the trunk, as the energy-halting fork does",
    )

    @property
    def energy_loss_params(self) -> EnergyLossParams:
        """Settings of the energy loss."""
        return EnergyLossParams(self.energy_margin, self.tick_cost)

    @property
    def pace(self) -> Pace:
        """Timetable of the positions of an answer."""
        return Pace(self.pace_delay, self.pace_ticks)

    @property
    def has_auxiliary_loss(self) -> bool:
        """Whether the attention or a probe is trained."""
        return max(self.attention_loss_weight, self.probe_loss_weight, self.feature_loss_weight) > 0

    def build_tick_reduction(self, progress: float) -> TickReduction:
        """Return the reduction over the ticks.

        Args:
            progress: Share of the steps that are done, in [0, 1].
        """
        return TickReduction(self.tick_reduction, self.lookahead, self.mean_share * (1 - progress), self.pace)

    def compute_auxiliary_weight(self, progress: float) -> float:
        """Return the factor of the auxiliary losses in [0, 1]; 0 without them.

        Args:
            progress: Share of the steps that are done, in [0, 1].
        """
        return max(0.0, 1 - progress / self.auxiliary_loss_share) if self.has_auxiliary_loss else 0.0


class OptimConfig(RunSettings):
    """AdamW with linear warm-up, an optional constant phase and cosine decay."""

    lr: Changeable[float] = Field(1e-3, gt=0, le=1, title="Learning rate", description="highest learning rate")
    warmup_steps: Changeable[int] = Field(
        200, ge=0, le=100_000_000, title="Warm-up steps", description="steps until the highest learning rate is reached"
    )
    decay_start: Changeable[float] = Field(
        0.0,
        ge=0,
        lt=1,
        title="Start of the decay",
        description="share of the steps after the warm-up before the cosine decay starts",
    )
    min_lr_ratio: Changeable[float] = Field(
        0.01,
        ge=0,
        le=1,
        title="Final learning rate",
        description="learning rate at the end, as a share of the highest one",
    )
    weight_decay: Fixed[float] = Field(
        0.0, ge=0, le=1, title="Weight decay", description="AdamW weight decay of matrices"
    )
    fused: Changeable[bool] = Field(
        False, title="Fused optimizer", description="compute an AdamW step in one kernel instead of one per operation"
    )
    max_grad_norm: Changeable[float] = Field(
        1.0,
        ge=0,
        title="Gradient clipping",
        description="largest gradient norm, of trunk and energy head separately; 0: no clipping",
    )


class TrainConfig(RunSettings):
    """The training loop."""

    steps: Changeable[int] = Field(2_000, ge=1, le=100_000_000, title="Training steps", description="optimiser steps")
    batch_size: BatchSplit[int] = Field(
        64, ge=1, le=65_536, title="Batch size", description="samples per batch and process"
    )
    gradient_accumulation_steps: BatchSplit[int] = Field(
        1,
        ge=1,
        le=MAX_ACCUMULATION_STEPS,
        title="Accumulated batches",
        description="batches accumulated before an optimiser step",
    )
    seed: Fixed[int] = Field(0, ge=0, lt=2**31, title="Random seed", description="seed of weights, data and dropout")
    mixed_precision: Changeable[Literal["no", "bf16", "fp16"]] = Field(
        "no", title="Number precision", description="precision of matrix products"
    )
    device: Changeable[Literal["auto", "cpu"]] = Field(
        "auto", title="Device", description="auto uses the accelerator if there is one"
    )
    token_init: Fixed[Literal["default", "separate"]] = Field(
        "default",
        title="Initial token embedding",
        description="initial embedding of token sequences: as PyTorch (default), or symbols and sine positions in different "
        "halves, with keys that tell positions and values that tell symbols apart (separate)",
    )
    prefetch: Changeable[int] = Field(
        0,
        ge=0,
        le=1_000,
        title="Batches prepared ahead",
        description="batches that a thread samples ahead of the training; 0: none",
    )
    compile: Changeable[bool] = Field(
        False,
        title="Compile the model",
        description="compile a tick with torch.compile; without a compiler the model runs as usual",
    )
    init_mode: Fixed[Literal["all", "matching", "expand", "core"]] = Field(
        "all",
        title="Weights to copy",
        description="weights to copy from init_from: all; those of equal name and shape (matching); also smaller ones into the "
        "leading slice of larger ones, while added residual blocks return their input (expand); or only the recurrent core (core)",
    )
    freeze: Fixed[Literal["none", "core"]] = Field(
        "none", title="Frozen weights", description="weights that are not trained: none, or the recurrent core (core)"
    )
    log_every: Changeable[int] = Field(
        20,
        ge=1,
        le=100_000_000,
        title="Steps between log lines",
        description="steps between two lines of metrics.jsonl",
    )
    eval_every: Changeable[int] = Field(
        500,
        ge=1,
        le=100_000_000,
        title="Steps between evaluations",
        description="steps between two evaluations on validation samples",
    )
    eval_samples: Changeable[int] = Field(
        512, ge=1, le=1_000_000, title="Samples per evaluation", description="validation samples an evaluation uses"
    )
    save_every: Changeable[int] = Field(
        500, ge=1, le=100_000_000, title="Steps between checkpoints", description="steps between two checkpoints"
    )
    save_total_limit: Changeable[int] = Field(
        2, ge=1, le=1_000, title="Checkpoints to keep", description="newest checkpoints to keep, besides the best one"
    )
    report_to: Changeable[Literal["none", "trackio", "tensorboard", "wandb"]] = Field(
        "none",
        title="Experiment tracker",
        description="experiment tracker that receives the logged figures; its package is optional",
    )
    max_minutes: Changeable[float] = Field(
        0, ge=0, title="Time limit in minutes", description="save and stop after this many minutes; 0: no limit"
    )
    min_free_disk_gb: Changeable[float] = Field(
        1.0,
        ge=0,
        title="Free disk to keep (GB)",
        description="save and stop before less than this much disk is free, GB",
    )


class FinalizeConfig(RunSettings):
    """Steps after the training: fit the energy head, choose a threshold, evaluate the model."""

    fit_samples: Changeable[int] = Field(
        32_768,
        ge=0,
        le=1_000_000,
        title="Samples to fit the energy",
        description="validation samples to fit the energy head on, 2 or more; 0: do not fit it",
    )
    fit_steps: Changeable[int] = Field(
        4_000, ge=1, le=1_000_000, title="Steps to fit the energy", description="optimiser steps of the fit, at most"
    )
    eval_samples: Changeable[int] = Field(
        4_096,
        ge=64,
        le=1_000_000,
        title="Samples to evaluate on",
        description="held-out samples drawn from a generated split of the size of the calibration split; a finite split is used as "
        "a whole",
    )
    accuracy_tolerance: Changeable[float] = Field(
        0.005,
        ge=0,
        le=1,
        title="Accuracy that stopping may lose",
        description="accuracy that a halting threshold may lose against the most accurate one, on calibration samples",
    )

    @field_validator("fit_samples")
    @classmethod
    def _check_fit_samples(cls, value: int) -> int:
        if value == 1:
            raise ValueError("must be 0 (do not fit the energy head) or at least 2")
        return value


class PublishConfig(RunSettings):
    """Publication of the checkpoint on the Hub."""

    repo: Changeable[str] = Field(
        "", title="Hub repository", description="namespace/name of the repository; empty: nothing is published"
    )
    private: Changeable[bool] = Field(
        False, title="Private repository", description="create the repository as private if it does not exist"
    )
    example_images: Changeable[bool] = Field(
        False,
        title="Publish example images",
        description="publish a few held-out images of the data set as example inputs; the data set must permit it",
    )
    static_space: Changeable[str] = Field(
        "",
        title="Static Space",
        description="namespace/name of a static Space that runs the finished model in the browser; needs publish.repo; empty: none",
    )
    interval_minutes: Changeable[float] = Field(
        0,
        ge=0,
        title="Minutes between publications",
        description="minutes between two publications during training, at least 10; 0: publish only at the end",
    )

    @field_validator("repo", "static_space")
    @classmethod
    def _check_repo_name(cls, value: str) -> str:
        if value and (HubRef.parse(value).revision or HubRef.parse(value).subfolder):
            raise ValueError("must be namespace/name: only the main branch of a repository is published to")
        return value

    @model_validator(mode="after")
    def _check_static_space(self) -> "PublishConfig":
        if self.static_space and not self.repo:
            raise ValueError(
                "static_space needs repo: a static Space is published together with its model; name it, too"
            )
        return self

    @field_validator("interval_minutes")
    @classmethod
    def _check_interval(cls, value: float) -> float:
        if 0 < value < 10:
            raise ValueError("the Hub limits commits: at most one in ten minutes")
        return value
