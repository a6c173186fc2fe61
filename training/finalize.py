"""Turn a trained model into a final checkpoint: fit the energy head, choose thresholds, evaluate, write the model card.

Each stage has its own samples: validation samples fit the energy head and decide which thresholds to try, calibration
samples choose among the thresholds, and the other held-out splits give the reported figures. Both are joined by samples of
`Task.halting_splits`, which belong to the same stage by their content.
"""

import datetime
import functools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ctm import TickModel
from ctm.checkpoint import Checkpoint, load, save
from ctm.checkpoint.metadata import HaltingMetadata
from ctm.models.registry import count_parameters
from inference.halting.evidence import format_accuracy, format_mean
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
from inference.halting.thresholds import (
    PolicyReplay,
    choose_default_policy,
    choose_policies,
    get_candidate_thresholds,
    replay,
)
from inference.tick_history import EvaluationCurves, TickHistory
from training.config import FinalizeConfig, RunConfig
from training.console import write_line
from training.energy.confidence import (
    compute_answer_reliability,
    compute_split_confidence,
    fit_confidence,
)
from training.energy.correctness import fit_correctness_model
from training.energy.features import sample_fitting_batches
from training.energy.fitting import fit_energy
from training.energy.losses import LOGIT_KINDS, EnergyLossParams
from training.evaluation import MAX_EVALUATION_SAMPLES, build_split_batches, evaluate_curves
from training.familiarity import fit_familiarity
from training.metrics import spearman_correlation, summarise_curves
from training.model_card import build_title, compute_wilson_interval, render_model_card
from training.neuron_layout import compute_checkpoint_layout
from training.progress_summary import build_accuracy_curve
from training.run_dir import RunDir
from training.stages import build_stages, find_saved_stage
from training.tasks import Task
from training.tasks.samples import Batch
from training.tasks.splits import CALIBRATION, VALIDATION, name_part
from training.trainer_state import build_energy_metadata
from training.training_cost import measure_training_cost

UNLIMITED_TICKS = 1_000_000
CALIBRATION_SIGNALS = frozenset({"margin"})  # of the policies whose thresholds are chosen, besides certainty and energy
DEFAULT_RISKS = (0.01, 0.05)  # shares of answers that a certified threshold may lose by stopping early


def finalize_run(run_dir: RunDir, output_dir: Path | None) -> None:
    """Build the final checkpoint of a run from its last saved step, and print its evaluations.

    Args:
        run_dir: The run directory; its status is updated.
        output_dir: Directory of the checkpoint; None writes to `checkpoint` in the run directory.

    Raises:
        ValueError: The run has no saved step.
    """
    config = run_dir.load_config()
    stage = build_stages(config)[-1]
    steps = run_dir.list_steps()
    if not steps:
        raise ValueError(
            f"{run_dir.path} has no saved step yet: train it with python -m training train --run-dir {run_dir.path}."
        )
    if steps[-1] <= stage.first_step:
        raise ValueError(
            f"{run_dir.path} has done {find_saved_stage(config, steps[-1]).describe()}, and a run is finalized in its last stage: train it "
            f"with python -m training train --run-dir {run_dir.path}."
        )
    run_dir.write_status("finishing", steps[-1], config.num_steps, **stage.status)
    task = stage.config.make_task()
    model = load(run_dir.checkpoint_dir(steps[-1])).model
    kind = stage.config.loss.energy_kind
    loss_params = stage.config.loss.energy_loss_params
    fit_metrics = None
    if kind != "none" and config.finalize.fit_samples:
        batches = sample_fitting_batches(task, config.finalize.fit_samples)
        fit_metrics = fit_energy(
            model, task.decoder, batches, kind, loss_params, config.finalize.fit_steps, config.train.seed
        )
    num_samples = config.finalize.eval_samples
    halting = build_halting_metadata(
        model, task, config.finalize.accuracy_tolerance, kind, loss_params, fit_metrics, num_samples
    )
    training_metadata = build_training_metadata(config, run_dir, steps[-1])
    checkpoint = build_final_checkpoint(model, task, halting, training_metadata, num_samples)
    path = save(checkpoint, output_dir or run_dir.final_checkpoint_dir)
    run_dir.write_status("finished", steps[-1], config.num_steps, checkpoint=str(path), **stage.status)
    for evaluation in checkpoint.metrics["evaluations"]:
        write_line(describe_evaluation(evaluation))
    write_line(f"All figures are in metrics.json. Checkpoint: {path}")


