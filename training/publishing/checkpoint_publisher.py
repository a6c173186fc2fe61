"""Publication of a checkpoint directory that belongs to no run: bundled, converted, calibrated or downloaded."""

import hashlib
from pathlib import Path

from ctm.checkpoint import MODEL_CARD_NAME, find_unknown_files, load
from ctm.checkpoint.preview import PREVIEW_NAME
from ctm.messages import format_name_list
from ctm.pretrained import build_card
from training.accuracy_plot import ACCURACY_PLOT_FILE, render_accuracy_plot
from training.model_card import has_card_metadata, render_checkpoint_card
from training.preview import build_preview_file
from training.publishing.outbox import Outbox

# Below the directory of the runs; hidden, because it is no run.
OUTBOXES_DIR = Path("runs") / ".publish"


def get_checkpoint_outbox(checkpoint_dir: Path, outboxes_dir: Path = OUTBOXES_DIR) -> Outbox:
    """Return the outbox of a checkpoint directory. It lies elsewhere, so that the directory stays a checkpoint.

    Args:
        checkpoint_dir: Checkpoint directory.
        outboxes_dir: Parent of the outboxes.
    """
    path = checkpoint_dir.resolve()
    digest = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return Outbox(outboxes_dir / f"{path.name}-{digest}")


def build_published_files(checkpoint_dir: Path, repo: str, *, example_images: bool = False) -> dict[str, bytes]:
    """Return the files that are published besides those of the checkpoint, as contents by name: model card, plot, preview.

    A checkpoint whose metrics state how it was trained and measured gets a new model card; another one keeps its own, or gets a
    short one.

    Args:
        checkpoint_dir: Checkpoint directory.
        repo: Target repository, `namespace/name`.
        example_images: See `build_preview_file`.

    Raises:
        ValueError: The checkpoint is invalid, or its directory holds other files, which would be published as well.
    """
    if unknown := [name for name in find_unknown_files(checkpoint_dir) if name != ACCURACY_PLOT_FILE]:
        raise ValueError(
            f"{checkpoint_dir} holds other things than a checkpoint, which would be published: "
            f"{format_name_list(unknown)}. Move them, or copy the checkpoint to a directory of its own."
        )
    checkpoint = load(checkpoint_dir)
    files = {}
    if checkpoint.task and has_card_metadata(checkpoint.metrics):
        files[MODEL_CARD_NAME] = render_checkpoint_card(checkpoint_dir, repo).encode()
        files[ACCURACY_PLOT_FILE] = render_accuracy_plot(checkpoint.metrics)
    elif not checkpoint.card:
        files[MODEL_CARD_NAME] = build_card(checkpoint.model, repo).encode()
    if preview := build_preview_file(checkpoint_dir, repo, example_images=example_images):
        files[PREVIEW_NAME] = preview
    return files
