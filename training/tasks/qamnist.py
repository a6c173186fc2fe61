"""Questions about digits (Q&A-MNIST, paper section 4.6): the model sees digits one after the other, then a question about them.

A question refers to digits by their positions: `1 + 3 - 2` is the first digit, plus the third, minus the second, modulo 10.
The model must remember every digit, because the question comes after the images. Images come from the bundled part of MNIST;
held-out splits use images that do not occur in training.
"""

import re
import zlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ctm.modules.input_schedule import (
    EMPTY_CODE,
    IMAGE_CODE,
    IMAGE_SIZE,
    MINUS,
    PLUS,
    compute_frame_durations,
    pack_frames,
    parse_frame_codes,
)
from ctm.settings import Settings
from training.auxiliary_losses import AuxiliaryTargets
from training.losses import IGNORE_INDEX
from training.tasks.base import Task, check_curriculum
from training.tasks.digits import MNIST_MEAN, MNIST_STD, DigitsSettings, denormalise, load_images, random_affine
from training.tasks.samples import Batch, TaskAnswer, TaskInput, TaskSpec
from training.tasks.splits import LONGER, TEST, TRAIN, VALIDATION, make_generator

BASE = 10
NUM_STATES = 3 * BASE  # classes of intermediate results, see `build_states`
SINGLE_DIGIT_FRACTION = 0.25  # share of training questions without an operation
MAX_QUESTION_CHARS = 100
OPERATORS = {"+": PLUS, "-": MINUS}


class QamnistSettings(Settings):
    """Settings of the task `qamnist`."""

    digits: int = Field(
        3, ge=1, le=10, title="Digits shown", description="largest number of digits shown; published: 5"
    )
    operations: int = Field(
        3, ge=1, le=20, title="Operations", description="operations of the longest question; published: 5"
    )
    curriculum_operations: int | None = Field(
        None,
        ge=1,
        le=20,
        title="Operations in this stage",
        description="operations of the longest question in a stage of a curriculum. None: operations",
    )
    per_digit: int = Field(3, ge=1, le=50, title="Ticks per digit", description="ticks per digit; published: 1 or 10")
    per_part: int = Field(
        3,
        ge=1,
        le=50,
        title="Ticks per part of a question",
        description="ticks per part of a question, a position or an operator; published: 1 or 10",
    )
    answering: int = Field(
        6,
        ge=1,
        le=100,
        title="Ticks for the answer",
        description="ticks after the question, for the answer; published: 1 or 10",
    )

    @model_validator(mode="after")
    def _check_curriculum(self) -> "QamnistSettings":
        check_curriculum("curriculum_operations", self.curriculum_operations, "operations", self.operations)
        return self


