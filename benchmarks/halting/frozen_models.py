"""The machines whose halting is compared, and what they say of held-out samples: thought once, kept, read again."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.paths import ROOT
from ctm import TickModel
from ctm.checkpoint import load
from ctm.modules.readout import ANSWER_SIGNALS
from training.config import FinishConfig
from training.energy.fitting import Felt, feel, fitting_batches, with_energy_head
from training.energy.losses import ENERGY
from training.evaluation import Curves, curves_of, split_batches
from training.tasks import Task, task_of
from training.tasks.base import VALIDATION

FINISH = FinishConfig()  # heads are fitted as `python -m training finish` fits them
VERSION = 6  # of what is kept and measured: what an older version kept is worked out again
BUNDLED = Path(__file__).parent / "trunks"  # of other seeds than those of the bundled checkpoints
KEPT = ROOT / "runs" / "halting"
MEASURED_ON = 4_096  # calibration and test samples, of splits that can be drawn without end


@dataclass(frozen=True)
class Trunk:
    """A trained machine; the energy head that it came with is not looked at."""

    name: str
    seed: int
    folder: Path

    @property
    def digest(self) -> str:
        """Of its weights and settings, without those of its energy head."""
        config = json.loads((self.folder / "config.json").read_text("utf-8"))
        weights = load_file(self.folder / "model.safetensors")
        parts = [f"{name}: {config[name]}".encode() for name in sorted(config) if not name.startswith("energy_")]
        parts += [weights[name].numpy().tobytes() for name in sorted(weights) if not name.startswith(ENERGY)]
        return hashlib.sha256(b"".join(parts)).hexdigest()[:12]

    @property
    def training(self) -> dict[str, Any]:
        """How it was trained."""
        return json.loads((self.folder / "metrics.json").read_text("utf-8"))["training"]

    def again(self, seed: int) -> str:
        """The command that trains a machine like this one with another seed; two where it grew out of another run."""
        training, run = self.training, f"runs/{self.name}-seed{seed}"
        command = f"{training['command']} train.seed={seed}"
        match Path(training.get("init_from", "")).parts:
            case ("runs", before, _):
                first = f"python -m training train configs/{before}.yaml train.seed={seed} --folder {run}-first"
                return f"{first} && {command} init_from={run}-first/checkpoint --folder {run}"
        return f"{command} --folder {run}"

    def kept(self, what: str) -> Path:
        """The file that keeps something of this trunk."""
        return KEPT / f"{self.digest}-{what}-v{VERSION}.safetensors"

    def opened(self) -> tuple[TickModel, Task]:
        """The machine, with a new energy head, and its task."""
        checkpoint = load(self.folder)
        task = task_of(checkpoint.task, checkpoint.model.config.to_dict())
        return with_energy_head(checkpoint.model, anew=True), task


@dataclass(frozen=True)
class Thoughts:
    """What a trunk thought about the samples of one split, without any energy."""

    felt: Felt
    curves: Curves


def trunks(names: Sequence[str], seeds: int) -> Iterator[Trunk]:
    """The bundled machines, and those of other seeds, bundled or trained on this machine; says which are not there."""
    for name in names:
        first = Trunk(name, 0, ROOT / "checkpoints" / name)
        if name not in (known := suited()):
            raise SystemExit(
                f"Error: {name} is no bundled checkpoint that may stop early; those are {', '.join(known)}."
            )
        yield first
        for seed in range(1, seeds):
            other = f"{name}-seed{seed}"
            places = (BUNDLED / other, ROOT / "runs" / other / "checkpoint")
            if folder := next(filter(Path.is_dir, places), None):
                yield Trunk(name, seed, folder)
            else:
                print(f"{name}, seed {seed} is left out; to train it: {first.again(seed)}")


def suited() -> list[str]:
    """The bundled checkpoints that think for several ticks and give a whole answer at each."""
    found = []
    for folder in sorted((ROOT / "checkpoints").iterdir()):
        config, task = (json.loads((folder / name).read_text("utf-8")) for name in ("config.json", "task.json"))
        if config.get("iterations", 1) > 1 and not task_of(task, config).shape().spoken:
            found.append(folder.name)
    return found


def thoughts(trunk: Trunk, split: str) -> Thoughts:
    """What the trunk thinks about a split, from the file that keeps it."""
    path = trunk.kept(split)
    if not path.is_file():
        machine, task = trunk.opened()
        fits = split == VALIDATION
        batches = fitting_batches(task, FINISH.fit_samples) if fits else split_batches(task, split, MEASURED_ON)
        curves = replace(curves_of(machine, task.reading, batches, frozenset(ANSWER_SIGNALS)), energy=None)
        keep(Thoughts(feel(machine, task.reading, batches), curves), path)
    return read(path)


def keep(found: Thoughts, path: Path) -> None:
    parts = {f"{part}.{field.name}": getattr(getattr(found, part), field.name) for part, field in named()}
    signals = parts.pop("curves.signals")
    whole = parts | {f"signal.{name}": values for name, values in signals.items()}
    write(path, {name: value.contiguous() for name, value in whole.items() if isinstance(value, Tensor)})


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    """A whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def read(path: Path) -> Thoughts:
    whole = load_file(path)
    signals = {name.removeprefix("signal."): value for name, value in whole.items() if name.startswith("signal.")}
    felt, curves = (
        {field.name: whole.get(f"{part}.{field.name}") for part, field in named() if part == which}
        for which in ("felt", "curves")
    )
    return Thoughts(Felt(**felt), of_the_first(len(felt["seen"]), Curves(**(curves | {"signals": signals}))))


def of_the_first(count: int, curves: Curves) -> Curves:
    """Curves of so many samples: of long thoughts, not all that were thought about have room to be felt."""
    whole = {field.name: getattr(curves, field.name) for field in fields(Curves)}
    parts = {name: value[:count] for name, value in whole.items() if isinstance(value, Tensor)}
    return replace(curves, **parts, signals={name: value[:count] for name, value in curves.signals.items()})


def named():
    """Parts of thoughts, and what is kept of them; answers are never spoken here."""
    return [("felt", field) for field in fields(Felt)] + [
        ("curves", field) for field in fields(Curves) if field.name != "spoken"
    ]
