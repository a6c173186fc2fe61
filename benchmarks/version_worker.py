"""Worker of `benchmarks.compare_versions`: time named cases with the version of this project on the import path.

Reads one case name per line from stdin and prints the CPU seconds of one call, which other processes affect little. Uses only names that
every released version has.
"""

import sys
import time
from collections.abc import Callable

import torch

from ctm.checkpoint import load
from inference import Engine, parse

IMAGE_SHAPES = {"digits": (1, 28, 28), "mazes-15": (3, 15, 15)}  # of one input, by checkpoint
TOKEN_INPUTS = {"parity-16": (16, 2)}  # length and number of tokens


def build_case(name: str) -> Callable[[], object]:
    """Build a case, such as `digits engine 64`: checkpoint, operation (unroll, engine or backward) and batch size."""
    checkpoint_name, operation, batch_size = name.split()
    checkpoint = load(f"checkpoints/{checkpoint_name}")
    model = checkpoint.machine  # the name of version 0.1.0, which later versions accept
    inputs = sample_inputs(checkpoint_name, int(batch_size))
    if operation == "engine":
        engine = Engine(model.eval(), parse(checkpoint.halting["policies"][checkpoint.halting["default"]]["policy"]))
        return lambda: engine.run(inputs)
    if operation == "unroll":
        model.eval()
        return torch.inference_mode()(lambda: model(inputs))
    model.train()
    return lambda: model(inputs).answers.square().mean().backward()


def sample_inputs(checkpoint_name: str, batch_size: int) -> torch.Tensor:
    """Sample inputs; the same ones in every version."""
    generator = torch.Generator().manual_seed(0)
    if checkpoint_name in IMAGE_SHAPES:
        return torch.rand(batch_size, *IMAGE_SHAPES[checkpoint_name], generator=generator)
    length, num_tokens = TOKEN_INPUTS[checkpoint_name]
    return torch.randint(num_tokens, (batch_size, length), generator=generator)


def main() -> None:
    """Answer requests until stdin ends."""
    torch.set_num_threads(1)
    cases: dict[str, Callable[[], object]] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in cases:
            cases[name] = build_case(name)
            cases[name]()  # warm-up
        start_time = time.process_time()
        cases[name]()
        print(time.process_time() - start_time, flush=True)


if __name__ == "__main__":
    main()
