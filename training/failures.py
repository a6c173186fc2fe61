"""Classification of training errors: a reason for programs, and one sentence with the remedy for users."""

import errno
import os
from typing import Literal

import torch
from safetensors import SafetensorError

from training.setting_groups import MAX_ACCUMULATION_STEPS, TrainConfig
from training.trainer_state import DiskAlmostFull

FailureReason = Literal["refused", "nan", "memory", "disk", "data", "crash"]
DISK_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DISK_FULL_PHRASES = ("no space left", "file too large", "quota exceeded", "failed writing file", "iostream error")
DISK_FULL_MESSAGE = "The disk is full; the last saved step is kept. Free some space, then resume."
SMALLER_MODEL = "start a new run with a smaller model.d_model or fewer model.iterations"
OUT_OF_MEMORY_PHRASES = ("out of memory", "can't allocate memory", "cannot allocate memory")


class RunFailed(Exception):
    """A training ended with an error of a known kind.

    Attributes:
        reason: The kind.
        message: Sentence with the remedy.
    """

    def __init__(self, reason: FailureReason, message: str) -> None:
        """Create the error.

        Args:
            reason: The kind.
            message: Sentence with the remedy.
        """
        super().__init__(message)
        self.reason = reason
        self.message = message


def classify_failure(
    error: BaseException, settings: TrainConfig | None = None, prefix: str = ""
) -> tuple[FailureReason, str]:
    """Classify an error that ended a training.

    Args:
        error: The error.
        settings: Settings of the training loop, for values in the remedy; None if they are not known.
        prefix: What an override of the current stage begins with; see `Stage.setting_prefix`.

    Returns:
        The reason, and a sentence with the remedy. An unknown error is a "crash".
    """
    if known := classify_known_error(error, settings, prefix):
        return known
    link = error.__cause__ or error.__context__
    while link:  # an error during cleanup hides the first error
        known = classify_known_error(link, settings, prefix)
        if known and known[0] in ("disk", "memory"):
            return known
        link = link.__cause__ or link.__context__
    message = " ".join(str(error).split())[:300]
    return "crash", f"The training program failed: {type(error).__name__}: {message}. The log has the traceback."


def classify_known_error(
    error: BaseException, settings: TrainConfig | None = None, prefix: str = ""
) -> tuple[FailureReason, str] | None:
    """Return reason and sentence of a known error, or None."""
    message = str(error)
    lowered = message.lower()
    match error:
        case RunFailed():
            return error.reason, error.message
        case FloatingPointError():
            return "nan", message
        case MemoryError() | torch.OutOfMemoryError():
            return "memory", format_out_of_memory_message(isinstance(error, torch.OutOfMemoryError), settings, prefix)
        case DiskAlmostFull():
            return "disk", f"{error.strerror}."
        case OSError() if error.errno in DISK_FULL_ERRNOS:
            return "disk", DISK_FULL_MESSAGE
        case OSError() | RuntimeError() | SafetensorError() if any(phrase in lowered for phrase in DISK_FULL_PHRASES):
            return "disk", DISK_FULL_MESSAGE
        case RuntimeError() if any(phrase in lowered for phrase in OUT_OF_MEMORY_PHRASES):
            return "memory", format_out_of_memory_message("cuda" in lowered, settings, prefix)
        case OSError() if error.filename:
            path = os.fspath(error.filename)
            return "data", f"{path} cannot be read or written any more ({error.strerror}). Restore it, then resume."
        case ValueError():
            return "refused", message
    return None


def format_out_of_memory_message(on_device: bool, settings: TrainConfig | None = None, prefix: str = "") -> str:
    """Format the sentence for memory of the accelerator, or of the computer."""
    device = "The accelerator" if on_device else "The computer"
    return f"{device} ran out of memory; the last saved step is kept. {format_memory_remedy(settings, prefix)}"


def format_memory_remedy(settings: TrainConfig | None = None, prefix: str = "") -> str:
    """Format what to do about a lack of memory: smaller batches if there are any, or else a smaller model.

    Args:
        settings: Settings of the training loop; None if they are not known.
        prefix: What an override of the current stage begins with; see `Stage.setting_prefix`.
    """
    if settings is None:
        return (
            "Halve train.batch_size, double train.gradient_accumulation_steps and resume, which trains the same with less memory, "
            f"or {SMALLER_MODEL}."
        )
    batch_size = settings.batch_size
    divisor = next((number for number in range(2, batch_size + 1) if batch_size % number == 0), 1)
    accumulation_steps = settings.gradient_accumulation_steps * divisor
    if divisor == 1 or accumulation_steps > MAX_ACCUMULATION_STEPS:
        return f"A batch has one sample already: {SMALLER_MODEL}." if divisor == 1 else f"To use less, {SMALLER_MODEL}."
    return (
        f"Resume with {prefix}train.batch_size={batch_size // divisor} {prefix}train.gradient_accumulation_steps={accumulation_steps}, which "
        f"trains the same with less memory, or {SMALLER_MODEL}."
    )
