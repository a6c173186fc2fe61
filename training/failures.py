"""Classification of training errors: a reason for programs, and one sentence with the remedy for users."""

import errno
import os
from typing import Literal

import torch
from safetensors import SafetensorError

from training.trainer_state import DiskAlmostFull

FailureReason = Literal["refused", "nan", "memory", "disk", "data", "crash"]
DISK_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DISK_FULL_PHRASES = ("no space left", "file too large", "quota exceeded", "failed writing file", "iostream error")
DISK_FULL_MESSAGE = "The disk is full; the last saved step is kept. Free some space, then resume."
OUT_OF_MEMORY_PHRASES = ("out of memory", "can't allocate memory", "cannot allocate memory")


def classify_failure(error: BaseException) -> tuple[FailureReason, str]:
    """Classify an error that ended a training.

    Returns:
        The reason, and a sentence with the remedy. An unknown error is a "crash".
    """
    if known := classify_known_error(error):
        return known
    link = error.__cause__ or error.__context__
    while link:  # an error during cleanup hides the first error
        known = classify_known_error(link)
        if known and known[0] in ("disk", "memory"):
            return known
        link = link.__cause__ or link.__context__
    message = " ".join(str(error).split())[:300]
    return "crash", f"The training program failed: {type(error).__name__}: {message}. The log has the traceback."


def classify_known_error(error: BaseException) -> tuple[FailureReason, str] | None:
    """Return reason and sentence of a known error, or None."""
    message = str(error)
    lowered = message.lower()
    match error:
        case FloatingPointError():
            return "nan", message
        case MemoryError() | torch.OutOfMemoryError():
            return "memory", format_out_of_memory_message(isinstance(error, torch.OutOfMemoryError))
        case DiskAlmostFull():
            return "disk", f"{error.strerror}."
        case OSError() if error.errno in DISK_FULL_ERRNOS:
            return "disk", DISK_FULL_MESSAGE
        case OSError() | RuntimeError() | SafetensorError() if any(phrase in lowered for phrase in DISK_FULL_PHRASES):
            return "disk", DISK_FULL_MESSAGE
        case RuntimeError() if any(phrase in lowered for phrase in OUT_OF_MEMORY_PHRASES):
            return "memory", format_out_of_memory_message("cuda" in lowered)
        case OSError() if error.filename:
            path = os.fspath(error.filename)
            return "data", f"{path} cannot be read or written any more ({error.strerror}). Restore it, then resume."
        case ValueError():
            return "refused", message
    return None


def format_out_of_memory_message(on_device: bool) -> str:
    """Format the sentence for memory of the accelerator, or of the computer."""
    device = "The accelerator" if on_device else "The computer"
    return (
        f"{device} ran out of memory; the last saved step is kept. Halve train.batch_size and double "
        "train.gradient_accumulation_steps, which trains the same with less memory, or lower model.d_model or "
        "model.iterations."
    )
