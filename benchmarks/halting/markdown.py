"""Render the results of the comparison as Markdown for docs/results.md."""

from collections.abc import Callable
from typing import Any

MIN_FRACTION = 0.8  # of the oracle's gain, and of the ticks saved as time saved
POLICY_COLUMNS = {  # name in the results -> column title
    "certainty": "certainty",
    "certainty.min": "least certain position",
    "probability": "probability",
    "patience": "patience",
    "change": "change",
    "energy: calibrated": "calibrated energy",
    "energy: wait": "**energy**",
    "oracle": "oracle",
}
POLICY_HEADER = "".join(f" {title} |" for title in POLICY_COLUMNS.values())
POLICY_RULE = "|---" * len(POLICY_COLUMNS) + "|"


def render_table(figures: dict[str, Any]) -> str:
    """Render ticks at equal accuracy, the fraction of the oracle, the gain of the energy and the time saved."""
    lines = [
        *render_tick_table(figures),
        "",
        *render_oracle_table(figures),
        "",
        *render_energy_table(figures),
        "",
        *render_savings_table(figures),
        "",
        "Summary:",
        "",
        *render_conclusions(figures),
        "",
        f"`{figures['command']}`; the energy is fitted with {figures['heads']} seeds. Measured {figures['date']} on "
        f"{figures['hardware']['processor']}, torch {figures['torch']}. All curves: "
        "[halting.html](halting.html); all figures: `benchmarks/halting.json`.",
    ]
    return "\n".join(lines)


def render_tick_table(figures: dict[str, Any]) -> list[str]:
    """Render the ticks of every policy at equal accuracy."""
    return [
        "Mean ticks at the accuracy of the best fixed tick minus half a percentage point; all values are means over the models:",
        "",
        f"| task (models) | n | best fixed tick |{POLICY_HEADER}",
        "|---|---|---" + POLICY_RULE,
        *render_rows(figures, format_task_summary, format_ticks),
    ]


def render_oracle_table(figures: dict[str, Any]) -> list[str]:
    """Render the fraction of the oracle that every policy reaches."""
    return [
        "Area under the frontier, normalised: 0% is the frontier of fixed ticks, 100% that of an oracle which knows when the answer is "
        "correct:",
        "",
        f"| task |{POLICY_HEADER}",
        "|---" + POLICY_RULE,
        *render_rows(figures, format_name, format_oracle_fraction),
    ]


def render_energy_table(figures: dict[str, Any]) -> list[str]:
    """Render the comparison of the energy with certainty."""
    return [
        "The energy compared with the better certainty policy of each model, with 95% intervals of a paired bootstrap over samples:",
        "",
        "| task | ticks saved at that accuracy | per model | per model, at the highest accuracy that both reach minus half a point "
        "| accuracy gain, mean over all budgets |",
        "|---|---|---|---|---|",
        *map(format_energy_comparison, figures["summary"].items()),
    ]


def render_savings_table(figures: dict[str, Any]) -> list[str]:
    """Render the ticks and the time that the energy saves in the engine."""
    return [
        "Savings in the engine relative to running all ticks, at the threshold with which the first energy reaches that accuracy, by "
        "the number of samples in one call (2,048 samples take turns in 256 slots): processor time without and with the backbone; "
        "first model of each task. A negative share is time lost: small batches pay for halting at every tick.",
        "",
        "| task | samples | ticks saved | time saved | with backbone |",
        "|---|---|---|---|---|",
        *(row for result in select_first_models(figures) for row in format_savings_rows(result)),
    ]


def render_rows(
    figures: dict[str, Any], format_start: Callable[..., str], format_cell: Callable[..., str]
) -> list[str]:
    """Render a row for each task, with a cell for each policy; empty if the policy does not exist for the task."""
    return [
        f"| {format_start(name, task)} |"
        + "".join(f" {format_cell(task['rules'].get(policy, {}))} |" for policy in POLICY_COLUMNS)
        for name, task in figures["summary"].items()
    ]


def format_name(name: str, task: dict[str, Any]) -> str:
    """Return the name of a task."""
    return name


def format_task_summary(name: str, task: dict[str, Any]) -> str:
    """Format the name, the number of samples and the best fixed tick of a task."""
    best = task["best_fixed"]
    return (
        f"{name} ({len(task['seeds'])}) | {task['n']['test']:,} | {best['accuracy']:.2%}{format_individual_values(best['accuracy_by_trunk'])} at "
        f"{best['tick']:.0f} of {task['iterations']}"
    )


