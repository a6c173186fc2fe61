"""Plotly figures as plain data, built from the record of one unroll.

The layout is built once. Plotly's own objects validate every value, which would take longer than most predictions.
"""

import json
from typing import Any

from plotly.subplots import make_subplots  # type: ignore[import-untyped] # plotly has no type stubs

ENERGY_COLOR, CERTAINTY_COLOR = "#D55E00", "#0072B2"
MAX_CLASSES = 12


def build_layout() -> dict[str, Any]:
    """Return the layout of two stacked panels without data: energy and certainty, answers."""
    figure = make_subplots(
        rows=2,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.08,
        specs=[[{"secondary_y": True}], [{}]],
        subplot_titles=("energy and certainty", "answers"),
    )
    figure.update_xaxes(title_text="tick", row=2, col=1)
    figure.update_yaxes(title_text="energy", row=1, col=1)
    figure.update_yaxes(type="category", row=2, col=1)
    figure.update_yaxes(title_text="certainty", range=[0, 1.02], row=1, col=1, secondary_y=True)
    figure.update_layout(
        template="none",
        height=560,
        margin={"l": 60, "r": 60, "t": 40, "b": 80},
        legend={"orientation": "h", "y": -0.12, "x": 0.5, "xanchor": "center"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#808080"},
    )
    return json.loads(figure.to_json())["layout"]


LAYOUT = build_layout()


def build_thought_figure(record: dict[str, Any]) -> dict[str, Any]:
    """Return the figure of energy, certainty and answers over the ticks of one unroll."""
    ticks = list(range(1, record["ticks"] + 1))
    is_ctc = record["choices"]["kind"] == "spoken"
    answer_trace = build_emission_trace(record) if is_ctc else build_answer_heatmap(ticks, record["choices"])
    traces = [
        build_line(ticks, record["certainty"], "certainty", CERTAINTY_COLOR) | {"yaxis": "y2"},
        answer_trace | {"xaxis": "x2", "yaxis": "y3"},
    ]
    if record["energy"] is not None:
        traces.insert(0, build_line(ticks, record["energy"], "energy", ENERGY_COLOR, record["p_correct"]))
    axis_type = {"yaxis3": LAYOUT["yaxis3"] | {"type": "linear"}} if is_ctc else {}
    return {
        "data": traces,
        "layout": LAYOUT | axis_type | {"shapes": [build_threshold_line(rule) for rule in record["lines"]]},
    }


def build_threshold_line(chart_line: dict[str, Any]) -> dict[str, Any]:
    """Return a dashed line at the threshold of a halting policy."""
    axis, color = ("y2", CERTAINTY_COLOR) if chart_line["of"] == "certainty" else ("y", ENERGY_COLOR)
    return {
        "type": "line",
        "xref": "x domain",
        "x0": 0,
        "x1": 1,
        "yref": axis,
        "y0": chart_line["at"],
        "y1": chart_line["at"],
        "line": {"color": color, "dash": "dash", "width": 1},
    }


def build_line(
    ticks: list[int], values: list[float], name: str, color: str, p_correct: list[float] | None = None
) -> dict[str, Any]:
    """Return the trace of one signal over the ticks, with the probability of a correct answer in its hover text."""
    hover = f"tick %{{x}}: {name} %{{y:.3f}}"
    if p_correct is not None:
        hover += "<br>estimated chance of being correct %{customdata:.1%}"
    return {
        "type": "scatter",
        "x": ticks,
        "y": values,
        "name": name,
        "mode": "lines+markers",
        "line": {"color": color},
        "customdata": p_correct,
        "hovertemplate": hover + "<extra></extra>",
    }


def build_answer_heatmap(ticks: list[int], choices: dict[str, Any]) -> dict[str, Any]:
    """Return a heatmap: probabilities of the top classes, or the probability at every position of an answer."""
    labels = choices["labels"]
    if choices["kind"] == "classes":
        by_class = list(zip(*choices["probabilities"], strict=True))
        top = sorted(sorted(range(len(labels)), key=lambda c: -by_class[c][-1])[:MAX_CLASSES])
        values, names, words = [by_class[c] for c in top], [labels[c] for c in top], None
    else:
        values = list(zip(*choices["probability"], strict=True))
        names = [f"position {index + 1}" for index in range(len(values))]
        words = [[labels[choice] for choice in row] for row in zip(*choices["chosen"], strict=True)]
    hover = "tick %{x}: %{y} %{text} %{z:.3f}" if words else "tick %{x}: %{y} %{z:.3f}"
    return {
        "type": "heatmap",
        "x": ticks,
        "y": names,
        "z": values,
        "text": words,
        "zmin": 0,
        "zmax": 1,
        "colorscale": "Viridis",
        "colorbar": {"len": 0.45, "y": 0.2, "thickness": 12},
        "hovertemplate": hover + "<extra></extra>",
    }


def build_emission_trace(record: dict[str, Any]) -> dict[str, Any]:
    """Return the trace of a CTC sorting answer: each number at the tick that emits it, colored by its probability.

    The y position is the number itself, so a sorted sequence rises monotonically.
    """
    choices = record["choices"]
    by_tick = record["answers_by_tick"]
    emission_ticks = [at for at, answer in enumerate(by_tick) if len(answer) > (len(by_tick[at - 1]) if at else 0)]
    chosen = [choices["chosen"][at] for at in emission_ticks]
    numbers = record["input"]["numbers"]
    words = record["input"]["items"]
    marker = {
        "color": [choices["probability"][at] for at in emission_ticks],
        "cmin": 0,
        "cmax": 1,
        "colorscale": "Viridis",
        "size": 9,
        "colorbar": {"len": 0.45, "y": 0.2, "thickness": 12},
    }
    return {
        "type": "scatter",
        "x": [at + 1 for at in emission_ticks],
        "y": [numbers[index] for index in chosen],
        "name": "output",
        "text": [words[index] for index in chosen],
        "mode": "lines+markers",
        "line": {"dash": "dot", "width": 1},
        "marker": marker,
        "hovertemplate": "tick %{x}: %{text}, probability %{marker.color:.1%}<extra></extra>",
        "showlegend": False,
    }
