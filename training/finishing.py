"""From what was learnt to a finished checkpoint: the energy is fitted, thresholds are chosen, everything is measured.

Each step has samples of its own, in this order: validation samples fit the energy and say which thresholds to try, calibration
samples choose among them, held-out samples judge. It alone, and the command line, put inference beside training.
"""

import datetime
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ctm import Thinker
from ctm.checkpoint import Checkpoint, load, save
from ctm.notes import HaltingNote
from ctm.thinkers import count_parameters
from inference.calibration import Replay, levels_of, replay, thresholds_for
from inference.frontiers import frontiers_for
from inference.guarantees import Promise, promised, to_the_end
from inference.history import History
from inference.parsing import THRESHOLDS, parse
from inference.policies import EnergyBelow, Policy
from training.card import title_of, write_card
from training.config import RunConfig
from training.evaluation import (
    MOST_SAMPLES,
    Curves,
    curves_of,
    rank_correlation,
    reliability,
    split_batches,
    summarise,
)
from training.fitting import fit_energy, fitting_batches
from training.runs import RunFolder
from training.saving import energy_note
from training.tasks import Task
from training.tasks.base import CALIBRATION, TRAIN, VALIDATION, Batch

UNTIL_THE_END = 1_000_000
PROMISES = (0.01, 0.05)  # shares of answers that thresholds may lose by stopping early


def finish(folder: RunFolder, out: Path | None) -> None:
    """From the last saved step to a finished checkpoint: fit the energy, choose thresholds, measure, write the card."""
    config, steps = folder.config(), folder.steps()
    if not steps:
        raise ValueError(f"{folder.path} has no saved step yet.")
    folder.say("finishing", steps[-1], config.train.steps)
    task, checkpoint = config.make_task(), load(folder.checkpoint(steps[-1]))
    machine, halting = checkpoint.machine, {}
    if config.loss.energy != "none":
        fitted = None
        if config.finish.fit_samples:
            batches, meant = fitting_batches(task, config.finish.fit_samples), (config.loss.energy, config.loss.meaning)
            fitted = fit_energy(machine, task.reading, batches, *meant, config.finish.fit_steps, config.train.seed)
        halting["energy"] = energy_note(config.loss.energy, config.loss.meaning, fitted)
    halting |= rules_of(machine, task, config.finish.tolerance)
    whole = completed(machine, task, halting, training_note(config, folder, steps[-1]))
    saved = save(whole, out or folder.finished)
    folder.say("finished", steps[-1], config.train.steps, checkpoint=str(saved))
    for evaluation in whole.metrics["evaluations"]:
        print(json.dumps(evaluation))
    print(f"Checkpoint: {saved}")


def completed(machine: Thinker, task: Task, halting: dict[str, Any], training: dict[str, Any]) -> Checkpoint:
    """The checkpoint of a machine, measured on every held-out split with its own rule, and with a card that tells it."""
    policy = default_policy(halting)
    held_out = [split for split in task.splits if split not in (TRAIN, VALIDATION, CALIBRATION)]
    evaluations = [
        measure(machine, task, split, split_batches(task, split, MOST_SAMPLES), policy, halting) for split in held_out
    ]
    metrics = {"date": datetime.date.today().isoformat(), "evaluations": evaluations, "training": training}
    parameters = count_parameters(machine.config, machine.in_features)
    published = machine.config.published()
    card = write_card(title_of(published, task.title), published, task.describe(), halting, metrics, parameters)
    return Checkpoint(machine, task.describe(), halting, metrics, card)


