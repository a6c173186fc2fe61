"""Outputs of the bundled checkpoints, with which the JavaScript engine of `ui/static/ctm` is compared.

    python -m tests.golden.browser.make

writes the small files that are committed beside this module, one per checkpoint. Run it after a checkpoint has changed. The tests
write larger files to a temporary directory. A file is in safetensors format; its metadata hold the halting decisions as JSON.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.browser_engine import CHECKPOINTS_DIR, list_checkpoints, sample_inputs
from ctm import TickModel
from ctm.checkpoint import Checkpoint, load, save
from ctm.checkpoint.metadata import HaltingMetadata
from ctm.config import get_max_ticks
from ctm.modules.input_schedule import FrameSchedule
from inference import Engine, parse
from inference.confidence import compute_confidence, compute_confidence_limit
from training.energy.confidence import get_answer_format
from training.tasks import Task, build_task
from ui.services.halting_view_model import build_policy_options

GOLDEN_DIR = Path(__file__).parent
NUM_COMMITTED_SAMPLES = 2
MAX_COMMITTED_BYTES = 400_000  # of one file
# Policies that no checkpoint offers, so that every kind of policy is compared.
COMPOSED_POLICIES = (
    "same=2&certainty>0.5",
    "(certainty.min>0.9|same=4)&probability>0.6",
    "change<0.001|margin>0.9",
    "ticks=5|certainty>0.99",
)
ENERGY_POLICIES = ("converged<0.05x2|ticks=9", "energy<-2&same=2")


@dataclass(frozen=True)
class Unroll:
    """Outputs of all ticks of n samples.

    Attributes:
        logits: Logits, shape (n, T, K); 0 after the last tick of a row.
        certainty: Certainty of every position, shape (n, T, P).
        energy: Energy, shape (n, T); None without an energy head.
        ticks: Number of ticks of every row.
    """

    logits: Tensor
    certainty: Tensor
    energy: Tensor | None
    ticks: list[int]


def count_input_ticks(model: TickModel, inputs: Tensor) -> Tensor:
    """Return the number of ticks before an answer counts, of every row; 0 if the input is constant."""
    if not model.config.has_input_schedule:
        return torch.zeros(len(inputs))
    return FrameSchedule.from_frames(inputs, model.config).input_ticks


def split_rows(model: TickModel, inputs: Tensor) -> list[Tensor]:
    """Split rows into batches with the same number of ticks: the longest row of a batch determines that of the others."""
    _, counts = count_input_ticks(model, inputs).unique_consecutive(return_counts=True)
    return list(inputs.split(counts.tolist()))


@torch.inference_mode()
def unroll(model: TickModel, inputs: Tensor) -> Unroll:
    """Run all ticks of every row."""
    outputs = [collect_ticks(model, rows) for rows in split_rows(model, inputs)]
    ticks = [len(logits) for logits, _, _ in outputs for _ in range(logits.size(1))]
    logits, certainty, energy = (
        [pad_ticks(values, max(ticks)) for values in part] for part in zip(*outputs, strict=True)
    )
    has_energy = model.config.energy_head_enabled
    return Unroll(join_rows(logits), join_rows(certainty), join_rows(energy) if has_energy else None, ticks)


def collect_ticks(model: TickModel, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, certainty and energy (0 without an energy head) of every tick, ticks first."""
    encoded = model.encode(inputs)
    state = model.initial_state(encoded)
    outputs = []
    for _ in range(encoded.ticks):
        state, output = model.tick(state, encoded)
        outputs.append(output)
    energies = [torch.zeros(len(inputs)) if output.energy is None else output.energy for output in outputs]
    return (
        torch.stack([output.answer for output in outputs]),
        torch.stack([output.certainty for output in outputs]),
        torch.stack(energies),
    )


def pad_ticks(values: Tensor, ticks: int) -> Tensor:
    """Append zeros up to a number of ticks."""
    return torch.cat((values, values.new_zeros(ticks - len(values), *values.shape[1:])))


def join_rows(parts: Iterable[Tensor]) -> Tensor:
    """Join batches of shape (T, B, ...) to (n, T, ...)."""
    return torch.cat(list(parts), 1).transpose(0, 1).contiguous()


@torch.inference_mode()
def collect_channels(model: TickModel, inputs: Tensor) -> dict[str, Tensor]:
    """Return the states of all rows at every tick, shape (T, n, ...), by channel."""
    encoded = model.encode(inputs)
    state = model.initial_state(encoded)
    states: list[dict[str, Tensor]] = []
    for _ in range(encoded.ticks):
        state, _ = model.tick(state, encoded)
        states.append(state.get_channels())
    names = [name for name in states[0] if all(name in channels for channels in states)]
    return {f"channels.{name}": torch.stack([channels[name].clone() for channels in states]) for name in names}


