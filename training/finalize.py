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
from training.config import FinalizeConfig, RunConfig
from training.energy.fitting import fit_energy, fit_logistic_regression, sample_fitting_batches
from training.energy.losses import LOGIT_KINDS, EnergyLossParams, smooth_labels
from training.evaluation import (
    MAX_EVALUATION_SAMPLES,
    EvaluationCurves,
    build_split_batches,
    compute_reliability,
    evaluate_curves,
    spearman_correlation,
    summarise_curves,
)
from training.model_card import build_title, render_model_card
from training.run_dir import RunDir
from training.tasks import Task
from training.tasks.base import CALIBRATION, TRAIN, VALIDATION, Batch
from training.trainer_state import build_energy_metadata

UNLIMITED_TICKS = 1_000_000
ANSWER_TICK_WEIGHT = (
    16  # times that a tick counts more that answers than one that is passed, in what the chance is learned from
)
DEFAULT_RISKS = (0.01, 0.05)  # shares of answers that thresholds may lose by stopping early


def finalize_run(run_dir: RunDir, output_dir: Path | None) -> None:
    """From the last saved step to a finished checkpoint: fit the energy, choose thresholds, measure, write the card."""
    config, steps = run_dir.load_config(), run_dir.list_steps()
    if not steps:
        raise ValueError(f"{run_dir.path} has no saved step yet.")
    run_dir.write_status("finishing", steps[-1], config.train.steps)
    task, checkpoint = config.make_task(), load(run_dir.checkpoint_dir(steps[-1]))
    machine, fitted = checkpoint.model, None
    if config.loss.energy != "none" and config.finish.fit_samples:
        batches, meant = (
            sample_fitting_batches(task, config.finish.fit_samples),
            (config.loss.energy, config.loss.energy_loss_params),
        )
        fitted = fit_energy(machine, task.decoder, batches, *meant, config.finish.fit_steps, config.train.seed)
    halting = build_halting_metadata(
        machine, task, config.finish.tolerance, config.loss.energy, config.loss.energy_loss_params, fitted
    )
    whole = build_final_checkpoint(machine, task, halting, build_training_metadata(config, run_dir, steps[-1]))
    saved = save(whole, output_dir or run_dir.final_checkpoint_dir)
    run_dir.write_status("finished", steps[-1], config.train.steps, checkpoint=str(saved))
    for evaluation in whole.metrics["evaluations"]:
        print(json.dumps(evaluation))
    print(f"Checkpoint: {saved}")


def build_final_checkpoint(
    model: TickModel, task: Task, halting: dict[str, Any], training_metadata: dict[str, Any]
) -> Checkpoint:
    """The checkpoint of a machine, measured on every held-out split with its own rule, and with a card that tells it."""
    policy = get_default_policy(halting)
    held_out = [split for split in task.splits if split not in (TRAIN, VALIDATION, CALIBRATION)]
    evaluations = [
        evaluate_split(model, task, split, build_split_batches(task, split, MAX_EVALUATION_SAMPLES), policy, halting)
        for split in held_out
    ]
    metrics = {"date": datetime.date.today().isoformat(), "evaluations": evaluations, "training": training_metadata}
    parameters = count_parameters(model.config, model.in_features)
    published = model.config.to_dict()
    card = render_model_card(
        build_title(published, task.title), published, task.describe(), halting, metrics, parameters
    )
    return Checkpoint(model, task.describe(), halting, metrics, card)


def evaluate_split(
    model: TickModel, task: Task, split: str, batches: Iterable[Batch], policy: HaltingPolicy, halting: dict[str, Any]
) -> dict[str, Any]:
    """Figures of a machine on held-out samples, halted by a policy; also of the rules that `halting` offers."""
    offered = {name: parse(rule["policy"]) for name, rule in halting.get("policies", {}).items()}
    if not model.config.energy_head_enabled:  # whatever is offered, these cannot be followed
        offered = {name: rule for name, rule in offered.items() if not rule.needs_energy}
    signals = policy.signals.union(*(rule.signals for rule in offered.values()))
    curves = evaluate_curves(model, task.decoder, batches, signals)
    played = replay(policy, TickHistory.from_curves(curves), curves.right)
    figures = summarise_curves(curves)
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
        "figures": {} if task.get_spec().ctc_length else task.compute_extra_metrics(chosen, curves.targets),
        "spearman": spearman_correlation(played.ticks, curves.difficulty),
        "by_difficulty": group_by_difficulty(curves, played),
        "reliability": compute_answer_reliability(curves, played, halting),
        "rules": {name: evaluate_policy(rule, curves) for name, rule in offered.items()},
        "date": datetime.date.today().isoformat(),
    }


