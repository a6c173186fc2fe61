"""Commands `train`, `params`, `estimate` and `finalize`."""

import argparse
import datetime
import json
import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctm import TickModel
from ctm.checkpoint import load
from ctm.models.registry import count_parameters
from ctm.stores import HubStore, StoreUnavailable, resolve_checkpoint_dir
from training.cli.options import check_writable_dir
from training.config import PublishConfig, RunConfig, format_overrides, read_recipe
from training.console import write_line
from training.estimate import estimate_run
from training.failures import RunFailed, classify_failure
from training.finalize import finalize_run
from training.publishing.run_publisher import RunPublisher, check_publish_access
from training.run_dir import RunDir
from training.setting_changes import SettingChange
from training.settings_aliases import rename_override
from training.stages import build_stages, find_stage_to_train
from training.train_command import TRAIN_WORDS, add_overrides
from training.training_loop import report_changes, train

# Version 0.1.0 sets this variable instead of --no-upload in the environment of a job.
LEGACY_NO_UPLOAD_ENV = "CTM_COURIER"


def print_parameter_count(args: argparse.Namespace) -> None:
    """Print the number of parameters of a recipe's model."""
    config = read_recipe(args.recipe, args.overrides).last_stage
    task = config.make_task()
    write_line(str(count_parameters(config.build_model_config(task), task.get_spec().in_features)))


def print_estimate(args: argparse.Namespace) -> None:
    """Print time, memory and disk that a recipe needs, as one JSON object."""
    signal.alarm(max(0, args.limit))  # ends this process even if its parent process is gone
    write_line(json.dumps(estimate_run(read_recipe(args.recipe, args.overrides))))


def run_finalize(args: argparse.Namespace) -> None:
    """Build the final checkpoint of a run from its last saved step, with settings that may have changed."""
    run_dir = RunDir(args.run_dir)
    output_dir = args.out and check_writable_dir(args.out)
    if args.overrides:
        with run_dir.exclusive():
            report_changes(run_dir.initialize(run_dir.load_config_with(args.overrides)), run_dir.last_step)
    finalize_run(run_dir, output_dir)


def run_train(args: argparse.Namespace) -> None:
    """Train a recipe, or resume a run; finalize it, and record its outcome in the run directory.

    Under a multi-process launcher only the process of rank 0 writes, finalizes and publishes. A finished run stays as it is.
    """
    config, run_dir = read_run_arguments(args)
    is_main_process = int(os.environ.get("RANK", "0")) == 0
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    is_finished = False
    if is_main_process and not args.restart:
        changes = run_dir.check_changes(config, num_processes)
        is_finished = run_dir.is_finished(config)
        if is_finished and num_processes == 1:
            report_finished_run(run_dir, changes)
            return
    with run_dir.exclusive(is_main_process), record_outcome(run_dir, config):
        if is_main_process:
            run_dir.reset_outcome()
            save_train_command(args, config, run_dir)
        init_model = None
        if config.init_from and (args.restart or not run_dir.list_steps()):
            init_model = load_init_checkpoint(config.init_from, run_dir if is_main_process else None)
        publisher = None
        if is_main_process and config.publish.repo and not is_finished:
            publisher = start_publisher(run_dir, config.publish, is_upload_disabled(args))
        on_save = publisher.on_save if publisher else None
        is_complete = train(config, run_dir, resume=not args.restart, init_model=init_model, on_save=on_save)
        if is_main_process:
            complete_run(config, run_dir, publisher, is_complete, is_finished)


def read_run_arguments(args: argparse.Namespace) -> tuple[RunConfig, RunDir]:
    """Read the settings of a run and its directory from the command line.

    Without a recipe, the run directory gives the settings.

    Raises:
        ValueError: There is neither a recipe nor a run, or a setting is invalid.
    """
    if args.recipe is not None:
        timestamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        run_dir = RunDir(args.run_dir or Path("runs") / f"{args.recipe.stem}-{timestamp}")
        return read_recipe(args.recipe, args.overrides), run_dir
    if args.run_dir is None:
        raise ValueError("Name a recipe, such as configs/digits.yaml, or an existing run with --run-dir.")
    run_dir = RunDir(args.run_dir)
    args.recipe = run_dir.config_file
    return run_dir.load_config_with(args.overrides), run_dir


def save_train_command(args: argparse.Namespace, config: RunConfig, run_dir: RunDir) -> None:
    """Save the command of a run that starts; one that resumes it is not saved."""
    if run_dir.has_checkpoint and not args.restart and args.recipe == run_dir.config_file:
        return
    command = os.environ.get("CTM_COMMAND") or format_train_command(args, config)
    # A run without a saved step may start over with other settings.
    starts_over = args.restart or not run_dir.has_checkpoint
    run_dir.save_command(command, replace=starts_over and not run_dir.has_settings(config))


def report_finished_run(run_dir: RunDir, changes: list[SettingChange]) -> None:
    """Print that a run has nothing left to do, and how it can go on; no file is rewritten.

    Args:
        run_dir: The run directory.
        changes: Settings that differ from those of the run; they are not applied.
    """
    settings = {change.name: change.new for change in changes if change.name.startswith(("finalize.", "task."))}
    finalize_command = shlex.join(
        ["python", "-m", "training", "finalize", str(run_dir.path), *format_overrides(settings)]
    )
    step = run_dir.read_final_step()
    message = format_finished_message(step)
    if not run_dir.read_outcome():  # a job waits for it
        run_dir.write_outcome("finished", message)
    stage = build_stages(run_dir.load_config())[-1]
    steps_name = f"{stage.setting_prefix}train.steps"
    train_command = shlex.join(["python", "-m", "training", "train", "--run-dir", str(run_dir.path)])
    write_line(
        f"{message} The checkpoint is {run_dir.final_checkpoint_dir}; to train further, raise {steps_name}: {train_command} "
        f"{steps_name}={2 * step - stage.first_step}; to finalize again: {finalize_command}"
    )


