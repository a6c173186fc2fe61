"""Thresholds that keep a promise, for a checkpoint; like `training/__main__.py` it only puts parts together.

python -m inference.calibrate CHECKPOINT|hub:NAMESPACE/NAME [--out FOLDER] [--risk 0.01] [--confidence 0.95]
                              [--method ltt|crc] [--score energy] [--per-class]
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import torch

from ctm.checkpoint import Checkpoint, save
from inference.halting.policies import SameAnswer, ThresholdPolicy
from inference.halting.policy_parser import THRESHOLD_POLICIES
from inference.halting.risk_control import (
    RiskControlMethod,
    RiskGuarantee,
    build_named_policy_record,
    certify_class_thresholds,
    certify_threshold,
    drop_dominated_thresholds,
)
from inference.halting.thresholds import get_candidate_thresholds
from inference.tick_history import TickHistory
from training.cli.options import add_checkpoint_arguments, bounded_number, open_checkpoint, resolve_output_dir
from training.evaluation import MAX_EVALUATION_SAMPLES, EvaluationCurves, build_split_batches, evaluate_curves
from training.tasks import Task
from training.tasks.base import CALIBRATION, VALIDATION

PATIENCE_SCORE = "patience"
SCORE_POLICIES: dict[str, Callable[[float], ThresholdPolicy]] = {
    form[:-1]: make for form, make in THRESHOLD_POLICIES.items()
}
SCORE_POLICIES[PATIENCE_SCORE] = lambda ticks: SameAnswer(int(ticks))


def main(arguments: list[str] | None = None) -> None:
    args = build_parser().parse_args(arguments)
    try:
        out, (checkpoint, task) = resolve_output_dir(args), open_checkpoint(args)
        whole, name = calibrate(checkpoint, task, args)
        save(whole, out)
    except (ValueError, OSError) as error:
        raise SystemExit(f"Error: {error}") from None
    rule = whole.halting["policies"][name]
    print(f"Written to {out}, to be used as --policy '{rule['policy']}'. The default stays what it was.")
    print(json.dumps({"name": name, **rule}))


def build_parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m inference.calibrate",
        description="Choose the boldest threshold that loses at most so many answers by stopping early, on calibration samples "
        "that nothing else has seen, and write it into the checkpoint's halting.json.",
    )
    add_checkpoint_arguments(made)
    made.add_argument("--risk", type=float, default=0.01, help="share of answers that may be lost (default: 0.01)")
    made.add_argument(
        "--confidence",
        type=float,
        default=0.95,
        help="how sure it must be, over the drawing of the samples (default: 0.95; ltt only)",
    )
    made.add_argument(
        "--method",
        choices=get_args(RiskControlMethod),
        default="ltt",
        help="learn then test, which is sure, or conformal risk control, which holds on average (default: ltt)",
    )
    made.add_argument("--score", choices=SCORE_POLICIES, default="energy", help="what is compared with the threshold")
    made.add_argument("--per-class", action="store_true", help="a threshold for each class that is answered")
    made.add_argument(
        "--samples",
        type=bounded_number(1, 1_000_000, int),
        default=MAX_EVALUATION_SAMPLES,
        help="to draw, of splits without an end (default: %(default)s)",
    )
    return made


def calibrate(checkpoint: Checkpoint, task: Task, args: argparse.Namespace) -> tuple[Checkpoint, str]:
    """The checkpoint with the promised rule among its policies, and the name of the rule.

    Raises:
        ValueError: the score does not suit the machine, the samples are too few, or no level keeps the promise.
    """
    machine = checkpoint.model
    promise = RiskGuarantee(args.risk, args.confidence, args.method)
    if args.score == "energy" and not machine.config.energy_head_enabled:
        raise ValueError("This checkpoint has no energy head: choose another --score, or give it one with fit-energy.")
    if task.get_spec().ctc_length:
        raise ValueError(
            "An answer that is said over the ticks ends when all is said: there is no threshold to choose."
        )
    if args.score == PATIENCE_SCORE and args.per_class:
        raise ValueError("Patience has no levels by class: choose another --score, or leave --per-class away.")
    make = SCORE_POLICIES[args.score]
    seen, fresh = (
        evaluate_curves(machine, task.decoder, build_split_batches(task, split, args.samples), make(1.0).signals)
        for split in (VALIDATION, CALIBRATION)
    )
    history = TickHistory.from_curves(fresh)
    before = TickHistory.from_curves(seen)
    levels = get_score_thresholds(args.score, make, before)
    if args.per_class:
        found = certify_class_thresholds(make, levels, history, fresh.right, compute_class_shares(seen, task), promise)
    else:
        found = certify_threshold(
            make, drop_dominated_thresholds(make, levels, before, seen.right), history, fresh.right, promise
        )
    if found is None:
        raise ValueError(f"Not even the safest threshold keeps the promise, {promise}: nothing was written.")
    named = build_named_policy_record(found, promise, CALIBRATION, args.score, args.per_class)
    policies = checkpoint.halting.get("policies", {}) | named
    return replace(checkpoint, halting={**checkpoint.halting, "policies": policies}), next(iter(named))


def get_score_thresholds(
    score: str, make_policy: Callable[[float], ThresholdPolicy], history: TickHistory
) -> list[float]:
    """Thresholds to try, the safest of which nothing passes; from samples that are not those that will judge them."""
    if score == PATIENCE_SCORE:
        return [float(ticks) for ticks in range(1, history.certainty.size(1) + 2)]
    return get_candidate_thresholds(make_policy, history)


def compute_class_shares(curves: EvaluationCurves, task: Task) -> list[float]:
    """Of each class among the answers that are given at the end."""
    last = TickHistory.from_curves(curves)
    given = curves.choices[torch.arange(len(curves.choices)), 0, last.best_tick - 1]
    return (torch.bincount(given, minlength=task.get_spec().classes) / len(given)).tolist()


if __name__ == "__main__":
    main()
