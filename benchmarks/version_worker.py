"""Worker of `benchmarks.compare_versions`: time named cases with the version of this project on the import path.

Reads one case name per line from stdin and prints the CPU seconds of one call, which other processes affect little. Uses only names that
every released version has.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ctm.checkpoint import load
from inference import Engine, parse
from training.config import read_recipe

IMAGE_SHAPES = {"digits": (1, 28, 28), "mazes-15": (3, 15, 15)}  # of one input, by checkpoint
RENAMED_CHECKPOINTS = {
    "parity-16": "parity-16-untaught",
    "mazes-15": "mazes-15-untaught",
    "tracking-position": "tracking-position-untaught",
    "qamnist": "qamnist-untaught",
    "arithmetic": "arithmetic-table",
    "brackets": "brackets-short",
}  # name in 0.1.0 -> name of the same weights today
TOKEN_INPUTS = {"parity-16": (16, 2)}  # length and number of tokens


def build_case(name: str) -> Callable[[], object]:
    """Build a case, such as `digits engine 64`: checkpoint, operation and batch size.

    The operation is unroll, engine, backward, or train: a step of the recipe of version 0.1.0, with its sampling.
    """
    checkpoint_name, operation, batch_size = name.split()
    if operation == "train":
        return build_training_step(checkpoint_name, [f"train.batch_size={batch_size}", "train.device=cpu"])
    checkpoint = load(find_checkpoint(checkpoint_name))
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


def find_checkpoint(name: str) -> str:
    """Return the directory of a checkpoint of version 0.1.0, which may have another name now."""
    renamed = f"checkpoints/{RENAMED_CHECKPOINTS.get(name, name)}"
    return renamed if Path(renamed).is_dir() else f"checkpoints/{name}"


def build_training_step(recipe: str, overrides: list[str]) -> Callable[[], object]:
    """Return a function that takes one optimiser step of a recipe of version 0.1.0.

    Args:
        recipe: Name of the recipe.
        overrides: Settings to change.
    """
    former_recipe = Path(f"tests/data/legacy/recipes/{recipe}.yaml")
    if former_recipe.is_file():
        from training.trainer import Trainer  # noqa: PLC0415 - version 0.1.0 has no such module

        trainer = Trainer(read_recipe(former_recipe, [*overrides, "optim.fused=true"]))
        trainer.prepare()
        batches = trainer.iterate_batches()
        return lambda: trainer.train_step(batches)
    from training import loop  # noqa: PLC0415 - a module of version 0.1.0

    config = read_recipe(f"configs/{recipe}.yaml", overrides)
    accelerator, task, model, optimizer = loop.assemble(config)
    model, optimizer = accelerator.prepare(model, optimizer)
    batches = task.batches(config.train.batch_size, config.train.seed)
    return lambda: loop.optimise(config, task.reading, model, optimizer, accelerator, batches, config.optim.lr, 1.0)


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
