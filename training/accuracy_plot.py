"""Plot of accuracy by tick for the model card."""

import io
from typing import Any

ACCURACY_PLOT_FILE = "accuracy.png"


def render_accuracy_plot(metrics: dict[str, Any]) -> bytes:
    """Plot accuracy by tick on the held-out splits, and the halted accuracy at the mean ticks, as a PNG.

    Args:
        metrics: Content of `metrics.json`.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  its import takes half a second

    figure = Figure(figsize=(7, 3.6), dpi=130, layout="constrained")
    axes = figure.subplots()
    for evaluation in metrics["evaluations"]:
        accuracy = [100 * value for value in evaluation["accuracy_by_tick"]]
        (line,) = axes.plot(range(1, len(accuracy) + 1), accuracy, label=f"{evaluation['split']}, every tick")
        axes.scatter(
            evaluation["mean_ticks"],
            100 * evaluation["accuracy_halted"],
            color=line.get_color(),
            marker="*",
            s=160,
            zorder=3,
            label=f"{evaluation['split']}, halted (mean ticks)",
        )
    axes.set(xlabel="tick", ylabel="accuracy, %", ylim=(0, 102))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
