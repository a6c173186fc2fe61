"""From a run to its repository: what is sent, when, and by whom."""

import time
from pathlib import Path

from ctm import read_config
from ctm.checkpoint import METADATA_NAMES, MODEL_CARD_NAME, count_weights
from ctm.io.atomic import read_json
from ctm.stores import Destination
from training.config import PublishConfig
from training.model_card import PICTURE, picture, title_of, write_card
from training.publishing.outbox import BETWEEN, LIVE, Entry, Outbox, Publisher
from training.run_dir import RunFolder
from training.tasks import task_of

COURIER = "CTM_COURIER"  # in the environment of a training beside which somebody else delivers from its outbox
PATIENCE = BETWEEN + 60.0  # seconds that a finished training waits for its checkpoint to be taken


class Publishing:
    """Sends a run's checkpoints to the Hub while it trains, and at its end.

    Args:
        folder: the run.
        settings: where to, how often.
        store: the Hub; None where somebody else delivers what lies in the outbox.
    """

    def __init__(self, folder: RunFolder, settings: PublishConfig, store: Destination | None):
        self.folder, self.settings = folder, settings
        self.outbox = Outbox(folder.path)
        self.publisher = Publisher(self.outbox, store) if store else None
        self.offered = time.monotonic()

    def saved(self, step: int) -> None:
        """Called with each saved step; every so many minutes its checkpoint is sent."""
        minutes = (time.monotonic() - self.offered) / 60
        if self.settings.every_minutes and minutes >= self.settings.every_minutes:
            self.offered = time.monotonic()
            offer(self.outbox, self.folder, self.folder.checkpoint(step), self.settings.repo, self.settings.private)
            if self.publisher:
                self.publisher.wake()

    def ended(self, checkpoint: Path) -> None:
        """Send the last checkpoint; what is not taken in time stays in the outbox."""
        entry = offer(self.outbox, self.folder, checkpoint, self.settings.repo, self.settings.private)
        if self.publisher is None:
            print(entry.say())
            return
        if (wait := self.outbox.waits()) and wait > 1:
            print(f"The Hub had a commit of this run just now; the finished checkpoint goes out in {wait:.0f} s.")
        self.publisher.close(PATIENCE)
        entry = self.outbox.now(entry)
        print(entry.say())
        if entry.state in LIVE:
            print(f"It stays in the outbox: python -m training publish {self.folder.path}")

    def stopped(self) -> None:
        if self.publisher:
            self.publisher.close(0.0)


def offer(outbox: Outbox, folder: RunFolder, checkpoint: Path, repo: str, private: bool) -> Entry:
    """Put a checkpoint of a run into its outbox, with a card for its repository."""
    step = folder.status().get("step", 0) if checkpoint == folder.finished else int(checkpoint.name)
    title = f"{folder.path.name}: {'finished' if checkpoint == folder.finished else 'in training'}, step {step:,}"
    return outbox.put(checkpoint, repo, title, private, dressed(folder, checkpoint, repo, step))


def dressed(folder: RunFolder, checkpoint: Path, repo: str, step: int) -> dict[str, bytes]:
    """The card and the picture that go with a checkpoint to its repository."""
    notes = {name: read_json(checkpoint / f"{name}.json", default={}) for name in METADATA_NAMES}
    if "evaluations" not in notes["metrics"]:
        training = {"command": folder.command(), "steps": step}
        notes["metrics"] = {"evaluations": [], "training": training, "validation": folder.last_validation()}
    config = read_config(read_json(checkpoint / "config.json"), "config.json")
    card = write_card(
        title_of(config.to_dict(), task_of(notes["task"]).title),
        config.to_dict(),
        **notes,
        parameters=count_weights(checkpoint),
        repo=repo,
    )
    drawn = {PICTURE: picture(notes["metrics"])} if notes["metrics"]["evaluations"] else {}
    return {MODEL_CARD_NAME: card.encode(), **drawn}


def deliver(outbox: Outbox, store: Destination, entry: Entry) -> Entry:
    """Wait until an entry is published or cannot be; says how it stands whenever that changes."""
    said = ""
    while True:
        outbox.deliver(store)
        entry = outbox.now(entry)
        if entry.state not in LIVE:
            return entry
        wait = outbox.waits() or 0.0
        text = (
            f"{entry.say()} Next try in {wait:.0f} s." if wait >= 1 else "Another process is sending from this outbox."
        )
        if said != entry.state + entry.problem:
            print(text)
            said = entry.state + entry.problem
        time.sleep(min(max(wait, 0.2), 5.0))
