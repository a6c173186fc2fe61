"""Find an image data set on this computer or on the Hub."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import httpx

from ctm.messages import summarize_error, truncate_repr
from ctm.stores import StoreUnavailable
from training.data.dataset_errors import build_access_error
from training.data.dataset_settings import DataSettings

HUB_TIMEOUT_S = 10.0


def build_load_arguments(settings: DataSettings) -> tuple[str, dict[str, Any]]:
    """Return path and keyword arguments of `datasets.load_dataset`.

    Local files are read in place, without a copy in the cache.

    Raises:
        ValueError: No data set is set, the local files do not exist, the directory is empty, or the data set is not accessible.
        StoreUnavailable: The Hub cannot be reached.
    """
    if settings.data_files:
        path = Path(settings.data_files)
        if not path.exists():
            location = truncate_repr(settings.data_files, 200)
            raise ValueError(f"There is no directory or file {location}: set task.data_files to where the images are.")
        if not path.is_dir():
            return "parquet", {"data_files": {settings.train_split: str(path)}, "streaming": True}
        if next(path.iterdir(), None) is None:
            raise ValueError(
                f"The directory {truncate_repr(settings.data_files, 200)} is empty: set task.data_files to where the images are."
            )
        return str(path), {"name": settings.subset or None, "streaming": True}
    if not settings.dataset:
        raise ValueError(
            "The task images has no images of its own: set task.dataset or task.data_files, or evaluate with "
            "--data FILE.parquet, a file with `image` and `label` columns."
        )
    revision = resolve_commit(settings.dataset, settings.revision)
    return settings.dataset, {"name": settings.subset or None, "revision": revision, "streaming": settings.streaming}


@lru_cache(maxsize=16)
def resolve_commit(dataset: str, revision: str) -> str | None:
    """Return the commit to read, which stays the same until this process ends.

    Args:
        dataset: Data set on the Hub, namespace/name.
        revision: Commit, tag or branch; empty for the default branch.

    Returns:
        The commit; in offline mode the revision itself, or None.

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
            f"The Hub cannot be reached just now ({summarize_error(error)}). Set HF_HUB_OFFLINE=1 to read the cached files, "
            f"or task.data_files to read a local copy of {dataset}."
        ) from None
