"""Translate errors of `datasets` and of the Hub client into errors of one sentence with the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from huggingface_hub.utils import httpx

from ctm.messages import format_name_list, summarize_error, truncate_repr
from ctm.stores import StoreUnavailable
from training.data.dataset_settings import DataSettings

CONVERTED_REVISION = "refs/convert/parquet"  # branch of the Hub with the parquet files of a data set that has a script


@contextmanager
def translate_dataset_errors(settings: DataSettings) -> Iterator[None]:
    """Translate errors of `datasets` and of the Hub client into errors of one sentence.

    Raises:
        ValueError: The data set is missing or not accessible, has a loading script, or its files do not fit together.
        StoreUnavailable: The Hub cannot be reached; a retry may help.
    """
    try:
        yield
    except (GatedRepoError, RepositoryNotFoundError, FileNotFoundError) as error:
        if settings.data_files:
            raise ValueError(
                f"The directory {truncate_repr(settings.data_files, 200)} contains no image data set: set task.data_files to where the images are."
            ) from error
        raise build_access_error(settings.display_name, gated="gated" in str(error).lower()) from error
    except ValueError as error:
        raise _build_file_error(settings, error) from error
    except (OSError, httpx.HTTPError) as error:
        raise _build_unavailable_error(settings, error) from error
    except Exception as error:
        if "Dataset scripts are no longer supported" in str(error):
            raise ValueError(
                f"{settings.display_name} has a loading script, and scripts are not run. Set "
                f"task.revision={CONVERTED_REVISION} to read the parquet files that the Hub made of it."
            ) from error
        if type(error).__name__.startswith("DatasetGeneration"):
            raise _build_file_error(settings, error) from error
        raise


@contextmanager
def translate_remote_errors(settings: DataSettings) -> Iterator[None]:
    """Translate errors of the network while a single file is read; that of a missing file stays.

    Raises:
        StoreUnavailable: The file cannot be read now; a retry may help.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, httpx.HTTPError) as error:
        raise _build_unavailable_error(settings, error) from error


def _build_unavailable_error(settings: DataSettings, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"{settings.display_name} cannot be read just now ({summarize_error(error)}); the last saved step is kept."
    )


def _build_file_error(settings: DataSettings, error: BaseException) -> ValueError:
    """Build the sentence for files that cannot be read, or that do not fit together."""
    causes = list(_iterate_causes(error))
    for cause in causes:
        columns, expected = (getattr(cause, f"{name}_column_names", None) for name in ("table", "requested"))
        if columns is not None and expected is not None:
            different = format_name_list(sorted(set(columns) ^ set(expected)), quote="'")
            what = f"differ in their columns: {different}" if different else "store a column in different types"
            return ValueError(f"{settings.display_name}: its files {what}. Give all of them the same columns.")
    detail = summarize_error(causes[-1] if isinstance(causes[-1], Exception) else ValueError(str(error)))
    return ValueError(f"{settings.display_name}: {detail}. See task.subset, task.train_split and task.test_split.")


def _iterate_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, and so on."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def build_access_error(name: str, gated: bool) -> ValueError:
    """Build the error for a data set that is gated, or that is missing or private."""
    if gated:
        return ValueError(
            f"{name} is gated: accept its terms on its page of the Hub, and set HF_TOKEN to the token of that account."
        )
    return ValueError(f"There is no data set {name} on the Hub, or it is private and HF_TOKEN has no access to it.")
