"""Definitions of the training charts: which metrics they show, and the texts that users read."""

from dataclasses import dataclass
from typing import NamedTuple

ACCURACY_BY_TICK_KEY = "validation_accuracy_by_tick"
SECONDS_KEY = "seconds"  # of training, without pauses
SAMPLES_KEY = "samples"  # of training, in all stages so far


class Series(NamedTuple):
    """One line of a chart.

    Attributes:
        key: Key in metrics.jsonl.
        label: Name for users.
        noisy: Whether the page smooths the line.
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
        is_open: Whether the chart is unfolded at first.
    """

    id: str
    title: str
    help_text: str
    series: tuple[Series, ...]
    unit: str = ""
    log: bool = False
    percent: bool = False
    zero: bool = False
    is_open: bool = False


CHARTS = (
    Chart(
        id="accuracy",
        is_open=True,
        title="Accuracy",
        percent=True,
        help_text="An exact answer is correct at every position, so it can stay at 0% for long while single positions improve. Held out: "
        "samples that are not trained on.",
        series=(
            Series("accuracy", "exact, training, last tick", noisy=True),
            Series("validation_accuracy_last", "exact, held out, last tick"),
            Series("validation_accuracy_halted", "exact, held out, when halted"),
            Series("validation_accuracy_best", "exact, held out, best tick"),
            Series("validation_position_accuracy_last", "single positions, held out"),
        ),
    ),
    Chart(
        id="loss",
        is_open=True,
        title="Loss",
        log=True,
        help_text="Lower is better. Pale: raw; strong: smoothed.",
        series=(Series("loss", "training", noisy=True), Series("validation_loss", "held out")),
    ),
    Chart(
        id="ticks",
        is_open=True,
        title="Ticks used",
        zero=True,
        help_text="Average number of ticks before the model halts, on held-out samples.",
        series=(Series("validation_mean_ticks", "held out"),),
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
