"""Speed of the exported graphs under onnxruntime beside eager PyTorch; run as `python -m benchmarks.speed --runtime onnx`.

Both run the same loop over the ticks of an unroll in one process, alternately, on the same inputs and with the same number
of threads: encode once, then one call per tick. Logits are compared before anything is timed.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from benchmarks.paths import ROOT
from benchmarks.speed import time_interleaved
from ctm import TickModel
from ctm.checkpoint import load
from ctm.export.onnx_export import OPSET, export_onnx
from training.evaluation import build_split_batches
from training.tasks import build_task

DEFAULT_CHECKPOINTS = ("arithmetic", "digits", "mazes-15-untaught", "parity-16")
BATCH_SIZES = (1, 16, 64)
MAX_DIFFERENCE = 1e-4  # of logits, relative to the largest


class OnnxRunner:
    """Graphs of an export, run by onnxruntime.

    Args:
        folder: Directory of the export.
        threads: Number of threads.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.encode, self.tick = (
            onnxruntime.InferenceSession(folder / f"{name}.onnx", options) for name in ("encode", "tick")
        )
        self.encode_names, self.tick_names = (
            [output.name for output in session.get_outputs()] for session in (self.encode, self.tick)
        )
        self.input_names = [value.name for value in self.tick.get_inputs()]

    def unroll(self, inputs: np.ndarray) -> np.ndarray:
        """Run all ticks, and return the logits of the last one."""
        values = dict(zip(self.encode_names, self.encode.run(None, {"inputs": inputs}), strict=True))
        feeds = {name: values[name] for name in self.input_names}
        outputs: dict[str, np.ndarray] = {}
        for _ in range(int(values["ticks"])):
            outputs = dict(zip(self.tick_names, self.tick.run(None, feeds), strict=True))
            feeds = {name: outputs.get(f"next_{name}", value) for name, value in feeds.items()}
        return outputs["logits"]


@torch.inference_mode()
def unroll_eager(model: TickModel, inputs: Tensor) -> Tensor:
    """Run all ticks one by one, and return the logits of the last one."""
    encoded = model.encode(inputs)
    state = model.initial_state(encoded)
    for _ in range(encoded.ticks):
        state, output = model.tick(state, encoded)
    return output.answer


def measure_onnx(names: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """Measure checkpoints at every batch size; return seconds per unroll of both runtimes, and their ratio."""
    rows = []
    for name in names:
        checkpoint = load(ROOT / "checkpoints" / name)
        batches = build_split_batches(build_task(checkpoint.task), "test", 4 * max(BATCH_SIZES))
        samples = torch.cat([batch.inputs for batch in batches])
        with tempfile.TemporaryDirectory() as directory:
            runner = OnnxRunner(export_onnx(checkpoint, Path(directory) / name), torch.get_num_threads())
        for batch_size in BATCH_SIZES:
            inputs = samples[:batch_size]
            check_equal_logits(name, unroll_eager(checkpoint.model, inputs).numpy(), runner.unroll(inputs.numpy()))
            calls = {
                "eager": partial(unroll_eager, checkpoint.model, inputs),
                "onnx": partial(runner.unroll, inputs.numpy()),
            }
            seconds = time_interleaved(calls, repeats)
            rows.append({"case": name, "batch": batch_size, **seconds, "ratio": seconds["eager"] / seconds["onnx"]})
    return rows


def check_equal_logits(name: str, expected: np.ndarray, actual: np.ndarray) -> None:
    """Check that both runtimes give the same logits.

    Raises:
        SystemExit: They differ by more than `MAX_DIFFERENCE`, relative to the largest logit.
    """
    difference = np.abs(expected - actual).max() / np.abs(expected).max()
    if difference > MAX_DIFFERENCE:
        raise SystemExit(f"{name}: logits differ by {difference:.1e} of the largest; nothing was timed.")


def print_report(rows: list[dict[str, Any]]) -> None:
    """Print a line for every row of `measure_onnx`."""
    print(f"{'case':20} {'batch':>5} {'eager ms':>9} {'onnx ms':>9} {'ratio':>6}")
    for row in rows:
        print(
            f"{row['case']:20} {row['batch']:5} {row['eager'] * 1e3:9.1f} {row['onnx'] * 1e3:9.1f} {row['ratio']:6.2f}"
        )


def get_versions() -> dict[str, Any]:
    """Return the versions of the runtime and of the operators."""
    return {"onnxruntime": onnxruntime.__version__, "opset": OPSET}
