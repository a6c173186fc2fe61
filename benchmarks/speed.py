"""Speed of inference and of a training step, beside the original code in the same process.

    python -m benchmarks.speed [--reference PATH] [--json FILE] [--repeats N] [--only CASE ...]
    python -m benchmarks.speed --runtime onnx [--json FILE] [--repeats N] [--only CHECKPOINT ...]

`--reference` is a checkout of https://github.com/SakanaAI/continuous-thought-machines. Both implementations then run alternately on
equal weights and equal inputs; outputs are compared before anything is timed. Ratios are medians of interleaved runs, so that other
load on the computer affects both equally. Inference: full unroll, eval mode, B = 1 and 64. Training step: forward, the two-tick
loss, backward at B = 32, with its peak memory. `benchmarks.halting` measures what halting saves. `--runtime onnx` measures exported
checkpoints instead, see `benchmarks.onnx_speed`.
"""

import argparse
import contextlib
import importlib
import io
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.paths import ROOT, write_figures
from ctm import ContinuousThoughtMachine, CTMConfig
from training.losses import per_tick_loss, two_tick_loss


@dataclass(frozen=True)
class BenchmarkCase:
    """Model configuration to measure.

    Attributes:
        name: name of the case.
        config: published constructor keys.
        in_features: input features or channels.
        sample_inputs: samples a batch of a size.
    """

    name: str
    config: dict[str, Any]
    in_features: int | None
    sample_inputs: Callable[[int], Tensor]


def make_sign_sampler(length: int) -> Callable[[int], Tensor]:
    """Return a function that draws rows of -1 and 1."""
    return lambda batch: (torch.randint(2, (batch, length)) * 2 - 1).float()


def build_cases() -> list[BenchmarkCase]:
    """Build all cases."""
    common = {"deep_nlms": True, "do_layernorm_nlm": False, "dropout": 0.0}
    parity = common | {
        "backbone_type": "parity_backbone",
        "positional_embedding_type": "custom-rotational-1d",
        "heads": 8,
        "n_synch_out": 32,
        "n_synch_action": 32,
        "memory_length": 25,
        "memory_hidden_dims": 16,
    }
    digits_config = json.loads((ROOT / "checkpoints/digits/config.json").read_text())
    digits = {key: value for key, value in digits_config.items() if not key.startswith("energy")}
    return [
        BenchmarkCase("digits", digits, 1, lambda batch: torch.randn(batch, 1, 28, 28)),
        BenchmarkCase(
            "parity-16",
            parity
            | {
                "iterations": 50,
                "d_model": 256,
                "d_input": 32,
                "synapse_depth": 8,
                "neuron_select_type": "random-pairing",
                "out_dims": 32,
                "prediction_reshaper": [16, 2],
            },
            None,
            make_sign_sampler(16),
        ),
        BenchmarkCase(
            "parity-64",
            parity
            | {
                "iterations": 75,
                "d_model": 1024,
                "d_input": 512,
                "synapse_depth": 1,
                "neuron_select_type": "random",
                "out_dims": 128,
                "prediction_reshaper": [64, 2],
            },
            None,
            make_sign_sampler(64),
        ),
        BenchmarkCase(
            "cifar",
            common
            | {
                "iterations": 50,
                "d_model": 256,
                "d_input": 64,
                "heads": 16,
                "n_synch_out": 256,
                "n_synch_action": 512,
                "synapse_depth": 5,
                "memory_length": 15,
                "memory_hidden_dims": 64,
                "backbone_type": "resnet18-1",
                "positional_embedding_type": "none",
                "out_dims": 10,
                "prediction_reshaper": [-1],
                "neuron_select_type": "random-pairing",
            },
            3,
            lambda batch: torch.randn(batch, 3, 32, 32),
        ),
    ]


def load_reference(path: Path, case: BenchmarkCase, model: ContinuousThoughtMachine) -> nn.Module:
    """Load the original model with the same configuration and the same weights."""
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
    original = importlib.import_module("models.ctm").ContinuousThoughtMachine
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng():
        reference_model = original(**case.config)
        reference_model.eval()(case.sample_inputs(2))  # its lazy layers take their shapes from a first input
    reference_model.load_state_dict(model.state_dict(), strict=True)
    return reference_model


