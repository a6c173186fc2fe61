"""Open image data sets through `datasets`, from the Hub or from local files, and check their files before they are read.

The metadata of a parquet file names its columns and classes. `datasets` takes those of the first file for all of them; here the
files are compared. Columns that are not used may differ.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet as parquet
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import httpx

from ctm.messages import format_name, format_name_list, summarize_error, truncate_repr
from ctm.stores import StoreUnavailable
from training.data.class_labels import ClassLabels, map_positions
from training.data.dataset_errors import build_access_error, translate_dataset_errors
from training.data.dataset_settings import DataSettings

HUB_TIMEOUT_S = 10.0  # that the Hub has to answer
MAX_CHECKED_REMOTE_FILES = 16  # per split, of which the metadata is read


@lru_cache(maxsize=4)
def open_split(settings: DataSettings, split: str) -> Any:
    """Open a split as a `datasets` iterable of rows with encoded images.

    Raises:
        ValueError: The data set or a column is missing or not readable.
        StoreUnavailable: The Hub cannot be reached; a retry may help.
    """
    import datasets  # noqa: PLC0415 -- takes a second, which those who train on something else are spared

    begins, arguments = build_load_arguments(settings)
    columns = sorted({settings.image_column, settings.label_column})
    schemas = read_parquet_schemas(settings)
    if schemas:
        arguments["columns"] = columns
        _check_columns(settings, schemas)
    with translate_dataset_errors(settings):
        rows = datasets.load_dataset(begins, split=split, **arguments)
        if isinstance(rows, datasets.IterableDataset):
            rows = rows.decode(False)  # remote files are otherwise decoded before their bytes are seen
    missing = set(columns) - set(rows.column_names or ())
    if missing:
        raise _build_column_error(settings, settings.display_name, missing, rows.column_names or ())
    if not _can_hold_images(rows.features[settings.image_column]):
        raise ValueError(
            f"{settings.display_name}: column {settings.image_column!r} holds no pictures. See task.image_column."
        )
    return rows.select_columns(columns).cast_column(settings.image_column, datasets.Image(decode=False))


def _can_hold_images(feature: Any) -> bool:
    """Return whether a column has the type of images, or of the content of their files."""
    import datasets  # noqa: PLC0415 -- see `open_split`

    if isinstance(feature, datasets.Value):
        return feature.dtype in ("binary", "large_binary")
    return isinstance(feature, datasets.Image) or (isinstance(feature, dict) and "bytes" in feature)


def build_load_arguments(settings: DataSettings) -> tuple[str, dict[str, Any]]:
    """Return the arguments of `load_dataset`. Local files are read in place, without a copy in the cache.

    Raises:
        ValueError: No data set is set, or a local file or folder is missing or empty.
    """
    if settings.data_files:
        path = Path(settings.data_files)
        if not path.exists():
            raise ValueError(
                f"There is no folder or file {truncate_repr(settings.data_files, 200)}: see task.data_files."
            )
        if not path.is_dir():
            return "parquet", {"data_files": {settings.train_split: str(path)}, "streaming": True}
        if next(path.iterdir(), None) is None:
            raise ValueError(f"The folder {truncate_repr(settings.data_files, 200)} is empty: see task.data_files.")
        return str(path), {"name": settings.subset or None, "streaming": True}
    if not settings.dataset:
        raise ValueError(
            "The task images has no pictures of its own: set task.dataset or task.data_files, or measure with --data FILE.parquet, "
            "a file with `image` and `label` columns."
        )
    revision = resolve_commit(settings.dataset, settings.revision)
    return settings.dataset, {"name": settings.subset or None, "revision": revision, "streaming": settings.streaming}


@lru_cache(maxsize=16)
def resolve_commit(dataset: str, revision: str) -> str | None:
    """Return the commit to read, fixed for the lifetime of this process.

    Raises:
        ValueError: The data set or revision is missing or not accessible.
        StoreUnavailable: The Hub does not answer within `HUB_TIMEOUT_S`.
    """
    if constants.HF_HUB_OFFLINE:
        return revision or None
    try:
        return HfApi().dataset_info(dataset, revision=revision or None, timeout=HUB_TIMEOUT_S).sha
    except GatedRepoError as error:
        raise build_access_error(dataset, gated=True) from error
    except RevisionNotFoundError:
        raise ValueError(f"{dataset} has no revision {revision!r}: see task.revision.") from None
    except RepositoryNotFoundError:
        raise build_access_error(dataset, gated=False) from None
    except (OSError, httpx.HTTPError) as error:
        raise StoreUnavailable(
            f"The Hub cannot be reached just now ({summarize_error(error)}); with HF_HUB_OFFLINE=1 what was fetched "
            f"before is read, and task.data_files names a copy of {dataset}."
        ) from None


# --- columns and classes ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def read_parquet_schemas(settings: DataSettings) -> Mapping[str, Mapping[str, pyarrow.Schema]]:
    """Return the schema of each parquet file by split and file name; {} for a data set in another format.

    Of a remote split with many files, `MAX_CHECKED_REMOTE_FILES` are read.

    Raises:
        ValueError: The data set is missing, or a file is damaged.
        StoreUnavailable: The Hub cannot be reached; a retry may help.
    """
    import datasets  # noqa: PLC0415 -- see `open_split`
    from datasets.packaged_modules.parquet.parquet import Parquet  # noqa: PLC0415

    begins, arguments = build_load_arguments(settings)
    del arguments["streaming"]
    with translate_dataset_errors(settings):
        builder = datasets.load_dataset_builder(begins, **arguments)
        if not isinstance(builder, Parquet):
            return {}
        return {
            str(split): {Path(file).name: _read_schema(file) for file in _choose_files(files)}
            for split, files in (builder.config.data_files or {}).items()
        }


def _choose_files(files: list[str]) -> list[str]:
    """Return all local files, or evenly spaced remote ones with the first and the last."""
    if len(files) <= MAX_CHECKED_REMOTE_FILES or "://" not in files[0]:
        return list(files)
    last = MAX_CHECKED_REMOTE_FILES - 1
    return [files[index * (len(files) - 1) // last] for index in range(MAX_CHECKED_REMOTE_FILES)]


def _read_schema(file: str) -> pyarrow.Schema:
    with fsspec.open(file, "rb") as opened:
        return parquet.read_schema(opened)


def _check_columns(settings: DataSettings, schemas: Mapping[str, Mapping[str, pyarrow.Schema]]) -> None:
    """Check that all files have the columns that are used, with the same types.

    Raises:
        ValueError: A file lacks a column, or stores it in another type. The message names both.
    """
    columns = {settings.image_column, settings.label_column}
    types: dict[str, tuple[str, pyarrow.DataType]] = {}
    for split in (settings.train_split, settings.test_split):
        for file, schema in schemas.get(split, {}).items():
            if missing := columns - set(schema.names):
                raise _build_column_error(settings, f"{settings.display_name}: {file}", missing, schema.names)
            for column in sorted(columns):
                first_file, first_type = types.setdefault(f"{split} {column}", (file, schema.field(column).type))
                if schema.field(column).type != first_type:
                    raise ValueError(
                        f"{settings.display_name}: column {column!r} holds {_shorten(first_type)} in {first_file} and "
                        f"{_shorten(schema.field(column).type)} in {file}."
                    )


def _shorten(kind: pyarrow.DataType) -> str:
    return format_name(kind, 40)


def _build_column_error(settings: DataSettings, where: str, missing: set[str], present: Any) -> ValueError:
    columns = format_name_list(sorted(present))
    return ValueError(
        f"{where} has no column {min(missing)!r}; it has {columns}. See task.image_column and task.label_column."
    )


def read_file_class_names(settings: DataSettings, split: str) -> tuple[str, ...] | None:
    """Return the names that the files of a split give to their classes, in their order; None if they name none.

    Raises:
        ValueError: The files differ.
    """
    schemas = read_parquet_schemas(settings).get(split)
    if not schemas:
        names = getattr(open_split(settings, split).features[settings.label_column], "names", None)
        return tuple(names) if names else None
    found = {file: _get_class_names(schema, settings.label_column) for file, schema in schemas.items()}
    first_file, first_names = next(iter(found.items()))
    for file, names in found.items():
        if names != first_names:
            raise ValueError(
                f"{settings.display_name}: {file} and {first_file} of one split list different classes, or in another order."
            )
    return first_names


def _get_class_names(schema: pyarrow.Schema, column: str) -> tuple[str, ...] | None:
    """Return the names of the classes in the metadata of a file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"]) or None
    except (KeyError, TypeError, ValueError):  # no such metadata, or not of this kind
        return None


def build_class_labels(settings: DataSettings, split: str, names: tuple[str, ...]) -> ClassLabels:
    """Return how the labels of a split become classes.

    Args:
        settings: Source of the images.
        split: Name of the split.
        names: Names of the classes of the task.

    Raises:
        ValueError: The split has classes that the train split does not have.
    """
    split_names = read_file_class_names(settings, split)
    if split_names is None:
        return ClassLabels(names)
    train_names = read_file_class_names(settings, settings.train_split)
    if train_names is None and not set(split_names) <= set(names):
        return ClassLabels(names)
    where = f"{settings.display_name}, {split},"
    positions = map_positions(split_names, train_names or names, where)
    return ClassLabels(names, positions if positions is not None else tuple(range(len(names))))
