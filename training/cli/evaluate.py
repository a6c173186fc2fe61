"""Command `evaluate`."""

import argparse
import json
from pathlib import Path
from typing import Any

from ctm.checkpoint import save
from inference.halting.policies import check_policy_fits_task
from inference.halting.policy_parser import parse
from training.cli.options import add_checkpoint_arguments, open_checkpoint, resolve_output_dir
from training.console import write_line
from training.evaluation import MAX_EVALUATION_SAMPLES, build_split_batches, split_into_batches
from training.finalize import build_final_checkpoint, evaluate_split, get_default_policy
from training.tasks import Task
from training.tasks.base import Batch
from training.tasks.splits import TRAIN


def add_evaluate_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`."""
    add_checkpoint_arguments(command)
    command.add_argument("--split", default="test", help="a held-out split of the task")
    command.add_argument("--data", type=Path, help="parquet file with `image` and `label` columns, instead of a split")
    command.add_argument("--policy", help="halting policy, e.g. 'energy<-3' (default: the checkpoint's own)")
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
    split, batches = load_evaluation_batches(args, task)
    evaluation = evaluate_split(checkpoint.model, task, split, batches, policy, checkpoint.halting)
    write_line(json.dumps(evaluation | select_training_cost(checkpoint.metrics)))


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
