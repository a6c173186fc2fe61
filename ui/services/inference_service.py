"""The one door from the screens to the rest: plain data in, plain data out.

Screens name checkpoints by name and give what a person gave; they get back dictionaries of numbers and sentences.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctm.config import get_max_ticks
from inference import parse
from inference.dynamic_batcher import MAX_BATCH_SIZE
from inference.halting.policies import check_policy_fits_task
from ui.services.halting_view_model import PolicyOption, build_halting_view, build_policy_options
from ui.services.image_decoding import decode_image, encode_data_url
from ui.services.model_cache import ModelCache
from ui.services.model_catalog import ModelCatalog, split_purpose
from ui.services.thought_record import build_thought_record, summarize_metrics

MAX_TEXT_CHARS = 1_000
MAX_COMPARED = 3


@dataclass(frozen=True)
class CheckpointInfo:
    """What a screen needs to know of a checkpoint before thinking with it."""

    name: str
    title: str
    input_type: str  # "image" or "text"
    supports_drawing: bool  # whether a drawing by hand is something to give
    supports_generation: bool  # whether `invent` makes up new inputs
    input_editor: dict[str, Any] | None  # what helps to make an input by hand: see `Task.pad`
    input_hint: str
    examples: list[Any]
    policy_options: dict[str, PolicyOption]  # halting rules, as text; the default first
    iterations: int
    summary: str  # one line: what was measured


class InferenceService:
    """Checkpoints by name, and thinking with them.

    Args:
        models: where the checkpoints are.
        most: thoughts that one checkpoint thinks at once.
    """

    def __init__(self, catalog: ModelCatalog, max_batch_size: int = MAX_BATCH_SIZE):
        self.catalog = catalog
        self._models = ModelCache(catalog, max_batch_size)

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def list_checkpoint_names(self) -> list[str]:
        """Names of the checkpoints that can think now, the most welcoming first."""
        return self.catalog.list_names()

    def get_checkpoint_info(self, name: str) -> CheckpointInfo:
        """What to offer for a checkpoint on this machine; its weights are not loaded."""
        task, told = self.catalog.read_local(name)
        iterations = get_max_ticks(told["config"])
        return CheckpointInfo(
            name=name,
            title=task.title,
            input_type=task.input_type,
            supports_drawing=task.supports_drawing,
            supports_generation=task.supports_generation,
            input_editor=task.input_editor,
            input_hint=task.input_hint,
            examples=task.get_examples(),
            policy_options=build_policy_options(told["halting"], iterations, bool(task.get_spec().ctc_length)),
            iterations=iterations,
            summary=summarize_metrics(told["metrics"]),
        )

    def get_halting_view(self, name: str) -> dict[str, Any]:
        """What the Halting view draws of a checkpoint on this machine: see `build_halting_view`."""
        told = self.catalog.read_local(name)[1]
        return build_halting_view(told["halting"], told["metrics"], get_max_ticks(told["config"]))

    def list_comparison_choices(self, name: str) -> list[tuple[str, str]]:
        """Who may race against a checkpoint's thought: its other rules, and other checkpoints of the same task."""
        mine, titles = (
            self.get_checkpoint_info(name),
            {other: self._get_title(other) for other in self.list_checkpoint_names() if other != name},
        )
        rules = [(f"rule: {offer.name}", f"rule:{rule}") for rule, offer in mine.policy_options.items()]
        alike = [other for other, title in titles.items() if title == mine.title]
        return rules + [
            (f"machine: {format_checkpoint_label(other, mine.title)}", f"machine:{other}") for other in alike
        ]

    def compare(self, record: dict[str, Any], user_input: Any, choices: list[str]) -> list[dict[str, Any]]:
        """A thought and its rivals' thoughts about the same thing, as lanes of a race; who cannot think about it says why.

        Args:
            record: of the thought.
            given: what it was about: see `think`.
            rivals: of `rivals`; at most `MAX_COMPARED` run.
        """
        name, calls = (
            record["checkpoint"],
            {rival: label for label, rival in self.list_comparison_choices(record["checkpoint"])},
        )
        lanes = [build_comparison_row("as asked", record)]
        for rival in choices[:MAX_COMPARED]:
            kind, _, what = rival.partition(":")
            machine, rule = (name, what) if kind == "rule" else (what, "")
            try:
                lanes.append(build_comparison_row(calls[rival], self.predict(machine, user_input, rule)))
            except (ValueError, KeyError) as error:
                lanes.append({"name": calls.get(rival, "?"), "problem": str(error)})
        return lanes

    def list_checkpoint_labels(self) -> list[tuple[str, str]]:
        """Every checkpoint that can think now: how it is called on screen, and its name."""
        return [(format_checkpoint_label(name, self._get_title(name)), name) for name in self.list_checkpoint_names()]

    def _get_title(self, name: str) -> str:
        try:
            return self.catalog.read_local(name)[0].title
        except ValueError:  # broken, or without a known task: it is told when it is picked
            return ""
        except Exception:  # one odd checkpoint must not hide the others
            logging.getLogger(__name__).exception("The checkpoint %s cannot be described", name)
            return ""

    # --- models --------------------------------------------------------------------------------------------------

    def list_catalog(self) -> list[tuple[str, str]]:
        """What the Models tab lists: all that can think, then the Hub's models that are not on this machine."""
        return [*self.list_checkpoint_labels(), *self.list_remote()]

    def list_remote(self) -> list[tuple[str, str]]:
        """The Hub's models that are listed and not on this machine: how they are called on screen, and their names."""
        return [(f"{name} · on the Hub", name) for name in self.catalog.list_remote()]

    def describe(self, name: str) -> dict[str, Any]:
        """All that is known of a checkpoint, for the Models tab; may ask the Hub, so it may take seconds."""
        model = self.catalog.describe(name)
        about = model.description
        return {
            "name": model.name,
            "place": model.origin,
            "page": self.catalog.get_hub_url(model.name),
            "here": about.is_downloaded,
            "ready": bool(about.is_downloaded and model.task),
            "title": model.task.title if model.task else "",
            "choices": list(model.task_choices),
            "revision": about.revision,
            "updated": about.last_modified,
            "size": about.size_bytes,
            "summary": summarize_metrics(about.metrics),
            "config": about.config,
            "halting": about.halting,
            "metrics": about.metrics,
            "published": self.catalog.get_publication_status(model.name),
            "card": about.card,
        }

    def download(self, name: str) -> None:
        """Begin to fetch a checkpoint from the Hub, in the background."""
        self.catalog.download(name)

    def cancel_download(self, name: str) -> None:
        """End a download, if it runs."""
        if download := self.catalog.get_download(name):
            download.cancel()

    def get_download_status(self, name: str) -> dict[str, Any] | None:
        """How a download stands; None if there is none."""
        download = self.catalog.get_download(name)
        if download is None:
            return None
        share = download.downloaded_bytes / download.total_bytes if download.total_bytes else 0.0
        return {
            "running": download.is_running,
            "sentence": download.describe_status(),
            "share": share,
            "state": download.state,
        }

    # --- thinking ------------------------------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Think once with the checkpoint that visitors meet first: loading it takes longest."""
        for name in self.list_checkpoint_names()[:1]:
            try:
                info = self.get_checkpoint_info(name)
                example = info.examples[0]
                self.predict(name, decode_image(str(example)) if info.input_type == "image" else example, "")
            except Exception:  # whoever picks it is told what is wrong with it
                logging.getLogger(__name__).warning("The checkpoint %s could not be tried", name, exc_info=True)

    def generate_input(self, name: str, seed: int) -> Any:
        """A new input for this checkpoint, where its `info` says that it `invents`."""
        return self._models.load(name).task.generate_input(seed)

    def get_editor_image(self, name: str, image: np.ndarray) -> str:
        """A picture as this checkpoint's task reads it, for its pad to begin with.

        Args:
            name: checkpoint.
            picture: (h, w, 3) values from 0 to 1.

        Returns:
            A `data:` address.

        Raises:
            ValueError: one sentence for whoever gave the picture.
        """
        task, _ = self.catalog.read_local(name)
        return encode_data_url(task.parse_input(image).display["pixels"])

    def predict(self, name: str, user_input: Any, policy: str) -> dict[str, Any]:
        """Think about what a person gave.

        Args:
            name: checkpoint.
            given: a text, or a picture as (h, w, 3) values from 0 to 1.
            policy: halting rule as text; empty for the checkpoint's own.

        Returns:
            The record that the live view draws and the downloads hold: see `build_thought_record`.

        Raises:
            ValueError: one sentence for whoever gave the input.
        """
        loaded = self._models.load(name)
        task, iterations = loaded.task, get_max_ticks(loaded.checkpoint.model.config.to_dict())
        if isinstance(user_input, str) and len(user_input) > MAX_TEXT_CHARS:
            raise ValueError(f"The text has {len(user_input):,} characters; at most {MAX_TEXT_CHARS:,} are read.")
        if isinstance(user_input, str) is not (task.input_type == "text"):
            wanted = "a text" if task.input_type == "text" else "a picture"
            raise ValueError(f"The checkpoint {name[:80]} thinks about {wanted}: give it one.")
        read = task.parse_input(user_input)
        if not (policy and policy.strip()):
            policy = next(
                iter(build_policy_options(loaded.checkpoint.halting, iterations, bool(task.get_spec().ctc_length)))
            )
        rule = parse(policy)
        check_policy_fits_task(rule, task.get_spec().ctc_length)
        thought = loaded.batcher.submit(read.inputs, rule)
        return build_thought_record(name, loaded.checkpoint, task, read, rule, thought)


def build_comparison_row(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """What a race shows of a thought."""
    kept = ("ticks", "iterations", "answer_tick", "certainty", "halted_by")
    return {
        "name": name,
        "rule": record["policy"],
        "said": record["labels_by_tick"],
        **{key: record[key] for key in kept},
    }


def format_checkpoint_label(name: str, title: str) -> str:
    """A checkpoint's name as people read it: commits are cut short."""
    bare, purpose = split_purpose(name)
    if "@" in bare:
        repo, _, rest = bare.partition("@")
        revision, _, subfolder = rest.partition(":")
        bare = f"{repo} @ {revision[:7]}" + (f" : {subfolder}" if subfolder else "")
    shown = bare + (f" as {purpose}" if purpose else "")
    return f"{title} ({shown})" if title and "@" not in shown else shown
