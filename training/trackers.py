"""Experiment trackers: the figures of a run in trackio, TensorBoard or Weights & Biases, through Accelerate's tracker classes.

    python -m training train configs/digits.yaml train.report_to=trackio

The tracker's package is optional. What it shows is a copy: the run directory holds all figures, so a tracker that fails while
the run trains is given up, and the run goes on.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from training.config import RunConfig
from training.console import write_line
from training.run_dir import RunDir

DEFAULT_PROJECT = "ctm"
PROJECT_VARIABLES = {"trackio": "TRACKIO_PROJECT", "wandb": "WANDB_PROJECT"}  # as transformers reads them
VALIDATION_PREFIX = "validation_"

LogFunction = Callable[[int, Mapping[str, Any]], None]  # step, values


@contextmanager
def open_tracker(config: RunConfig, run_dir: RunDir, is_main_process: bool = True) -> Iterator[LogFunction]:
    """Start the tracker of `train.report_to`, and finish it at the end.

    Args:
        config: Settings of the run, which the tracker records.
        run_dir: Run directory; its name is the name of the tracked run, and TensorBoard writes there.
        is_main_process: Whether this process reports; the others log nothing.

    Yields:
        A function (step, values) that logs figures; it does nothing for `none`.

    Raises:
        ValueError: The package of the tracker is not installed, or the tracker cannot start.
    """
    name = config.train.report_to
    if name == "none" or not is_main_process:
        yield lambda _step, _values: None
        return
    tracker = start_tracker(name, config, run_dir)
    is_active = True

    def log(step: int, values: Mapping[str, Any]) -> None:
        nonlocal is_active
        if not is_active:
            return
        try:
            tracker.log(name_figures(values), step=step)
        except Exception as error:  # trackers raise exceptions of many libraries; none may end a training
            is_active = False
            write_line(
                f"{name} reports nothing from step {step:,} on: {error or type(error).__name__}. The run goes on."
            )

    try:
        yield log
    finally:
        try:
            tracker.finish()
        except Exception as error:
            write_line(f"{name} could not finish its report: {error or type(error).__name__}.")


def start_tracker(name: str, config: RunConfig, run_dir: RunDir) -> GeneralTracker:
    """Start a tracker and give it the settings of the run.

    Args:
        name: One of the values of `train.report_to`, not `none`.
        config: Settings of the run.
        run_dir: Run directory.

    Raises:
        ValueError: The package is not installed, or the tracker cannot start.
    """
    if not is_installed(name):
        raise ValueError(
            f"train.report_to={name} needs the package {name}: run `pip install {name}`, or set train.report_to=none."
        )
    project = os.environ.get(PROJECT_VARIABLES.get(name, ""), "") or DEFAULT_PROJECT
    run_name = run_dir.path.resolve().name
    try:
        match name:
            case "tensorboard":
                tracker = LOGGER_TYPE_TO_CLASS[name]("tensorboard", run_dir.path)
            case "wandb":
                tracker = LOGGER_TYPE_TO_CLASS[name](project, name=run_name, id=run_name, resume="allow")
            case _:
                tracker = LOGGER_TYPE_TO_CLASS[name](project, name=run_name, resume="allow")
        tracker.start()
        tracker.store_init_configuration(flatten_settings(config))
    except Exception as error:
        message = f"{name} cannot start: {error or type(error).__name__}. Set train.report_to=none to train without it."
        raise ValueError(message) from error
    return tracker


def is_installed(name: str) -> bool:
    """Return whether a package is installed."""
    return importlib.util.find_spec(name) is not None


def name_figures(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among logged figures, under the names that trackers group: `train/loss`, `eval/accuracy`."""
    figures = {}
    for name, value in values.items():
        if name != "step" and isinstance(value, int | float):
            is_validation = name.startswith(VALIDATION_PREFIX)
            new_name = f"eval/{name.removeprefix(VALIDATION_PREFIX)}" if is_validation else f"train/{name}"
            figures[new_name] = value
    return figures


def flatten_settings(config: RunConfig) -> dict[str, str | int | float | bool]:
    """Return the settings by dotted name, without those that name places on this computer; lists become text."""
    flat: dict[str, str | int | float | bool] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                add(f"{prefix}.{key}" if prefix else str(key), item)
        elif value is not None:
            flat[prefix] = value if isinstance(value, str | int | float | bool) else str(value)

    add("", config.to_portable_dict())
    return flat