class Qamnist(Task):
    """Sums of remembered digits (paper section 4.6). Difficulty is the number of operations.

    Axes of the tensors: B samples, D digits of a sample, Q positions of a question.
    """

    name = "qamnist"
    title = "Questions on digits"
    input_type = "text"
    supports_generation = True
    difficulty_name = "operations"
    splits = (*Task.splits, LONGER)
    num_states = NUM_STATES
    states_have_places = False
    states_have_positions = False
    Settings = QamnistSettings
    settings: QamnistSettings

    @property
    def input_hint(self) -> str:
        """One line that describes a valid input."""
        return (
            f"up to {self.settings.digits} digits, a colon, then a sum that refers to them by position, up to "
            f"{self.settings.operations} operations; for example {self.get_examples()[0]}"
        )

    @property
    def input_editor(self) -> dict[str, Any]:
        """Editor for the digits and the question."""
        return {"kind": "digits", "most": self.settings.digits, "operations": self.settings.operations}

    @property
    def _max_question_parts(self) -> int:
        return 2 * self.settings.operations + 1

    def get_spec(self) -> TaskSpec:
        """Return the requirements on the model: ten classes, and the ticks that the input schedule takes."""
        settings = self.settings
        ticks = settings.digits * settings.per_digit + self._max_question_parts * settings.per_part + settings.answering
        schedule = {
            "iterations": ticks,
            "iterations_per_digit": settings.per_digit,
            "iterations_per_question_part": settings.per_part,
            "iterations_for_answering": settings.answering,
        }
        return TaskSpec("qamnist_backbone", classes=BASE, config_overrides=schedule)

    def sample(self, split: str, count: int, generator: torch.Generator) -> Batch:
        """Sample questions, uniform over the numbers of digits and operations, the positions and the operators.

        Some training questions have no operation, because a model learns to recognise digits sooner from these.

        Args:
            split: One of `splits`; `longer` has up to twice as many operations as training and uses test images.
            count: Number of samples B.
            generator: Source of all randomness.

        Returns:
            Inputs of shape (B, F, 1025), float32 frames (see `ctm.modules.input_schedule`); targets of shape (B, 1); states of
            shape (B, 2 F).
        """
        low, high = self._get_operation_range(split)
        num_digits = torch.randint(1, self.settings.digits + 1, (count,), generator=generator)
        operations = torch.randint(low, high + 1, (count,), generator=generator)
        if split == TRAIN:
            operations *= torch.rand(count, generator=generator) >= SINGLE_DIGIT_FRACTION
        is_distorted = split in (TRAIN, VALIDATION)
        return self.sample_questions(
            self.get_source_split(split), num_digits, operations, high, generator, is_distorted
        )

    def sample_questions(
        self,
        image_split: str,
        num_digits: Int[Tensor, " B"],
        operations: Int[Tensor, " B"],
        max_operations: int,
        generator: torch.Generator,
        is_distorted: bool = False,
    ) -> Batch:
        """Sample questions of given sizes, uniform over the images, the positions and the operators.

        Args:
            image_split: Split of MNIST that the images come from.
            num_digits: Number of digits of each sample.
            operations: Number of operations of each question.
            max_operations: Largest number of operations that may occur.
            generator: Source of all randomness.
            is_distorted: Whether the images are rotated, shifted and scaled at random.
        """
        count = len(operations)
        images, labels = load_images(image_split)
        rows = torch.randint(len(labels), (count, self.settings.digits), generator=generator)
        digit_images = images[rows.flatten()]
        if is_distorted:
            digit_images = random_affine(digit_images, generator, DigitsSettings())
        positions = (torch.rand(count, max_operations + 1, generator=generator) * num_digits.unsqueeze(1)).long()
        signs = torch.randint(2, (count, max_operations), generator=generator) * 2 - 1
        frames = self._build_sample_frames(digit_images, num_digits, positions, signs, operations)
        operands = labels[rows].gather(1, positions)
        values = compute_running_values(operands, signs)
        targets = values.gather(1, operations.unsqueeze(1))
        states = build_states(parse_frame_codes(frames), labels[rows], values, operands)
        return Batch(frames, targets, operations, states)

    def _get_operation_range(self, split: str) -> tuple[int, int]:
        """Return the smallest and the largest number of operations of a split."""
        operations = self.settings.operations
        return (
            (operations + 1, 2 * operations)
            if split == LONGER
            else (1, self.settings.curriculum_operations or operations)
        )

    def compute_auxiliary_targets(self, batch: Batch) -> AuxiliaryTargets:
        """Return the digit of every image, and the digit at and the value after every position of the question.

        A digit at a position is read one tick after its frame, the others while the frame after theirs is shown, at its last tick.
        """
        assert batch.states is not None, "`sample` states them"
        settings = self.settings
        durations = compute_frame_durations(parse_frame_codes(batch.inputs), settings.per_digit, settings.per_part)
        next_ticks = durations.cumsum(1)  # tick after every frame
        return AuxiliaryTargets(
            batch.states, probe_ticks=torch.cat((next_ticks + settings.per_part - 1, next_ticks), 1)
        )

    def _build_sample_frames(
        self,
        images: Float[Tensor, "n 1 28 28"],
        num_digits: Int[Tensor, " B"],
        positions: Int[Tensor, "B Q"],
        signs: Int[Tensor, "B O"],
        operations: Int[Tensor, " B"],
    ) -> Float[Tensor, "B F 1025"]:
        """Build the frames of samples; n is the number of samples times the largest number of digits."""
        rows = zip(positions.tolist(), signs.tolist(), operations.tolist(), strict=True)
        questions = [build_question(places, ops)[: 2 * length + 1] for places, ops, length in rows]
        by_sample = resize_and_normalise(images).unflatten(0, (len(num_digits), self.settings.digits))
        digits = [sample[:size] for sample, size in zip(by_sample, num_digits.tolist(), strict=True)]
        return self._build_frames(digits, questions)

    def _build_frames(
        self, images: list[Float[Tensor, "_ 1 32 32"]], questions: list[list[int]]
    ) -> Float[Tensor, "B F 1025"]:
        return pack_frames(images, questions, self.settings.digits + self._max_question_parts)

    def parse_input(self, raw_input: Any) -> TaskInput:
        """Parse a text such as `3 7 5 : 1 + 3 - 2`; each digit is displayed as an image of the test split.

        Raises:
            ValueError: The digits or the question are invalid, or there are too many of either.
        """
        text = " ".join(str(raw_input or "").replace("\u2212", "-").split())
        if not text:
            raise ValueError(f"Type {self.input_hint}.")
        digits, question = self._split_text(text)
        positions, operators = self._parse_question(question, len(digits))
        parts = [positions[0] - 1]
        for operator, position in zip(operators, positions[1:], strict=True):
            parts += [OPERATORS[operator], position - 1]
        images = torch.stack([select_digit_image(digit, index, text) for index, digit in enumerate(digits)])
        normalised = resize_and_normalise(images)
        expression = str(digits[positions[0] - 1])
        for operator, position in zip(operators, positions[1:], strict=True):
            expression += f" {operator} {digits[position - 1]}"
        values = torch.tensor([[digits[position - 1] for position in positions]])
        signs = torch.tensor([[1 if operator == "+" else -1 for operator in operators]])
        result = int(compute_running_values(values, signs)[0, -1])
        return self._build_question_input(normalised, parts, expression, result)

    def build_task_input(self, sample: Batch) -> TaskInput:
        """Return the images and the question of a sample as a parsed input; its digits are named by their positions."""
        frames = sample.inputs[0]
        codes = parse_frame_codes(sample.inputs)[0]
        images = frames[codes == IMAGE_CODE, 1:].unflatten(1, (1, IMAGE_SIZE, IMAGE_SIZE))
        parts = [code for code in codes.tolist() if code not in (IMAGE_CODE, EMPTY_CODE)]
        signs = {code: sign for sign, code in OPERATORS.items()}
        expression = " ".join(signs.get(part, f"digit {part + 1}") for part in parts)
        return self._build_question_input(images, parts, expression, int(sample.targets[0, 0]))

    def _build_question_input(
        self, images: Float[Tensor, "n 1 32 32"], parts: list[int], expression: str, result: int
    ) -> TaskInput:
        """Build the input of a question.

        Args:
            images: Normalised images of the digits.
            parts: The question as codes of `ctm.modules.input_schedule`.
            expression: The question as the sentence of the answer states it.
            result: The correct answer.
        """
        phases = self._build_schedule(len(images), parts)
        display = {
            "kind": "picture",
            "pixels": np.concatenate([denormalise(image[0]) for image in images], 1),
            "phases": phases,
            "listening": phases[-1]["from"] - 1,
        }
        return TaskInput(self._build_frames([images], [parts]), display, 1, expression, (result,))

    def _split_text(self, text: str) -> tuple[list[int], str]:
        """Return the digits before the colon, and the text of the question after it.

        Raises:
            ValueError: There is no colon or no digit, another word stands before the colon, or there are too many digits.
        """
        before, colon, question = text.partition(":")
        digits = [int(word) for word in before.split() if re.fullmatch("[0-9]", word)]
        if not colon or not digits or len(digits) != len(before.split()):
            raise ValueError(
                f"Type single digits with spaces between them, then a colon and the question: got {text[:30]!r}."
            )
        if len(digits) > self.settings.digits:
            raise ValueError(f"This checkpoint reads at most {self.settings.digits} digits, got {len(digits)}.")
        return digits, question

    def _parse_question(self, question: str, num_digits: int) -> tuple[list[int], list[str]]:
        """Return the positions, counted from 1, and the operators between them.

        Raises:
            ValueError: The question is no sum of positions, has too many operations, or refers to a missing digit.
        """
        compact = "".join(question.split())
        if not re.fullmatch(r"[0-9]+([+-][0-9]+)*", compact, re.ASCII) or len(compact) > MAX_QUESTION_CHARS:
            raise ValueError(f"The question is a sum of positions, such as 1 + 2 - 1: got {question.strip()[:30]!r}.")
        positions = [int(position) for position in re.split("[+-]", compact)]
        operators = re.findall("[+-]", compact)
        if not 1 <= len(operators) <= self.settings.operations:
            raise ValueError(
                f"This checkpoint reads questions with 1 to {self.settings.operations} operations, got {len(operators)}."
            )
        if invalid := [position for position in positions if not 1 <= position <= num_digits]:
            raise ValueError(
                f"The question refers to digit {invalid[0]}, but there are only {num_digits}; the first digit is 1."
            )
        return positions, operators

    def _build_schedule(self, num_digits: int, parts: list[int]) -> list[dict[str, Any]]:
        """Return the first and last tick, counted from 1, of every phase of the input; an image has its index in the strip."""
        settings = self.settings
        signs = {code: sign for sign, code in OPERATORS.items()}
        steps: list[tuple[str, int, dict[str, Any]]] = [
            (f"digit {index + 1}", settings.per_digit, {"picture": index}) for index in range(num_digits)
        ]
        steps += [(signs.get(part, f"place {part + 1}"), settings.per_part, {}) for part in parts]
        steps.append(("answer", settings.answering, {}))
        phases = []
        tick = 1
        for name, ticks, image in steps:
            phases.append({"name": name, "from": tick, "until": tick + ticks - 1, **image})
            tick += ticks
        return phases

    def format_answer(self, task_input: TaskInput, choices: list[int]) -> TaskAnswer:
        """Return the result of the question."""
        return TaskAnswer(choices[0], str(choices[0]), f"{task_input.context} = {choices[0]} (mod {BASE})")

    def get_labels(self) -> list[str]:
        """Return the names of the classes, the digits."""
        return [str(digit) for digit in range(BASE)]

    def get_examples(self) -> list[str]:
        """Return the examples that the task can read."""
        examples = ("3 7 5 : 1 + 3 - 2", "8 4 : 2 - 1", "9 : 1 + 1 + 1", "6 : 1 + 1")
        settings = self.settings
        return [
            text
            for text in examples
            if len(text.partition(":")[0].split()) <= settings.digits
            and text.count("+") + text.count("-") <= settings.operations
        ]

    def generate_input(self, seed: int, difficulty: int | None = None) -> str:
        """Generate a question; its images belong to the test split."""
        generator = make_generator("invent", seed)

        def draw_integer(low: int, high: int) -> int:
            return int(torch.randint(low, high + 1, (), generator=generator))

        digits = [draw_integer(0, 9) for _ in range(draw_integer(1, self.settings.digits))]
        question = str(draw_integer(1, len(digits)))
        for _ in range(draw_integer(1, self.settings.operations) if difficulty is None else difficulty):
            question += f" {'+-'[draw_integer(0, 1)]} {draw_integer(1, len(digits))}"
        return f"{' '.join(map(str, digits))} : {question}"

    @classmethod
    def settings_from_config(cls, config: dict[str, Any]) -> dict[str, Any] | None:
        """Infer the ticks per phase from a published config.

        The config does not state the numbers of digits and operations, so they are those of the paper's test.
        """
        keys = ("iterations_per_digit", "iterations_per_question_part", "iterations_for_answering")
        if any(type(config.get(key)) is not int for key in keys):
            return None
        per_digit, per_part, answering = (config[key] for key in keys)
        return {"digits": 4, "operations": 4, "per_digit": per_digit, "per_part": per_part, "answering": answering}