def complete_run(
    config: RunConfig, run_dir: RunDir, publisher: RunPublisher | None, is_complete: bool, is_finished: bool
) -> None:
    """Finalize and publish a run after its training, and record its outcome.

    Args:
        config: Settings of the run.
        run_dir: Its directory.
        publisher: Its publisher; None if it is not published.
        is_complete: Whether all steps are done.
        is_finished: Whether it was finished before.
    """
    if is_complete and not is_finished:
        finalize_run(run_dir, None)
    status = run_dir.read_status()
    if publisher and is_complete:
        publisher.publish_last(run_dir.final_checkpoint_dir)
    elif publisher and status.get("out_of_time"):  # hardware that is rented by the hour may disappear soon
        publisher.publish_last(run_dir.checkpoint_dir(status["step"]))
    elif publisher:
        publisher.close()
    write_final_outcome(run_dir, config.num_steps, is_complete)


def format_finished_message(num_steps: int) -> str:
    """Format the sentence for a run that has done all its steps."""
    return f"All {num_steps:,} steps are done."


def write_final_outcome(run_dir: RunDir, num_steps: int, is_complete: bool) -> None:
    """Record how a training without an error ended: finished, out of time, or stopped."""
    status = run_dir.read_status()
    step = status["step"]
    if is_complete:
        run_dir.write_outcome("finished", format_finished_message(num_steps))
    elif status.get("out_of_time"):
        run_dir.write_outcome(
            "time",
            f"Time limit reached (train.max_minutes): saved at step {step:,} of {num_steps:,}. Resume to continue.",
        )
    else:
        run_dir.write_outcome("stopped", f"Stopped and saved at step {step:,} of {num_steps:,}.")
        write_line(f"Stopped and saved; to resume: python -m training train --run-dir {shlex.quote(str(run_dir.path))}")


def format_train_command(args: argparse.Namespace, config: RunConfig) -> str:
    """Format the command for the model card, without settings that are local to one computer."""
    values = config.model_dump()
    overrides = [
        word
        for word in args.overrides
        if rename_override(word.partition("=")[0], None, values)[0] not in config.machine_local_settings
    ]
    return add_overrides(shlex.join([*TRAIN_WORDS, str(args.recipe)]), overrides)


@contextmanager
def record_outcome(run_dir: RunDir, config: RunConfig) -> Iterator[None]:
    """Record in the run directory why a training ended with an error or was interrupted.

    SIGTERM acts like Ctrl-C in this context; the training loop replaces the handler while it runs and saves a step.

    Args:
        run_dir: Where `ending.json` is written.
        config: Settings of the run, for the remedies.

    Raises:
        RunFailed: The training ended with an error of a known kind.
        SystemExit: The process was interrupted outside of the training steps.
    """
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        yield
    except KeyboardInterrupt:
        run_dir.write_outcome("stopped", "Stopped outside of the steps; a resumed run starts from the last saved step.")
        raise SystemExit("Stopped.") from None
    except Exception as error:
        stage = find_stage_to_train(config, run_dir.last_step)
        reason, message = classify_failure(error, stage.config.train, stage.setting_prefix)
        run_dir.write_outcome(reason, message)
        if reason == "crash":
            raise
        raise RunFailed(reason, message) from error


def load_init_checkpoint(name: str, run_dir: RunDir | None) -> TickModel:
    """Load the model that `init_from` names.

    Only the weights and the config of the checkpoint are used.

    Args:
        name: A checkpoint directory, or hub:namespace/name.
        run_dir: Where the resolved name is recorded; None records nothing.

    Raises:
        ValueError: There is no such checkpoint.
    """
    path, name = resolve_checkpoint_dir(name)
    if not path.is_dir():
        raise ValueError(
            f"There is no checkpoint at {path}, which init_from names. Train that one first, or set init_from to another: a "
            "directory, or hub:namespace/name."
        )
    model = load(path).model
    if run_dir is not None:
        run_dir.path.mkdir(parents=True, exist_ok=True)
        run_dir.save_origin(name)
    return model


def is_upload_disabled(args: argparse.Namespace) -> bool:
    """Return whether another process delivers the outbox of the run."""
    return args.no_upload or bool(os.environ.get(LEGACY_NO_UPLOAD_ENV))


def start_publisher(run_dir: RunDir, settings: PublishConfig, no_upload: bool) -> RunPublisher:
    """Create the publisher of a run after checking that the token may write.

    The check comes first: a training of hours must not end with a checkpoint that cannot be uploaded. A resumed run
    continues without the Hub, because its outbox keeps what is not yet uploaded.

    Args:
        run_dir: The run directory.
        settings: Target repository and interval.
        no_upload: Whether another process delivers the outbox.

    Raises:
        StoreUnavailable: The token may not write, or the Hub does not answer, and the run is new.
    """
    store = HubStore()
    try:
        account = check_publish_access(store, settings)
        write_line(f"The checkpoint will be published to {settings.repo} as {account}.")
    except StoreUnavailable as error:
        if not run_dir.list_steps():
            raise
        write_line(f"{error} The run continues; its outbox keeps what cannot be uploaded.")
    return RunPublisher(run_dir, settings, None if no_upload else store, write_line)
