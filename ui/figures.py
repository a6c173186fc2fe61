"""Plotly figures: pure functions from the data of a record to a figure."""

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

ENERGY, CERTAINTY = "#D55E00", "#0072B2"
MOST_CLASSES = 12


def thought_figure(record: dict[str, Any]) -> go.Figure:
    """Energy, certainty and answers of one thought, tick by tick, to zoom into and to download."""
    ticks = list(range(1, record["ticks"] + 1))
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08, specs=[[{"secondary_y": True}], [{}]],
        subplot_titles=("energy and certainty", "answers"),
    )  # fmt: skip
    if record["energy"] is not None:
        figure.add_trace(line(ticks, record["energy"], "energy", ENERGY, record["p_correct"]), row=1, col=1)
    figure.add_trace(line(ticks, record["certainty"], "certainty", CERTAINTY), row=1, col=1, secondary_y=True)
    for rule in record["lines"]:
        figure.add_hline(
            rule["at"], row=1, col=1, line_dash="dash", line_width=1, secondary_y=rule["of"] == "certainty",
            line_color=CERTAINTY if rule["of"] == "certainty" else ENERGY,
        )  # fmt: skip
    figure.add_trace(answers(ticks, record["choices"]), row=2, col=1)
    figure.update_xaxes(title_text="tick", row=2, col=1)
    figure.update_yaxes(title_text="energy", row=1, col=1)
    figure.update_yaxes(type="category", row=2, col=1)
    figure.update_yaxes(title_text="certainty", range=[0, 1.02], row=1, col=1, secondary_y=True)
    figure.update_layout(
        template="none", height=560, margin={"l": 60, "r": 60, "t": 40, "b": 80},
        legend={"orientation": "h", "y": -0.12, "x": 0.5, "xanchor": "center"},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font={"color": "#808080"},
    )  # fmt: skip
    return figure


def line(
    ticks: list[int], values: list[float], name: str, colour: str, chance: list[float] | None = None
) -> go.Scatter:
    hover = f"tick %{{x}}: {name} %{{y:.3f}}"
    if chance is not None:
        hover += "<br>chance of being right %{customdata:.1%}"
    return go.Scatter(
        x=ticks, y=values, name=name, mode="lines+markers", line_color=colour, customdata=chance,
        hovertemplate=hover + "<extra></extra>",
    )  # fmt: skip


def answers(ticks: list[int], choices: dict[str, Any]) -> go.Heatmap:
    """Probabilities of the likeliest classes, or the confidence at every position of a structured answer."""
    labels = choices["labels"]
    if choices["kind"] == "classes":
        by_class = list(zip(*choices["probabilities"], strict=True))
        top = sorted(sorted(range(len(labels)), key=lambda c: -by_class[c][-1])[:MOST_CLASSES])
        values, names, words = [by_class[c] for c in top], [labels[c] for c in top], None
    else:
        values = list(zip(*choices["confidence"], strict=True))
        names = [f"place {place + 1}" for place in range(len(values))]
        words = [[labels[choice] for choice in row] for row in zip(*choices["chosen"], strict=True)]
    hover = "tick %{x}: %{y} %{text} %{z:.3f}" if words else "tick %{x}: %{y} %{z:.3f}"
    return go.Heatmap(
        x=ticks, y=names, z=values, text=words, zmin=0, zmax=1, colorscale="Viridis",
        colorbar={"len": 0.45, "y": 0.2, "thickness": 12}, hovertemplate=hover + "<extra></extra>",
    )  # fmt: skip
