"""Questions on digits (QAMNIST, paper section 4.6): some digits are shown one after the other, then a sum of theirs is asked.

What is asked names digits by their places, in the order in which they were shown: `1 + 3 - 2` is the first, plus the third,
minus the second, modulo 10. So the machine has to remember what it saw before it knew what for. Pictures are the bundled part
of MNIST; what is validated, calibrated and tested on shows pictures that were never trained on.
"""

import re
import zlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ctm.modules.input_schedule import IMAGE_SIZE, MINUS, PLUS, pack_frames
from ctm.settings import Settings
from training.tasks.base import Batch, Task, TaskAnswer, TaskInput, TaskSpec
from training.tasks.digits import MNIST_MEAN, MNIST_STD, DigitsSettings, load_images, random_affine
from training.tasks.splits import LONGER, TEST, TRAIN, VALIDATION, make_generator

BASE = 10
MAX_EXTRA_OPERATIONS = 2  # operations that a longer question has beyond any that is trained on, at most
SINGLE_DIGIT_FRACTION = 0.25  # share of the questions to train on that name a single digit
OPERATORS = {"+": PLUS, "-": MINUS}


class QamnistSettings(Settings):
    digits: int = Field(3, ge=1, le=10, description="digits that are shown at most; published: 5")
    operations: int = Field(3, ge=1, le=20, description="operations of a question at most; published: 5")
    per_digit: int = Field(3, ge=1, le=50, description="ticks for each digit; published: 1 or 10")
    per_part: int = Field(3, ge=1, le=50, description="ticks for each part of a question; published: 1 or 10")
    answering: int = Field(6, ge=1, le=100, description="ticks in which it may answer; published: 1 or 10")


