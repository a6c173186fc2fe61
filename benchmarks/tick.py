"""How fast a thought and a training step are, beside the original code in the same process.

    python -m benchmarks.tick [--reference PATH] [--json FILE] [--repeats N] [--only CASE ...]

`--reference` is a checkout of https://github.com/SakanaAI/continuous-thought-machines. Both codes then run in turn on equal
weights and equal inputs; outputs are compared before anything is timed. Ratios are medians of interleaved runs, so that a
noisy machine disturbs both alike. Thoughts: full unroll, eval mode, B = 1 and 64. Training step: forward, the two-tick
loss, backward at B = 32, with its peak memory. Last comes what halting saves: bundled digits, 256 samples.
"""

import argparse
import contextlib
import importlib
import io
import json
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from ctm import ContinuousThoughtMachine, CTMConfig
from training.losses import two_tick

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Case:
    name: str
    config: dict
    in_features: int | None
    draw: Callable[[int], Tensor]


def signs(length: int) -> Callable[[int], Tensor]:
    return lambda batch: (torch.randint(2, (batch, length)) * 2 - 1).float()


def cases() -> list[Case]:
    common = {"deep_nlms": True, "do_layernorm_nlm": False, "dropout": 0.0}
    parity = common | {
        "backbone_type": "parity_backbone", "positional_embedding_type": "custom-rotational-1d", "heads": 8,
        "n_synch_out": 32, "n_synch_action": 32, "memory_length": 25, "memory_hidden_dims": 16,
    }  # fmt: skip
    digits = json.loads((ROOT / "checkpoints/digits/config.json").read_text())
    digits = {key: value for key, value in digits.items() if not key.startswith("energy")}
    return [
        Case("digits", digits, 1, lambda batch: torch.randn(batch, 1, 28, 28)),
        Case("parity-16", parity | {
            "iterations": 50, "d_model": 256, "d_input": 32, "synapse_depth": 8, "neuron_select_type": "random-pairing",
            "out_dims": 32, "prediction_reshaper": [16, 2],
        }, None, signs(16)),
        Case("parity-64", parity | {
            "iterations": 75, "d_model": 1024, "d_input": 512, "synapse_depth": 1, "neuron_select_type": "random",
            "out_dims": 128, "prediction_reshaper": [64, 2],
        }, None, signs(64)),
        Case("cifar", common | {
            "iterations": 50, "d_model": 256, "d_input": 64, "heads": 16, "n_synch_out": 256, "n_synch_action": 512,
            "synapse_depth": 5, "memory_length": 15, "memory_hidden_dims": 64, "backbone_type": "resnet18-1",
            "positional_embedding_type": "none", "out_dims": 10, "prediction_reshaper": [-1],
            "neuron_select_type": "random-pairing",
        }, 3, lambda batch: torch.randn(batch, 3, 32, 32)),
    ]  # fmt: skip


def load_reference(path: Path, case: Case, ours: ContinuousThoughtMachine) -> nn.Module:
    """The original machine of the same config and the same weights."""
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
    original = importlib.import_module("models.ctm").ContinuousThoughtMachine
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng():
        theirs = original(**case.config)
        theirs.eval()(case.draw(2))  # its lazy layers take their shapes from a first input
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return theirs


def step_of(machine: nn.Module, inputs: Tensor, targets: Tensor, shape: tuple[int, int]) -> Callable[[], None]:
    """One training step without the optimiser: forward, two-tick loss, backward."""

    def step() -> None:
        thought = machine(inputs)
        answers, certainties = (
            thought[:2] if isinstance(thought, tuple) else (thought.answers, thought.certainties)
        )
        loss = two_tick(answers.unflatten(1, shape), targets, certainties[:, 1])
        loss.backward()
        machine.zero_grad(set_to_none=True)

    return step


def peak_memory(job: Callable[[], None]) -> float:
    """MiB that a job adds to the process at its height."""
    process, peak, done = psutil.Process(), 0, threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    job()
    done.set()
    watcher.join()
    return max(0, peak - before) / 2**20


def interleaved(jobs: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median seconds of each job, run in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(repeats + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure(case: Case, reference: Path | None, repeats: int) -> list[dict]:
    """Rows of one case: a thought at B = 1 and 64, a training step at B = 32."""
    torch.manual_seed(0)
    ours = ContinuousThoughtMachine(CTMConfig.read(case.config), case.in_features)
    for name, parameter in ours.named_parameters():
        if name.startswith("decay_params"):
            nn.init.uniform_(parameter, 0, 1)
    machines: dict[str, nn.Module] = {"ours": ours}
    if reference:
        machines["original"] = load_reference(reference, case, ours)
    rows = []
    for batch in (1, 64):
        inputs = case.draw(batch)
        for machine in machines.values():
            machine.eval()
        with torch.inference_mode():
            if reference:
                difference = (machines["original"](inputs)[0] - ours(inputs).answers).abs().max().item()
                if difference > 1e-4:
                    raise SystemExit(f"{case.name}: outputs differ by {difference:.1e}; nothing was timed.")
            jobs = {name: (lambda machine=machine: machine(inputs)) for name, machine in machines.items()}
            rows.append({"case": case.name, "what": "thought", "batch": batch, **interleaved(jobs, repeats)})
    inputs = case.draw(32)
    positions, classes = ours.config.answer_shape
    targets = torch.randint(classes, (32, positions))
    jobs = {name: step_of(machine.train(), inputs, targets, (positions, classes)) for name, machine in machines.items()}
    row = {"case": case.name, "what": "training step", "batch": 32, **interleaved(jobs, max(3, repeats // 3))}
    row |= {f"{name}_peak_mib": round(peak_memory(job), 1) for name, job in jobs.items()}
    return [*rows, row]


def geometric_mean(values: list[float]) -> float:
    return statistics.geometric_mean(values) if values else float("nan")


def report(rows: list[dict]) -> dict:
    """Print the table; give the summary."""
    print(f"{'case':10} {'what':14} {'batch':>5} {'ours ms':>9} {'original ms':>12} {'ratio':>6}  peak MiB (ours / original)")
    for row in rows:
        row["ratio"] = row["original"] / row["ours"] if "original" in row else None
        ratio = f"{row['ratio']:6.2f}" if row["ratio"] else "     -"
        original = f"{row['original'] * 1e3:12.1f}" if row["ratio"] else f"{'-':>12}"
        peaks = " / ".join(str(row[f"{name}_peak_mib"]) for name in ("ours", "original") if f"{name}_peak_mib" in row)
        print(f"{row['case']:10} {row['what']:14} {row['batch']:5} {row['ours'] * 1e3:9.1f} {original} {ratio}  {peaks}")
    summary = {}
    for what in ("thought", "training step"):
        ratios = [row["ratio"] for row in rows if row["what"] == what and row["ratio"]]
        if ratios:
            summary[what] = {"geometric_mean": geometric_mean(ratios), "least": min(ratios)}
            print(f"{what}: geometric mean {summary[what]['geometric_mean']:.2f}, least {summary[what]['least']:.2f}")
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, help="checkout of the original repository")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--repeats", type=int, default=15, help="timed rounds a case")
    parser.add_argument("--only", nargs="*", help="names of cases")
    args = parser.parse_args()
    rows = [
        row for case in cases() if not args.only or case.name in args.only
        for row in measure(case, args.reference, args.repeats)
    ]  # fmt: skip
    summary = report(rows)
    if args.json:
        hardware = {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
        figures = {"rows": rows, "summary": summary, "hardware": hardware, "torch": torch.__version__}
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
