"""Plot the frontiers: accuracy against mean ticks."""

from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.halting.markdown import select_first_models
from benchmarks.halting.summary import ENERGY_POLICY

POLICY_STYLES = {  # policy -> name, colour, dash
    "oracle": ("oracle", "#9aa0a6", "dot"),
    ENERGY_POLICY: ("energy", "#d9480f", "solid"),
    "certainty": ("certainty", "#1971c2", "solid"),
    "certainty.min": ("certainty, least certain position", "#4dabf7", "solid"),
    "patience": ("patience", "#7048e8", "dash"),
    "change": ("change (KL)", "#2b8a3e", "dash"),
    "fixed": ("fixed ticks", "#495057", "dash"),
    "by chance": ("the ticks of the energy, shuffled over samples", "#adb5bd", "dashdot"),
}


def write_plots(results: dict[str, Any], path: Path) -> None:
    """Write the figure as an HTML page."""
    build_figure(results).write_html(path, include_plotlyjs="cdn")


def build_figure(results: dict[str, Any]) -> go.Figure:
    """Build the figure with the frontiers of the first model of every task."""
    models = select_first_models(results)
    num_columns = min(2, len(models))
    num_rows = -(-len(models) // num_columns)
    titles = [model["name"] for model in models]
    figure = make_subplots(num_rows, num_columns, subplot_titles=titles, vertical_spacing=0.12)
    in_legend: set[str] = set()  # not every policy exists for every task; it enters the legend where it first appears
    for index, model in enumerate(models):
        for policy, (name, colour, dash) in POLICY_STYLES.items():
            if policy in model["rules"]:
                x, y = zip(*model["rules"][policy]["corners"], strict=True)
                line = go.Scatter(
                    x=x,
                    y=y,
                    name=name,
                    legendgroup=policy,
                    showlegend=policy not in in_legend,
                    mode="lines",
                    line={"color": colour, "dash": dash, "width": 2},
                )
                figure.add_trace(line, index // num_columns + 1, index % num_columns + 1)
                in_legend.add(policy)
    figure.update_xaxes(title_text="mean ticks", rangemode="tozero")
    figure.update_yaxes(title_text="accuracy", tickformat=".0%")
    figure.update_layout(
        template="plotly_white",
        height=380 * num_rows,
        width=560 * num_columns,
        legend={"orientation": "h", "y": -0.08},
        title_text="Accuracy against mean ticks, held-out samples, first model of each task",
    )
    return figure
