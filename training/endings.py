"""How a training ended, in one sentence for people and one word for programs.

The process that ends first says why; those that fall because of it add nothing.
"""

import errno
import json
import os
import time
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError

Reason = Literal["finished", "stopped", "refused", "nan", "memory", "disk", "data", "crash"]
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FULL_WORDS = ("no space left", "file too large", "quota exceeded", "failed writing file", "iostream error")
MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory")


def note_ending(folder: Path, reason: Reason, sentence: str) -> None:
    """Write `ending.json` into a run folder, unless another process of the same training wrote one already."""
    values = {"reason": reason, "sentence": " ".join(sentence.split()), "time": time.time()}
    try:
        with (folder / "ending.json").open("x", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
    except OSError:  # it is there, or the disk is full: the exit code tells the rest
        return


def explain(error: BaseException) -> tuple[Reason, str]:
    """Why a training ended with this error: a reason, and a sentence with the remedy."""
    text = str(error)
    low = text.lower()
    match error:
        case FloatingPointError():
            return "nan", text
        case MemoryError() | torch.OutOfMemoryError():
            return "memory", too_little_memory(isinstance(error, torch.OutOfMemoryError))
        case OSError() if error.errno in FULL:
            return "disk", f"{error.strerror or text}.".replace("..", ".")
        case OSError() | RuntimeError() | SafetensorError() if any(words in low for words in FULL_WORDS):
            return "disk", "The disk is full; the last saved step is kept. Make room, then go on."
        case RuntimeError() if any(words in low for words in MEMORY_WORDS):
            return "memory", too_little_memory("cuda" in low)
        case OSError() if error.filename:
            return (
                "data",
                f"{os.fspath(error.filename)} cannot be used any more ({error.strerror}). Put it back, then go on.",
            )
        case ValueError():
            return "refused", text
    return "crash", f"The training program failed: {type(error).__name__}: {text[:300]}. The log tells where."


def too_little_memory(on_device: bool) -> str:
    where = "The accelerator" if on_device else "The machine"
    return (
        f"{where} ran out of memory; the last saved step is kept. Halve train.batch_size and double train.accumulate, "
        "which trains the same with less memory, or lower model.d_model or model.iterations."
    )
