"""Load and save models by name, as transformers and `PyTorchModelHubMixin` of huggingface_hub do.

    checkpoint = ctm.load_pretrained("me/ctm-digits", revision="main")     # any model type, with its metadata
    model = ContinuousThoughtMachine.from_pretrained("me/ctm-digits")      # one model type

Loading is as strict as `ctm.checkpoint.load`, whatever the source: safetensors and JSON only, digests checked, names, shapes
and sizes checked. Arguments that this cannot honour raise an error instead of having no effect.
"""

import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ctm.checkpoint import CONFIG_NAME, Checkpoint, load, save
from ctm.checkpoint.metadata import MAX_METADATA_BYTES
from ctm.config import read_published_config
from ctm.io.json_files import read_json
from ctm.messages import format_name, format_name_list, truncate_repr
from ctm.models.base import TickModel
from ctm.models.registry import MODEL_TYPES
from ctm.stores import HUB_PREFIX, HubRef, HubStore, StoreUnavailable, resolve_checkpoint_dir
from ctm.stores.repo_ref import REPO_REF_PATTERN, URL_PREFIX_PATTERN

ModelT = TypeVar("ModelT", bound=TickModel)

DEFAULT_COMMIT_MESSAGE = "Push model using huggingface_hub."
CARD_FRONT_MATTER = "---\nlibrary_name: ctm\ntags:\n- continuous-thought-machine\n---\n"
# Arguments of transformers and huggingface_hub, with the reason why they are rejected.
UNSUPPORTED_ARGUMENTS = {
    "allow_patterns": "a checkpoint is published whole",
    "ignore_patterns": "a checkpoint is published whole",
    "delete_patterns": "files of an earlier checkpoint are removed anyway",
    "branch": "checkpoints are published on the main branch",
    "create_pr": "checkpoints are published on the main branch",
    "model_card_kwargs": "give the text of the model card as `card`",
    "config": "a model is always built and saved with its own config.json",
    "strict": "loading is always strict",
    "ignore_mismatched_sizes": "loading is always strict",
    "use_safetensors": "only safetensors files are ever read",
    "weights_only": "only safetensors files are ever read",
    "trust_remote_code": "code of a repository is never run",
    "torch_dtype": "weights are loaded as float32; call `.to(dtype)` on the model",
    "dtype": "weights are loaded as float32; call `.to(dtype)` on the model",
    "device_map": "weights are loaded on the CPU; call `.to(device)` on the model",
    "map_location": "weights are loaded on the CPU; call `.to(device)` on the model",
}
# Values with which an unsupported argument asks for what happens anyway.
HONOURED_VALUES: dict[str, tuple[Any, ...]] = {
    "strict": (True,),
    "use_safetensors": (True,),
    "weights_only": (True,),
    "trust_remote_code": (False,),
    "ignore_mismatched_sizes": (False,),
    "branch": ("main",),
    "create_pr": (False,),
    "map_location": ("cpu",),
}