def build_question(positions: list[int], signs: list[int]) -> list[int]:
    """Interleave positions, counted from 0, and operators (+1 or -1), as codes of `ctm.modules.input_schedule`."""
    parts = [positions[0]]
    for sign, position in zip(signs, positions[1:], strict=True):
        parts += [PLUS if sign > 0 else MINUS, position]
    return parts


def compute_running_values(values: Int[Tensor, "B Q"], signs: Int[Tensor, "B O"]) -> Int[Tensor, "B Q"]:
    """Return the signed sum up to every value of a question, modulo 10; the first value has no sign."""
    return (values * F.pad(signs, (1, 0), value=1)).cumsum(1) % BASE


def build_states(
    codes: Int[Tensor, "B F"], digits: Int[Tensor, "B D"], values: Int[Tensor, "B Q"], operands: Int[Tensor, "B Q"]
) -> Int[Tensor, "B G"]:
    """Return two intermediate results for every frame, G = 2 F; `IGNORE_INDEX` where there is none.

    The first F are the digit of an image, plus BASE, or the value so far at a position of the question. The others are the digit
    at a position of the question, plus 2 BASE.

    Args:
        codes: Codes of the frames.
        digits: Digits of the images; a row may have fewer images.
        values: Value after every position of the question; a row may have fewer positions.
        operands: Digit at every position of the question.
    """
    is_image, is_position = codes == IMAGE_CODE, codes >= 0
    results = torch.where(is_image, select_in_order(is_image, BASE + digits), select_in_order(is_position, values))
    recalled = select_in_order(is_position, 2 * BASE + operands)
    return torch.cat((results, recalled), 1)


def select_in_order(mask: Bool[Tensor, "B F"], values: Int[Tensor, "B n"]) -> Int[Tensor, "B F"]:
    """Return the first value of a row at the first place of the mask, the second at the second, and so on; else `IGNORE_INDEX`."""
    index = (mask.cumsum(1) - 1).clamp(min=0, max=values.size(1) - 1)
    return values.gather(1, index).where(mask, IGNORE_INDEX)


def resize_and_normalise(images: Float[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 1 32 32"]:
    """Resize images in [0, 1] to 32 x 32 pixels and normalise them, as published."""
    larger = F.interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True)
    return (larger - MNIST_MEAN) / MNIST_STD


def select_digit_image(digit: int, index: int, text: str) -> Float[Tensor, "1 28 28"]:
    """Return a test image of a digit; the text and the index of the digit in it select the image."""
    images, labels = load_images(TEST)
    rows = (labels == digit).nonzero().flatten()
    return images[rows[zlib.crc32(f"{text} {index}".encode()) % len(rows)]]