def make_training_step(model: nn.Module, inputs: Tensor, targets: Tensor, shape: tuple[int, int]) -> Callable[[], None]:
    """Return a function that runs one training step without the optimiser: forward, two-tick loss, backward."""

    def step() -> None:
        output = model(inputs)
        answers, certainties = output[:2] if isinstance(output, tuple) else (output.answers, output.certainties)
        loss = two_tick_loss(per_tick_loss(answers.unflatten(1, shape), targets), certainties[:, 1])
        loss.backward()
        model.zero_grad(set_to_none=True)

    return step


def measure_peak_memory(case: BenchmarkCase, reference_path: Path | None) -> float:
    """Return the MiB by which one training step raises the peak memory of a new process.

    Args:
        case: the case.
        reference_path: checkout of the original code, which is measured instead if it is not None.
    """
    command = [sys.executable, "-m", "benchmarks.speed", "--peak", case.name]
    command += ["--reference", str(reference_path)] if reference_path else []
    return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def print_peak_memory(case: BenchmarkCase, reference_path: Path | None) -> None:
    """Run one training step and print the memory above that before it, in MiB (Linux); run by `measure_peak_memory`."""
    our_model = build_case_model(case)
    model = load_reference(reference_path, case, our_model) if reference_path else our_model
    inputs, targets, shape = build_training_batch(case, our_model)
    run_training_step = make_training_step(model.train(), inputs, targets, shape)
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak, which importing may have set
    initial_kib = read_memory_kib("VmRSS")
    run_training_step()
    print((read_memory_kib("VmHWM") - initial_kib) / 1024)


def read_memory_kib(name: str, pid: int | str = "self") -> int:
    """Read a memory field of a process's status.

    Args:
        name: VmRSS for the current memory, VmHWM for the peak memory.
        pid: the process.

    Returns:
        The value in KiB; 0 once the process has ended.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def time_interleaved(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each call, run alternately."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_index in range(repeats + 1):
        for name, call in calls.items():
            start_time = time.perf_counter()
            call()
            if round_index:  # the first round warms up
                seconds[name].append(time.perf_counter() - start_time)
    return {name: statistics.median(values) for name, values in seconds.items()}


def build_case_model(case: BenchmarkCase) -> ContinuousThoughtMachine:
    """Build the model of a case, with random decay parameters."""
    torch.manual_seed(0)
    model = ContinuousThoughtMachine(CTMConfig.parse(case.config), case.in_features)
    for name, parameter in model.named_parameters():
        if name.startswith("decay_params"):
            nn.init.uniform_(parameter, 0, 1)
    return model


def build_training_batch(
    case: BenchmarkCase, model: ContinuousThoughtMachine
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Sample a training batch of 32 rows; return inputs, targets and the shape of the answer."""
    shape = model.config.answer_shape
    return case.sample_inputs(32), torch.randint(shape[1], (32, shape[0])), shape