def run_policy(model: TickModel, inputs: Tensor, policy: str) -> dict[str, Any]:
    """Return the halting decision and the answer of every row."""
    results = [Engine(model, parse(policy)).run(rows) for rows in split_rows(model, inputs)]
    positions = model.config.answer_shape[0]
    return {
        "policy": policy,
        "ticks": [tick for result in results for tick in result.ticks.tolist()],
        "answer_tick": [tick for result in results for tick in result.answer_tick.tolist()],
        "halted_by": [reason for result in results for reason in result.halted_by],
        "answer": [row for result in results for row in result.answer.unflatten(1, (positions, -1)).argmax(2).tolist()],
    }


def list_policies(checkpoint: Checkpoint, task: Task) -> list[str]:
    """Return the policies that the page offers for a checkpoint, and composed ones."""
    config = checkpoint.model.config
    is_ctc = bool(task.get_spec().ctc_length)
    offered = build_policy_options(checkpoint.halting, get_max_ticks(config.to_dict()), is_ctc)
    return [*offered, *COMPOSED_POLICIES, *(ENERGY_POLICIES if config.energy_head_enabled else ())]


def compute_confidences(checkpoint: Checkpoint, task: Task, inputs: Tensor, outputs: Unroll) -> dict[str, Tensor]:
    """Return P(correct) at every tick, and the largest confidence that each input allows."""
    metadata = HaltingMetadata.model_validate(checkpoint.halting)
    last = torch.full((len(inputs),), checkpoint.model.config.answer_shape[0] - 1)
    confidence = compute_confidence(
        metadata,
        get_answer_format(task),
        outputs.logits.transpose(1, 2),
        outputs.energy,
        outputs.certainty.transpose(1, 2),
        last,
    )
    values = {"p_correct": confidence.p_correct, "p_last": confidence.p_last}
    if metadata.familiarity is not None:
        with torch.inference_mode():
            features = checkpoint.model.pool_features(inputs)
        limits = [compute_confidence_limit(metadata, row, False, None).value for row in features.split(1)]
        values["limit"] = torch.tensor(limits)
    return {name: value.contiguous() for name, value in values.items() if value is not None}


def write_golden(name: str, count: int, target: Path, *, has_channels: bool = True) -> None:
    """Write the golden file of a bundled checkpoint.

    Args:
        name: Name of the checkpoint.
        count: Number of samples.
        target: Path of the file.
        has_channels: Include the state of the first sample at every tick.
    """
    checkpoint = load(CHECKPOINTS_DIR / name)
    task = build_task(checkpoint.task)
    inputs = sample_inputs(name, count)
    inputs = inputs[count_input_ticks(checkpoint.model, inputs).argsort(stable=True)]
    outputs = unroll(checkpoint.model, inputs)
    answer_format = get_answer_format(task)
    facts = {
        "checkpoint": name,
        "ticks": outputs.ticks,
        "answer_format": {"scoredPositions": answer_format.scored_positions, "isCtc": answer_format.is_ctc},
        "policies": [run_policy(checkpoint.model, inputs, policy) for policy in list_policies(checkpoint, task)],
    }
    tensors = {"inputs": inputs.float(), "logits": outputs.logits, "certainty": outputs.certainty}
    if outputs.energy is not None:
        tensors["energy"] = outputs.energy
    tensors |= compute_confidences(checkpoint, task, inputs, outputs)
    if has_channels:
        tensors |= collect_channels(checkpoint.model, inputs[:1])
    save_file(tensors, target, {"golden": json.dumps(facts)})
    target.chmod(0o644)  # safetensors creates files that only the owner may read


def write_model(model: TickModel, inputs: Tensor, target: Path, **further: Tensor) -> None:
    """Write a checkpoint directory without task, and a golden file `golden.safetensors` beside its files.

    Args:
        model: The model.
        inputs: Inputs, rows first.
        target: New directory.
        further: Tensors that replace computed ones, such as published outputs.
    """
    save(Checkpoint(model), target)
    outputs = unroll(model, inputs)
    tensors = {"inputs": inputs.float(), "logits": outputs.logits, "certainty": outputs.certainty}
    tensors |= {} if outputs.energy is None else {"energy": outputs.energy}
    tensors |= collect_channels(model, inputs) | further
    facts = {"checkpoint": target.name, "ticks": outputs.ticks, "answer_format": {}, "policies": []}
    save_file(
        {name: values.contiguous() for name, values in tensors.items()},
        target / "golden.safetensors",
        {"golden": json.dumps(facts)},
    )


def main() -> None:
    """Write the committed files, and delete those of checkpoints that are gone."""
    names = list_checkpoints()
    for path in GOLDEN_DIR.glob("*.safetensors"):
        if path.stem not in names:
            path.unlink()
    for name in names:
        target = GOLDEN_DIR / f"{name}.safetensors"
        write_golden(name, NUM_COMMITTED_SAMPLES, target, has_channels=False)
        if target.stat().st_size > MAX_COMMITTED_BYTES:
            raise SystemExit(f"{target.name} is too large to be committed: {target.stat().st_size:,} bytes.")


if __name__ == "__main__":
    main()
