"""What the first two steps of a new run show and choose: task cards, presets and sliders, with times on this computer."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from training.config import RunConfig
from training.jobs.estimate_store import EstimateStore, StoredEstimate
from training.jobs.estimate_worker import EstimateWorker
from ui.services.form_schema import get_form_values
from ui.services.recipe_catalog import RecipeCatalog
from ui.services.task_cards import (
    TaskCard,
    build_slider_changes,
    build_sliders,
    compute_time_changes,
    parse_chosen,
    read_task_cards,
    scale_figures,
)

PRESETS = {"quick": "Quick look", "recipe": "Full recipe", "custom": "Custom"}
NOT_MEASURED = "not measured on this computer yet"
WAITING = "being measured"


class Choice(NamedTuple):
    """What a visitor chose in the first two steps.

    Attributes:
        source: Source of the settings, see `RecipeCatalog.load_source`.
        changes: Settings that the sliders change, by dotted name.
        view: See `RunChoices.build_view`.
    """

    source: str
    changes: dict[str, Any]
    view: dict[str, Any]


class RunChoices:
    """Builds task cards and resolves what is chosen on them. Thread-safe; measures nothing by itself.

    Args:
        recipes: Recipes and earlier runs.
        estimates: Measured costs on this computer.
        worker: Measures costs in the background.
        format_duration: Formats seconds for users.
    """

    def __init__(
        self,
        recipes: RecipeCatalog,
        estimates: EstimateStore,
        worker: EstimateWorker,
        format_duration: Callable[[float], str],
    ) -> None:
        self.recipes = recipes
        self.estimates = estimates
        self.worker = worker
        self.cards = read_task_cards(recipes.recipes_dir)
        self._format_duration = format_duration

    # --- what is shown -----------------------------------------------------------------------------------------------

    def build_view(self, source: str, preset: str = "", chosen: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Return what the first two steps show for a source.

        Args:
            source: Source of the settings.
            preset: Chosen preset; empty for the one that the source is.
            chosen: Chosen positions of the sliders.

        Returns:
            cards, selected (recipe of the selected card, or an empty text), preset, presets, sliders, note, and
            is_measuring: whether some times are being measured.
        """
        card = self._find_card(source)
        view: dict[str, Any] = {
            "cards": [self._build_card(item) for item in self.cards],
            "selected": card.recipe if card else "",
            "preset": preset or self._find_preset(card, source),
            "presets": self._build_presets(card) if card else [],
            "sliders": [],
            "note": "",
            "is_measuring": self.worker.is_busy,
        }
        if card and view["preset"] == "custom":
            values = get_form_values(self.recipes.load_source(source).config)
            view["sliders"] = build_sliders(card, values, chosen or {})
        return view

    def _find_card(self, source: str) -> TaskCard | None:
        """Return the card whose recipe or task a source has; None if there is none."""
        for card in self.cards:
            if source in (card.recipe, card.quick):
                return card
        task = self._read_task(source)
        return next((card for card in self.cards if task and self._read_task(card.recipe) == task), None)

    def _read_task(self, source: str) -> str:
        try:
            return str(self.recipes.load_source(source).config.task["kind"])
        except ValueError:  # deleted in the meantime
            return ""

    def _find_preset(self, card: TaskCard | None, source: str) -> str:
        if card is None:
            return ""
        return {card.quick: "quick", card.recipe: "recipe"}.get(source, "custom")

    def _build_card(self, card: TaskCard) -> dict[str, Any]:
        times = [f"{PRESETS[name]}: {self.describe_time(source)}" for name, source in list_presets(card)]
        return {
            "name": card.recipe,
            "title": card.title,
            "learns": card.learns,
            "checkpoint": card.checkpoint,
            "times": times,
        }

    def _build_presets(self, card: TaskCard) -> list[dict[str, str]]:
        presets = []
        for name, source in list_presets(card):
            accuracy = self.recipes.read_accuracy(source)
            reached = f"reached {accuracy:.1f}% correct" if accuracy is not None else ""
            parts = [self.describe_time(source), reached, self._describe_measurement(source)]
            presets.append({"name": name, "title": PRESETS[name], "text": "; ".join(filter(None, parts))})
        return [
            *presets,
            {"name": "custom", "title": PRESETS["custom"], "text": "choose size, ticks, difficulty, time"},
        ]

    def describe_time(self, source: str) -> str:
        """Return how long a source takes on this computer, in a few words."""
        try:
            config = self.recipes.load_source(source).config
        except ValueError as error:
            return str(error)
        if estimate := self.estimates.get(config):
            return f"about {self._format_duration(estimate.predict_seconds(config))}"
        if self.worker.is_waiting(config):
            return WAITING
        return NOT_MEASURED

    def _describe_measurement(self, source: str) -> str:
        config = self.recipes.load_source(source).config
        if estimate := self.estimates.get(config):
            return describe_measurement(estimate)
        failure = self.worker.get_failure(config)
        return f"it could not be measured: {failure}" if failure else ""

    # --- what is chosen ----------------------------------------------------------------------------------------------

    def resolve(self, request: Any, source: str = "") -> Choice:
        """Return the source and the changes that a visitor chose.

        Args:
            request: What the browser sent: `recipe` of the card, `preset`, `sliders` (position by name).
            source: Source so far, such as an earlier run whose settings the sliders change.

        Raises:
            ValueError: There is no such card.
        """
        request = request if isinstance(request, Mapping) else {}
        card = next((card for card in self.cards if card.recipe == request.get("recipe")), None)
        if card is None:
            raise ValueError("There is no such task card: choose one of those on the page.")
        presets = dict(list_presets(card))
        preset = request.get("preset")
        if preset not in PRESETS or (preset != "custom" and preset not in presets):
            preset = next(iter(presets))
        if preset != "custom":
            source = presets[preset]
            return Choice(source, {}, self.build_view(source, preset))
        source = self._find_custom_source(card, source)
        chosen = parse_chosen(card, request.get("sliders"))
        if source == card.recipe:
            chosen = {"minutes": len(card.minutes) // 2} | chosen
        changes, note = self._build_custom_changes(card, source, chosen)
        return Choice(source, changes, self.build_view(source, preset, chosen) | {"note": note})

    def _find_custom_source(self, card: TaskCard, source: str) -> str:
        """Return the source that the sliders change: an earlier run of the task, or the recipe of the card."""
        return source if source and source != card.quick and self._find_card(source) == card else card.recipe

    def _build_custom_changes(
        self, card: TaskCard, source: str, chosen: Mapping[str, int]
    ) -> tuple[dict[str, Any], str]:
        """Return the settings that the sliders change, and a sentence about the time."""
        config = self.recipes.load_source(source).config
        changes = build_slider_changes(card, chosen)
        changed = config.with_overrides(changes)
        figures = self._predict_figures(config, changed)
        if "minutes" in chosen:
            changes |= compute_time_changes(changed, card.minutes[chosen["minutes"]], figures)
            changed = config.with_overrides(changes)
        if figures is None:
            return changes, (
                f"{changed.num_steps:,} steps. The time was {NOT_MEASURED}: measure it, then choose the time."
            )
        seconds = predict_seconds(figures, changed)
        note = f"{changed.num_steps:,} steps, about {self._format_duration(seconds)} in all."
        wanted = 60 * card.minutes[chosen["minutes"]] if "minutes" in chosen else seconds
        if seconds > 1.2 * wanted:
            note += " Start and finalization alone take longer than the time that you chose."
        return changes, note

    def _predict_figures(self, config: RunConfig, changed: RunConfig) -> Mapping[str, Any] | None:
        """Return the measured cost of a changed run, or else an approximation from that of the unchanged one."""
        if exact := self.estimates.get(changed):
            return exact.figures
        base = self.estimates.get(config)
        return scale_figures(base.figures, config, changed) if base else None

    # --- measuring ---------------------------------------------------------------------------------------------------

    def list_unmeasured(self, recipe: str = "") -> list[RunConfig]:
        """Return the settings of the presets that have no estimate yet, quick looks first.

        Args:
            recipe: Recipe of one card; empty for all cards.
        """
        cards = [card for card in self.cards if recipe in ("", card.recipe)]
        sources = [card.quick for card in cards if card.quick] + [card.recipe for card in cards]
        configs = []
        for source in sources:
            try:
                config = self.recipes.load_source(source).config
            except ValueError:
                continue
            if self.estimates.get(config) is None:
                configs.append(config)
        return configs


def list_presets(card: TaskCard) -> list[tuple[str, str]]:
    """Return name and source of the presets that are recipes, the default first."""
    return [("quick", card.quick), ("recipe", card.recipe)] if card.quick else [("recipe", card.recipe)]


def predict_seconds(figures: Mapping[str, Any], config: RunConfig) -> float:
    """Return the seconds of a whole run from measured figures."""
    return StoredEstimate(figures, 0.0, False).predict_seconds(config)


def describe_measurement(estimate: StoredEstimate) -> str:
    """Return when an estimate was measured, in a few words."""
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(estimate.measured_at))
    return f"measured {date}" + (" while another run was training" if estimate.is_shared else "")
