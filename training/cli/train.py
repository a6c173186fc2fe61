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
from training.config import PublishConfig, RunConfig, read_recipe
from training.console import write_line
from training.estimate import estimate_run
from training.failures import classify_failure
from training.finalize import finalize_run
from training.publishing.run_publisher import RunPublisher
from training.run_dir import RunDir
from training.settings_aliases import rename_override
from training.training_loop import train

# Version 0.1.0 sets this variable instead of --no-upload in the environment of a job.
LEGACY_NO_UPLOAD_ENV = "CTM_COURIER"


def print_parameter_count(args: argparse.Namespace) -> None:
    """Print the number of parameters of a recipe's model."""
    config = read_recipe(args.recipe, args.overrides)
    task = config.make_task()
    write_line(str(count_parameters(config.build_model_config(task), task.get_spec().in_features)))


def print_estimate(args: argparse.Namespace) -> None:
    """Print time, memory and disk that a recipe needs, as one JSON object."""
    signal.alarm(max(0, args.limit))  # ends this process even if its parent process is gone
    write_line(json.dumps(estimate_run(read_recipe(args.recipe, args.overrides))))


def run_finalize(args: argparse.Namespace) -> None:
    """Build the final checkpoint of a run from its last saved step."""
    finalize_run(RunDir(args.run_dir), args.out and check_writable_dir(args.out))


def run_train(args: argparse.Namespace) -> None:
    """Train a recipe, finalize the run, and record its outcome in the run directory.

    Under a multi-process launcher only the process of rank 0 writes, finalizes and publishes.
    """
    config = read_recipe(args.recipe, args.overrides)
    timestamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    run_dir = RunDir(args.run_dir or Path("runs") / f"{args.recipe.stem}-{timestamp}")
    is_main_process = int(os.environ.get("RANK", "0")) == 0
    with run_dir.exclusive(is_main_process), record_outcome(run_dir):
        if is_main_process:
            run_dir.reset_outcome()
            run_dir.save_command(os.environ.get("CTM_COMMAND") or format_train_command(args, config))
        init_model = None
        if config.init_from and (args.restart or not run_dir.list_steps()):
            init_model = load_init_checkpoint(config.init_from, run_dir if is_main_process else None)
        publisher = None
        if is_main_process and config.publish.repo:
            publisher = start_publisher(run_dir, config.publish, is_upload_disabled(args))
        on_save = publisher.on_save if publisher else None
        is_complete = train(config, run_dir, resume=not args.restart, init_model=init_model, on_save=on_save)
        if not is_main_process:
            return
        if is_complete:
            finalize_run(run_dir, None)
        status = run_dir.read_status()
        step = status["step"]
        if publisher and is_complete:
            publisher.publish_last(run_dir.final_checkpoint_dir)
        elif publisher and status.get("out_of_time"):  # hardware that is rented by the hour may disappear soon
            publisher.publish_last(run_dir.checkpoint_dir(step))
        elif publisher:
            publisher.close()
        write_final_outcome(run_dir, config.train.steps, is_complete)


def write_final_outcome(run_dir: RunDir, num_steps: int, is_complete: bool) -> None:
    """Record how a training without an error ended: finished, out of time, or stopped."""
    status = run_dir.read_status()
    step = status["step"]
    if is_complete:
        run_dir.write_outcome("finished", f"All {num_steps:,} steps are done.")
    elif status.get("out_of_time"):
        run_dir.write_outcome(
            "time", f"Time limit reached (train.max_minutes): saved at step {step:,} of {num_steps:,}."
        )
    else:
        run_dir.write_outcome("stopped", f"Stopped and saved at step {step:,} of {num_steps:,}.")
        write_line(f"Stopped and saved; resume with --run-dir {run_dir.path}")


def format_train_command(args: argparse.Namespace, config: RunConfig) -> str:
    """Format the command for the model card, without settings that are local to one computer."""
    values = config.model_dump()
    overrides = [
        word
        for word in args.overrides
        if rename_override(word.partition("=")[0], None, values)[0] not in config.machine_local_settings
    ]
    return f"python -m training train {shlex.join([str(args.recipe), *overrides])}"


@contextmanager
def record_outcome(run_dir: RunDir) -> Iterator[None]:
    """Record in the run directory why a training ended with an error or was interrupted.

    SIGTERM acts like Ctrl-C in this context; the training loop replaces the handler while it runs and saves a step.

    Args:
        run_dir: Where `ending.json` is written.

    Raises:
        SystemExit: The process was interrupted outside of the training steps.
    """
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        yield
    except KeyboardInterrupt:
        run_dir.write_outcome("stopped", "Stopped outside of the steps; a resumed run starts from the last saved step.")
        raise SystemExit("Stopped.") from None
    except Exception as error:
        run_dir.write_outcome(*classify_failure(error))
        raise


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
        account = store.check_write_access(settings.repo, settings.private)
        write_line(f"The checkpoint will be published to {settings.repo} as {account}.")
    except StoreUnavailable as error:
        if not run_dir.list_steps():
            raise
        write_line(f"{error} The run continues; its outbox keeps what cannot be uploaded.")
    return RunPublisher(run_dir, settings, None if no_upload else store, write_line)