def format_individual_values(shares: list[float]) -> str:
    """Format the values of the models behind a mean."""
    return f" ({', '.join(f'{100 * share:.1f}' for share in shares)})" if len(shares) > 1 else ""


def format_ticks(policy: dict[str, Any]) -> str:
    """Format the mean ticks at the target accuracy."""
    return "-" if (value := policy.get("ticks_at_target")) is None else f"{value:.1f}"


def format_oracle_fraction(policy: dict[str, Any]) -> str:
    """Format the fraction of the oracle's gain."""
    return "-" if (value := policy.get("normalised_area")) is None else f"{value:.0%}"


def format_energy_comparison(item: tuple[str, dict[str, Any]]) -> str:
    """Format the comparison of the energy with certainty for a task."""
    name, task = item
    comparison = task["energy_against_certainty"]
    low_saved, median_saved, high_saved = comparison["ticks_saved"]
    low_gain, median_gain, high_gain = comparison["area_won"]
    saved_by_model, saved_at_top_by_model = (
        ", ".join(f"{share:.1%}" for share in comparison[key])
        for key in ("ticks_saved_by_trunk", "ticks_saved_at_the_top_by_trunk")
    )
    return (
        f"| {name} | {median_saved:.1%} ({low_saved:.1%} to {high_saved:.1%}) | {saved_by_model} | {saved_at_top_by_model} "
        f"| {100 * median_gain:.2f} points ({100 * low_gain:.2f} to {100 * high_gain:.2f}) |"
    )


def select_first_models(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the results of the first model of every task."""
    return [result for result in figures["trunks"] if result["seed"] == 0]


def get_timing(result: dict[str, Any], num_rows: int) -> dict[str, Any]:
    """Return the timing for a number of rows; {} if an older run did not measure it."""
    return next((entry for entry in result["time"] if entry.get("rows") == num_rows), {})


def format_savings_rows(result: dict[str, Any]) -> list[str]:
    """Format the savings for each number of samples; a row of dashes if an older run did not measure them."""
    rows = []
    for entry in result["time"]:
        if "rows" in entry:
            shares = (entry[name] for name in ("ticks_saved", "time_saved_without_backbone", "time_saved"))
            rows.append(f"| {result['name']} | {entry['rows']:,} |" + "".join(f" {share:.0%} |" for share in shares))
    return rows or [f"| {result['name']} | - | - | - | - |"]


def render_conclusions(figures: dict[str, Any]) -> list[str]:
    """List, for each expected benefit of the energy, the tasks that show it."""
    tasks = figures["summary"]
    first_models = select_first_models(figures)
    oracle_fractions = {  # task -> fraction that the energy reaches, fraction that a stable oracle reaches
        name: (get_oracle_fraction(task, "energy: wait"), get_oracle_fraction(task, "settled oracle"))
        for name, task in tasks.items()
    }
    benefits = {
        "Fewer ticks than the better certainty policy at equal accuracy, with a 95% interval above 0": [
            name for name, task in tasks.items() if task["energy_against_certainty"]["ticks_saved"][0] > 0
        ],
        f"At least {MIN_FRACTION:.0%} of the area between fixed ticks and the oracle": [
            name for name, (energy, _) in oracle_fractions.items() if energy >= MIN_FRACTION
        ],
        **{
            f"At least {MIN_FRACTION:.0%} of the ticks saved with {rows:,} samples are saved as time, without the backbone": [
                result["name"] for result in first_models if has_time_savings(get_timing(result, rows))
            ]
            for rows in (256, 2048)
            if all(get_timing(result, rows) for result in first_models)
        },
    }
    stable_oracle_fractions = [
        f"{name} {stable:.0%}" for name, (energy, stable) in oracle_fractions.items() if energy < stable < MIN_FRACTION
    ]
    conclusions = [
        f"{benefit}: {', '.join(names) or 'none'} ({len(names)} of {len(tasks)})" for benefit, names in benefits.items()
    ]
    if stable_oracle_fractions:
        conclusions.append(
            "Area of an oracle that stops where the answer stays correct, so that lucky guesses do not count: "
            + ", ".join(stable_oracle_fractions)
        )
    return [f"- {line}." for line in conclusions]


def get_oracle_fraction(task: dict[str, Any], policy_name: str) -> float:
    """Return the fraction of the oracle's gain that a policy reaches; 0 if it is missing."""
    return task["rules"].get(policy_name, {}).get("normalised_area") or 0.0


def has_time_savings(timing: dict[str, Any]) -> bool:
    """Return whether time savings are at least `MIN_FRACTION` of the tick savings."""
    return timing["time_saved_without_backbone"] >= MIN_FRACTION * timing["ticks_saved"]
