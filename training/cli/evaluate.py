"""Command `evaluate`."""

import argparse
import json
from pathlib import Path
from typing import Any

from ctm import TickModel
from ctm.checkpoint import save
from inference.engine import Engine
from inference.halting.policies import HaltingPolicy, check_policy_fits_task
from inference.halting.policy_parser import parse
from training.cli.options import add_checkpoint_arguments, bounded_number, open_checkpoint, resolve_output_dir
from training.console import write_line
from training.data.maze import MAX_SIDE
from training.evaluation import MAX_EVALUATION_SAMPLES, build_split_batches, split_into_batches
from training.finalize import build_final_checkpoint, evaluate_split, get_default_policy
from training.reapplication import evaluate_reapplication, generate_test_mazes
from training.tasks import Task
from training.tasks.mazes import Mazes
from training.tasks.samples import Batch
from training.tasks.splits import TEST, TRAIN

DEFAULT_MAZES = 256


def add_evaluate_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`."""
    add_checkpoint_arguments(command)
    command.add_argument("--split", default=TEST, help="a held-out split of the task")
    command.add_argument("--data", type=Path, help="parquet file with `image` and `label` columns, instead of a split")
    command.add_argument("--policy", help="halting policy, e.g. 'energy<-3' (default: the checkpoint's own)")
    command.add_argument(
        "--reapply",
        type=bounded_number(1, 1_000, int),
        metavar="N",
        help="mazes: apply the model up to N times, each time from where its route ends",
    )
    command.add_argument(
        "--side",
        type=bounded_number(7, MAX_SIDE, int),
        help="with --reapply: pixels per side of the mazes, odd (default: that of training)",
    )
    command.add_argument(
        "--samples",
        type=bounded_number(1, 100_000, int),
        help=f"with --reapply: number of mazes (default: {DEFAULT_MAZES})",
    )
    command.add_argument(
        "--save", action="store_true", help="evaluate every held-out split, and write new metrics and a new model card"
    )


def run_evaluate(args: argparse.Namespace) -> None:
    """Evaluate a checkpoint on a held-out split or a file; print one JSON object.

    Raises:
        ValueError: The options contradict each other, or do not fit the checkpoint.
    """
    output_dir = resolve_output_dir(args) if args.save else None
    checkpoint, task = open_checkpoint(args)
    policy = get_default_policy(checkpoint.halting) if args.policy is None else parse(args.policy)
    check_policy_fits_task(policy, task.get_spec().ctc_length)
    if args.out and not args.save:
        raise ValueError("--out is for --save, which writes new metrics and a new card; without it nothing is written.")
    if args.reapply and (args.save or args.data or args.split != TEST):
        raise ValueError("--reapply evaluates generated mazes of the test split: leave out --save, --data and --split.")
    for option in ("side", "samples"):
        if getattr(args, option) and not args.reapply:
            raise ValueError(f"--{option} is for --reapply: add --reapply N.")
    if output_dir:
        if args.policy is not None or args.data or "training" not in checkpoint.metrics:
            raise ValueError(
                "--save evaluates a checkpoint that was trained here, as it is: do not use --policy or --data."
            )
        new_checkpoint = build_final_checkpoint(
            checkpoint.model, task, checkpoint.halting, checkpoint.metrics["training"]
        )
        save(new_checkpoint, output_dir)
        cost = select_training_cost(checkpoint.metrics)
        write_line(json.dumps([evaluation | cost for evaluation in new_checkpoint.metrics["evaluations"]]))
        return
    if args.reapply:
        write_line(json.dumps(evaluate_repeated_application(args, checkpoint.model, task, policy)))
        return
    split, batches = load_evaluation_batches(args, task)
    evaluation = evaluate_split(checkpoint.model, task, split, batches, policy, checkpoint.halting)
    write_line(json.dumps(evaluation | select_training_cost(checkpoint.metrics)))


def evaluate_repeated_application(
    args: argparse.Namespace, model: TickModel, task: Task, policy: HaltingPolicy
) -> dict[str, Any]:
    """Apply a maze model repeatedly to generated mazes of the test split.

    Raises:
        ValueError: The task has no mazes, or the side is even.
    """
    if not isinstance(task, Mazes):
        raise ValueError(f"--reapply needs a maze model; the task of this checkpoint is {task.name}.")
    side = args.side or task.settings.side
    if side % 2 == 0:
        raise ValueError(f"--side must be odd, 2k + 1 for k cells a side: got {side}.")
    mazes = generate_test_mazes(task, side, args.samples or DEFAULT_MAZES)
    result = evaluate_reapplication(Engine(model, policy), task, mazes, args.reapply)
    return {"task": task.name, "split": TEST, "side": side, "policy": str(policy), **result}


def select_training_cost(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what the training of a checkpoint has cost, from its metrics: steps, processor seconds and FLOPs.

    Args:
        metrics: Content of `metrics.json`.

    Returns:
        The figures under the key `training`; None for one that was not recorded.
    """
    training = metrics.get("training", {})
    return {"training": {name: training.get(name) for name in ("steps", "processor_seconds", "flops")}}


def load_evaluation_batches(args: argparse.Namespace, task: Task) -> tuple[str, list[Batch]]:
    """Load the samples of --data, or else those of --split.

    Returns:
        The name of the file or split, and its samples.

    Raises:
        ValueError: The task cannot read a file, or has no such held-out split.
    """
    if args.data:
        try:
            samples = task.load_file(args.data)
        except NotImplementedError:
            raise ValueError(f"--data needs a task with images; the task of this checkpoint is {task.name}.") from None
        return str(args.data), split_into_batches(samples)
    if args.split not in task.splits or args.split == TRAIN:
        held_out = ", ".join(split for split in task.splits if split != TRAIN)
        raise ValueError(f"--split must be one of {held_out}: got {args.split}.")
    return args.split, build_split_batches(task, args.split, MAX_EVALUATION_SAMPLES)
