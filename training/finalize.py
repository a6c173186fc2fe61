"""From what was learnt to a finished checkpoint: the energy is fitted, thresholds are chosen, everything is measured.

Each step has samples of its own, in this order: validation samples fit the energy and say which thresholds to try, calibration
samples choose among them, held-out samples judge. It alone, and the command line, put inference beside training.
"""

import datetime
import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ctm import TickModel
from ctm.checkpoint import Checkpoint, load, save
from ctm.checkpoint.metadata import CorrectnessModel, HaltingMetadata
from ctm.models.registry import count_parameters
from inference.halting.frontier import compute_frontiers
from inference.halting.policies import EnergyBelow, HaltingPolicy
from inference.halting.policy_parser import THRESHOLD_POLICIES, parse
from inference.halting.risk_control import (
    RiskGuarantee,
    build_named_policy_record,
    certify_threshold,
    drop_dominated_thresholds,
    is_correct_at_full_budget,
)
from inference.halting.thresholds import PolicyReplay, choose_policies, get_candidate_thresholds, replay
from inference.tick_history import TickHistory
from training.config import FinishConfig, RunConfig
from training.energy.fitting import fit_energy, fitting_batches, logistic
from training.energy.losses import IS_A_LOGIT, Meaning, softened
from training.evaluation import (
    MOST_SAMPLES,
    Curves,
    curves_of,
    rank_correlation,
    reliability,
    split_batches,
    summarise,
)
from training.model_card import title_of, write_card
from training.run_dir import RunFolder
from training.tasks import Task
from training.tasks.base import CALIBRATION, TRAIN, VALIDATION, Batch
from training.trainer_state import energy_note

UNTIL_THE_END = 1_000_000
ANSWERS = 16  # times that a tick counts more that answers than one that is passed, in what the chance is learned from
PROMISES = (0.01, 0.05)  # shares of answers that thresholds may lose by stopping early


def finish(folder: RunFolder, out: Path | None) -> None:
    """From the last saved step to a finished checkpoint: fit the energy, choose thresholds, measure, write the card."""
    config, steps = folder.config(), folder.steps()
    if not steps:
        raise ValueError(f"{folder.path} has no saved step yet.")
    folder.say("finishing", steps[-1], config.train.steps)
    task, checkpoint = config.make_task(), load(folder.checkpoint(steps[-1]))
    machine, fitted = checkpoint.model, None
    if config.loss.energy != "none" and config.finish.fit_samples:
        batches, meant = fitting_batches(task, config.finish.fit_samples), (config.loss.energy, config.loss.meaning)
        fitted = fit_energy(machine, task.reading, batches, *meant, config.finish.fit_steps, config.train.seed)
    halting = halting_note(machine, task, config.finish.tolerance, config.loss.energy, config.loss.meaning, fitted)
    whole = completed(machine, task, halting, training_note(config, folder, steps[-1]))
    saved = save(whole, out or folder.finished)
    folder.say("finished", steps[-1], config.train.steps, checkpoint=str(saved))
    for evaluation in whole.metrics["evaluations"]:
        print(json.dumps(evaluation))
    print(f"Checkpoint: {saved}")


def completed(machine: TickModel, task: Task, halting: dict[str, Any], training: dict[str, Any]) -> Checkpoint:
    """The checkpoint of a machine, measured on every held-out split with its own rule, and with a card that tells it."""
    policy = default_policy(halting)
    held_out = [split for split in task.splits if split not in (TRAIN, VALIDATION, CALIBRATION)]
    evaluations = [
        measure(machine, task, split, split_batches(task, split, MOST_SAMPLES), policy, halting) for split in held_out
    ]
    metrics = {"date": datetime.date.today().isoformat(), "evaluations": evaluations, "training": training}
    parameters = count_parameters(machine.config, machine.in_features)
    published = machine.config.to_dict()
    card = write_card(title_of(published, task.title), published, task.describe(), halting, metrics, parameters)
    return Checkpoint(machine, task.describe(), halting, metrics, card)


