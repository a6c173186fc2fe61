"""Definitions of the training charts: which metrics they show, and the texts that users read."""

from dataclasses import dataclass
from typing import NamedTuple

ACCURACY_BY_TICK_KEY = "validation_accuracy_by_tick"


class Series(NamedTuple):
    """One line of a chart.

    Attributes:
        key: Key in metrics.jsonl.
        label: Name for users.
        noisy: Whether the line is drawn faintly under a smoothed one.
    """

    key: str
    label: str
    noisy: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Series that share one pair of axes.

    Attributes:
        id: Name of the chart in the page.
        title: Title for users.
        help_text: What the chart shows and how to read it.
        series: Lines of the chart.
        unit: Unit of the values.
        log: Whether the scale is logarithmic while all visible values are positive.
        percent: Whether values are shares of one.
        zero: Whether the scale starts at zero.
        axis: Horizontal axis: "step" or "tick".
    """

    id: str
    title: str
    help_text: str
    series: tuple[Series, ...]
    unit: str = ""
    log: bool = False
    percent: bool = False
    zero: bool = False
    axis: str = "step"


CHARTS = (
    Chart(
        id="loss",
        title="Loss",
        log=True,
        help_text="Lower is better. Thin: raw; thick: smoothed.",
        series=(Series("loss", "training", noisy=True), Series("validation_loss", "held out")),
    ),
    Chart(
        id="accuracy",
        title="Accuracy",
        percent=True,
        help_text="An answer counts as correct only if every position is correct, so it can stay at 0% for long while single "
        "positions improve. Held out: samples that are not trained on.",
        series=(
            Series("accuracy", "training, last tick", noisy=True),
            Series("validation_accuracy_last", "held out, last tick"),
            Series("validation_accuracy_halted", "held out, when halted"),
            Series("validation_accuracy_best", "held out, best tick"),
            Series("validation_position_accuracy_last", "held out, single positions"),
        ),
    ),
    Chart(
        id="by-tick",
        title="Accuracy by tick, last evaluation",
        percent=True,
        axis="tick",
        help_text="Accuracy if the model stopped at this tick.",
        series=(Series(ACCURACY_BY_TICK_KEY, "held out"),),
    ),
    Chart(
        id="energy",
        title="Energy",
        help_text="Average energy of correct and of wrong answers. A wide gap means that energy separates them.",
        series=(
            Series("validation_energy_right", "correct answers"),
            Series("validation_energy_wrong", "wrong answers"),
        ),
    ),
    Chart(
        id="ticks",
        title="Ticks used",
        zero=True,
        help_text="Average number of ticks before the model halts, on held-out samples.",
        series=(Series("validation_mean_ticks", "held out"),),
    ),
    Chart(
        id="rate",
        title="Learning rate",
        help_text="Learning-rate schedule.",
        series=(Series("lr", "learning rate"),),
    ),
    Chart(
        id="gradient",
        title="Gradient norm",
        log=True,
        help_text="Size of the gradient. Occasional spikes are fine; steady growth is not.",
        series=(Series("grad_norm", "model", noisy=True), Series("energy_grad_norm", "energy head", noisy=True)),
    ),
    Chart(
        id="speed",
        title="Speed",
        zero=True,
        help_text="Training steps per second.",
        series=(Series("steps_per_second", "steps per second"),),
    ),
    Chart(
        id="memory",
        title="Memory",
        unit="GB",
        zero=True,
        help_text="Process and GPU memory.",
        series=(Series("memory_gb", "process"), Series("gpu_memory_gb", "GPU")),
    ),
    Chart(
        id="gpu",
        title="GPU use",
        percent=True,
        help_text="Share of time that the GPU is busy. A low value means that it waits for data or the CPU.",
        series=(Series("gpu_utilisation", "GPU"),),
    ),
)
