"""Publication of a run: which checkpoints are uploaded, when, and with which model card."""

import time
from collections.abc import Callable
from pathlib import Path

from ctm.checkpoint import MODEL_CARD_NAME
from ctm.checkpoint.preview import PREVIEW_NAME
from ctm.io.json_files import read_json
from ctm.stores import Destination, HubStore
from training.accuracy_plot import ACCURACY_PLOT_FILE, render_accuracy_plot
from training.config import PublishConfig
from training.model_card import render_checkpoint_card
from training.preview import build_preview_file
from training.publishing.outbox import MIN_COMMIT_INTERVAL_S, PENDING_STATES, Outbox, OutboxEntry, get_outboxes
from training.publishing.static_space import enqueue_static_space
from training.publishing.upload_worker import UploadWorker
from training.run_dir import RunDir

# A finished training waits this long for the upload of its final checkpoint.
FINAL_UPLOAD_TIMEOUT_S = MIN_COMMIT_INTERVAL_S + 60.0


class RunPublisher:
    """Publishes the checkpoints of a run while it trains and at its end.

    Args:
        run_dir: Run directory.
        settings: Target repository and interval.
        store: Destination of the uploads; None if another process delivers the outbox.
        report: Called with every message for the user.
    """

    def __init__(
        self,
        run_dir: RunDir,
        settings: PublishConfig,
        store: Destination | None,
        report: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.run_dir = run_dir
        self.settings = settings
        self.outbox, self.space_outbox = get_outboxes(run_dir.path)
        self.report = report
        self.worker = UploadWorker(lambda: [self.outbox, self.space_outbox], store) if store else None
        if self.worker:
            self.worker.start()
        self.last_enqueue_time = time.monotonic()

    def on_save(self, step: int) -> None:
        """Enqueue the checkpoint of a saved step if `settings.interval_minutes` have passed since the last one."""
        minutes = (time.monotonic() - self.last_enqueue_time) / 60
        if self.settings.interval_minutes and minutes >= self.settings.interval_minutes:
            self.last_enqueue_time = time.monotonic()
            enqueue_checkpoint(
                self.outbox, self.run_dir, self.run_dir.checkpoint_dir(step), self.settings.repo, self.settings.private
            )
            if self.worker:
                self.worker.wake()

    def publish_last(self, checkpoint: Path) -> None:
        """Enqueue the final checkpoint and its static Space, and wait for their upload, at most `FINAL_UPLOAD_TIMEOUT_S`.

        What is not uploaded in time stays in the outbox.
        """
        entry = enqueue_checkpoint(
            self.outbox,
            self.run_dir,
            checkpoint,
            self.settings.repo,
            self.settings.private,
            example_images=self.settings.example_images,
        )
        if self.worker:
            self.worker.wake()
        space_entry = self._enqueue_static_space(checkpoint)
        if self.worker is None:
            for waiting_entry in filter(None, (entry, space_entry)):
                self.report(waiting_entry.format_status())
            return
        if (wait := self.outbox.seconds_until_due()) and wait > 1:
            self.report(f"The Hub had a commit of this run just now; the finished checkpoint goes out in {wait:.0f} s.")
        self.worker.close(FINAL_UPLOAD_TIMEOUT_S)
        entries = [self.outbox.reload(entry)]
        if space_entry:
            entries.append(self.space_outbox.reload(space_entry))
        for entry in entries:
            self.report(entry.format_status())
        if any(entry.state in PENDING_STATES for entry in entries):
            self.report(f"It stays in the outbox: python -m training publish {self.run_dir.path}")

    def _enqueue_static_space(self, checkpoint: Path) -> OutboxEntry | None:
        """Enqueue the static Space of the final checkpoint; report why there is none. A failed export does not fail the run."""
        if not self.settings.static_space or checkpoint != self.run_dir.final_checkpoint_dir:
            return None
        try:
            return enqueue_static_space(self.space_outbox, self.run_dir, self.settings)
        except (ValueError, OSError) as error:
            self.report(f"The static Space {self.settings.static_space} is not published: {error}")
            return None

    def close(self) -> None:
        """Stop the uploads without waiting; pending entries stay in the outbox."""
        if self.worker:
            self.worker.close()


def check_publish_access(store: HubStore, settings: PublishConfig) -> str:
    """Check that the token may write to the repository and to the static Space; create those that do not exist.

    Returns:
        Name of the account.

    Raises:
        StoreUnavailable: The Hub does not answer.
        ValueError: The token may not write there, or the Space has another SDK.
    """
    account = store.check_write_access(settings.repo, settings.private)
    if settings.static_space:
        store.check_write_access(settings.static_space, settings.private, "space")
    return account


def enqueue_checkpoint(
    outbox: Outbox, run_dir: RunDir, checkpoint: Path, repo: str, private: bool, *, example_images: bool = False
) -> OutboxEntry:
    """Enqueue a checkpoint of a run together with a model card and a preview.

    Args:
        outbox: Outbox of the run.
        run_dir: Run directory.
        checkpoint: Final checkpoint or the checkpoint of a step.
        repo: Target repository, `namespace/name`.
        private: Whether a repository that has to be created is private.
        example_images: See `build_preview_file`.

    Raises:
        ValueError: The checkpoint is incomplete.
        OSError: The checkpoint cannot be read, or the outbox cannot be written.
    """
    is_final = checkpoint == run_dir.final_checkpoint_dir
    step = run_dir.read_status().get("step", 0) if is_final else int(checkpoint.name)
    title = f"{run_dir.path.name}: {'finished' if is_final else 'in training'}, step {step:,}"
    files = build_card_files(run_dir, checkpoint, repo, step)
    if preview := build_preview_file(checkpoint, repo, example_images=example_images):
        files[PREVIEW_NAME] = preview
    return outbox.enqueue(checkpoint, repo, title, private, files)


def build_card_files(run_dir: RunDir, checkpoint: Path, repo: str, step: int) -> dict[str, bytes]:
    """Return the model card and the accuracy plot of a checkpoint, as file contents by name."""
    metrics = read_json(checkpoint / "metrics.json", default={})
    if "evaluations" not in metrics:
        training = {"command": run_dir.read_command(), "steps": step}
        metrics = {"evaluations": [], "training": training, "validation": run_dir.read_latest_validation()}
    files = {MODEL_CARD_NAME: render_checkpoint_card(checkpoint, repo, metrics).encode()}
    if metrics["evaluations"]:
        files[ACCURACY_PLOT_FILE] = render_accuracy_plot(metrics)
    return files


def enqueue_newest_checkpoint(run_dir: RunDir, settings: PublishConfig, store: HubStore) -> OutboxEntry:
    """Enqueue the final checkpoint of a run, or else its newest saved step, after checking that the token may write.

    Args:
        run_dir: Run directory.
        settings: Target repository and visibility.
        store: Destination of the upload.

    Raises:
        ValueError: There is no checkpoint, or the token has no write access; the subclass `StoreUnavailable` if a
            later attempt may succeed.
    """
    get_newest_checkpoint(run_dir)
    store.check_write_access(settings.repo, settings.private)
    checkpoint = get_newest_checkpoint(run_dir)
    outbox = Outbox(run_dir.path)
    try:
        return enqueue_checkpoint(outbox, run_dir, checkpoint, settings.repo, settings.private)
    except (ValueError, OSError) as error:
        newer_checkpoint = get_newest_checkpoint(run_dir)
        if newer_checkpoint == checkpoint:
            raise ValueError(f"The checkpoint could not be put into the run's outbox: {error}") from None
        # A running training has removed the older checkpoint in the meantime.
        return enqueue_checkpoint(outbox, run_dir, newer_checkpoint, settings.repo, settings.private)


def get_newest_checkpoint(run_dir: RunDir) -> Path:
    """Return the final checkpoint of a run, or else that of its newest saved step.

    Raises:
        ValueError: The run has no checkpoint.
    """
    if (newest := run_dir.find_latest_checkpoint()) is None:
        raise ValueError(f"The run {run_dir.path.name} has no checkpoint yet.")
    return newest


def deliver_and_wait(
    outbox: Outbox, store: Destination, entry: OutboxEntry, report: Callable[[str], object] = lambda _: None
) -> OutboxEntry:
    """Deliver an outbox until an entry is closed, and return the entry.

    Args:
        outbox: Outbox of the entry.
        store: Destination of the upload.
        entry: The entry to wait for.
        report: Called with a message whenever the status changes.
    """
    last_status = ""
    while True:
        outbox.deliver(store)
        entry = outbox.reload(entry)
        if entry.state not in PENDING_STATES:
            return entry
        delay_s = outbox.seconds_until_due() or 0.0
        text = (
            f"{entry.format_status()} Next try in {delay_s:.0f} s."
            if delay_s >= 1
            else "Another process is sending from this outbox."
        )
        status = entry.state + entry.problem
        if status != last_status:
            report(text)
            last_status = status
        time.sleep(min(max(delay_s, 0.2), 5.0))