def describe_evaluation(evaluation: dict[str, Any]) -> str:
    """Return the main figures of an evaluation in one sentence, for the log."""
    ticks = evaluation["iterations"]
    mean = f", in {format_mean(evaluation['mean_ticks'])} of {ticks} ticks on average" if ticks > 1 else ""
    samples = f"{evaluation['n']:,} samples of the split {evaluation['split']}"
    accuracy = evaluation["accuracy_halted"]
    low, high = compute_wilson_interval(accuracy, evaluation["n"])
    return f"Evaluated on {samples}: {format_accuracy(accuracy)} correct (95% interval {format_accuracy(low)} to {format_accuracy(high)}){mean}."


def build_final_checkpoint(
    model: TickModel,
    task: Task,
    halting: dict[str, Any],
    training_metadata: dict[str, Any],
    num_samples: int = MAX_EVALUATION_SAMPLES,
) -> Checkpoint:
    """Evaluate a model on every test split with its default halting policy, and build its checkpoint.

    Args:
        model: The model.
        task: Its task.
        halting: Content of `halting.json`.
        training_metadata: The entry `training` of `metrics.json`.
        num_samples: Draws from a generated split, see `build_split_batches`.
    """
    policy = get_default_policy(halting)
    evaluations = [
        evaluate_split(model, task, split, build_split_batches(task, split, num_samples), policy, halting)
        for split in task.reported_splits
    ]
    metrics = {"date": datetime.date.today().isoformat(), "evaluations": evaluations, "training": training_metadata}
    num_parameters = count_parameters(model.config, model.in_features)
    config = model.config.to_dict()
    card = render_model_card(build_title(config, task.title), config, task.describe(), halting, metrics, num_parameters)
    layout = compute_checkpoint_layout(model, task)
    return Checkpoint(model, task.describe(), halting, metrics, card, layout)


def evaluate_split(
    model: TickModel, task: Task, split: str, batches: Iterable[Batch], policy: HaltingPolicy, halting: dict[str, Any]
) -> dict[str, Any]:
    """Evaluate a model on held-out samples.

    Args:
        model: The model.
        task: Its task.
        split: Name of the split, for the result.
        batches: Samples of the split.
        policy: Halting policy of the reported accuracy and ticks.
        halting: Content of `halting.json`, whose other policies are evaluated as well.

    Returns:
        One entry of `evaluations` in `metrics.json`.
    """
    policies = {name: parse(record["policy"]) for name, record in halting.get("policies", {}).items()}
    if not model.config.energy_head_enabled:
        policies = {name: other for name, other in policies.items() if not other.needs_energy}
    signals = policy.signals.union(*(other.signals for other in policies.values()))
    is_shifted = split in task.shift_splits
    confidence_fn = functools.partial(
        compute_split_confidence, task, HaltingMetadata.model_validate(halting), is_shifted
    )
    curves = evaluate_curves(model, task.decoder, batches, signals, confidence_fn)
    policy_replay = replay(policy, TickHistory.from_curves(curves), curves.correct)
    answers = curves.choices[torch.arange(len(curves.choices)), :, policy_replay.answer_tick - 1]
    accuracy_by_tick = curves.correct.float().mean(0).tolist()
    return {
        "task": task.name,
        "split": split,
        "n": len(curves.correct),
        "iterations": curves.correct.size(1),
        "accuracy_by_tick": [round(value, 6) for value in accuracy_by_tick],
        "policy": str(policy) if policies else f"ticks={curves.correct.size(1)}",
        "accuracy_halted": policy_replay.accuracy,
        "accuracy_halted_interval": list(compute_wilson_interval(policy_replay.accuracy, len(curves.correct))),
        "mean_ticks": policy_replay.mean_ticks,
        "energy_auroc": None,
        **(summary := summarise_curves(curves)),
        "accuracy_last_interval": list(compute_wilson_interval(summary["accuracy_last"], len(curves.correct))),
        "figures": {} if task.get_spec().ctc_length else task.compute_extra_metrics(answers, curves.targets),
        "spearman": spearman_correlation(policy_replay.ticks, curves.difficulty),
        "by_difficulty": group_by_difficulty(curves, policy_replay),
        # For an input that differs in this way, the page limits the confidence to the accuracy that is measured here.
        **compute_answer_reliability(curves, policy_replay, policy_replay.accuracy if is_shifted else 1.0),
        "rules": {name: evaluate_policy(other, curves) for name, other in policies.items()},
        "date": datetime.date.today().isoformat(),
    }