def measure(
    machine: TickModel, task: Task, split: str, batches: Iterable[Batch], policy: HaltingPolicy, halting: dict[str, Any]
) -> dict[str, Any]:
    """Figures of a machine on held-out samples, halted by a policy; also of the rules that `halting` offers."""
    offered = {name: parse(rule["policy"]) for name, rule in halting.get("policies", {}).items()}
    if not machine.config.energy_head_enabled:  # whatever is offered, these cannot be followed
        offered = {name: rule for name, rule in offered.items() if not rule.needs_energy}
    signals = policy.signals.union(*(rule.signals for rule in offered.values()))
    curves = curves_of(machine, task.reading, batches, signals)
    played = replay(policy, TickHistory.from_curves(curves), curves.right)
    figures = summarise(curves)
    chosen = curves.choices[torch.arange(len(curves.choices)), :, played.answer_tick - 1]
    by_tick = curves.right.float().mean(0).tolist()
    return {
        "task": task.name,
        "split": split,
        "n": len(curves.right),
        "iterations": curves.right.size(1),
        "accuracy_by_tick": [round(value, 6) for value in by_tick],
        "policy": str(policy),
        "accuracy_halted": played.accuracy,
        "mean_ticks": played.mean_ticks,
        "energy_auroc": None,
        **figures,
        "figures": {} if task.shape().spoken else task.figures(chosen, curves.targets),
        "spearman": rank_correlation(played.ticks, curves.difficulty),
        "by_difficulty": by_difficulty(curves, played),
        "reliability": believed(curves, played, halting),
        "rules": {name: measured_rule(rule, curves) for name, rule in offered.items()},
        "date": datetime.date.today().isoformat(),
    }


def measured_rule(policy: HaltingPolicy, curves: Curves) -> dict[str, float]:
    """What a rule does to samples that did not choose it, and the share of answers that it loses by stopping early."""
    history = TickHistory.from_curves(curves)
    played = replay(policy, history, curves.right)
    lost = is_correct_at_full_budget(history, curves.right) & ~played.correct
    return {"accuracy": played.accuracy, "mean_ticks": played.mean_ticks, "lost": lost.float().mean().item()}


def believed(curves: Curves, played: PolicyReplay, halting: dict[str, Any]) -> dict[str, Any] | None:
    """How far the chance to be right that comes with an answer can be believed; None where none comes with it."""
    note = HaltingMetadata.model_validate(halting).energy
    if curves.energy is None or (chance := said(note.compute_p_correct, curves, played)) is None:
        return None
    return reliability(chance, played.correct)


def said(chance: Callable[..., Tensor | None], curves: Curves, played: PolicyReplay) -> Float[Tensor, " n"] | None:
    """The chance to be right that is told at the ticks that answer."""
    found = chance(curves.energy, curves.certainty.mean(1))
    return None if found is None else found.gather(1, played.answer_tick.unsqueeze(1) - 1).squeeze(1)


def by_difficulty(curves: Curves, played: PolicyReplay) -> dict[str, dict[str, int | float]]:
    """Samples, halted accuracy and mean ticks for every difficulty that the task tells apart; {} if it tells none."""
    kinds = curves.difficulty.unique().tolist()
    if len(kinds) < 2:
        return {}
    rows = {kind: curves.difficulty == kind for kind in kinds}
    return {
        str(kind): {
            "n": int(here.sum()),
            "accuracy_halted": played.correct[here].float().mean().item(),
            "mean_ticks": played.ticks[here].float().mean().item(),
        }
        for kind, here in rows.items()
    }


def halting_note(
    machine: TickModel, task: Task, tolerance: float, kind: str, meaning: Meaning, fitted: dict[str, Any] | None
) -> dict[str, Any]:
    """What `halting.json` says: rules with thresholds chosen on the calibration split, which is the default, what every
    threshold would give there, and what the energy means.

    Args:
        machine, task: what thinks, about what.
        tolerance: accuracy that a threshold may lose against the most accurate one.
        kind, meaning, fitted: see `energy_note`; "none" for a machine without an energy.
    """
    fresh = curves_of(machine, task.reading, split_batches(task, CALIBRATION, MOST_SAMPLES))
    history, spoken = TickHistory.from_curves(fresh), task.shape().spoken
    policies = choose_policies(history, fresh.right, tolerance, spoken)
    default = next((name for name in ("said", "energy") if name in policies), next(iter(policies), None))
    if not spoken:
        seen = curves_of(machine, task.reading, split_batches(task, VALIDATION, MOST_SAMPLES))
        policies |= promises_of(seen, fresh)
    curves = compute_frontiers(history, fresh.right, spoken)
    frontiers = {"split": CALIBRATION, "n": len(fresh.right), "iterations": fresh.right.size(1), "rules": curves}
    energy = {}
    if kind != "none":
        played = replay(parse(policies[default]["policy"]), history, fresh.right)
        # a logit is one by itself, but where things are said one by one it is that of being through, more than of being right
        chance = None if kind in IS_A_LOGIT and not spoken else chance_of(fresh, played)
        energy = {"energy": energy_note(kind, meaning, fitted, chance)}
    return {**energy, "policies": policies, "default": default, "frontiers": frontiers}