def measure_case(case: BenchmarkCase, reference_path: Path | None, repeats: int) -> list[dict[str, Any]]:
    """Measure one case: inference at B = 1 and 64, a training step at B = 32."""
    our_model = build_case_model(case)
    models: dict[str, nn.Module] = {"ours": our_model}
    if reference_path:
        models["original"] = load_reference(reference_path, case, our_model)
    rows = []
    for batch_size in (1, 64):
        inputs = case.sample_inputs(batch_size)
        for model in models.values():
            model.eval()
        with torch.inference_mode():
            if reference_path:
                check_equal_outputs(case, models["original"](inputs)[0], our_model(inputs).answers)
            calls = {name: partial(model, inputs) for name, model in models.items()}
            rows.append({"case": case.name, "what": "thought", "batch": batch_size, **time_interleaved(calls, repeats)})
    inputs, targets, shape = build_training_batch(case, our_model)
    steps = {name: make_training_step(model.train(), inputs, targets, shape) for name, model in models.items()}
    row = {"case": case.name, "what": "training step", "batch": 32, **time_interleaved(steps, max(3, repeats // 3))}
    row |= {
        f"{name}_peak_mib": round(measure_peak_memory(case, reference_path if name == "original" else None), 1)
        for name in models
    }
    return [*rows, row]


def check_equal_outputs(case: BenchmarkCase, reference_output: Tensor, output: Tensor) -> None:
    """Check that both implementations give the same output.

    Raises:
        SystemExit: They differ by more than 1e-4.
    """
    difference = (reference_output - output).abs().max().item()
    if difference > 1e-4:
        raise SystemExit(f"{case.name}: outputs differ by {difference:.1e}; nothing was timed.")


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean; NaN without values."""
    return statistics.geometric_mean(values) if values else float("nan")


def print_report(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Print the table and return the summary.

    Args:
        rows: results of `measure_case`; the ratio is added to each.
    """
    print(
        f"{'case':10} {'what':14} {'batch':>5} {'ours ms':>9} {'original ms':>12} {'ratio':>6}  peak MiB (ours / original)"
    )
    for row in rows:
        row["ratio"] = row["original"] / row["ours"] if "original" in row else None
        ratio = f"{row['ratio']:6.2f}" if row["ratio"] else "     -"
        original = f"{row['original'] * 1e3:12.1f}" if row["ratio"] else f"{'-':>12}"
        peaks = " / ".join(str(row[f"{name}_peak_mib"]) for name in ("ours", "original") if f"{name}_peak_mib" in row)
        print(
            f"{row['case']:10} {row['what']:14} {row['batch']:5} {row['ours'] * 1e3:9.1f} {original} {ratio}  {peaks}"
        )
    summary = {}
    for operation in ("thought", "training step"):
        ratios = [row["ratio"] for row in rows if row["what"] == operation and row["ratio"]]
        if ratios:
            figures = {"geometric_mean": geometric_mean(ratios), "least": min(ratios)}
            print(f"{operation}: geometric mean {figures['geometric_mean']:.2f}, least {figures['least']:.2f}")
            summary[operation] = figures
    return summary


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, help="checkout of the original repository")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--repeats", type=int, default=15, help="timed rounds per case")
    parser.add_argument("--only", nargs="*", help="names of cases, or of bundled checkpoints with --runtime onnx")
    parser.add_argument("--runtime", choices=("torch", "onnx"), default="torch", help="onnx: exported checkpoints")
    parser.add_argument("--peak", metavar="CASE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        return print_peak_memory(next(case for case in build_cases() if case.name == args.peak), args.reference)
    figures = measure_runtime_onnx(args) if args.runtime == "onnx" else measure_original(args)
    if args.json:
        hardware = {"processor": get_processor_name(), "threads": torch.get_num_threads()}
        figures |= {"hardware": hardware, "torch": torch.__version__}
        write_figures(args.json, figures)
    return None


def measure_original(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the cases beside the original code, print the table, and return the figures."""
    cases = [case for case in build_cases() if not args.only or case.name in args.only]
    rows = [row for case in cases for row in measure_case(case, args.reference, args.repeats)]
    return {"rows": rows, "summary": print_report(rows)}


def measure_runtime_onnx(args: argparse.Namespace) -> dict[str, Any]:
    """Measure exported checkpoints beside eager PyTorch, print the table, and return the figures.

    Raises:
        SystemExit: The packages of the export are not installed.
    """
    try:
        onnx_speed = importlib.import_module("benchmarks.onnx_speed")
        rows = onnx_speed.measure_onnx(args.only or onnx_speed.DEFAULT_CHECKPOINTS, args.repeats)
    except (ImportError, ValueError) as error:
        raise SystemExit(f"Error: {error}") from None
    onnx_speed.print_report(rows)
    return {"rows": rows, **onnx_speed.get_versions()}


def get_processor_name() -> str:
    """Return the name of the processor, if the system reports it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