def evaluate_policy(policy: HaltingPolicy, curves: EvaluationCurves) -> dict[str, float]:
    """Evaluate a halting policy on samples that did not choose its threshold.

    Returns:
        accuracy and mean_ticks; lost: share of answers that are correct at the full tick budget and wrong when halted.
    """
    history = TickHistory.from_curves(curves)
    policy_replay = replay(policy, history, curves.correct)
    is_lost = is_correct_at_full_budget(history, curves.correct) & ~policy_replay.correct
    return {
        "accuracy": policy_replay.accuracy,
        "mean_ticks": policy_replay.mean_ticks,
        "lost": is_lost.float().mean().item(),
    }


def group_by_difficulty(curves: EvaluationCurves, policy_replay: PolicyReplay) -> dict[str, dict[str, int | float]]:
    """Return count, halted accuracy and mean ticks of each difficulty; {} if all samples have the same."""
    levels = curves.difficulty.unique().tolist()
    if len(levels) < 2:
        return {}
    masks = {level: curves.difficulty == level for level in levels}
    return {
        str(level): {
            "n": int(mask.sum()),
            "accuracy_halted": policy_replay.correct[mask].float().mean().item(),
            "mean_ticks": policy_replay.ticks[mask].float().mean().item(),
        }
        for level, mask in masks.items()
    }


def build_halting_metadata(
    model: TickModel,
    task: Task,
    tolerance: float,
    kind: str,
    loss_params: EnergyLossParams,
    fit_metrics: dict[str, Any] | None,
    num_samples: int = MAX_EVALUATION_SAMPLES,
) -> dict[str, Any]:
    """Build the content of `halting.json`: policies with thresholds, their frontiers, and the meaning of the energy.

    Args:
        model: The model.
        task: Its task.
        tolerance: Accuracy that a threshold may lose against the most accurate one, on the calibration split and on each of
            `Task.halting_splits`.
        kind: Kind of energy; "none" for a model without one.
        loss_params: Settings of the energy loss.
        fit_metrics: Result of `fit_energy`; None if the energy head was not fitted.
        num_samples: Draws from a generated split, see `build_split_batches`.
    """
    calibration_batches = build_split_batches(task, CALIBRATION, num_samples)
    calibration = evaluate_curves(model, task.decoder, calibration_batches, CALIBRATION_SIGNALS)
    history = TickHistory.from_curves(calibration)
    ctc_length = task.get_spec().ctc_length
    shifted = evaluate_halting_splits(model, task, num_samples)
    policies = choose_policies(history, calibration.correct, tolerance, ctc_length, shifted)
    default = choose_default_policy(policies)
    if policies and not ctc_length:
        validation = evaluate_curves(model, task.decoder, build_split_batches(task, VALIDATION, num_samples))
        policies |= certify_default_risks(validation, calibration)
    frontiers = {
        "split": CALIBRATION,
        "n": len(calibration.correct),
        "iterations": calibration.correct.size(1),
        "rules": compute_frontiers(history, calibration.correct, ctc_length),
    }
    energy = {}
    if kind != "none":
        policy = get_default_policy({"policies": policies, "default": default})
        policy_replay = replay(policy, history, calibration.correct)
        # The energy of a logit kind is P(correct) by itself. A CTC answer is the exception: there the logit follows the
        # probability that the emission is complete, more than that it is correct.
        needs_fit = kind not in LOGIT_KINDS or bool(ctc_length)
        correctness_model = fit_correctness_model(calibration, policy_replay) if needs_fit else None
        energy = {"energy": build_energy_metadata(kind, loss_params, fit_metrics, correctness_model)}
    metadata = {**energy, "policies": policies, "default": default, "frontiers": frontiers}
    confidence = fit_confidence(model, task, calibration_batches, get_default_policy(metadata))
    familiarity = fit_familiarity(model, task, calibration_batches)
    optional = {"confidence": confidence, "familiarity": familiarity}
    return metadata | {name: value.model_dump() for name, value in optional.items() if value is not None}


