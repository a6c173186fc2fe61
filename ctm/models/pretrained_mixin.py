"""Methods `from_pretrained`, `save_pretrained` and `push_to_hub` of all model classes."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

ModelT = TypeVar("ModelT", bound="PretrainedMixin")


class PretrainedMixin:
    """Load, save and publish models as transformers and `PyTorchModelHubMixin` of huggingface_hub do.

    Arguments of these libraries that cannot be honoured raise `ValueError` with the reason; unknown ones raise `TypeError`.
    """

    @classmethod
    def from_pretrained(
        cls: type[ModelT],
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **model_kwargs: Any,
    ) -> ModelT:
        """Load the model of a checkpoint, in eval mode. `TickModel.from_pretrained` loads any model type.

        Loading is strict: names, shapes and types must fit config.json. Only safetensors and JSON files are read.

        Args:
            pretrained_model_name_or_path: Directory of a checkpoint, or name on the Hub; see `ctm.load_pretrained`.
            force_download: Download the files even if they are cached.
            token: Access token; None uses the token of the environment, False uses none.
            cache_dir: Cache directory; default: the cache of huggingface_hub.
            local_files_only: Use cached files only, without network access.
            revision: Branch, tag or commit on the Hub; default: the main branch.
            model_kwargs: Other arguments of transformers and huggingface_hub; rejected unless they ask for what happens
                anyway, such as `strict=True`.

        Raises:
            StoreUnavailable: The Hub cannot be reached.
            ValueError: There is no such checkpoint, it is invalid, or its model is of another class. The message is one
                sentence.
        """
        return load_functions().load_model(
            cls,
            pretrained_model_name_or_path,
            force_download=force_download,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            revision=revision,
            **model_kwargs,
        )

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        task: dict[str, Any] | None = None,
        halting: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
        card: str | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write a checkpoint directory atomically. An existing checkpoint is replaced.

        Args:
            save_directory: The directory; it must not hold anything but a checkpoint.
            repo_id: Repository for `push_to_hub`, `namespace/name`.
            push_to_hub: Publish the checkpoint afterwards.
            task: Content of task.json; without it, the task is inferred from the config where that is possible.
            halting: Content of halting.json.
            metrics: Content of metrics.json.
            card: Text of README.md; default: a short model card.
            push_to_hub_kwargs: Arguments of `push_to_hub`.

        Returns:
            Address of the commit with `push_to_hub=True`, else None.

        Raises:
            ValueError: The directory holds something else, or an argument cannot be honoured.
            OSError: The disk is full or the path is not writable; an existing checkpoint is unchanged.
        """
        return load_functions().save_model(
            self,
            save_directory,
            {"task": task, "halting": halting, "metrics": metrics, "card": card},
            repo_id=repo_id,
            push_to_hub=push_to_hub,
            options=push_to_hub_kwargs,
        )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        task: dict[str, Any] | None = None,
        halting: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
        card: str | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str:
        """Publish the model as one commit on the main branch of a repository, which is created if it does not exist.

        A checkpoint in the repository is replaced; its other files stay.

        Args:
            repo_id: Repository, `namespace/name`.
            task: See `save_pretrained`.
            halting: See `save_pretrained`.
            metrics: See `save_pretrained`.
            card: See `save_pretrained`.
            push_to_hub_kwargs: `commit_message`; `private`, whether a repository that has to be created is private; `token`.

        Returns:
            Address of the commit.

        Raises:
            StoreUnavailable: The Hub cannot be reached or is busy.
            ValueError: The token may not write there, or an argument cannot be honoured.
        """
        metadata = {"task": task, "halting": halting, "metrics": metrics, "card": card}
        return load_functions().push_model(self, repo_id, metadata, **push_to_hub_kwargs)


def load_functions() -> ModuleType:
    """Return `ctm.pretrained`, imported by name when it is needed: it imports the models, so they cannot import it."""
    return importlib.import_module("ctm.pretrained")
