"""The command line of training. Like `app.py` it only puts parts together, so it alone may name both training and inference.

python -m training train configs/digits.yaml [key=value ...] [--folder FOLDER] [--restart]
python -m training size configs/digits.yaml [key=value ...]
python -m training estimate configs/digits.yaml [key=value ...]
python -m training finish RUN [--out FOLDER]
python -m training publish RUN [--repo NAMESPACE/NAME] [--private]
python -m training fit-energy CHECKPOINT|hub:NAMESPACE/NAME [--loss KIND] [--out FOLDER] [--samples N] [--steps N]
python -m training evaluate CHECKPOINT|hub:NAMESPACE/NAME [--split NAME] [--data FILE.parquet] [--policy TEXT] [--save]
"""

import argparse
import datetime
import json
import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

from ctm import TickModel
from ctm.checkpoint import load, save
from ctm.checkpoint.metadata import PolicyRecord
from ctm.models.registry import count_parameters
from ctm.stores import HubStore, StoreUnavailable, resolve_checkpoint_dir
from ctm.stores.base import is_complete_checkpoint
from inference.halting.policies import check_policy_fits_task
from inference.halting.policy_parser import parse
from training.cli.options import (
    add_checkpoint_arguments,
    bounded_number,
    check_writable_dir,
    open_checkpoint,
    resolve_output_dir,
)
from training.config import FinalizeConfig, LossConfig, PublishConfig, read_recipe
from training.energy.fitting import fit_energy, sample_fitting_batches, with_energy_head
from training.energy.losses import EnergyKind, EnergyLossParams
from training.estimate import estimate_run
from training.evaluation import MAX_EVALUATION_SAMPLES, build_split_batches, split_into_batches
from training.failures import classify_failure
from training.finalize import (
    build_final_checkpoint,
    build_halting_metadata,
    evaluate_split,
    finalize_run,
    get_default_policy,
    get_tolerance,
)
from training.publishing.outbox import Outbox
from training.publishing.run_publisher import UPLOAD_WORKER_ENV, RunPublisher, deliver_and_wait, enqueue_checkpoint
from training.run_dir import RunDir
from training.tasks.base import TRAIN
from training.trainer import train


def main(arguments: list[str] | None = None) -> None:
    made = build_parser()
    args, rest = made.parse_known_args(arguments)
    if rest and (not hasattr(args, "overrides") or any(word.startswith("-") or "=" not in word for word in rest)):
        made.error(f"not understood: {' '.join(rest)}")
    if rest:  # argparse takes `key=value` words only before the first option
        args.overrides += rest
    try:
        args.run_command(args)
    except Exception as error:
        reason, sentence = classify_failure(error)
        if reason == "crash":
            raise
        raise SystemExit(f"Error: {sentence}") from None


def build_parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m training", description=__doc__.splitlines()[0])
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("train", help="train a recipe, fit its energy, choose thresholds, measure it")
    command.add_argument("recipe", type=Path, help="a YAML file of configs/")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change, e.g. train.steps=500")
    command.add_argument(
        "--folder", type=Path, help="run folder; a run that is there goes on (default: runs/RECIPE-TIME)"
    )
    command.add_argument("--restart", action="store_true", help="start over instead of going on")
    command.set_defaults(run_command=run_train)
    command = commands.add_parser(
        "size", help="print the number of parameters of a recipe's machine; nothing is allocated"
    )
    command.add_argument("recipe", type=Path, help="a YAML file of configs/")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change, e.g. model.d_model=128")
    command.set_defaults(run_command=print_parameter_count)
    command = commands.add_parser(
        "estimate", help="measure a few steps of a recipe; the last line printed is one JSON object"
    )
    command.add_argument("recipe", type=Path, help="a YAML file of configs/")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change")
    command.add_argument(
        "--limit", type=int, default=0, metavar="SECONDS", help="give up after so long (default: never)"
    )
    command.set_defaults(run_command=print_estimate)
    command = commands.add_parser("finish", help="turn the last saved step of a run into a finished checkpoint")
    command.add_argument("folder", type=Path, metavar="RUN")
    command.add_argument("--out", type=Path, help="where the checkpoint goes (default: RUN/checkpoint)")
    command.set_defaults(
        run_command=lambda args: finalize_run(RunDir(args.folder), args.out and check_writable_dir(args.out))
    )
    command = commands.add_parser("publish", help="send a finished run to the Hub, or go on sending it")
    command.add_argument("folder", type=Path, metavar="RUN")
    command.add_argument("--repo", help="namespace/name (default: the run's own setting)")
    command.add_argument("--private", action="store_true", help="make the repository private if it has to be made")
    command.set_defaults(run_command=run_publish)
    command = commands.add_parser(
        "fit-energy", help="fit the energy head of a checkpoint, a new one if it has none, on validation samples"
    )
    add_checkpoint_arguments(command)
    command.add_argument(
        "--loss", choices=get_args(EnergyKind), help="what it is to mean (default: what it means, or wait)"
    )
    command.add_argument(
        "--margin", type=bounded_number(1e-6, 1e6), help="contrastive: energy that wrong answers are pushed above"
    )
    command.add_argument(
        "--cost", type=bounded_number(0, 1), help="value, hindsight: what a tick costs, in right answers"
    )
    command.add_argument(
        "--samples",
        type=bounded_number(2, 1_000_000, int),
        default=FinalizeConfig().fit_samples,
        help="validation samples to draw, none twice (default: %(default)s)",
    )
    command.add_argument(
        "--steps",
        type=bounded_number(1, 1_000_000, int),
        default=FinalizeConfig().fit_steps,
        help="optimiser steps, at most (default: %(default)s)",
    )
    command.add_argument(
        "--tolerance",
        type=bounded_number(0, 1),
        help="accuracy that a threshold may lose against the most accurate one, on calibration samples "
        "(default: what its own rule may lose)",
    )
    command.set_defaults(run_command=run_fit_energy)
    command = commands.add_parser("evaluate", help="measure a checkpoint; the last line printed is one JSON object")
    add_checkpoint_arguments(command)
    command.add_argument("--split", default="test", help="a held-out split of the task")
    command.add_argument("--data", type=Path, help="parquet file with `image` and `label` columns, instead of a split")
    command.add_argument("--policy", help="halting rule, e.g. 'energy<-3' (default: the checkpoint's own)")
    command.add_argument(
        "--save", action="store_true", help="measure every held-out split, and write figures and card anew"
    )
    command.set_defaults(run_command=run_evaluate)
    return made


