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

from benchmarks.halting.markdown import table_of
from benchmarks.paths import ROOT
from ctm.checkpoint import count_weights
from ctm.config import infer_model_type

UNKNOWN = "Not measured yet."
NAMES = {"ctm": "Continuous Thought Machine", "lstm": "LSTM", "ff": "feed-forward"}


def checkpoints_table() -> str:
    """One row for every held-out split of every bundled checkpoint that is no baseline."""
    lines = [
        "| checkpoint | weights | held-out split | n | halted accuracy | mean ticks | best fixed tick | last tick "
        "| ticks by difficulty | energy AUROC |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for folder, kind, metrics in measured():
        if kind != "ctm":
            continue
        lines += [row(folder, evaluation) for evaluation in metrics["evaluations"]]
        train = metrics["training"]
        notes.append(
            f"- **{folder.name}**: `{train['command']}`, seed {train['seed']}, {train['steps']:,} steps in "
            f"{train['minutes']:.0f} minutes on {train['hardware']}{begun(train)}; measured {metrics['date']}, halted with "
            f"`{metrics['evaluations'][0]['policy']}`."
        )
    return "\n".join([*lines, "", *notes])


def begun(train: dict[str, Any]) -> str:
    """Whose weights a run began with, where they were not drawn anew."""
    return f", begun with the weights of `{train['init_from']}`" if "init_from" in train else ""


def row(folder: Path, e: dict[str, Any]) -> str:
    return (
        f"| [{folder.name}](checkpoints/{folder.name}) | {count_weights(folder):,} | {e['split']} | {e['n']:,} "
        f"| **{e['accuracy_halted']:.2%}** | {e['mean_ticks']:.1f} of {e['iterations']} "
        f"| {e['accuracy_best']:.2%} (tick {e['best_tick']}) | {e['accuracy_last']:.2%} | {by_difficulty(e)} "
        f"| {known(e['energy_auroc'])} |"
    )


def known(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def by_difficulty(e: dict[str, Any]) -> str:
    """Ticks for the easiest and the hardest samples, and Spearman's rank correlation."""
    groups = sorted(e.get("by_difficulty", {}).items(), key=lambda item: int(item[0]))
    if e.get("spearman") is None or not groups:
        return "-"
    first, last = (f"{group['mean_ticks']:.1f}" for _, group in (groups[0], groups[-1]))
    return f"{first} to {last} (rho {e['spearman']:.2f})"


def comparison_table() -> str:
    """Machines beside baselines of as many weights that were trained in the same way."""
    found = [(folder.name.removesuffix(f"-{kind}"), kind, folder, metrics) for folder, kind, metrics in measured()]
    compared = {name for name, kind, _, _ in found if kind != "ctm"}
    if not compared:
        return UNKNOWN
    lines = [
        "| task | machine | weights | steps | minutes | held-out split | n | halted accuracy | mean ticks | best fixed tick |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, kind, folder, metrics in found:
        if name in compared:
            train, e = metrics["training"], metrics["evaluations"][0]
            lines.append(
                f"| {name} | [{NAMES[kind]}](checkpoints/{folder.name}) | {count_weights(folder):,} | {train['steps']:,} "
                f"| {train['minutes']:.0f} | {e['split']} | {e['n']:,} | **{e['accuracy_halted']:.2%}** "
                f"| {e['mean_ticks']:.1f} of {e['iterations']} | {e['accuracy_best']:.2%} |"
            )
    return "\n".join(lines)


def measured() -> list[tuple[Path, str, dict[str, Any]]]:
    """The bundled checkpoints: folder, kind of thinker, and what was measured."""
    found = []
    for path in sorted(ROOT.glob("checkpoints/*/metrics.json")):
        config, metrics = (
            json.loads((path.parent / f"{name}.json").read_text("utf-8")) for name in ("config", "metrics")
        )
        found.append((path.parent, infer_model_type(config), metrics))
    return found


def recipe_of(metrics: dict[str, Any]) -> Path:
    """The recipe that a machine was trained with."""
    return ROOT / next(word for word in metrics["training"]["command"].split() if word.endswith(".yaml"))


def promises_told() -> str:
    """What became of all promises on test samples; machines that think for one tick lose nothing by stopping early."""
    lost = [
        (folder.name, rule["promise"]["risk"], metrics["evaluations"][0]["rules"][name]["lost"])
        for folder, _, metrics in measured()
        if metrics["evaluations"][0]["iterations"] > 1
        for name, rule in json.loads((folder / "halting.json").read_text("utf-8"))["policies"].items()
        if "promise" in rule
    ]
    over = [f"{name} {share:.2%} instead of {risk:.0%}" for name, risk, share in lost if share > risk]
    return (
        f"Of {len(lost)} promises with 95 % confidence that these machines make, {len(over)} lost a larger share of the test "
        f"samples than promised{': ' if over else ''}{', '.join(over)}."
    )


def written_by(benchmark: str) -> dict[str, Any]:
    """The figures of a benchmark; {} before it was run."""
    path = ROOT / "benchmarks" / f"{benchmark}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def speed_table() -> str:
    """Speed beside the original code, as `benchmarks.speed` wrote it."""
    if not (figures := written_by("tick")):
        return UNKNOWN
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


def load_table() -> str:
    """How the page serves many at once, as `benchmarks.load_test` wrote it."""
    if not (figures := written_by("load")):
        return UNKNOWN
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


def halting_table() -> str:
    """When to stop, rule beside rule, as `benchmarks.halting` wrote it."""
    figures = written_by("halting")
    return table_of(figures) if figures else UNKNOWN


def filled(text: str) -> str:
    """README text with its measured parts written anew."""
    for name, make in PARTS.items():
        start, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
        if start not in text or end not in text:
            raise SystemExit(f"README.md lacks the marks {start} and {end}.")
        text = re.sub(f"{start}.*?{end}", lambda _, s=start, e=end, m=make: f"{s}\n{m()}\n{e}", text, flags=re.S)
    return text


PARTS = {
    "checkpoints": checkpoints_table,
    "promises": promises_told,
    "comparison": comparison_table,
    "halting": halting_table,
    "speed": speed_table,
    "load": load_table,
}


def claimed(text: str, metrics: dict[str, Any]) -> str:
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


def written() -> dict[Path, str]:
    """Every file with measured parts, as it should be."""
    readme = ROOT / "README.md"
    files = {readme: filled(readme.read_text("utf-8"))}
    for path in sorted(ROOT.glob("checkpoints/*/metrics.json")):
        metrics = json.loads(path.read_text("utf-8"))
        recipe = recipe_of(metrics)
        files[recipe] = claimed(recipe.read_text("utf-8"), metrics)
    return files


def main() -> None:
    for path, text in written().items():
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
        elif path.read_text("utf-8") != text:
            raise SystemExit(f"{path.name} is not what the measured files say: run `make results`.")


if __name__ == "__main__":
    main()