def evaluate_halting_splits(model: TickModel, task: Task, num_samples: int) -> dict[str, EvaluationCurves]:
    """Evaluate a model on the calibration samples of each of `Task.halting_splits`; see `build_halting_metadata`."""
    return {
        split: evaluate_curves(
            model,
            task.decoder,
            build_split_batches(task, name_part(split, CALIBRATION), num_samples),
            CALIBRATION_SIGNALS,
        )
        for split in task.halting_splits
    }


def certify_default_risks(validation: EvaluationCurves, calibration: EvaluationCurves) -> dict[str, dict[str, Any]]:
    """Certify thresholds for `DEFAULT_RISKS`, of the energy, or of the certainty if there is no energy.

    Args:
        validation: Samples that decide which thresholds are tried, and in which order.
        calibration: Samples that certify them.

    Returns:
        Policy records by name; no record for a risk that needs more calibration samples or that no threshold satisfies.
    """
    if validation.energy is None:
        score = "certainty"
        make_policy = THRESHOLD_POLICIES["certainty>"]
    else:
        score = "energy"
        make_policy = EnergyBelow
    validation_history = TickHistory.from_curves(validation)
    calibration_history = TickHistory.from_curves(calibration)
    thresholds = drop_dominated_thresholds(
        make_policy, get_candidate_thresholds(make_policy, validation_history), validation_history, validation.correct
    )
    records: dict[str, dict[str, Any]] = {}
    for guarantee in map(RiskGuarantee, DEFAULT_RISKS):
        if len(calibration.correct) >= guarantee.min_samples and (
            certified := certify_threshold(make_policy, thresholds, calibration_history, calibration.correct, guarantee)
        ):
            records |= build_named_policy_record(certified, guarantee, CALIBRATION, score)
    return records


def get_default_policy(halting: dict[str, Any]) -> HaltingPolicy:
    """Return the default policy of a checkpoint, or one that uses all ticks if it has none."""
    record = halting.get("policies", {}).get(halting.get("default"))
    return parse(record["policy"]) if record else parse(f"ticks={UNLIMITED_TICKS - 1}")


def get_tolerance(halting: dict[str, Any]) -> float:
    """Return the accuracy that thresholds of a checkpoint may lose; the default setting if it records none."""
    tolerances = (record.get("tolerance") for record in halting.get("policies", {}).values())
    return next((value for value in tolerances if value is not None), FinalizeConfig().accuracy_tolerance)


def build_training_metadata(config: RunConfig, run_dir: RunDir, step: int) -> dict[str, Any]:
    """Build the entry `training` of `metrics.json`: how the checkpoint was trained."""
    changes = run_dir.read_portable_changes(config)
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return {
        "command": run_dir.read_command(),
        "settings": config.to_portable_dict(),
        "seed": config.train.seed,
        "steps": step,
        **find_saved_stage(config, step).status,
        "curve": build_accuracy_curve(run_dir.read_metrics()),
        "minutes": compute_training_minutes(config, run_dir, step),
        **measure_training_cost(config, run_dir.load_trainer_state(step).get("costs")),
        "hardware": hardware,
        "torch": torch.__version__,
        **({"changes": changes} if changes else {}),
        **({"init_from": run_dir.read_origin()} if run_dir.read_origin() else {}),
    }


def compute_training_minutes(config: RunConfig, run_dir: RunDir, step: int) -> float:
    """Return the minutes of the steps of a run, from the mean speed of each stage; NaN if it was not logged."""
    minutes = 0.0
    lines = [values for values in run_dir.read_metrics() if "steps_per_second" in values]
    for stage in build_stages(config):
        end_step = min(step, stage.end_step)
        speeds = [values["steps_per_second"] for values in lines if stage.first_step < values["step"] <= end_step]
        num_steps = max(0, end_step - stage.first_step)
        minutes += num_steps / (sum(speeds) / len(speeds)) / 60 if speeds else (float("nan") if num_steps else 0.0)
    return minutes
