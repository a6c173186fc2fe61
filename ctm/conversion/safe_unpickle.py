"""Read a `torch.save` file from an untrusted source without running code from it.

Only tensors, plain values and `argparse.Namespace` are unpickled. The original code saves its `args` as a namespace,
which only holds attributes. NumPy arrays (curves and random states) are replaced by a placeholder.
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

MAX_UNMAPPED_BYTES = 4_000_000_000  # files in the format before PyTorch 1.6 cannot be memory-mapped
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
    """Return the contents of a `torch.save` file; tensors stay memory-mapped until they are used.

    Raises:
        ValueError: It is not such a file, is damaged, or holds objects that are never unpickled.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    is_archive = is_torch_archive(path)
    if not is_archive and path.stat().st_size > MAX_UNMAPPED_BYTES:
        raise ValueError(
            f"{path.name} is not in the format of PyTorch 1.6 and later, and too large to be read whole; "
            "load it where it was made and save it again."
        )
    with torch.serialization.safe_globals(get_safe_globals()):
        with translate_read_errors(path.name):
            classes = torch.serialization.get_unsafe_globals_in_checkpoint(path) if is_archive else []
        if classes:
            raise ValueError(format_unsafe_globals_error(path.name, sorted(classes)))
        with translate_read_errors(path.name):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)


def is_torch_archive(path: Path) -> bool:
    """Return whether a file is an archive as PyTorch 1.6 and later writes it; False if it is not an archive.

    Such an archive is neither compressed nor contains duplicate entries.

    Raises:
        ValueError: It is another archive, such as one that unpacks to more than its size, or an incomplete one.
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
    is_compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if is_compressed or len(names) > len(set(names)) or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError(f"{path.name} unpacks to more than it is, which `torch.save` never writes; it is not read.")
    return True


@contextmanager
def translate_read_errors(name: str) -> Iterator[None]:
    """Turn every error of PyTorch's reader into a `ValueError` of one sentence, and suppress its warnings."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except READ_ERRORS as error:
        if match := re.search(r"GLOBAL (\w[\w.]*)", str(error)):
            raise ValueError(format_unsafe_globals_error(name, [match[1]])) from None
        # Keep the text of the error, without the advice to load unsafely and without values from the file.
        words = re.split(r"In PyTorch 2|Check the doc", str(error).rpartition("WeightsUnpickler error:")[2])[0]
        words = re.sub(r"<(?:class|function|built-in \w+) '?([\w.]+)[^>]*>", r"\1", " ".join(words.split()))
        words = re.split(r"[(<\[{'\"]", words)[0][:160].rstrip(" .:,")
        words = words if words and words.isprintable() else type(error).__name__
        raise ValueError(f"{name} is not a whole checkpoint of PyTorch: {words}.") from None


class NumpyPlaceholder:
    """Placeholder for NumPy arrays and scalars: curves and random states of the original code, which are not needed.

    Reconstructing them is not safe: for object arrays, `numpy.ndarray` interprets bytes of the file as object
    addresses.
    """

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass

    def __repr__(self) -> str:
        return "an array of NumPy"


def get_safe_globals() -> list[Any]:
    """Return the classes that may be unpickled besides tensors and plain values; placeholders for NumPy 1 and 2."""
    makers = (f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar"))
    return [argparse.Namespace, *((NumpyPlaceholder, name) for name in ("numpy.ndarray", "numpy.dtype", *makers))]


def format_unsafe_globals_error(name: str, classes: list[str]) -> str:
    """Return the message for a file with objects that are never unpickled."""
    return (
        f"{name} holds objects of {format_name_list([*map(format_name, classes)])}, which are never unpickled; where it "
        "was made, save the weights alone: torch.save({'model_state_dict': model.state_dict()}, FILE)."
    )
