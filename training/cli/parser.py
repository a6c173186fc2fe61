"""Arguments of the training commands.

python -m training train configs/digits.yaml [key=value ...] [--run-dir RUN] [--restart] [--no-upload]
python -m training train --run-dir RUN [key=value ...]
python -m training params configs/digits.yaml [key=value ...]
python -m training estimate configs/digits.yaml [key=value ...]
python -m training finalize RUN [key=value ...] [--out DIRECTORY]
python -m training publish RUN|CHECKPOINT [--repo NAMESPACE/NAME] [--private] [--example-images]
python -m training fit-energy CHECKPOINT|hub:NAMESPACE/NAME [--energy-kind KIND] [--out DIRECTORY] [--samples N] [--steps N]
python -m training evaluate CHECKPOINT|hub:NAMESPACE/NAME [--split NAME] [--data FILE.parquet] [--policy TEXT] [--save]
python -m training layout CHECKPOINT [CHECKPOINT ...]
python -m training film CHECKPOINT|hub:NAMESPACE/NAME --input TEXT|FILE [--policy TEXT] --out FILE.gif|FILE.mp4|FILE.webm

Each command is one function `(args: argparse.Namespace) -> None`, stored as the default of `run_command`.
"""

import argparse
import os
from pathlib import Path
from typing import Any, TypeAlias

from training.cli.evaluate import add_evaluate_arguments, run_evaluate
from training.cli.film import add_film_arguments, run_film
from training.cli.fit_energy import add_fit_energy_arguments, run_fit_energy
from training.cli.layout import add_layout_arguments, run_layout
from training.cli.publish import add_publish_arguments, run_publish
from training.cli.train import print_estimate, print_parameter_count, run_finalize, run_train

SubParsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Train, finalize, evaluate and publish.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add_recipe_commands(commands)
    add_run_commands(commands)
    add_checkpoint_commands(commands)
    return parser


def add_recipe_commands(commands: SubParsers) -> None:
    """Add the commands that read a recipe: train, params and estimate."""
    command = commands.add_parser(
        "train", help="train a recipe, then fit its energy head, choose thresholds and evaluate it"
    )
    add_recipe_arguments(command, is_optional=True)
    command.add_argument(
        "--run-dir",
        "--folder",
        type=Path,
        metavar="RUN",
        help="run directory; an existing run is resumed, without a recipe with its own settings (default: runs/RECIPE-TIME)",
    )
    command.add_argument("--restart", action="store_true", help="start over instead of resuming")
    command.add_argument(
        "--no-upload",
        action="store_true",
        help="only put checkpoints into the outbox of the run; another process uploads them (default: upload them)",
    )
    command.set_defaults(run_command=run_train)

    command = commands.add_parser(
        "params", aliases=["size"], help="print the number of parameters of a recipe's model; nothing is allocated"
    )
    add_recipe_arguments(command)
    command.set_defaults(run_command=print_parameter_count)

    command = commands.add_parser(
        "estimate", help="time a few steps of a recipe; the last line printed is one JSON object"
    )
    add_recipe_arguments(command)
    command.add_argument(
        "--limit", type=int, default=0, metavar="SECONDS", help="end the process after this time (default: never)"
    )
    command.set_defaults(run_command=print_estimate)


def add_run_commands(commands: SubParsers) -> None:
    """Add the commands that read a run directory: finalize and publish."""
    command = commands.add_parser(
        "finalize", aliases=["finish"], help="turn the last saved step of a run into a final checkpoint"
    )
    command.add_argument("run_dir", type=Path, metavar="RUN")
    add_override_arguments(command)
    command.add_argument("--out", type=Path, help="directory of the checkpoint (default: RUN/checkpoint)")
    command.set_defaults(run_command=run_finalize)

    command = commands.add_parser(
        "publish", help="upload a finished run or a checkpoint directory to the Hub, or resume the upload"
    )
    add_publish_arguments(command)
    command.set_defaults(run_command=run_publish)


def add_checkpoint_commands(commands: SubParsers) -> None:
    """Add the commands that read a checkpoint: fit-energy, evaluate, layout and film."""
    command = commands.add_parser(
        "fit-energy",
        help="fit the energy head of a checkpoint, or a new one if it has none, on validation samples",
    )
    add_fit_energy_arguments(command)
    command.set_defaults(run_command=run_fit_energy)

    command = commands.add_parser("evaluate", help="evaluate a checkpoint; the last line printed is one JSON object")
    add_evaluate_arguments(command)
    command.set_defaults(run_command=run_evaluate)

    command = commands.add_parser(
        "layout", help="compute the places of the neurons in the inside view, and write them to layout.json"
    )
    add_layout_arguments(command)
    command.set_defaults(run_command=run_layout)

    command = commands.add_parser("film", help="run a checkpoint on one input, and write a film of its ticks")
    add_film_arguments(command)
    command.set_defaults(run_command=run_film)


def add_recipe_arguments(command: argparse.ArgumentParser, is_optional: bool = False) -> None:
    """Add the recipe and its overrides.

    Args:
        command: The command.
        is_optional: Whether the recipe may be omitted.
    """
    if is_optional:
        command.add_argument(
            "recipe", type=Path, nargs="?", action=OptionalRecipeAction, help="a YAML file of configs/"
        )
    else:
        command.add_argument("recipe", type=Path, help="a YAML file of configs/")
    add_override_arguments(command)


def add_override_arguments(command: argparse.ArgumentParser) -> None:
    """Add overrides of settings."""
    command.add_argument(
        "overrides",
        nargs="*",
        action=ExtendOverridesAction,
        default=[],
        metavar="key=value",
        help="settings to change, e.g. train.steps=500",
    )


class OptionalRecipeAction(argparse.Action):
    """Store a recipe; a word such as `train.steps=500` is an override instead."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store the value of a word."""
        is_override = values is not None and "=" in str(values) and not os.path.isfile(values)  # noqa: PTH113 - False for impossible names
        if is_override:
            namespace.overrides = [str(values)]
        namespace.recipe = None if is_override else values


class ExtendOverridesAction(argparse.Action):
    """Add overrides to those that are there."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add the values of some words."""
        namespace.overrides = [*namespace.overrides, *(values or [])]
