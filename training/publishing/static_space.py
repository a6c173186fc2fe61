"""Publication of the static Space of a run: a page that runs its final checkpoint in the browser of a visitor."""

import tempfile
from pathlib import Path

from training.config import PublishConfig
from training.jobs.export_process import export_static_space
from training.publishing.outbox import Outbox, OutboxEntry, compute_fingerprint
from training.run_dir import RunDir


def enqueue_static_space(outbox: Outbox, run_dir: RunDir, settings: PublishConfig) -> OutboxEntry:
    """Export the final checkpoint of a run, and put the static Space into its outbox.

    A checkpoint that the Space already gets is not exported again.

    Args:
        outbox: Outbox of the static Spaces of the run.
        run_dir: Run directory.
        settings: Name of the Space, and repository of the model.

    Raises:
        ValueError: The checkpoint cannot run in a browser. The message is one sentence.
        OSError: The outbox cannot be written.
    """
    checkpoint = run_dir.final_checkpoint_dir
    source = f"{settings.repo} {compute_fingerprint(checkpoint)}"
    if (entry := outbox.find_entry(settings.static_space, source)) is not None:
        return entry
    title = f"{run_dir.path.name}: static Space, step {run_dir.read_status().get('step', 0):,}"
    with tempfile.TemporaryDirectory(prefix="ctm-space-") as space_dir:
        export_static_space(checkpoint, Path(space_dir), settings.repo)
        return outbox.enqueue(Path(space_dir), settings.static_space, title, settings.private, source=source)
