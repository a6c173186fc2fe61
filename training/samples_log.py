"""Answers of a run to fixed validation inputs: one JSON object per line and evaluation, in a file of bounded size.

A line is `{"step": ..., "evaluation": ..., "samples": [...]}`; `training.live_samples` builds it. A long run keeps only some
evaluations: the first, every second, fourth or eighth after it, and the newest.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctm.io.atomic import write_bytes
from training.event_stream import emit_event

MAX_FILE_BYTES = 8_000_000
MAX_LINES = 100
MIN_LINES = 4
MAX_LINE_BYTES = MAX_FILE_BYTES // (2 * MIN_LINES)
LINE_PATTERN = re.compile(rb'\{"step":(\d{1,18}),"evaluation":(\d{1,18}),.*\}', re.DOTALL)


@dataclass(frozen=True)
class SampleLine:
    """One line of the file, which is parsed on demand only.

    Attributes:
        step: Optimiser step of the evaluation.
        evaluation: Number of the evaluation, from 1.
        content: The line without its line break.
    """

    step: int
    evaluation: int
    content: bytes


@dataclass(frozen=True)
class SamplesLog:
    """The file `samples.jsonl` of a run.

    Attributes:
        path: The file; it need not exist yet.
    """

    path: Path

    def append(self, values: dict[str, Any]) -> None:
        """Append the line of one evaluation, and delete lines of earlier ones if there are too many.

        Args:
            values: The line: `step`, `evaluation`, counted from 1, and `samples`.

        Raises:
            ValueError: A number is not finite, or the line has more than `MAX_LINE_BYTES`; nothing is written.
        """
        ordered = {name: values[name] for name in ("step", "evaluation", "samples")}
        content = json.dumps(ordered, allow_nan=False, separators=(",", ":")).encode()
        if len(content) > MAX_LINE_BYTES:
            raise ValueError(
                f"The samples of an evaluation have {len(content):,} bytes; at most {MAX_LINE_BYTES:,} fit."
            )
        before = self._read_content()
        lines = parse_lines(before)
        line = SampleLine(values["step"], values["evaluation"], content)
        stride = compute_stride([*lines, line])
        kept = select_lines([*lines, line], stride)
        if len(kept) == len(lines) + 1 and before[-1:] in (b"", b"\n"):  # otherwise a write was interrupted
            with self.path.open("ab") as file:
                file.write(content + b"\n")
        else:
            self._write_lines(kept)
        if is_regular(line, stride):  # the log of a remote job is kept as a whole, so its size must be bounded, too
            emit_event(self.path.name, ordered)

    def list_steps(self) -> list[int]:
        """Return the steps whose answers are kept, in ascending order."""
        return [line.step for line in self._read_lines()]

    def read(self, step: int) -> list[dict[str, Any]]:
        """Return the samples of a step; [] if they are not kept.

        Args:
            step: One of `list_steps`.
        """
        for line in self._read_lines():
            if line.step == step:
                try:
                    samples = json.loads(line.content).get("samples")
                except (ValueError, RecursionError):
                    return []
                return samples if isinstance(samples, list) else []
        return []

    def truncate(self, step: int) -> None:
        """Delete lines after `step`, which a resumed run writes again, and incomplete lines."""
        if self.path.is_file():
            self._write_lines([line for line in self._read_lines() if line.step <= step])

    def _read_content(self) -> bytes:
        return self.path.read_bytes() if self.path.is_file() else b""

    def _read_lines(self) -> list[SampleLine]:
        """Return the complete lines, oldest first."""
        return parse_lines(self._read_content())

    def _write_lines(self, lines: list[SampleLine]) -> None:
        write_bytes(self.path, b"".join(line.content + b"\n" for line in lines))


def parse_lines(content: bytes) -> list[SampleLine]:
    """Return the complete lines of a file."""
    matches = map(LINE_PATTERN.fullmatch, content.split(b"\n"))
    return [SampleLine(int(match[1]), int(match[2]), match[0]) for match in matches if match]


def compute_stride(lines: Sequence[SampleLine]) -> int:
    """Return a power of two: of the evaluations after the first one, every `stride`-th and the newest are kept.

    It depends on the number of the newest evaluation and the size of the first line; only lines that grow a lot raise it. A run
    that is interrupted and resumed therefore ends with the same lines as an uninterrupted one.

    Args:
        lines: All lines, oldest first, at least one.
    """
    max_lines = max(MIN_LINES, min(MAX_LINES, MAX_FILE_BYTES // (2 * len(lines[0].content))))
    stride = 1
    while math.ceil((lines[-1].evaluation - 1) / stride) + 1 > max_lines:
        stride *= 2
    while len(kept := select_lines(lines, stride)) > 2 and sum(len(line.content) + 1 for line in kept) > MAX_FILE_BYTES:
        stride *= 2
    return stride


def select_lines(lines: Sequence[SampleLine], stride: int) -> list[SampleLine]:
    """Return the lines to keep with a stride; see `compute_stride`."""
    return [line for line in lines if is_regular(line, stride) or line is lines[-1]]


def is_regular(line: SampleLine, stride: int) -> bool:
    """Return whether a line is kept when it is no longer the newest one."""
    return (line.evaluation - 1) % stride == 0