def evaluate_policy(policy: HaltingPolicy, curves: EvaluationCurves) -> dict[str, float]:
    """What a rule does to samples that did not choose it, and the share of answers that it loses by stopping early."""
    history = TickHistory.from_curves(curves)
    played = replay(policy, history, curves.right)
    lost = is_correct_at_full_budget(history, curves.right) & ~played.correct
    return {"accuracy": played.accuracy, "mean_ticks": played.mean_ticks, "lost": lost.float().mean().item()}


def compute_answer_reliability(
    curves: EvaluationCurves, policy_replay: PolicyReplay, halting: dict[str, Any]
) -> dict[str, Any] | None:
    """How far the chance to be right that comes with an answer can be believed; None where none comes with it."""
    note = HaltingMetadata.model_validate(halting).energy
    if (
        curves.energy is None
        or (chance := gather_answer_confidence(note.compute_p_correct, curves, policy_replay)) is None
    ):
        return None
    return compute_reliability(chance, policy_replay.correct)


def gather_answer_confidence(
    p_correct_fn: Callable[..., Tensor | None], curves: EvaluationCurves, policy_replay: PolicyReplay
) -> Float[Tensor, " n"] | None:
    """The chance to be right that is told at the ticks that answer."""
    found = p_correct_fn(curves.energy, curves.certainty.mean(1))
    return None if found is None else found.gather(1, policy_replay.answer_tick.unsqueeze(1) - 1).squeeze(1)


def group_by_difficulty(curves: EvaluationCurves, policy_replay: PolicyReplay) -> dict[str, dict[str, int | float]]:
    """Samples, halted accuracy and mean ticks for every difficulty that the task tells apart; {} if it tells none."""
    kinds = curves.difficulty.unique().tolist()
    if len(kinds) < 2:
        return {}
    rows = {kind: curves.difficulty == kind for kind in kinds}
    return {
        str(kind): {
            "n": int(here.sum()),
            "accuracy_halted": policy_replay.correct[here].float().mean().item(),
            "mean_ticks": policy_replay.ticks[here].float().mean().item(),
        }
        for kind, here in rows.items()
    }


def build_halting_metadata(
    model: TickModel,
    task: Task,
    tolerance: float,
    kind: str,
    loss_params: EnergyLossParams,
    fit_metrics: dict[str, Any] | None,
) -> dict[str, Any]:
    """What `halting.json` says: rules with thresholds chosen on the calibration split, which is the default, what every
    threshold would give there, and what the energy means.

    Args:
        machine, task: what thinks, about what.
        tolerance: accuracy that a threshold may lose against the most accurate one.
        kind, meaning, fitted: see `build_energy_metadata`; "none" for a machine without an energy.
    """
    fresh = evaluate_curves(model, task.decoder, build_split_batches(task, CALIBRATION, MAX_EVALUATION_SAMPLES))
    history, spoken = TickHistory.from_curves(fresh), task.get_spec().ctc_length
    policies = choose_policies(history, fresh.right, tolerance, spoken)
    default = next((name for name in ("said", "energy") if name in policies), next(iter(policies), None))
    if not spoken:
        seen = evaluate_curves(model, task.decoder, build_split_batches(task, VALIDATION, MAX_EVALUATION_SAMPLES))
        policies |= certify_default_risks(seen, fresh)
    curves = compute_frontiers(history, fresh.right, spoken)
    frontiers = {"split": CALIBRATION, "n": len(fresh.right), "iterations": fresh.right.size(1), "rules": curves}
    energy = {}
    if kind != "none":
        played = replay(parse(policies[default]["policy"]), history, fresh.right)
        # a logit is one by itself, but where things are said one by one it is that of being through, more than of being right
        chance = None if kind in LOGIT_KINDS and not spoken else fit_correctness_model(fresh, played)
        energy = {"energy": build_energy_metadata(kind, loss_params, fit_metrics, chance)}
    return {**energy, "policies": policies, "default": default, "frontiers": frontiers}


