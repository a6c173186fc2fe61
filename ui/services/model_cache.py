"""LRU cache of loaded models, bounded by their number and by the memory of their weights."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from ctm.checkpoint import load
from ctm.config import get_max_ticks
from training.pipeline import Pipeline
from training.tasks.registry import resolve_task
from ui.services.file_stamps import DirectoryStamp, compute_directory_stamp
from ui.services.model_catalog import PURPOSE_SEPARATOR, ModelCatalog, split_purpose

MAX_CACHED_MODELS = 8
MAX_CACHED_BYTES = 3 * 2**30  # weights of all cached models
MAX_OUTPUT_VALUES = 5_000_000  # output values of all ticks of one sample, which a screen has to show


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint in memory.

    Attributes:
        pipeline: The checkpoint with its model and its task.
        stamp: Stamp of its directory before it was loaded.
    """

    pipeline: Pipeline
    stamp: DirectoryStamp

    @property
    def weight_bytes(self) -> int:
        """Return the size of the weights in memory, in bytes."""
        return sum(tensor.nbytes for tensor in self.pipeline.model.state_dict().values())


class ModelCache:
    """Loads checkpoints by name and keeps the most recently used ones in memory. Thread-safe.

    Args:
        catalog: Resolves names.
        max_batch_size: Maximum number of requests in one batch of a model.
    """

    def __init__(self, catalog: ModelCatalog, max_batch_size: int) -> None:
        self.catalog = catalog
        self.max_batch_size = max_batch_size
        self._cache: OrderedDict[str, LoadedModel] = OrderedDict()
        self._lock = threading.Lock()  # protects the cache; never held while a checkpoint is read
        self._load_lock = threading.Lock()  # one checkpoint is loaded at a time: two large ones might not fit

    def load(self, name: str) -> LoadedModel:
        """Return the model of a checkpoint, from memory if its files are unchanged.

        Blocks while the checkpoint is read.

        Raises:
            ValueError: The checkpoint does not exist, is invalid, or its outputs are too large to show.
        """
        checkpoint_dir = self.catalog.get_local_dir(name)
        purpose = "" if (checkpoint_dir / "task.json").is_file() else split_purpose(name)[1]
        key = f"{checkpoint_dir}{PURPOSE_SEPARATOR}{purpose}"  # one checkpoint may have several names
        stamp = compute_directory_stamp(checkpoint_dir)
        model = self._get(key)
        if model is None or model.stamp != stamp:
            with self._load_lock:
                model = self._get(key)
                if model is None or model.stamp != stamp:
                    model = self._load_from_files(name, checkpoint_dir, purpose, stamp)
                    self._add(key, model)
        return model

    def _load_from_files(self, name: str, checkpoint_dir: Path, purpose: str, stamp: DirectoryStamp) -> LoadedModel:
        with self._lock:
            self._evict(sum(path.stat().st_size for path in checkpoint_dir.glob("*.safetensors")))
        checkpoint = load(self.catalog.get_verified_dir(name))
        config = checkpoint.model.config
        ticks = get_max_ticks(config.to_dict())
        if ticks * config.out_dims > MAX_OUTPUT_VALUES:
            raise ValueError(f"Its outputs are too large to show: {ticks:,} ticks of {config.out_dims:,} numbers.")
        task = resolve_task(checkpoint.task, config.to_dict(), purpose)
        return LoadedModel(Pipeline(checkpoint, task, max_batch_size=self.max_batch_size), stamp)

    def _get(self, key: str) -> LoadedModel | None:
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
            return self._cache.get(key)

    def _add(self, key: str, model: LoadedModel) -> None:
        with self._lock:
            self._cache.pop(key, None)
            self._evict(model.weight_bytes)
            self._cache[key] = model

    def _evict(self, required_bytes: int) -> None:
        """Drop the least recently used models until one more model of this size fits."""
        while self._cache and (
            len(self._cache) >= MAX_CACHED_MODELS
            or sum(model.weight_bytes for model in self._cache.values()) + required_bytes > MAX_CACHED_BYTES
        ):
            self._cache.popitem(last=False)
