"""Command `python -m inference.calibrate`: choose a halting threshold with a statistical guarantee.

python -m inference.calibrate CHECKPOINT|hub:NAMESPACE/NAME [--out DIRECTORY] [--risk 0.01] [--confidence 0.95]
                              [--method ltt|crc] [--score energy] [--per-class]

Validation samples decide which thresholds are tried and in which order; calibration samples certify one of them
(`inference.halting.risk_control`).
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
from inference.tick_history import EvaluationCurves, TickHistory
from training.cli.options import add_checkpoint_arguments, bounded_number, open_checkpoint, resolve_output_dir
from training.console import write_line
from training.evaluation import MAX_EVALUATION_SAMPLES, build_split_batches, evaluate_curves
from training.tasks import Task
from training.tasks.splits import CALIBRATION, VALIDATION

PATIENCE_SCORE = "patience"
SCORE_POLICIES: dict[str, Callable[[float], ThresholdPolicy]] = {
    form[:-1]: make_policy for form, make_policy in THRESHOLD_POLICIES.items()
}
SCORE_POLICIES[PATIENCE_SCORE] = lambda ticks: SameAnswer(int(ticks))


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: Words of the command line; None takes those of the process.

    Raises:
        SystemExit: The arguments are wrong, or no threshold can be certified; the message is one sentence.
    """
    args = build_parser().parse_args(arguments)
    try:
        output_dir = resolve_output_dir(args)
        checkpoint, task = open_checkpoint(args)
        new_checkpoint, name = calibrate(checkpoint, task, args)
        save(new_checkpoint, output_dir)
    except (ValueError, OSError) as error:
        raise SystemExit(f"Error: {error}") from None
    record = new_checkpoint.halting["policies"][name]
    write_line(f"Written to {output_dir}; use it as --policy '{record['policy']}'. The default policy does not change.")
    write_line(json.dumps({"name": name, **record}))


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m inference.calibrate",
        description="Choose the halting threshold that saves the most ticks and loses at most the given share of answers by "
        "stopping early, on calibration samples that nothing else has used, and write it into the checkpoint's halting.json.",
    )
    add_checkpoint_arguments(parser)
    parser.add_argument("--risk", type=float, default=0.01, help="share of answers that may be lost (default: 0.01)")
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.95,
        help="probability of the guarantee, over the drawing of the samples (default: 0.95; ltt only)",
    )
    parser.add_argument(
        "--method",
        choices=get_args(RiskControlMethod),
        default="ltt",
        help="learn then test (ltt), which holds with the given confidence, or conformal risk control (crc), which holds on "
        "average (default: ltt)",
    )
    parser.add_argument("--score", choices=SCORE_POLICIES, default="energy", help="what is compared with the threshold")
    parser.add_argument("--per-class", action="store_true", help="one threshold for each class of the answer")
    parser.add_argument(
        "--samples",
        type=bounded_number(1, 1_000_000, int),
        default=MAX_EVALUATION_SAMPLES,
        help="samples to draw from a generated split (default: %(default)s)",
    )
    return parser


def calibrate(checkpoint: Checkpoint, task: Task, args: argparse.Namespace) -> tuple[Checkpoint, str]:
    """Certify a threshold and add its policy to a checkpoint.

    Args:
        checkpoint: The checkpoint; it does not change.
        task: Its task.
        args: The parsed options of the command.

    Returns:
        A new checkpoint with the certified policy among its policies, and the name of the policy.

    Raises:
        ValueError: The score does not suit the model, there are too few samples, or no threshold satisfies the guarantee.
    """
    model = checkpoint.model
    guarantee = RiskGuarantee(args.risk, args.confidence, args.method)
    if args.score == "energy" and not model.config.energy_head_enabled:
        raise ValueError(
            "This checkpoint has no energy head: choose another --score, or add an energy head with fit-energy."
        )
    if task.get_spec().ctc_length:
        raise ValueError(
            "An answer that is emitted over the ticks ends when it is complete: there is no threshold to choose."
        )
    if args.score == PATIENCE_SCORE and args.per_class:
        raise ValueError("Patience has no thresholds by class: choose another --score, or omit --per-class.")
    make_policy = SCORE_POLICIES[args.score]
    validation, calibration = (
        evaluate_curves(model, task.decoder, build_split_batches(task, split, args.samples), make_policy(1.0).signals)
        for split in (VALIDATION, CALIBRATION)
    )
    validation_history = TickHistory.from_curves(validation)
    calibration_history = TickHistory.from_curves(calibration)
    thresholds = get_score_thresholds(args.score, make_policy, validation_history)
    if args.per_class:
        class_shares = compute_class_shares(validation, task)
        certified = certify_class_thresholds(
            make_policy, thresholds, calibration_history, calibration.correct, class_shares, guarantee
        )
    else:
        thresholds = drop_dominated_thresholds(make_policy, thresholds, validation_history, validation.correct)
        certified = certify_threshold(make_policy, thresholds, calibration_history, calibration.correct, guarantee)
    if certified is None:
        raise ValueError(f"Not even the safest threshold satisfies the guarantee, {guarantee}: nothing was written.")
    records = build_named_policy_record(certified, guarantee, CALIBRATION, args.score, args.per_class)
    policies = checkpoint.halting.get("policies", {}) | records
    return replace(checkpoint, halting={**checkpoint.halting, "policies": policies}), next(iter(records))


def get_score_thresholds(
    score: str, make_policy: Callable[[float], ThresholdPolicy], history: TickHistory
) -> list[float]:
    """Return the thresholds to try, from the safest one, at which no sample halts early.

    Args:
        score: What is compared with the threshold.
        make_policy: Builds the policy of a threshold.
        history: Samples that do not certify the thresholds.
    """
    if score == PATIENCE_SCORE:
        return [float(ticks) for ticks in range(1, history.certainty.size(1) + 2)]
    return get_candidate_thresholds(make_policy, history)


def compute_class_shares(curves: EvaluationCurves, task: Task) -> list[float]:
    """Return the share of each class among the answers at the full tick budget."""
    history = TickHistory.from_curves(curves)
    classes = curves.choices[torch.arange(len(curves.choices)), 0, history.best_tick - 1]
    return (torch.bincount(classes, minlength=task.get_spec().classes) / len(classes)).tolist()
