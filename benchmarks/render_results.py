"""Write the measured parts of README.md and of the recipes from the files that runs wrote: `metrics.json` of every bundled
checkpoint, and the files of the benchmarks.

    python -m benchmarks.render_results [--check]

`--check` writes nothing and fails if a file is not what the measurements say.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.halting.markdown import render_table
from benchmarks.paths import ROOT
from ctm.checkpoint import count_weights
from ctm.config import infer_model_type

NOT_MEASURED = "Not measured yet."
MODEL_TYPE_NAMES = {"ctm": "Continuous Thought Machine", "lstm": "LSTM", "ff": "feed-forward"}


def build_checkpoints_table() -> str:
    """One row for every held-out split of every bundled checkpoint that is no baseline."""
    lines = [
        "| checkpoint | weights | held-out split | n | halted accuracy | mean ticks | best fixed tick | last tick "
        "| ticks by difficulty | energy AUROC |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for folder, kind, metrics in load_checkpoint_metrics():
        if kind != "ctm":
            continue
        lines += [format_evaluation_row(folder, evaluation) for evaluation in metrics["evaluations"]]
        train = metrics["training"]
        notes.append(
            f"- **{folder.name}**: `{train['command']}`, seed {train['seed']}, {train['steps']:,} steps in "
            f"{train['minutes']:.0f} minutes on {train['hardware']}{format_init_from(train)}; measured {metrics['date']}, halted with "
            f"`{metrics['evaluations'][0]['policy']}`."
        )
    return "\n".join([*lines, "", *notes])


def format_init_from(train: dict[str, Any]) -> str:
    """Whose weights a run began with, where they were not drawn anew."""
    return f", begun with the weights of `{train['init_from']}`" if "init_from" in train else ""


def format_evaluation_row(folder: Path, e: dict[str, Any]) -> str:
    return (
        f"| [{folder.name}](checkpoints/{folder.name}) | {count_weights(folder):,} | {e['split']} | {e['n']:,} "
        f"| **{e['accuracy_halted']:.2%}** | {e['mean_ticks']:.1f} of {e['iterations']} "
        f"| {e['accuracy_best']:.2%} (tick {e['best_tick']}) | {e['accuracy_last']:.2%} | {format_difficulty(e)} "
        f"| {format_optional(e['energy_auroc'])} |"
    )


def format_optional(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def format_difficulty(e: dict[str, Any]) -> str:
    """Ticks for the easiest and the hardest samples, and Spearman's rank correlation."""
    groups = sorted(e.get("by_difficulty", {}).items(), key=lambda item: int(item[0]))
    if e.get("spearman") is None or not groups:
        return "-"
    first, last = (f"{group['mean_ticks']:.1f}" for _, group in (groups[0], groups[-1]))
    return f"{first} to {last} (rho {e['spearman']:.2f})"


