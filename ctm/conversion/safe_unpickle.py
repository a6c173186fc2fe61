"""Reads a file of `torch.save` from anywhere, and runs nothing of it.

Nothing is unpickled but tensors, plain values and, because the original code saves it and it cannot run code,
`argparse.Namespace` (its `args`: a bag of attributes). Its arrays of numbers (curves and random states) are passed over.
"""

import argparse
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ctm.messages import format_name, format_name_list

MAX_UNMAPPED_BYTES = 4_000_000_000  # of a file in PyTorch's format before 1.6, which must be read whole
READ_ERRORS = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    AssertionError,
    MemoryError,
    OSError,
    struct.error,
    zipfile.BadZipFile,
)


def load_torch_file(path: Path) -> Any:
    """What a file of `torch.save` holds; tensors stay on disk until they are used.

    Raises:
        ValueError: it is not such a file, is damaged, or holds objects that are never unpickled.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    mapped = is_torch_archive(path)
    if not mapped and path.stat().st_size > MAX_UNMAPPED_BYTES:
        raise ValueError(
            f"{path.name} is not in the format of PyTorch 1.6 and later, and too large to be read whole; "
            "load it where it was made and save it again."
        )
    with torch.serialization.safe_globals(get_safe_globals()):
        with translate_read_errors(path.name):
            classes = torch.serialization.get_unsafe_globals_in_checkpoint(path) if mapped else []
        if classes:
            raise ValueError(format_unsafe_globals_error(path.name, sorted(classes)))
        with translate_read_errors(path.name):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def is_torch_archive(path: Path) -> bool:
    """True for an archive as PyTorch writes it since 1.6: nothing in it is compressed, or there twice. False for no archive.

    Raises:
        ValueError: it is another archive, such as one that unpacks to far more than it is, or only a part of one.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path.name} is cut short: its end is missing. Copy or download it again.")
    with translate_read_errors(path.name), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if not any(name.endswith("data.pkl") for name in names) or any(name.endswith("constants.pkl") for name in names):
        raise ValueError(f"{path.name} is an archive, but not one of `torch.save`; only those are converted.")
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or len(names) > len(set(names)) or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError(f"{path.name} unpacks to more than it is, which `torch.save` never writes; it is not read.")
    return True


@contextmanager
def translate_read_errors(name: str) -> Iterator[None]:
    """Say in a sentence what a damaged or hostile file makes PyTorch's reader raise, and leave out what it warns of."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except READ_ERRORS as error:
        if match := re.search(r"GLOBAL (\w[\w.]*)", str(error)):
            raise ValueError(format_unsafe_globals_error(name, [match[1]])) from None
        # its words, without the advice to read the file unsafely and without values of the file, which may be anything
        words = re.split(r"In PyTorch 2|Check the doc", str(error).rpartition("WeightsUnpickler error:")[2])[0]
        words = re.sub(r"<(?:class|function|built-in \w+) '?([\w.]+)[^>]*>", r"\1", " ".join(words.split()))
        words = re.split(r"[(<\[{'\"]", words)[0][:160].rstrip(" .:,")
        words = words if words and words.isprintable() else type(error).__name__
        raise ValueError(f"{name} is not a whole checkpoint of PyTorch: {words}.") from None


class NumpyPlaceholder:
    """Stands where NumPy's arrays and numbers were: curves and random states of the original code, of which nothing is needed.

    To rebuild them would not be safe: `numpy.ndarray` takes the bytes of a file for addresses of objects, if the file says so.
    """

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, _: Any) -> None:
        pass

    def __repr__(self) -> str:
        return "an array of NumPy"


def get_safe_globals() -> list[Any]:
    """What may be made beside tensors and plain values: it holds data and runs nothing. Of NumPy 1 and 2 alike, stand-ins."""
    makers = (f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar"))
    return [argparse.Namespace, *((NumpyPlaceholder, name) for name in ("numpy.ndarray", "numpy.dtype", *makers))]


def format_unsafe_globals_error(name: str, classes: list[str]) -> str:
    return (
        f"{name} holds objects of {format_name_list([*map(format_name, classes)])}, which are never unpickled; where it was made, save the "
        "weights alone: torch.save({'model_state_dict': model.state_dict()}, FILE)."
    )
