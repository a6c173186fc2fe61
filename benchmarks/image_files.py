"""Measure how many digits are recognized after they were stored in image files of many kinds.

    python -m benchmarks.image_files [--only WORDS] [--count 200] [--large-count 10] [--out benchmarks/image_files.json]

Drawings are digits of the MNIST test file, which no model was trained on, enlarged to 120 to 320 pixels with bicubic
interpolation, with a margin of 10 to 25 %. The same drawings go through every encoder of `benchmarks.image_kinds`, with one
seed per file. The row `usual, PNG` is the reference: the drawings without any difficulty.
"""

import argparse
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.image_encodings import Encoder
from benchmarks.image_kinds import ENCODERS
from benchmarks.paths import ROOT, write_figures
from ctm.checkpoint import load
from inference.engine import Engine
from training.data.image_reader import read_image
from training.finalize import get_default_policy
from training.model_card import compute_wilson_interval
from training.tasks import build_task
from training.tasks.base import Task
from training.tasks.digits import load_images

SEED = 23_000
MAX_LARGE_FILES = 10  # files of many megapixels take long to encode


def draw_digits(split: str, count: int, seed: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield drawings, black strokes on white, float in [0, 1], and their digits."""
    pictures, labels = load_images(split)
    random = np.random.default_rng(seed)
    for row in random.choice(len(labels), count, replace=count > len(labels)).tolist():
        side = int(random.integers(120, 321))
        strokes = Image.fromarray(np.rint(pictures[row, 0].numpy() * 255).astype(np.uint8))
        strokes = strokes.resize((side, side), Image.Resampling.BICUBIC)
        margin = round(side * random.uniform(0.1, 0.25))
        canvas = np.zeros((side + 2 * margin, side + 2 * margin), np.float32)
        canvas[margin : margin + side, margin : margin + side] = np.asarray(strokes, np.float32) / 255
        yield 1 - canvas, int(labels[row])


class DigitReader:
    """The bundled digits model with its default policy.

    Args:
        decode: Function from the content of a file to pixels of shape (h, w, 3) in [0, 1].
    """

    def __init__(self, decode: Callable[[bytes], np.ndarray]) -> None:
        self.checkpoint = load(ROOT / "checkpoints/digits")
        self.task: Task = build_task(self.checkpoint.task)
        self.engine = Engine(self.checkpoint.model, get_default_policy(self.checkpoint.halting))
        self.decode = decode

    def read_files(self, files: list[bytes]) -> list[int | None]:
        """Return the digit in each file, None where the file is refused."""
        answers: list[int | None] = [None] * len(files)
        inputs, rows = [], []
        for row, content in enumerate(files):
            try:
                inputs.append(self.task.parse_input(self.decode(content)).inputs)
            except ValueError:
                continue
            rows.append(row)
        if rows:
            result = self.engine.run(torch.cat(inputs))
            for row, answer in zip(rows, result.answer.argmax(1).tolist(), strict=True):
                answers[row] = answer
        return answers


def measure_encoder(
    reader: DigitReader, drawings: list[tuple[np.ndarray, int]], encoder: Encoder, seed: int
) -> dict[str, Any]:
    """Return how many drawings are recognized after they were stored by an encoder."""
    files = [encoder(drawing, np.random.default_rng((seed, number))) for number, (drawing, _) in enumerate(drawings)]
    answers = reader.read_files(files)
    num_right = sum(answer == label for answer, (_, label) in zip(answers, drawings, strict=True))
    low, high = compute_wilson_interval(num_right / len(files), len(files))
    return {
        "n": len(files),
        "right": num_right,
        "refused": answers.count(None),
        "interval": [round(low, 4), round(high, 4)],
    }


def measure(reader: DigitReader, split: str, count: int, large_count: int, seed: int, only: str = "") -> dict[str, Any]:
    """Return the figures of all encoders whose name contains `only`."""
    drawings = list(draw_digits(split, count, seed))
    rows = {}
    for group, encoders in ENCODERS.items():
        for name, encoder in encoders.items():
            if only not in f"{group}: {name}":
                continue
            chosen = drawings[: large_count if group == "large JPEG" else count]
            rows[f"{group}: {name}"] = measure_encoder(reader, chosen, encoder, seed)
    return {"split": split, "seed": seed, "rows": rows}


def render_table(figures: dict[str, Any]) -> str:
    """Render the figures of every kind of file as a table of Markdown."""
    lines = ["| file | n | recognized | 95% interval | rejected |", "|---|---|---|---|---|"]
    for name, row in figures["rows"].items():
        low, high = row["interval"]
        lines.append(
            f"| {name} | {row['n']} | {row['right'] / row['n']:.1%} | {low:.1%} to {high:.1%} | {row['refused']} |"
        )
    return "\n".join(lines)


def render_summary(figures: dict[str, Any]) -> str:
    """Render the figures of every group of files as a table of Markdown.

    The interval is that of the kind with the fewest recognized drawings: kinds share their drawings, so a common interval
    would be too narrow.
    """
    lines = ["| files | kinds | mean | lowest kind | recognized | 95% interval |", "|---|---|---|---|---|---|"]
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for name, row in figures["rows"].items():
        group, _, variant = name.partition(": ")
        groups.setdefault(group, {})[variant] = row
    for group, rows in groups.items():
        shares = {variant: row["right"] / row["n"] for variant, row in rows.items()}
        lowest = min(shares, key=lambda variant: shares[variant])
        low, high = rows[lowest]["interval"]
        lines.append(
            f"| {group} | {len(rows)} | {sum(shares.values()) / len(shares):.1%} | {lowest} "
            f"| {rows[lowest]['right']} of {rows[lowest]['n']} ({shares[lowest]:.1%}) | {low:.1%} to {high:.1%} |"
        )
    command = f"`python -m benchmarks.image_files`, {figures['split']} digits, seed {figures['seed']:,}"
    return "\n".join([*lines, "", f"{command}. Measured {figures['date']}."])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.image_files", description=__doc__.splitlines()[0])
    parser.add_argument("--split", default="test", help="validation while the reader changes, test for the figures")
    parser.add_argument("--count", type=int, default=200, help="drawings per kind of file")
    parser.add_argument("--large-count", type=int, default=MAX_LARGE_FILES, help="drawings of many megapixels")
    parser.add_argument("--only", default="", help="measure the kinds of files whose name contains these words")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    reader = DigitReader(lambda content: read_image(content).to_array())
    figures = measure(reader, args.split, args.count, args.large_count, args.seed, args.only)
    figures["date"] = datetime.date.today().isoformat()
    if args.out:
        write_figures(args.out, figures)
    print(render_table(figures))


if __name__ == "__main__":
    main()
