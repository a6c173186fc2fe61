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
from inference.halting.policies import SameAnswer, Scored
from inference.halting.policy_parser import THRESHOLDS
from inference.halting.risk_control import Method, Promise, promised, promised_by_class, under_its_name, worth_trying
from inference.halting.thresholds import levels_of
from inference.tick_history import History
from training.cli.options import between, goes_to, opened, takes_checkpoint
from training.evaluation import MOST_SAMPLES, Curves, curves_of, split_batches
from training.tasks import Task
from training.tasks.base import CALIBRATION, VALIDATION

PATIENCE = "patience"
SCORES: dict[str, Callable[[float], Scored]] = {form[:-1]: make for form, make in THRESHOLDS.items()}
SCORES[PATIENCE] = lambda ticks: SameAnswer(int(ticks))


def main(arguments: list[str] | None = None) -> None:
    args = parser().parse_args(arguments)
    try:
        out, (checkpoint, task) = goes_to(args), opened(args)
        whole, name = calibrate(checkpoint, task, args)
        save(whole, out)
    except (ValueError, OSError) as error:
        raise SystemExit(f"Error: {error}") from None
    rule = whole.halting["policies"][name]
    print(f"Written to {out}, to be used as --policy '{rule['policy']}'. The default stays what it was.")
    print(json.dumps({"name": name, **rule}))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m inference.calibrate",
        description="Choose the boldest threshold that loses at most so many answers by stopping early, on calibration samples "
        "that nothing else has seen, and write it into the checkpoint's halting.json.",
    )
    takes_checkpoint(made)
    made.add_argument("--risk", type=float, default=0.01, help="share of answers that may be lost (default: 0.01)")
    made.add_argument(
        "--confidence",
        type=float,
        default=0.95,
        help="how sure it must be, over the drawing of the samples (default: 0.95; ltt only)",
    )
    made.add_argument(
        "--method",
        choices=get_args(Method),
        default="ltt",
        help="learn then test, which is sure, or conformal risk control, which holds on average (default: ltt)",
    )
    made.add_argument("--score", choices=SCORES, default="energy", help="what is compared with the threshold")
    made.add_argument("--per-class", action="store_true", help="a threshold for each class that is answered")
    made.add_argument(
        "--samples",
        type=between(1, 1_000_000, int),
        default=MOST_SAMPLES,
        help="to draw, of splits without an end (default: %(default)s)",
    )
    return made


def calibrate(checkpoint: Checkpoint, task: Task, args: argparse.Namespace) -> tuple[Checkpoint, str]:
    """The checkpoint with the promised rule among its policies, and the name of the rule.

    Raises:
        ValueError: the score does not suit the machine, the samples are too few, or no level keeps the promise.
    """
    machine = checkpoint.machine
    promise = Promise(args.risk, args.confidence, args.method)
    if args.score == "energy" and not machine.config.energy_head_enabled:
        raise ValueError("This checkpoint has no energy head: choose another --score, or give it one with fit-energy.")
    if task.shape().spoken:
        raise ValueError(
            "An answer that is said over the ticks ends when all is said: there is no threshold to choose."
        )
    if args.score == PATIENCE and args.per_class:
        raise ValueError("Patience has no levels by class: choose another --score, or leave --per-class away.")
    make = SCORES[args.score]
    seen, fresh = (
        curves_of(machine, task.reading, split_batches(task, split, args.samples), make(1.0).signals)
        for split in (VALIDATION, CALIBRATION)
    )
    history = History.of(fresh)
    before = History.of(seen)
    levels = candidates(args.score, make, before)
    if args.per_class:
        found = promised_by_class(make, levels, history, fresh.right, shares_of(seen, task), promise)
    else:
        found = promised(make, worth_trying(make, levels, before, seen.right), history, fresh.right, promise)
    if found is None:
        raise ValueError(f"Not even the safest threshold keeps the promise, {promise}: nothing was written.")
    named = under_its_name(found, promise, CALIBRATION, args.score, args.per_class)
    policies = checkpoint.halting.get("policies", {}) | named
    return replace(checkpoint, halting={**checkpoint.halting, "policies": policies}), next(iter(named))


def candidates(score: str, make: Callable[[float], Scored], seen: History) -> list[float]:
    """Thresholds to try, the safest of which nothing passes; from samples that are not those that will judge them."""
    if score == PATIENCE:
        return [float(ticks) for ticks in range(1, seen.certainty.size(1) + 2)]
    return levels_of(make, seen)


def shares_of(seen: Curves, task: Task) -> list[float]:
    """Of each class among the answers that are given at the end."""
    last = History.of(seen)
    given = seen.choices[torch.arange(len(seen.choices)), 0, last.best_tick - 1]
    return (torch.bincount(given, minlength=task.shape().classes) / len(given)).tolist()


if __name__ == "__main__":
    main()