def load_pretrained(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Checkpoint:
    """Load a checkpoint of any model type, with its task, its halting policies and its measurements.

    Args:
        name_or_path: Directory of a checkpoint, such as `checkpoints/digits`; or name on the Hub, such as `me/ctm-digits`,
            `hub:me/ctm-digits` or `me/ctm-digits@revision:subfolder`. A directory that exists comes first.
        revision: Branch, tag or commit on the Hub; default: the main branch.
        token: Access token; None uses the token of the environment, False uses none.
        cache_dir: Cache directory; default: the cache of huggingface_hub.
        local_files_only: Use cached files only, without network access.
        force_download: Download the files even if they are cached.

    Raises:
        StoreUnavailable: The Hub cannot be reached.
        ValueError: There is no such checkpoint, or it is invalid. The message is one sentence.
    """
    checkpoint_dir, _ = resolve_pretrained(
        name_or_path,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    return load(checkpoint_dir)


def resolve_pretrained(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> tuple[Path, str]:
    """Return the local directory of a checkpoint and its name; a checkpoint on the Hub is downloaded.

    Args:
        name_or_path: See `load_pretrained`.
        revision: See `load_pretrained`.
        token: See `load_pretrained`.
        cache_dir: See `load_pretrained`.
        local_files_only: See `load_pretrained`.
        force_download: See `load_pretrained`.

    Returns:
        The directory; and the name of the directory, or the name on the Hub, pinned to its commit.

    Raises:
        StoreUnavailable: The Hub cannot be reached.
        ValueError: There is no such checkpoint.
    """
    ref = parse_hub_name(name_or_path)
    if ref is None:
        path = Path(name_or_path)
        if revision is not None:
            raise ValueError(
                f"`revision` is for checkpoints on the Hub, and {path} is {'a directory' if path.is_dir() else 'none'}."
            )
        if not path.is_dir():
            raise ValueError(f"There is no checkpoint at {path}: name a directory, or namespace/name on the Hub.")
        return path, path.resolve().name
    if revision is not None:
        if ref.revision not in (None, revision):
            raise ValueError(f"Two revisions are named: {ref.revision} in the name, and {truncate_repr(revision)}.")
        ref = HubRef.parse(str(ref.with_revision(revision)))  # checks the revision
    store = HubStore(token=token, cache_dir=None if cache_dir is None else Path(cache_dir))
    try:
        path, full_name = resolve_checkpoint_dir(
            f"{HUB_PREFIX}{ref}", store, local_files_only=local_files_only, force_download=force_download
        )
    except StoreUnavailable:
        raise
    except ValueError as error:
        if str(name_or_path).startswith(HUB_PREFIX) or "There is no model" not in str(error):
            raise
        raise ValueError(f"{error} Nor is there a directory {format_name(name_or_path)} here.") from None
    return path, full_name.removeprefix(HUB_PREFIX)


def parse_hub_name(name_or_path: str | Path) -> HubRef | None:
    """Return the reference to the Hub that a name is; None for a path.

    Raises:
        ValueError: The name has the prefix `hub:` or is an address of the Hub, but is no valid reference.
    """
    if isinstance(name_or_path, Path):
        return None
    if URL_PREFIX_PATTERN.match(name_or_path):
        return HubRef.parse(name_or_path)
    if Path(name_or_path).is_dir() or not REPO_REF_PATTERN.fullmatch(name_or_path):
        return None
    return HubRef.parse(name_or_path)


def load_model(model_class: type[ModelT], name_or_path: str | Path, **options: Any) -> ModelT:
    """Load the model of a checkpoint, which must be of a given class; see `TickModel.from_pretrained`."""
    sources = ("revision", "token", "cache_dir", "local_files_only", "force_download")
    check_arguments({name: value for name, value in options.items() if name not in sources})
    checkpoint_dir, name = resolve_pretrained(name_or_path, **{key: options[key] for key in sources if key in options})
    config = read_published_config(read_json(checkpoint_dir / CONFIG_NAME, max_bytes=MAX_METADATA_BYTES), CONFIG_NAME)
    actual_class = MODEL_TYPES[config.model_type]
    if not issubclass(actual_class, model_class):
        raise ValueError(
            f"{name} is a {actual_class.__name__} (model type {config.model_type}), not a {model_class.__name__}: load it "
            f"with {actual_class.__name__}.from_pretrained, or with ctm.load_pretrained, which loads any model type."
        )
    model = load(checkpoint_dir).model
    assert isinstance(model, model_class)
    return model


def save_model(
    model: TickModel,
    save_directory: str | Path,
    metadata: Mapping[str, Any],
    *,
    repo_id: str | None,
    push_to_hub: bool,
    options: Mapping[str, Any],
) -> str | None:
    """Write a model as a checkpoint directory, and publish it if asked; see `TickModel.save_pretrained`."""
    if not push_to_hub:
        if repo_id is not None or options:
            names = [*(["repo_id"] if repo_id is not None else []), *options]
            raise ValueError(f"{format_name_list(names, '`')} has an effect with push_to_hub=True only.")
        save(build_checkpoint(model, metadata), save_directory)
        return None
    if repo_id is None:
        raise ValueError("`repo_id` is needed with push_to_hub=True: give namespace/name.")
    save(build_checkpoint(model, metadata), save_directory)
    return push_model(model, repo_id, metadata, **options)


def push_model(
    model: TickModel,
    repo_id: str,
    metadata: Mapping[str, Any],
    *,
    commit_message: str = DEFAULT_COMMIT_MESSAGE,
    private: bool | None = None,
    token: str | bool | None = None,
    **options: Any,
) -> str:
    """Publish a model as one commit on the Hub, and return its address; see `TickModel.push_to_hub`."""
    check_arguments(options)
    target = HubRef.parse(repo_id)
    if target.revision:
        raise ValueError(f"Checkpoints are published on the main branch: got the revision {target.revision}.")
    with tempfile.TemporaryDirectory() as directory:
        path = save(build_checkpoint(model, metadata, target.repo), Path(directory) / "checkpoint")
        # The store takes two commits of one message for the same commit.
        unique_message = f"{commit_message} [{uuid.uuid4().hex[:12]}]"
        return HubStore(token=token).publish(path, str(target), unique_message, bool(private)).url


def build_checkpoint(model: TickModel, metadata: Mapping[str, Any], repo: str = "namespace/name") -> Checkpoint:
    """Return the checkpoint of a model.

    Args:
        model: The model.
        repo: Repository in the code of the short card.
        metadata: `task`, `halting` and `metrics` as in `Checkpoint`, and the text of the model card as `card`. A None is
            empty; without a card a short one is written.
    """
    values = {name: value for name, value in metadata.items() if value}
    return Checkpoint(model, **{"card": build_card(model, repo), **values})


def build_card(model: TickModel, repo: str = "namespace/name") -> str:
    """Return a short model card: metadata for the Hub, the model type, and how to load it.

    Args:
        model: The model.
        repo: Repository in the code.
    """
    name = type(model).__name__
    return (
        f"{CARD_FRONT_MATTER}\n# {name}\n\nModel type `{model.config.model_type}` with the backbone "
        f"`{model.config.backbone_type}`. [Continuous Thought Machines](https://arxiv.org/abs/2505.05522).\n\n"
        f'```python\nfrom ctm import {name}\n\nmodel = {name}.from_pretrained("{repo}")\n```\n'
    )


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Check that no argument would have no effect.

    Raises:
        ValueError: An argument cannot be honoured. The message says why.
        TypeError: An argument is unknown.
    """
    for name, value in arguments.items():
        if name not in UNSUPPORTED_ARGUMENTS:
            raise TypeError(f"There is no argument `{name}`.")
        if value is not None and value not in HONOURED_VALUES.get(name, ()):
            raise ValueError(
                f"The argument `{name}` is not supported: {UNSUPPORTED_ARGUMENTS[name]}. Got {truncate_repr(value)}."
            )
