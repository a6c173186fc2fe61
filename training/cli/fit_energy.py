"""Command `fit-energy`."""

import argparse
import json
from dataclasses import replace
from typing import Any, get_args

from ctm.checkpoint import save
from ctm.checkpoint.metadata import PolicyRecord
from inference.halting.evidence import describe_evidence
from training.cli.options import add_checkpoint_arguments, bounded_number, open_checkpoint, resolve_output_dir
from training.config import FinalizeConfig
from training.console import write_line
from training.energy.features import sample_fitting_batches
from training.energy.fitting import fit_energy, with_energy_head
from training.energy.losses import DEFAULT_ENERGY_KIND, EnergyKind, EnergyLossParams
from training.finalize import build_final_checkpoint, build_halting_metadata, get_tolerance
from training.settings_aliases import rename_settings


def add_fit_energy_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `fit-energy`."""
    add_checkpoint_arguments(command)
    command.add_argument(
        "--energy-kind",
        "--loss",
        choices=get_args(EnergyKind),
        help="kind of energy (default: the checkpoint's own, or wait)",
    )
    command.add_argument(
        "--margin", type=bounded_number(1e-6, 1e6), help="contrastive: energy that wrong answers are pushed above"
    )
    command.add_argument(
        "--cost", type=bounded_number(0, 1), help="value, hindsight: cost of one tick, in correct answers"
    )
    command.add_argument(
        "--samples",
        type=bounded_number(2, 1_000_000, int),
        default=FinalizeConfig().fit_samples,
        help="validation samples to draw, without repeats (default: %(default)s)",
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
        "(default: that of the checkpoint's own policy)",
    )

    command.add_argument(
        "--keep-energy",
        action="store_true",
        help="keep the energy head; choose thresholds, fit the confidence and measure again",
    )


def run_fit_energy(args: argparse.Namespace) -> None:
    """Fit the energy head of a checkpoint, choose new thresholds, and write the checkpoint.

    The last line printed is one JSON object with the figures of the fit.
    """
    output_dir = resolve_output_dir(args)
    checkpoint, task = open_checkpoint(args)
    previous = checkpoint.halting.get("energy", {})
    previous_kind = previous.get("kind")
    kind = args.energy_kind or (previous_kind if previous_kind in get_args(EnergyKind) else DEFAULT_ENERGY_KIND)
    params = {name: previous[name] for name in ("margin", "cost") if name in previous}
    params |= {name: value for name in ("margin", "cost") if (value := getattr(args, name)) is not None}
    loss_params = EnergyLossParams(**params)
    if args.keep_energy:
        model, fit_metrics = checkpoint.model, previous.get("fitted_on")
        kind = kind if model.config.energy_head_enabled else "none"
    else:
        # A head that was fitted before has seen the samples that cross-validation holds out: it is fitted from new weights.
        model = with_energy_head(checkpoint.model, force_new=kind != previous_kind or "fitted_on" in previous)
        batches = sample_fitting_batches(task, args.samples)
        fit_metrics = fit_energy(model, task.decoder, batches, kind, loss_params, args.steps, seed=0)
    tolerance = get_tolerance(checkpoint.halting) if args.tolerance is None else args.tolerance
    halting = build_halting_metadata(model, task, tolerance, kind, loss_params, fit_metrics)
    new_checkpoint = replace(checkpoint, model=model, halting=halting)
    if training := checkpoint.metrics.get("training"):  # earlier figures were measured with another energy
        finalize = {"accuracy_tolerance": tolerance}
        if not args.keep_energy:
            finalize |= {"fit_samples": args.samples, "fit_steps": args.steps}
        if "settings" in training:
            settings, _ = rename_settings(training["settings"])
            training = training | {"settings": settings | {"finalize": settings.get("finalize", {}) | finalize}}
        new_checkpoint = build_final_checkpoint(model, task, halting, training)
    save(new_checkpoint, output_dir)
    fitted = (
        "Kept the energy head"
        if args.keep_energy
        else f"Fitted on {(fit_metrics or {}).get('n', 0):,} different samples"
    )
    write_line(f"{fitted}, written to {output_dir}. {describe_default_policy(halting)}")
    write_line(json.dumps(fit_metrics))


def describe_default_policy(halting: dict[str, Any]) -> str:
    """Return the default halting policy and the evidence for it, as a sentence."""
    if halting["default"] is None:
        return "A model of one tick has no halting policy."
    record = PolicyRecord.model_validate(halting["policies"][halting["default"]])
    return f"Its halting policy is {record.policy}: {describe_evidence(record)}"