def fit_correctness_model(curves: EvaluationCurves, policy_replay: PolicyReplay) -> CorrectnessModel | None:
    """The chance to be right that energy and certainty tell, at ticks that a rule visits; None where it cannot be found.

    What lies below the rule's threshold is then what it ends with: among other ticks with the same energy there may be many
    that come later, when the machine thought too long. Ticks that answer count more, for what is said there is believed.
    """
    ticks = torch.arange(1, curves.right.size(1) + 1)
    visited = curves.answer_mask & (ticks <= policy_replay.ticks.unsqueeze(1))
    weight = visited * torch.where(ticks == policy_replay.answer_tick.unsqueeze(1), ANSWER_TICK_WEIGHT, 1)
    rows = torch.arange(weight.numel()).repeat_interleave(weight.flatten())
    energy, certainty, right = (
        values.flatten()[rows] for values in (curves.energy, curves.certainty.mean(1), curves.right)
    )
    doubt = 1 / (len(curves.right) + 2)  # n samples without a mistake say no more than this of one's chance
    known = torch.stack((energy, certainty, torch.ones_like(energy)), 1).double()
    found = fit_logistic_regression(known, smooth_labels(~right, doubt, torch.double))
    return (
        CorrectnessModel(energy=found[0], certainty=found[1], bias=found[2]) if all(map(math.isfinite, found)) else None
    )


def certify_default_risks(validation: EvaluationCurves, calibration: EvaluationCurves) -> dict[str, dict[str, Any]]:
    """Rules that lose at most so many answers by stopping early; by energy, or by certainty where there is none.

    Args:
        seen: of validation samples, which say what thresholds to try, and in which order.
        fresh: of calibration samples. Those that are too few for a promise make none.
    """
    score, make = (
        ("certainty", THRESHOLD_POLICIES["certainty>"]) if validation.energy is None else ("energy", EnergyBelow)
    )
    before, history = TickHistory.from_curves(validation), TickHistory.from_curves(calibration)
    levels = drop_dominated_thresholds(make, get_candidate_thresholds(make, before), before, validation.right)
    found = {}
    for promise in map(RiskGuarantee, DEFAULT_RISKS):
        if len(calibration.right) >= promise.min_samples and (
            rule := certify_threshold(make, levels, history, calibration.right, promise)
        ):
            found |= build_named_policy_record(rule, promise, CALIBRATION, score)
    return found


def get_default_policy(halting: dict[str, Any]) -> HaltingPolicy:
    """The checkpoint's own rule; to the last tick where it has none."""
    rule = halting.get("policies", {}).get(halting.get("default"))
    return parse(rule["policy"]) if rule else parse(f"ticks={UNLIMITED_TICKS - 1}")


def get_tolerance(halting: dict[str, Any]) -> float:
    """What thresholds of a checkpoint may cost in accuracy; the usual where it does not say."""
    said = (rule.get("tolerance") for rule in halting.get("policies", {}).values())
    return next((value for value in said if value is not None), FinalizeConfig().tolerance)


def build_training_metadata(config: RunConfig, run_dir: RunDir, step: int) -> dict[str, Any]:
    """How the checkpoint was trained, for metrics.json."""
    speeds = [values["steps_per_second"] for values in run_dir.read_metrics() if "steps_per_second" in values]
    rate = sum(speeds) / len(speeds) if speeds else float("nan")
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return {
        "command": run_dir.read_command(),
        "settings": config.to_portable_dict(),
        "seed": config.train.seed,
        "steps": step,
        "minutes": step / rate / 60,
        "hardware": hardware,
        "torch": torch.__version__,
        **({"init_from": run_dir.read_origin()} if run_dir.read_origin() else {}),
    }
