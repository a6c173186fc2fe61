"""Measure the confidence that the page shows for inputs that are unlike the training data.

    python -m benchmarks.confidence [--count 100] [--seed 0] [--save]

Every model whose inputs are photos or drawings gets its own test samples, uniform noise of several sizes, letters, symbols and
digits of a printed font, read as the page reads them. `--save` writes benchmarks/confidence.json, from which docs/results.md is
rendered.
"""

import argparse
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from benchmarks.paths import ROOT, write_figures
from ctm.checkpoint import Checkpoint, load
from ctm.checkpoint.metadata import HaltingMetadata
from ctm.modules.readout import compute_certainty
from inference import Engine, HaltingPolicy
from inference.confidence import compute_confidence
from training.energy.confidence import get_answer_format
from training.familiarity import compute_input_limit
from training.finalize import get_default_policy
from training.tasks import Task, build_task
from training.tasks.digits import load_images

RESULT_FILE = ROOT / "benchmarks" / "confidence.json"
MODELS = ("digits", "digits-ff", "digits-lstm")
NOISE_SIDES = (28, 60, 100, 200)
FONT_SIZE_PX = 100
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabdefghkmnqrtwy"
SYMBOLS = "@#&%$\u0416\u042f\u0424\u03a9\u03a3\u2665\u2605\u25a0\u2660"


def draw_glyphs(glyphs: str, generator: np.random.Generator) -> np.ndarray:
    """Return a printed glyph, black on white, shape (h, w, 3)."""
    side = round(1.4 * FONT_SIZE_PX)
    image = Image.new("L", (side, side), 255)
    glyph = glyphs[int(generator.integers(len(glyphs)))]
    font = ImageFont.load_default(size=FONT_SIZE_PX)
    ImageDraw.Draw(image).text((side // 2, side // 2), glyph, fill=0, font=font, anchor="mm")
    return np.repeat(np.asarray(image, np.float32)[..., None] / 255, 3, 2)


def make_noise(generator: np.random.Generator) -> np.ndarray:
    """Return uniform noise, shape (h, w, 3)."""
    side = int(generator.choice(NOISE_SIDES))
    return generator.random((side, side, 3), np.float32)


KINDS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "noise": make_noise,
    "printed letters": lambda generator: draw_glyphs(LETTERS, generator),
    "printed symbols": lambda generator: draw_glyphs(SYMBOLS, generator),
    "printed digits": lambda generator: draw_glyphs("0123456789", generator),
}


def iterate_test_digits(count: int) -> Iterator[np.ndarray]:
    """Yield test digits, light on black, shape (h, w, 3)."""
    for image in load_images("test")[0][:count].numpy():
        yield np.repeat(np.moveaxis(image, 0, -1), 3, 2)


@torch.inference_mode()
def compute_shown_confidence(
    checkpoint: Checkpoint, task: Task, policy: HaltingPolicy, image: np.ndarray
) -> tuple[float, bool]:
    """Return the confidence that the page shows for an image, and whether it calls the image unfamiliar.

    Raises:
        ValueError: The image is rejected.
    """
    task_input = task.parse_input(image)
    limit = compute_input_limit(checkpoint, task, task_input)
    output = checkpoint.model(task_input.inputs)
    positions = task.get_spec().positions
    confidence = compute_confidence(
        HaltingMetadata.model_validate(checkpoint.halting),
        get_answer_format(task),
        output.answers,
        output.energies,
        compute_certainty(output.answers.permute(2, 1, 0), positions).permute(2, 1, 0),
        torch.tensor([task_input.positions - 1]),
        limit,
    )
    assert confidence.p_correct is not None
    tick = int(Engine(checkpoint.model, policy).run(task_input.inputs).answer_tick[0])
    return float(confidence.p_correct[0, tick - 1]), limit.is_unfamiliar


def measure(name: str, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield for each kind of input the mean confidence, and the numbers of unfamiliar and rejected inputs."""
    checkpoint = load(ROOT / "checkpoints" / name)
    checkpoint.model.eval()
    task, policy = build_task(checkpoint.task), get_default_policy(checkpoint.halting)
    for kind in ("test samples", *KINDS):
        generator = np.random.default_rng(seed)
        images = (KINDS[kind](generator) for _ in range(count)) if kind in KINDS else iterate_test_digits(count)
        shown, rejected = [], 0
        for image in images:
            try:
                shown.append(compute_shown_confidence(checkpoint, task, policy, image))
            except ValueError:
                rejected += 1
        values = [confidence for confidence, _ in shown]
        yield {
            "model": name,
            "kind": kind,
            "n": len(shown) + rejected,
            "mean_confidence": float(np.mean(values)) if values else None,
            "max_confidence": max(values, default=None),
            "unfamiliar": sum(is_unfamiliar for _, is_unfamiliar in shown),
            "rejected": rejected,
        }


def render_table(figures: dict[str, Any]) -> str:
    """Return the figures as a Markdown table, and how they were measured."""
    lines = [
        "| model | input | n | called unfamiliar | mean confidence | largest confidence |",
        "|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        mean, largest = (
            "-" if row[key] is None else f"{row[key]:.1%}" for key in ("mean_confidence", "max_confidence")
        )
        lines.append(f"| {row['model']} | {row['kind']} | {row['n']} | {row['unfamiliar']} | {mean} | {largest} |")
    return "\n".join([*lines, "", f"`{figures['command']}`. Measured {figures['date']}."])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.confidence", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", action="store_true", help=f"write {RESULT_FILE.name}")
    args = parser.parse_args()
    rows = [row for name in MODELS for row in measure(name, args.count, args.seed)]
    command = f"python -m benchmarks.confidence --count {args.count} --seed {args.seed}"
    figures = {"command": command, "date": date.today().isoformat(), "rows": rows}
    print(render_table(figures))
    if args.save:
        write_figures(RESULT_FILE, figures)


if __name__ == "__main__":
    main()
