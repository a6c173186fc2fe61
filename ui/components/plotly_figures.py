"""Plotly figures: pure functions from the data of a record to a figure, as plain data.

The frame is laid out once; Plotly's own objects check every value anew, which would take longer than most thoughts.
"""

import json
from typing import Any

from plotly.subplots import make_subplots

ENERGY_COLOR, CERTAINTY_COLOR = "#D55E00", "#0072B2"
MAX_CLASSES = 12


def build_layout() -> dict[str, Any]:
    """Two panels one above the other, without data: energy and certainty, answers."""
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
    """Energy, certainty and answers of one thought, tick by tick, to zoom into and to download."""
    ticks, is_said = list(range(1, record["ticks"] + 1)), record["choices"]["kind"] == "spoken"
    below = build_emission_trace(record) if is_said else build_answer_heatmap(ticks, record["choices"])
    traces = [
        build_line(ticks, record["certainty"], "certainty", CERTAINTY_COLOR) | {"yaxis": "y2"},
        below | {"xaxis": "x2", "yaxis": "y3"},
    ]
    if record["energy"] is not None:
        traces.insert(0, build_line(ticks, record["energy"], "energy", ENERGY_COLOR, record["p_correct"]))
    height = {"yaxis3": LAYOUT["yaxis3"] | {"type": "linear"}} if is_said else {}
    return {
        "data": traces,
        "layout": LAYOUT | height | {"shapes": [build_threshold_line(rule) for rule in record["lines"]]},
    }


def build_threshold_line(chart_line: dict[str, Any]) -> dict[str, Any]:
    """A dashed line where a rule ends the thought."""
    axis, colour = ("y2", CERTAINTY_COLOR) if chart_line["of"] == "certainty" else ("y", ENERGY_COLOR)
    return {
        "type": "line",
        "xref": "x domain",
        "x0": 0,
        "x1": 1,
        "yref": axis,
        "y0": chart_line["at"],
        "y1": chart_line["at"],
        "line": {"color": colour, "dash": "dash", "width": 1},
    }


def build_line(
    ticks: list[int], values: list[float], name: str, colour: str, p_correct: list[float] | None = None
) -> dict[str, Any]:
    hover = f"tick %{{x}}: {name} %{{y:.3f}}"
    if p_correct is not None:
        hover += "<br>chance of being right %{customdata:.1%}"
    return {
        "type": "scatter",
        "x": ticks,
        "y": values,
        "name": name,
        "mode": "lines+markers",
        "line": {"color": colour},
        "customdata": p_correct,
        "hovertemplate": hover + "<extra></extra>",
    }


def build_answer_heatmap(ticks: list[int], choices: dict[str, Any]) -> dict[str, Any]:
    """Probabilities of the likeliest classes, or the confidence at every position of a structured answer."""
    labels = choices["labels"]
    if choices["kind"] == "classes":
        by_class = list(zip(*choices["probabilities"], strict=True))
        top = sorted(sorted(range(len(labels)), key=lambda c: -by_class[c][-1])[:MAX_CLASSES])
        values, names, words = [by_class[c] for c in top], [labels[c] for c in top], None
    else:
        values = list(zip(*choices["confidence"], strict=True))
        names = [f"place {place + 1}" for place in range(len(values))]
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
    """Each number at the tick that says it and at its own height, by how sure it is: sorted numbers rise like stairs."""
    choices, by_tick = record["choices"], record["answers_by_tick"]
    said = [at for at, answer in enumerate(by_tick) if len(answer) > (len(by_tick[at - 1]) if at else 0)]
    chosen = [choices["chosen"][at] for at in said]
    numbers, words = record["input"]["numbers"], record["input"]["items"]
    colour = {
        "color": [choices["confidence"][at] for at in said],
        "cmin": 0,
        "cmax": 1,
        "colorscale": "Viridis",
        "size": 9,
        "colorbar": {"len": 0.45, "y": 0.2, "thickness": 12},
    }
    return {
        "type": "scatter",
        "x": [at + 1 for at in said],
        "y": [numbers[one] for one in chosen],
        "name": "said",
        "text": [words[one] for one in chosen],
        "mode": "lines+markers",
        "line": {"dash": "dot", "width": 1},
        "marker": colour,
        "hovertemplate": "tick %{x}: says %{text}, %{marker.color:.1%} sure<extra></extra>",
        "showlegend": False,
    }