def chance_of(curves: Curves, played: PolicyReplay) -> CorrectnessModel | None:
    """The chance to be right that energy and certainty tell, at ticks that a rule visits; None where it cannot be found.

    What lies below the rule's threshold is then what it ends with: among other ticks with the same energy there may be many
    that come later, when the machine thought too long. Ticks that answer count more, for what is said there is believed.
    """
    ticks = torch.arange(1, curves.right.size(1) + 1)
    visited = curves.counts & (ticks <= played.ticks.unsqueeze(1))
    weight = visited * torch.where(ticks == played.answer_tick.unsqueeze(1), ANSWERS, 1)
    rows = torch.arange(weight.numel()).repeat_interleave(weight.flatten())
    energy, certainty, right = (
        values.flatten()[rows] for values in (curves.energy, curves.certainty.mean(1), curves.right)
    )
    doubt = 1 / (len(curves.right) + 2)  # n samples without a mistake say no more than this of one's chance
    known = torch.stack((energy, certainty, torch.ones_like(energy)), 1).double()
    found = logistic(known, softened(~right, doubt, torch.double))
    return (
        CorrectnessModel(energy=found[0], certainty=found[1], bias=found[2]) if all(map(math.isfinite, found)) else None
    )


def promises_of(seen: Curves, fresh: Curves) -> dict[str, dict[str, Any]]:
    """Rules that lose at most so many answers by stopping early; by energy, or by certainty where there is none.

    Args:
        seen: of validation samples, which say what thresholds to try, and in which order.
        fresh: of calibration samples. Those that are too few for a promise make none.
    """
    score, make = ("certainty", THRESHOLD_POLICIES["certainty>"]) if seen.energy is None else ("energy", EnergyBelow)
    before, history = TickHistory.from_curves(seen), TickHistory.from_curves(fresh)
    levels = drop_dominated_thresholds(make, get_candidate_thresholds(make, before), before, seen.right)
    found = {}
    for promise in map(RiskGuarantee, PROMISES):
        if len(fresh.right) >= promise.min_samples and (
            rule := certify_threshold(make, levels, history, fresh.right, promise)
        ):
            found |= build_named_policy_record(rule, promise, CALIBRATION, score)
    return found


def default_policy(halting: dict[str, Any]) -> HaltingPolicy:
    """The checkpoint's own rule; to the last tick where it has none."""
    rule = halting.get("policies", {}).get(halting.get("default"))
    return parse(rule["policy"]) if rule else parse(f"ticks={UNTIL_THE_END - 1}")


def tolerance_of(halting: dict[str, Any]) -> float:
    """What thresholds of a checkpoint may cost in accuracy; the usual where it does not say."""
    said = (rule.get("tolerance") for rule in halting.get("policies", {}).values())
    return next((value for value in said if value is not None), FinishConfig().tolerance)


def training_note(config: RunConfig, folder: RunFolder, step: int) -> dict[str, Any]:
    """How the checkpoint was trained, for metrics.json."""
    speeds = [values["steps_per_second"] for values in folder.read_metrics() if "steps_per_second" in values]
    rate = sum(speeds) / len(speeds) if speeds else float("nan")
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return {
        "command": folder.command(),
        "settings": config.portable(),
        "seed": config.train.seed,
        "steps": step,
        "minutes": step / rate / 60,
        "hardware": hardware,
        "torch": torch.__version__,
        **({"init_from": folder.origin()} if folder.origin() else {}),
    }