def measure(
    machine: Thinker, task: Task, split: str, batches: Iterable[Batch], policy: Policy, halting: dict[str, Any]
) -> dict[str, Any]:
    """Figures of a machine on held-out samples, halted by a policy; also of the rules that `halting` offers."""
    offered = {name: parse(rule["policy"]) for name, rule in halting.get("policies", {}).items()}
    signals = policy.signals.union(*(rule.signals for rule in offered.values()))
    curves = curves_of(machine, task.reading, batches, signals)
    played = replay(policy, History.of(curves), curves.right)
    figures = summarise(curves)
    chosen = curves.choices[torch.arange(len(curves.choices)), :, played.answer_tick - 1]
    by_tick = curves.right.float().mean(0).tolist()
    return {
        "task": task.name, "split": split, "n": len(curves.right), "iterations": curves.right.size(1),
        "accuracy_by_tick": [round(value, 6) for value in by_tick], "policy": str(policy),
        "accuracy_halted": played.accuracy, "mean_ticks": played.mean_ticks, "energy_auroc": None, **figures,
        "figures": {} if task.shape().spoken else task.figures(chosen, curves.targets),
        "spearman": rank_correlation(played.ticks, curves.difficulty),
        "by_difficulty": by_difficulty(curves, played), "reliability": believed(curves, played, halting),
        "rules": {name: measured_rule(rule, curves) for name, rule in offered.items()},
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def measured_rule(policy: Policy, curves: Curves) -> dict[str, float]:
    """What a rule does to samples that did not choose it, and the share of answers that it loses by stopping early."""
    history = History.of(curves)
    played = replay(policy, history, curves.right)
    end = curves.right[:, -1] if policy.says else to_the_end(history, curves.right)
    lost = end & ~played.right
    return {"accuracy": played.accuracy, "mean_ticks": played.mean_ticks, "lost": lost.float().mean().item()}


def believed(curves: Curves, played: Replay, halting: dict[str, Any]) -> dict[str, Any] | None:
    """How far the chance to be right that comes with an answer can be believed; None where none comes with it."""
    note, ticks = HaltingNote.model_validate(halting).energy, played.answer_tick.unsqueeze(1) - 1
    if curves.energy is None:
        return None
    chance = note.p_correct(curves.energy, curves.certainty.mean(1))
    return None if chance is None else reliability(chance.gather(1, ticks).squeeze(1), played.right)


def by_difficulty(curves: Curves, played: Replay) -> dict[str, dict[str, int | float]]:
    """Samples, halted accuracy and mean ticks for every difficulty that the task tells apart; {} if it tells none."""
    kinds = curves.difficulty.unique().tolist()
    if len(kinds) < 2:
        return {}
    rows = {kind: curves.difficulty == kind for kind in kinds}
    return {
        str(kind): {
            "n": int(here.sum()), "accuracy_halted": played.right[here].float().mean().item(),
            "mean_ticks": played.ticks[here].float().mean().item(),
        }
        for kind, here in rows.items()
    }  # fmt: skip


def rules_of(machine: Thinker, task: Task, tolerance: float) -> dict[str, Any]:
    """Thresholds chosen on the calibration split, which rule is the default, and what every threshold would give there."""
    seen, fresh = (
        curves_of(machine, task.reading, split_batches(task, split, MOST_SAMPLES))
        for split in (VALIDATION, CALIBRATION)
    )
    history, spoken = History.of(fresh), task.shape().spoken
    policies = thresholds_for(history, fresh.right, tolerance, spoken)
    default = next((name for name in ("said", "energy") if name in policies), next(iter(policies), None))
    if not spoken:
        policies |= promises_of(History.of(seen), history, fresh.right)
    frontiers = {"split": CALIBRATION, "n": len(fresh.right), "rules": frontiers_for(history, fresh.right, spoken)}
    return {"policies": policies, "default": default, "frontiers": frontiers}


def promises_of(seen: History, fresh: History, right: torch.Tensor) -> dict[str, dict[str, Any]]:
    """Rules that lose at most so many answers by stopping early; by energy, or by certainty where there is none.

    Args:
        seen: validation samples, which say what thresholds to try.
        fresh, right: calibration samples. Those that are too few for a promise make none.
    """
    score, make = ("certainty", THRESHOLDS["certainty>"]) if seen.energy is None else ("energy", EnergyBelow)
    found = {}
    for promise in map(Promise, PROMISES):
        if len(right) >= promise.samples_needed and (
            rule := promised(make, levels_of(make, seen), fresh, right, promise)
        ):
            rule["promise"] |= {"split": CALIBRATION, "score": score, "per_class": False}
            found[f"{score}, {promise}"] = rule
    return found


def default_policy(halting: dict[str, Any]) -> Policy:
    """The checkpoint's own rule; to the last tick where it has none."""
    rule = halting.get("policies", {}).get(halting.get("default"))
    return parse(rule["policy"]) if rule else parse(f"ticks={UNTIL_THE_END - 1}")


def training_note(config: RunConfig, folder: RunFolder, step: int) -> dict[str, Any]:
    """How the checkpoint was trained, for metrics.json."""
    speeds = [values["steps_per_second"] for values in folder.read_metrics() if "steps_per_second" in values]
    rate = sum(speeds) / len(speeds) if speeds else float("nan")
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return {
        "command": folder.command(), "settings": config.portable(),
        "seed": config.train.seed, "steps": step, "minutes": step / rate / 60, "hardware": hardware,
        "torch": torch.__version__, **({"init_from": folder.origin()} if folder.origin() else {}),
    }  # fmt: skip
