"""Frozen models whose halting is compared, and their cached unrolls of held-out samples."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.paths import ROOT
from ctm import TickModel
from ctm.checkpoint import load
from ctm.modules.readout import ANSWER_SIGNALS
from inference.tick_history import EvaluationCurves
from training.config import FinalizeConfig
from training.energy.features import EnergyHeadDataset, collect_energy_features, sample_fitting_batches
from training.energy.fitting import with_energy_head
from training.energy.losses import ENERGY_HEAD_PREFIX
from training.evaluation import build_split_batches, evaluate_curves
from training.former_recipes import find_former_recipe
from training.tasks import Task, build_task
from training.tasks.splits import VALIDATION

FINALIZE_CONFIG = FinalizeConfig()  # heads are fitted as `python -m training finalize` fits them
CACHE_VERSION = 6  # format of the cached files; files of older versions are computed again
BUNDLED_MODELS_DIR = Path(__file__).parent / "trunks"  # models of further seeds
CACHE_DIR = ROOT / "runs" / "halting"
NUM_EVALUATION_SAMPLES = 4_096  # calibration and test samples of generated splits

# Keys of the cached files, by field name. They keep the field names of the first files, so that those stay readable.
DATASET_KEYS = {
    "features": "felt.seen",
    "correct": "felt.right",
    "answer_mask": "felt.counts",
    "tick_losses": "felt.losses",
}
CURVES_KEYS = {
    "correct": "curves.right",
    "choices": "curves.choices",
    "certainty": "curves.certainty",
    "energy": "curves.energy",
    "difficulty": "curves.difficulty",
    "targets": "curves.targets",
    "input_ticks": "curves.listening",
}
SIGNAL_KEY_PREFIX = "signal."


@dataclass(frozen=True)
class FrozenModel:
    """Trained model without its energy head.

    Attributes:
        name: name of the bundled checkpoint with the same recipe.
        seed: training seed; 0 for the bundled checkpoint.
        checkpoint_dir: directory of the checkpoint.
    """

    name: str
    seed: int
    checkpoint_dir: Path

    @property
    def digest(self) -> str:
        """Hash of the weights and the configuration, without those of the energy head."""
        config = json.loads((self.checkpoint_dir / "config.json").read_text("utf-8"))
        weights = load_file(self.checkpoint_dir / "model.safetensors")
        parts = [f"{name}: {config[name]}".encode() for name in sorted(config) if not name.startswith("energy_")]
        parts += [
            weights[name].numpy().tobytes() for name in sorted(weights) if not name.startswith(ENERGY_HEAD_PREFIX)
        ]
        return hashlib.sha256(b"".join(parts)).hexdigest()[:12]

    @property
    def training_metadata(self) -> dict[str, Any]:
        """Metadata of its training."""
        return json.loads((self.checkpoint_dir / "metrics.json").read_text("utf-8"))["training"]

    def build_training_command(self, seed: int) -> str:
        """Return the command that trains such a model with another seed.

        A recipe with stages trains from nothing, so it replaces the commands that trained one stage each.
        """
        command = self.training_metadata["command"]
        if former := find_former_recipe(command):
            command = f"python -m training train configs/{former.successor}.yaml train.device=cpu"
        return f"{command} train.seed={seed} --run-dir runs/{self.name}-seed{seed}"

    def get_cache_path(self, name: str) -> Path:
        """Return the path of a cached file of this model."""
        return CACHE_DIR / f"{self.digest}-{name}-v{CACHE_VERSION}.safetensors"

    def load_model_and_task(self) -> tuple[TickModel, Task]:
        """Load the model, with a new energy head, and its task."""
        checkpoint = load(self.checkpoint_dir)
        task = build_task(checkpoint.task, checkpoint.model.config.to_dict())
        return with_energy_head(checkpoint.model, force_new=True), task


@dataclass(frozen=True)
class CachedUnrolls:
    """Outputs of a frozen model on the samples of one split, without any energy.

    Attributes:
        energy_dataset: inputs and labels of the energy head.
        curves: outputs at every tick.
    """

    energy_dataset: EnergyHeadDataset
    curves: EvaluationCurves


@dataclass(frozen=True)
class SplitUnrolls:
    """Unrolls of one model on the three held-out splits.

    Attributes:
        validation: samples that energy heads are fitted on.
        calibration: samples that thresholds are chosen on.
        test: samples that policies are measured on.
    """

    validation: CachedUnrolls
    calibration: CachedUnrolls
    test: CachedUnrolls


def find_frozen_models(names: Sequence[str], num_seeds: int) -> Iterator[FrozenModel]:
    """Yield the bundled models and those of further seeds, bundled or trained; print which are missing.

    Args:
        names: names of bundled checkpoints.
        num_seeds: number of models per name, if they were trained.

    Raises:
        SystemExit: A name is not a comparable bundled checkpoint.
    """
    for name in names:
        first = FrozenModel(name, 0, ROOT / "checkpoints" / name)
        known_names = list_comparable_checkpoints()
        if name not in known_names:
            raise SystemExit(
                f"Error: {name} is no bundled checkpoint that may stop early; those are {', '.join(known_names)}."
            )
        yield first
        for seed in range(1, num_seeds):
            model_name = f"{name}-seed{seed}"
            candidates = (BUNDLED_MODELS_DIR / model_name, ROOT / "runs" / model_name / "checkpoint")
            if checkpoint_dir := next(filter(Path.is_dir, candidates), None):
                yield FrozenModel(name, seed, checkpoint_dir)
            else:
                print(f"{name}, seed {seed} is left out; to train it: {first.build_training_command(seed)}")


def list_comparable_checkpoints() -> list[str]:
    """List the bundled checkpoints that run several ticks and give a whole answer at each."""
    names = []
    for checkpoint_dir in sorted(path.parent for path in (ROOT / "checkpoints").glob("*/config.json")):
        config, task = (json.loads((checkpoint_dir / name).read_text("utf-8")) for name in ("config.json", "task.json"))
        if config.get("iterations", 1) > 1 and not build_task(task, config).get_spec().ctc_length:
            names.append(checkpoint_dir.name)
    return names


def load_or_compute_unrolls(frozen_model: FrozenModel, split: str) -> CachedUnrolls:
    """Return the unrolls of a split, from the cache if they are there."""
    path = frozen_model.get_cache_path(split)
    if not path.is_file():
        model, task = frozen_model.load_model_and_task()
        batches = (
            sample_fitting_batches(task, FINALIZE_CONFIG.fit_samples)
            if split == VALIDATION
            else build_split_batches(task, split, NUM_EVALUATION_SAMPLES)
        )
        curves = replace(evaluate_curves(model, task.decoder, batches, frozenset(ANSWER_SIGNALS)), energy=None)
        save_unrolls(CachedUnrolls(collect_energy_features(model, task.decoder, batches), curves), path)
    return read_unrolls(path)


def save_unrolls(unrolls: CachedUnrolls, path: Path) -> None:
    """Write unrolls to the cache, under the keys of `DATASET_KEYS`, `CURVES_KEYS` and `SIGNAL_KEY_PREFIX`.

    `EvaluationCurves.is_ctc` is not stored, because no compared task uses CTC.
    """
    tensors = {key: getattr(unrolls.energy_dataset, name) for name, key in DATASET_KEYS.items()}
    tensors |= {key: getattr(unrolls.curves, name) for name, key in CURVES_KEYS.items()}
    tensors |= {f"{SIGNAL_KEY_PREFIX}{name}": values for name, values in unrolls.curves.signals.items()}
    write_safetensors(path, {key: value.contiguous() for key, value in tensors.items() if value is not None})


def write_safetensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary_path = path.with_suffix(".part")
    save_file(tensors, temporary_path)
    temporary_path.replace(path)


def read_unrolls(path: Path) -> CachedUnrolls:
    """Read unrolls from the cache; a field whose key is missing is None."""
    tensors = load_file(path)
    dataset_fields: dict[str, Any] = {name: tensors.get(key) for name, key in DATASET_KEYS.items()}
    curves_fields: dict[str, Any] = {name: tensors.get(key) for name, key in CURVES_KEYS.items()}
    signals = {
        key.removeprefix(SIGNAL_KEY_PREFIX): values
        for key, values in tensors.items()
        if key.startswith(SIGNAL_KEY_PREFIX)
    }
    energy_dataset = EnergyHeadDataset(**dataset_fields)
    curves = EvaluationCurves(**curves_fields, signals=signals)
    return CachedUnrolls(energy_dataset, truncate_curves(curves, len(energy_dataset.features)))


def truncate_curves(curves: EvaluationCurves, count: int) -> EvaluationCurves:
    """Return the curves of the first `count` samples: features of long unrolls may exceed the memory limit."""
    tensors = {name: getattr(curves, name) for name in CURVES_KEYS}
    first_rows = {name: values[:count] for name, values in tensors.items() if values is not None}
    return replace(curves, **first_rows, signals={name: values[:count] for name, values in curves.signals.items()})
