"""From a run to its repository: what is sent, when, and by whom."""

import time
from pathlib import Path

from ctm import read_config
from ctm.checkpoint import METADATA_NAMES, MODEL_CARD_NAME, count_weights
from ctm.io.json_files import read_json
from ctm.stores import Destination
from training.config import PublishConfig
from training.model_card import ACCURACY_PLOT_FILE, build_title, render_accuracy_plot, render_model_card
from training.publishing.outbox import MIN_COMMIT_INTERVAL_S, PENDING_STATES, Outbox, OutboxEntry, OutboxWorker
from training.run_dir import RunDir
from training.tasks import build_task

UPLOAD_WORKER_ENV = (
    "CTM_COURIER"  # in the environment of a training beside which somebody else delivers from its outbox
)
FINAL_UPLOAD_TIMEOUT_S = (
    MIN_COMMIT_INTERVAL_S + 60.0
)  # seconds that a finished training waits for its checkpoint to be taken


class RunPublisher:
    """Sends a run's checkpoints to the Hub while it trains, and at its end.

    Args:
        folder: the run.
        settings: where to, how often.
        store: the Hub; None where somebody else delivers what lies in the outbox.
    """

    def __init__(self, run_dir: RunDir, settings: PublishConfig, store: Destination | None):
        self.run_dir, self.settings = run_dir, settings
        self.outbox = Outbox(run_dir.path)
        self.worker = OutboxWorker(self.outbox, store) if store else None
        self.last_enqueue_time = time.monotonic()

    def on_save(self, step: int) -> None:
        """Called with each saved step; every so many minutes its checkpoint is sent."""
        minutes = (time.monotonic() - self.last_enqueue_time) / 60
        if self.settings.every_minutes and minutes >= self.settings.every_minutes:
            self.last_enqueue_time = time.monotonic()
            enqueue_checkpoint(
                self.outbox, self.run_dir, self.run_dir.checkpoint_dir(step), self.settings.repo, self.settings.private
            )
            if self.worker:
                self.worker.wake()

    def publish_last(self, checkpoint: Path) -> None:
        """Send the last checkpoint; what is not taken in time stays in the outbox."""
        entry = enqueue_checkpoint(self.outbox, self.run_dir, checkpoint, self.settings.repo, self.settings.private)
        if self.worker is None:
            print(entry.format_status())
            return
        if (wait := self.outbox.seconds_until_due()) and wait > 1:
            print(f"The Hub had a commit of this run just now; the finished checkpoint goes out in {wait:.0f} s.")
        self.worker.close(FINAL_UPLOAD_TIMEOUT_S)
        entry = self.outbox.reload(entry)
        print(entry.format_status())
        if entry.state in PENDING_STATES:
            print(f"It stays in the outbox: python -m training publish {self.run_dir.path}")

    def close(self) -> None:
        if self.worker:
            self.worker.close(0.0)


def enqueue_checkpoint(outbox: Outbox, run_dir: RunDir, checkpoint: Path, repo: str, private: bool) -> OutboxEntry:
    """Put a checkpoint of a run into its outbox, with a card for its repository."""
    step = run_dir.read_status().get("step", 0) if checkpoint == run_dir.final_checkpoint_dir else int(checkpoint.name)
    title = f"{run_dir.path.name}: {'finished' if checkpoint == run_dir.final_checkpoint_dir else 'in training'}, step {step:,}"
    return outbox.enqueue(checkpoint, repo, title, private, build_card_files(run_dir, checkpoint, repo, step))


def build_card_files(run_dir: RunDir, checkpoint: Path, repo: str, step: int) -> dict[str, bytes]:
    """The card and the picture that go with a checkpoint to its repository."""
    notes = {name: read_json(checkpoint / f"{name}.json", default={}) for name in METADATA_NAMES}
    if "evaluations" not in notes["metrics"]:
        training = {"command": run_dir.read_command(), "steps": step}
        notes["metrics"] = {"evaluations": [], "training": training, "validation": run_dir.read_latest_validation()}
    config = read_config(read_json(checkpoint / "config.json"), "config.json")
    card = render_model_card(
        build_title(config.to_dict(), build_task(notes["task"]).title),
        config.to_dict(),
        **notes,
        num_parameters=count_weights(checkpoint),
        repo=repo,
    )
    drawn = {ACCURACY_PLOT_FILE: render_accuracy_plot(notes["metrics"])} if notes["metrics"]["evaluations"] else {}
    return {MODEL_CARD_NAME: card.encode(), **drawn}


def deliver_and_wait(outbox: Outbox, store: Destination, entry: OutboxEntry) -> OutboxEntry:
    """Wait until an entry is published or cannot be; says how it stands whenever that changes."""
    said = ""
    while True:
        outbox.deliver(store)
        entry = outbox.reload(entry)
        if entry.state not in PENDING_STATES:
            return entry
        wait = outbox.seconds_until_due() or 0.0
        text = (
            f"{entry.format_status()} Next try in {wait:.0f} s."
            if wait >= 1
            else "Another process is sending from this outbox."
        )
        if said != entry.state + entry.problem:
            print(text)
            said = entry.state + entry.problem
        time.sleep(min(max(wait, 0.2), 5.0))