def build_comparison_table() -> str:
    """Machines beside baselines of as many weights that were trained in the same way."""
    found = [
        (folder.name.removesuffix(f"-{kind}"), kind, folder, metrics)
        for folder, kind, metrics in load_checkpoint_metrics()
    ]
    compared = {name for name, kind, _, _ in found if kind != "ctm"}
    if not compared:
        return NOT_MEASURED
    lines = [
        "| task | machine | weights | steps | minutes | held-out split | n | halted accuracy | mean ticks | best fixed tick |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, kind, folder, metrics in found:
        if name in compared:
            train, e = metrics["training"], metrics["evaluations"][0]
            lines.append(
                f"| {name} | [{MODEL_TYPE_NAMES[kind]}](checkpoints/{folder.name}) | {count_weights(folder):,} | {train['steps']:,} "
                f"| {train['minutes']:.0f} | {e['split']} | {e['n']:,} | **{e['accuracy_halted']:.2%}** "
                f"| {e['mean_ticks']:.1f} of {e['iterations']} | {e['accuracy_best']:.2%} |"
            )
    return "\n".join(lines)


def load_checkpoint_metrics() -> list[tuple[Path, str, dict[str, Any]]]:
    """The bundled checkpoints: folder, kind of thinker, and what was measured."""
    found = []
    for path in sorted(ROOT.glob("checkpoints/*/metrics.json")):
        config, metrics = (
            json.loads((path.parent / f"{name}.json").read_text("utf-8")) for name in ("config", "metrics")
        )
        found.append((path.parent, infer_model_type(config), metrics))
    return found


def find_recipe(metrics: dict[str, Any]) -> Path:
    """The recipe that a machine was trained with."""
    return ROOT / next(word for word in metrics["training"]["command"].split() if word.endswith(".yaml"))


def describe_risk_control() -> str:
    """What became of all promises on test samples; machines that think for one tick lose nothing by stopping early."""
    lost = [
        (folder.name, rule["promise"]["risk"], metrics["evaluations"][0]["rules"][name]["lost"])
        for folder, _, metrics in load_checkpoint_metrics()
        if metrics["evaluations"][0]["iterations"] > 1
        for name, rule in json.loads((folder / "halting.json").read_text("utf-8"))["policies"].items()
        if "promise" in rule
    ]
    over = [f"{name} {share:.2%} instead of {risk:.0%}" for name, risk, share in lost if share > risk]
    return (
        f"Of {len(lost)} promises with 95 % confidence that these machines make, {len(over)} lost a larger share of the test "
        f"samples than promised{': ' if over else ''}{', '.join(over)}."
    )


def read_benchmark(benchmark: str) -> dict[str, Any]:
    """The figures of a benchmark; {} before it was run."""
    path = ROOT / "benchmarks" / f"{benchmark}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def build_speed_table() -> str:
    """Speed beside the original code, as `benchmarks.speed` wrote it."""
    if not (figures := read_benchmark("tick")):
        return NOT_MEASURED
    lines = [
        "| case | thought, B = 1 | thought, B = 64 | training step, B = 32 | its peak memory |",
        "|---|---|---|---|---|",
    ]
    cases = dict.fromkeys(row["case"] for row in figures["rows"])
    for case in cases:
        one, many, step = (r for r in figures["rows"] if r["case"] == case)
        peaks = f"{step['ours_peak_mib']:.0f} of {step['original_peak_mib']:.0f} MiB"
        lines.append(
            f"| {case} | {one['ratio']:.1f}x ({one['ours'] * 1e3:.1f} ms) | {many['ratio']:.1f}x ({many['ours'] * 1e3:.0f} ms) "
            f"| {step['ratio']:.1f}x ({step['ours'] * 1e3:.0f} ms) | {peaks} |"
        )
    means = {what: figures["summary"][what]["geometric_mean"] for what in ("thought", "training step")}
    lines += [
        "",
        f"Geometric means: {means['thought']:.1f} times the original's speed for a thought, {means['training step']:.1f} "
        f"times for a training step. Measured on {figures['hardware']['processor']}, {figures['hardware']['threads']} "
        f"threads, torch {figures['torch']}.",
    ]
    return "\n".join(lines)


def build_load_table() -> str:
    """How the page serves many at once, as `benchmarks.load_test` wrote it."""
    if not (figures := read_benchmark("load")):
        return NOT_MEASURED
    lines = [
        "| visitors | batching | thoughts a second | half within | 95% within | 99% within | page opens in | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        half, most, nearly_all = (f"{row['thought'][name]:,.0f} ms" for name in ("p50", "p95", "p99"))
        lines.append(
            f"| {row['visitors']} | {row['batching']} | {row['thoughts_per_second']:.1f} | {half} | {most} | {nearly_all} "
            f"| {row['page']['p50']:,.0f} ms | {row['server']['peak_mib_after']:,.0f} MiB |"
        )
    errors = sum(sum(row["errors"].values()) for row in figures["rows"])
    pause = " to ".join(f"{seconds:g}" for seconds in figures["pause"])
    lines += [
        "",
        f"`{figures['command']}`: {pause} seconds between two thoughts of a visitor, {errors} errors. Measured "
        f"{figures['date']} on {figures['hardware']['processor']}, {figures['hardware']['cores']} cores that the visitors "
        f"share, torch {figures['torch']}.",
    ]
    return "\n".join(lines)


def build_halting_table() -> str:
    """When to stop, rule beside rule, as `benchmarks.halting` wrote it."""
    figures = read_benchmark("halting")
    return render_table(figures) if figures else NOT_MEASURED


def fill_readme(text: str) -> str:
    """README text with its measured parts written anew."""
    for name, make in README_SECTIONS.items():
        start, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
        if start not in text or end not in text:
            raise SystemExit(f"README.md lacks the marks {start} and {end}.")
        text = re.sub(f"{start}.*?{end}", lambda _, s=start, e=end, m=make: f"{s}\n{m()}\n{e}", text, flags=re.S)
    return text


README_SECTIONS = {
    "checkpoints": build_checkpoints_table,
    "promises": describe_risk_control,
    "comparison": build_comparison_table,
    "halting": build_halting_table,
    "speed": build_speed_table,
    "load": build_load_table,
}


def update_recipe_header(text: str, metrics: dict[str, Any]) -> str:
    """A recipe with the comment it opens with written anew: the command, and what it measured."""
    train, lines = metrics["training"], text.splitlines()
    body = lines[next(index for index, line in enumerate(lines) if not line.startswith("#")) :]
    claims = [
        f"#   {e['split']}: {e['accuracy_halted']:.2%} of {e['n']:,} right, halted after {e['mean_ticks']:.1f} of "
        f"{e['iterations']} ticks on average ({e['policy']}); best fixed tick {e['accuracy_best']:.2%}"
        for e in metrics["evaluations"]
    ]
    head = [
        f"# {train['command']}",
        f"# Measured {metrics['date']} on held-out samples after {train['minutes']:.0f} minutes on {train['hardware']}, "
        f"seed {train['seed']}:",
    ]
    return "\n".join([*head, *claims, *body]) + "\n"


def render_files() -> dict[Path, str]:
    """Every file with measured parts, as it should be."""
    readme = ROOT / "README.md"
    files = {readme: fill_readme(readme.read_text("utf-8"))}
    for path in sorted(ROOT.glob("checkpoints/*/metrics.json")):
        metrics = json.loads(path.read_text("utf-8"))
        recipe = find_recipe(metrics)
        files[recipe] = update_recipe_header(recipe.read_text("utf-8"), metrics)
    return files


def main() -> None:
    for path, text in render_files().items():
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
        elif path.read_text("utf-8") != text:
            raise SystemExit(f"{path.name} is not what the measured files say: run `make results`.")


if __name__ == "__main__":
    main()