def print_parameter_count(args: argparse.Namespace) -> None:
    config = read_recipe(args.recipe, args.overrides)
    task = config.make_task()
    print(count_parameters(config.build_model_config(task), task.get_spec().in_features))


def print_estimate(args: argparse.Namespace) -> None:
    signal.alarm(max(0, args.limit))  # ends it even if whoever asked is gone
    print(json.dumps(estimate_run(read_recipe(args.recipe, args.overrides))))


def run_train(args: argparse.Namespace) -> None:
    config = read_recipe(args.recipe, args.overrides)
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = RunDir(args.folder or Path("runs") / f"{args.recipe.stem}-{stamp}")
    leads = int(os.environ.get("RANK", "0")) == 0
    with folder.exclusive(leads), record_outcome(folder):
        if leads:
            folder.reset_outcome()
            told = [
                word for word in args.overrides if word.partition("=")[0] not in config.machine_local_settings
            ]  # a card shows it
            words = shlex.join([str(args.recipe), *told])
            folder.save_command(os.environ.get("CTM_COMMAND") or f"python -m training train {words}")
        start = None
        if config.init_from and (args.restart or not folder.list_steps()):
            start = load_init_checkpoint(config.init_from, folder if leads else None)
        publishing = start_publisher(folder, config.publish) if leads and config.publish.repo else None
        on_save = publishing.on_save if publishing else None
        done = train(config, folder, resume=not args.restart, init_model=start, on_save=on_save)
        if not leads:
            return
        if done:
            finalize_run(folder, None)
        step, steps = folder.read_status()["step"], config.train.steps
        if publishing and done:
            publishing.publish_last(folder.final_checkpoint_dir)
        elif publishing and folder.read_status().get(
            "out_of_time"
        ):  # a machine that is lent by the hour may be gone soon
            publishing.publish_last(folder.checkpoint_dir(step))
        elif publishing:
            publishing.close()
        if done:
            folder.write_outcome("finished", f"All {steps:,} steps are done.")
        elif folder.read_status().get("out_of_time"):
            folder.write_outcome("time", f"Its time was over (train.minutes): saved at step {step:,} of {steps:,}.")
        else:
            folder.write_outcome("stopped", f"Stopped and saved at step {step:,} of {steps:,}.")
            print(f"Stopped and saved; go on with --folder {folder.path}")


@contextmanager
def record_outcome(run_dir: RunDir) -> Iterator[None]:
    """Note in the run folder why a training ended, if it ends with an error or is stopped while it is finished."""
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C; the loop has a gentler way of its own
        yield
    except KeyboardInterrupt:
        run_dir.write_outcome("stopped", "Stopped outside of the steps; going on starts from the last saved step.")
        raise SystemExit("Stopped.") from None
    except Exception as error:
        run_dir.write_outcome(*classify_failure(error))
        raise


def load_init_checkpoint(name: str, run_dir: RunDir | None) -> TickModel:
    """The machine that `init_from` names; only its weights and config are read. `folder` notes which it was."""
    path, name = resolve_checkpoint_dir(name)
    if not path.is_dir():
        raise ValueError(
            f"There is no checkpoint at {path}, which init_from names. Train that one first, or set init_from to another: a "
            "folder, or hub:namespace/name."
        )
    machine = load(path).model
    if run_dir is not None:
        run_dir.path.mkdir(parents=True, exist_ok=True)
        run_dir.save_origin(name)
    return machine


