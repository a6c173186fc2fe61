"""Compare the parquet files of a data set: their columns and the classes that they name.

`datasets` takes the columns and the class names of the first file for all files. Columns that are not used may differ.
"""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet

from ctm.messages import format_name, format_name_list
from training.data.dataset_errors import translate_dataset_errors
from training.data.dataset_location import build_load_arguments
from training.data.dataset_settings import DataSettings

MAX_CHECKED_REMOTE_FILES = 16  # per split, of which the metadata is read

Schemas = Mapping[str, Mapping[str, pyarrow.Schema]]  # split -> file name -> schema


@lru_cache(maxsize=4)
def read_parquet_schemas(settings: DataSettings) -> Schemas:
    """Return the schema of each parquet file by split and path; {} for a data set in another format.

    Of a remote split with many files, `MAX_CHECKED_REMOTE_FILES` are read.

    Raises:
        ValueError: The data set is missing, or a file is damaged.
        StoreUnavailable: The Hub cannot be reached; a retry may help.
    """
    import datasets  # noqa: PLC0415 - see `open_split`
    from datasets.packaged_modules.parquet.parquet import Parquet  # noqa: PLC0415 - see `open_split`

    path, arguments = build_load_arguments(settings)
    del arguments["streaming"]
    with translate_dataset_errors(settings):
        builder = datasets.load_dataset_builder(path, **arguments)
        if not isinstance(builder, Parquet):
            return {}
        return {
            str(split): {file: _read_schema(file) for file in _choose_files(files)}
            for split, files in (builder.config.data_files or {}).items()
        }


def _choose_files(files: list[str]) -> list[str]:
    """Return all local files, or evenly spaced remote ones with the first and the last."""
    if len(files) <= MAX_CHECKED_REMOTE_FILES or "://" not in files[0]:
        return list(files)
    last = MAX_CHECKED_REMOTE_FILES - 1
    return [files[index * (len(files) - 1) // last] for index in range(MAX_CHECKED_REMOTE_FILES)]


def _read_schema(file: str) -> pyarrow.Schema:
    from datasets.utils.file_utils import xopen  # noqa: PLC0415 - see `open_split`

    with xopen(file, "rb") as opened:
        return parquet.read_schema(opened)


def check_columns(settings: DataSettings, schemas: Schemas) -> None:
    """Check that all files of a split have the columns that are used, with values of one kind.

    Raises:
        ValueError: A file lacks a column, or stores other values in it. The message names both.
    """
    columns = sorted({settings.image_column, settings.label_column})
    for split in (settings.train_split, settings.test_split):
        first_kinds: dict[str, tuple[str, str]] = {}
        for file, schema in schemas.get(split, {}).items():
            name = Path(file).name
            if missing := set(columns) - set(schema.names):
                raise build_column_error(f"{settings.display_name}: {name}", missing, schema.names)
            for column in columns:
                kind = describe_type(schema.field(column).type)
                first_name, first_kind = first_kinds.setdefault(column, (name, kind))
                if kind != first_kind:
                    raise ValueError(
                        f"{settings.display_name}: column {column!r} has {first_kind} in {first_name} and {kind} in {name}. "
                        "Store the same in all files."
                    )


def describe_type(kind: pyarrow.DataType) -> str:
    """Return what a column holds; types that differ in their size alone are the same."""
    tests = {
        "truth values": pyarrow.types.is_boolean,
        "whole numbers": pyarrow.types.is_integer,
        "decimal numbers": pyarrow.types.is_floating,
        "text": lambda value: pyarrow.types.is_string(value) or pyarrow.types.is_large_string(value),
    }
    return next((name for name, test in tests.items() if test(kind)), format_name(kind, 40))


def build_column_error(location: str, missing: set[str], columns: Iterable[str]) -> ValueError:
    """Build the error for a data set or file that lacks a column."""
    listed = format_name_list(sorted(columns))
    return ValueError(
        f"{location} has no column {min(missing)!r}; it has {listed}. See task.image_column and task.label_column."
    )


def get_common_class_names(name: str, schemas: Mapping[str, pyarrow.Schema], column: str) -> tuple[str, ...] | None:
    """Return the names that all files of a split give to their classes, in their order; None if they name none.

    Args:
        name: Data set, for the message.
        schemas: Schema of each file.
        column: Name of the label column.

    Raises:
        ValueError: The files differ.
    """
    first_file, first_names = "", None
    for file, schema in schemas.items():
        names = get_class_names(schema, column)
        if names is None:
            continue
        if first_names is None:
            first_file, first_names = file, names
        if names != first_names:
            raise ValueError(
                f"{name}: {Path(first_file).name} and {Path(file).name} list different classes, or the same in another order."
            )
    return first_names


def get_class_names(schema: pyarrow.Schema, column: str) -> tuple[str, ...] | None:
    """Return the names of the classes in the metadata of a file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"]) or None
    except (KeyError, TypeError, ValueError):  # no such metadata, or not of this kind
        return None