class Qamnist(Task):
    name = "qamnist"
    title = "Questions on digits"
    input_type = "text"
    supports_generation = True
    splits = (*Task.splits, LONGER)
    Settings = QamnistSettings

    @property
    def input_hint(self) -> str:
        digits, operations = self.settings.digits, self.settings.operations
        return (
            f"up to {digits} digits, a colon, and a sum of them by their places, up to {operations} operations: "
            f"{self.get_examples()[0]}"
        )

    @property
    def input_editor(self) -> dict[str, Any]:
        return {"kind": "digits", "most": self.settings.digits, "operations": self.settings.operations}

    @property
    def _max_question_parts(self) -> int:
        return 2 * self.settings.operations + 1

    def get_spec(self) -> TaskSpec:
        settings = self.settings
        ticks = settings.digits * settings.per_digit + self._max_question_parts * settings.per_part + settings.answering
        fixed = {
            "iterations": ticks,
            "iterations_per_digit": settings.per_digit,
            "iterations_per_question_part": settings.per_part,
            "iterations_for_answering": settings.answering,
        }
        return TaskSpec("qamnist_backbone", classes=BASE, config_overrides=fixed)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Numbers of digits and of operations are drawn evenly, places and operators, too.

        Some of the questions to train on have no operation: what digit is seen is learned sooner when it is asked for.
        """
        settings = self.settings
        least, most = (
            (settings.operations + 1, settings.operations + MAX_EXTRA_OPERATIONS)
            if split == LONGER
            else (1, settings.operations)
        )
        pictures, labels = load_images(TEST if split == LONGER else split)
        shown = torch.randint(1, settings.digits + 1, (count,), generator=generator)
        operations = torch.randint(least, most + 1, (count,), generator=generator)
        if split == TRAIN:
            operations *= torch.rand(count, generator=generator) >= SINGLE_DIGIT_FRACTION
        rows = torch.randint(len(labels), (count, settings.digits), generator=generator)
        seen = pictures[rows.flatten()]
        if split in (TRAIN, VALIDATION):
            seen = random_affine(seen, generator, DigitsSettings())
        places = (torch.rand(count, most + 1, generator=generator) * shown.unsqueeze(1)).long()
        signs = torch.randint(2, (count, most), generator=generator) * 2 - 1
        asked = [build_question(p, s) for p, s in zip(places.tolist(), signs.tolist(), strict=True)]
        asked = [parts[: 2 * size + 1] for parts, size in zip(asked, operations.tolist(), strict=True)]
        values = labels[rows].gather(1, places)
        signed = F.pad(signs, (1, 0), value=1).masked_fill(torch.arange(most + 1) > operations.unsqueeze(1), 0)
        result = (values * signed).sum(1, keepdim=True) % BASE
        grouped = resize_and_normalise(seen).unflatten(0, (count, settings.digits))
        kept = [row[:size] for row, size in zip(grouped, shown.tolist(), strict=True)]
        return Batch(self._build_frames(kept, asked), result, operations)

    def _build_frames(
        self, images: list[Float[Tensor, "_ 1 32 32"]], questions: list[list[int]]
    ) -> Float[Tensor, "B F 1025"]:
        return pack_frames(images, questions, self.settings.digits + self._max_question_parts)

    def parse_input(self, raw_input: Any) -> TaskInput:
        """Digits are shown as somebody wrote them whose writing was never trained on."""
        text = " ".join(str(raw_input or "").replace("\u2212", "-").split())
        if not text:
            raise ValueError(f"Type {self.input_hint}.")
        before, colon, after = text.partition(":")
        digits = [int(digit) for digit in before.split() if re.fullmatch("[0-9]", digit)]
        if not colon or not digits or len(digits) != len(before.split()):
            raise ValueError(f"Single digits come first, with spaces between them, then a colon: got {text[:30]!r}.")
        if len(digits) > self.settings.digits:
            raise ValueError(f"This checkpoint is shown at most {self.settings.digits} digits, got {len(digits)}.")
        question = "".join(after.split())
        if not re.fullmatch(r"[0-9]+([+-][0-9]+)*", question, re.ASCII) or len(question) > 100:
            raise ValueError(f"The question is a sum of places, such as 1 + 2 - 1: got {after.strip()[:30]!r}.")
        places, signs = [int(place) for place in re.split("[+-]", question)], re.findall("[+-]", question)
        if not 1 <= len(signs) <= self.settings.operations:
            raise ValueError(f"A question has 1 to {self.settings.operations} operations here, got {len(signs)}.")
        if wrong := [place for place in places if not 1 <= place <= len(digits)]:
            raise ValueError(f"The question asks for digit {wrong[0]}, but {len(digits)} are shown; count from 1.")
        written = [select_digit_image(digit, place, text) for place, digit in enumerate(digits)]
        parts = [places[0] - 1]
        for sign, place in zip(signs, places[1:], strict=True):
            parts += [OPERATORS[sign], place - 1]
        inputs = self._build_frames([resize_and_normalise(torch.stack(written))], [parts])
        strip = np.concatenate([denormalise(picture) for picture in resize_and_normalise(torch.stack(written))], 1)
        phases = self._build_schedule(len(digits), parts)
        shown = {"kind": "picture", "pixels": strip, "phases": phases, "listening": phases[-1]["from"] - 1}
        spelled = str(digits[places[0] - 1]) + "".join(
            f" {sign} {digits[place - 1]}" for sign, place in zip(signs, places[1:], strict=True)
        )
        return TaskInput(inputs, shown, 1, spelled)

    def _build_schedule(self, digits: int, parts: list[int]) -> list[dict[str, Any]]:
        """What is shown from which tick to which, counted from 1; with a picture its place in the strip."""
        settings, phases, tick = self.settings, [], 1
        names = [(f"digit {place + 1}", settings.per_digit, {"picture": place}) for place in range(digits)]
        signs = {code: sign for sign, code in OPERATORS.items()}
        names += [(signs.get(part, f"place {part + 1}"), settings.per_part, {}) for part in parts]
        for name, ticks, more in names:
            phases.append({"name": name, "from": tick, "until": tick + ticks - 1, **more})
            tick += ticks
        return [*phases, {"name": "answer", "from": tick, "until": tick + settings.answering - 1}]

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        return TaskAnswer(choices[0], str(choices[0]), f"{task_input.context} is {choices[0]} modulo {BASE}")

    def get_labels(self) -> list[str]:
        return [str(digit) for digit in range(BASE)]

    def get_examples(self) -> list[str]:
        examples = ("3 7 5 : 1 + 3 - 2", "8 4 : 2 - 1", "9 : 1 + 1 + 1", "6 : 1 + 1")
        settings = self.settings
        return [
            text
            for text in examples
            if len(text.partition(":")[0].split()) <= settings.digits
            and text.count("+") + text.count("-") <= settings.operations
        ]

    def generate_input(self, seed: int) -> str:
        """A question that was never asked in training: its pictures never were shown."""
        generator = make_generator("invent", seed)
        draw = lambda least, most: int(torch.randint(least, most + 1, (), generator=generator))  # noqa: E731
        digits = [draw(0, 9) for _ in range(draw(1, self.settings.digits))]
        question = str(draw(1, len(digits)))
        for _ in range(draw(1, self.settings.operations)):
            question += f" {'+-'[draw(0, 1)]} {draw(1, len(digits))}"
        return f"{' '.join(map(str, digits))} : {question}"

    @classmethod
    def settings_from_config(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """The published phases; how much may be shown is not told, so what the paper tests on is taken."""
        keys = ("iterations_per_digit", "iterations_per_question_part", "iterations_for_answering")
        if any(type(config.get(key)) is not int for key in keys):
            return None
        per_digit, per_part, answering = (config[key] for key in keys)
        return {"digits": 4, "operations": 4, "per_digit": per_digit, "per_part": per_part, "answering": answering}


def build_question(places: list[int], signs: list[int]) -> list[int]:
    """Places and operators in turn, as the machine is told them."""
    parts = [places[0]]
    for sign, place in zip(signs, places[1:], strict=True):
        parts += [PLUS if sign > 0 else MINUS, place]
    return parts


def resize_and_normalise(images: Float[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 1 32 32"]:
    """Enlarged and normalised as published."""
    larger = F.interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True)
    return (larger - MNIST_MEAN) / MNIST_STD


def denormalise(image: Float[Tensor, "1 32 32"]) -> np.ndarray:
    """A picture to look at, from 0 to 1."""
    return (image[0] * MNIST_STD + MNIST_MEAN).clamp(0, 1).numpy()


def select_digit_image(digit: int, place: int, text: str) -> Float[Tensor, "1 28 28"]:
    """Some test picture of a digit, always the same one for the same question."""
    pictures, labels = load_images(TEST)
    rows = (labels == digit).nonzero().flatten()
    return pictures[rows[zlib.crc32(f"{text} {place}".encode()) % len(rows)]]