def start_publisher(run_dir: RunDir, settings: PublishConfig) -> RunPublisher:
    """Prove that the token may write before hours are spent on what could not be sent."""
    store = HubStore()
    try:
        account = store.check_write_access(settings.repo, settings.private)
        print(f"The checkpoint will be published to {settings.repo} as {account}.")
    except StoreUnavailable as error:
        if not run_dir.list_steps():
            raise
        print(f"{error} The run goes on all the same; its outbox keeps what cannot be sent.")
    return RunPublisher(run_dir, settings, None if os.environ.get(UPLOAD_WORKER_ENV) else store)


def run_publish(args: argparse.Namespace) -> None:
    folder, store = RunDir(args.folder), HubStore()
    repo = args.repo or folder.load_config().publish.repo
    if not repo:
        raise ValueError("--repo namespace/name is needed: the run's settings name no repository.")
    settings = PublishConfig.parse(
        {"repo": repo, "private": args.private or folder.load_config().publish.private}, "publish"
    )
    if not is_complete_checkpoint(folder.final_checkpoint_dir):
        raise ValueError(f"{folder.path} has no finished checkpoint: python -m training finish {folder.path}")
    store.check_write_access(settings.repo, settings.private)
    outbox = Outbox(folder.path)
    entry = deliver_and_wait(
        outbox, store, enqueue_checkpoint(outbox, folder, folder.final_checkpoint_dir, settings.repo, settings.private)
    )
    if entry.state != "published":
        raise ValueError(entry.format_status())
    print(entry.format_status())


def run_fit_energy(args: argparse.Namespace) -> None:
    out, (checkpoint, task) = resolve_output_dir(args), open_checkpoint(args)
    known = checkpoint.halting.get("energy", {})
    kind = args.loss or (known["kind"] if known.get("kind") in get_args(EnergyKind) else LossConfig().energy)
    # one that was fitted before knows the samples that are held back to say when to end
    machine = with_energy_head(checkpoint.model, force_new=kind != known.get("kind") or "fitted_on" in known)
    given = {name: told for name in ("margin", "cost") if (told := getattr(args, name)) is not None}
    meaning = EnergyLossParams(**({name: known[name] for name in ("margin", "cost") if name in known} | given))
    batches = sample_fitting_batches(task, args.samples)
    fitted = fit_energy(machine, task.decoder, batches, kind, meaning, args.steps, seed=0)
    tolerance = get_tolerance(checkpoint.halting) if args.tolerance is None else args.tolerance
    halting = build_halting_metadata(machine, task, tolerance, kind, meaning, fitted)
    whole = replace(checkpoint, model=machine, halting=halting)
    if training := checkpoint.metrics.get("training"):  # what was measured was so with another energy
        finished = {"fit_samples": args.samples, "fit_steps": args.steps, "tolerance": tolerance}
        settings = {"settings": training["settings"] | {"finish": finished}} if "settings" in training else {}
        whole = build_final_checkpoint(machine, task, halting, training | settings)
    save(whole, out)
    rule = PolicyRecord.model_validate(halting["policies"][halting["default"]])
    print(
        f"Fitted on {fitted['n']:,} different samples, written to {out}. Its rule is {rule.policy}: {rule.describe()}"
    )
    print(json.dumps(fitted))


def run_evaluate(args: argparse.Namespace) -> None:
    out = resolve_output_dir(args) if args.save else None
    checkpoint, task = open_checkpoint(args)
    policy = get_default_policy(checkpoint.halting) if args.policy is None else parse(args.policy)
    check_policy_fits_task(policy, task.get_spec().ctc_length)
    if args.out and not args.save:
        raise ValueError("--out is for --save, which writes figures and card anew; without it nothing is written.")
    if out:
        if args.policy is not None or args.data or "training" not in checkpoint.metrics:
            raise ValueError(
                "--save measures a checkpoint that was trained here, as it is: give no --policy, no --data."
            )
        whole = build_final_checkpoint(checkpoint.model, task, checkpoint.halting, checkpoint.metrics["training"])
        save(whole, out)
        print(json.dumps(whole.metrics["evaluations"]))
        return
    if args.data:
        if not hasattr(task, "load_file"):
            raise ValueError(f"--data needs a task of pictures; this checkpoint's task is {task.name}.")
        batches, split = split_into_batches(task.load_file(args.data)), str(args.data)
    else:
        if args.split not in task.splits or args.split == TRAIN:
            held_out = ", ".join(split for split in task.splits if split != TRAIN)
            raise ValueError(f"--split must be one of {held_out}: got {args.split}.")
        batches, split = build_split_batches(task, args.split, MAX_EVALUATION_SAMPLES), args.split
    print(json.dumps(evaluate_split(checkpoint.model, task, split, batches, policy, checkpoint.halting)))


if __name__ == "__main__":
    main()
