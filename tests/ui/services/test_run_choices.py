"""Test the cards of configs/: recipes, presets, sliders and times."""

import itertools
import json

import pytest

from tests.paths import ROOT
from training.config import read_recipe
from training.jobs.estimate_store import EstimateStore
from training.jobs.estimate_worker import EstimateWorker
from ui.components.formatting import format_duration
from ui.services.form_schema import compute_form_changes, get_form_values
from ui.services.recipe_catalog import RecipeCatalog
from ui.services.run_choices import RunChoices
from ui.services.task_cards import (
    build_slider_changes,
    build_sliders,
    compute_time_changes,
    parse_chosen,
    read_task_cards,
    scale_figures,
)

CARDS = read_task_cards(ROOT / "configs")
FIGURES = {
    "seconds_per_step": 0.1,
    "seconds_per_evaluation": 1.0,
    "seconds_to_start": 5.0,
    "seconds_to_finalize": 25.0,
}


class NoRuns:
    """Scheduler without runs."""

    def list_jobs(self) -> list:
        return []

    def get_run_dir(self, _: str):
        raise ValueError("There is no run.")


@pytest.fixture
def choices(tmp_path) -> RunChoices:
    store = EstimateStore(tmp_path / "estimates.json", {})
    worker = EstimateWorker(store, lambda _: pytest.fail("nothing is measured"), lambda: False)
    return RunChoices(RecipeCatalog(ROOT / "configs", NoRuns(), None), store, worker, format_duration)


def load(name: str):
    return read_recipe(ROOT / f"configs/{name}.yaml")


def test_the_first_cards_have_a_quick_look():
    assert [card.recipe for card in CARDS if card.quick] == ["digits", "parity-16", "mazes-15-untaught"]
    for card in CARDS:
        assert not card.quick or load(card.quick).task["kind"] == load(card.recipe).task["kind"]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.recipe)
def test_every_position_of_the_sliders_is_valid(card):
    config = load(card.recipe)
    for size, ticks, level in itertools.product(
        range(len(card.size)), range(len(card.ticks)) or [None], range(len(card.difficulty.levels))
    ):
        chosen = {"size": size, "difficulty": level} | ({} if ticks is None else {"ticks": ticks})
        changes = build_slider_changes(card, chosen)
        changed = config.with_overrides(compute_form_changes(config, changes))
        assert changed.build_model_config(changed.make_task()).d_model == card.size[size]
        assert changes.items() <= get_form_values(changed).items()


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.recipe)
def test_the_difficulty_of_the_recipe_is_a_position(card):
    sliders = {slider["name"]: slider for slider in build_sliders(card, get_form_values(load(card.recipe)), {})}
    assert sliders["difficulty"]["selected"] >= 0 and sliders["minutes"]["selected"] == -1


@pytest.mark.parametrize("damage", ["[", "{}", '[{"recipe": "digits"}]', "[3]", "GONE"])
def test_a_damaged_file_of_cards_gets_an_error_message(tmp_path, damage):
    cards = json.loads((ROOT / "configs/cards.json").read_text())
    text = json.dumps([cards[0] | {"recipe": "gone"}]) if damage == "GONE" else damage
    (tmp_path / "cards.json").write_text(text)
    with pytest.raises(ValueError, match=r"cards\.json") as caught:
        read_task_cards(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_time_sets_the_steps():
    config = load("digits")
    changes = compute_time_changes(config, 2, FIGURES)
    changed = config.with_overrides(changes)
    assert (
        changed.train.steps == int((120 - 30) / (0.1 + 1 / 250))
        and changed.train.eval_every <= changed.train.steps / 10
    )
    assert changed.optim.warmup_steps <= changed.train.steps / 10
    assert compute_time_changes(config, 2, None) == {}
    assert compute_time_changes(config, 0.1, FIGURES)["train.steps"] == 20, "some steps in any case"


def test_the_cost_of_another_size_is_approximated():
    config = load("digits")
    scaled = scale_figures(FIGURES, config, config.with_overrides({"model.iterations": 32, "model.d_model": 256}))
    assert scaled["seconds_per_step"] == pytest.approx(0.1 * 2 * 1.5) and scaled["seconds_to_start"] == 5


@pytest.mark.parametrize("sent", [None, 3, [], {"size": "1"}, {"size": True}, {"size": -1}, {"size": 99}, {"x": 1}])
def test_invalid_positions_are_dropped(sent):
    assert parse_chosen(CARDS[0], sent) == {}


# --- choosing ----------------------------------------------------------------------------------------------------


def test_a_card_and_a_preset_choose_a_source(choices):
    for preset, source in {
        "": "quick/digits",
        "quick": "quick/digits",
        "recipe": "digits",
        "x": "quick/digits",
    }.items():
        choice = choices.resolve({"recipe": "digits", "preset": preset})
        assert (choice.source, choice.changes) == (source, {}) and choice.view["selected"] == "digits"
    assert choices.resolve({"recipe": "brackets"}).source == "brackets", "without a quick look"
    for invalid in (None, [], {}, {"recipe": "../digits"}, {"recipe": ["digits"]}):
        with pytest.raises(ValueError, match="no such task card"):
            choices.resolve(invalid)


def test_the_sliders_change_settings_of_the_recipe(choices):
    request = {"recipe": "parity-16", "preset": "custom", "sliders": {"size": 0, "ticks": 1, "difficulty": 1}}
    choice = choices.resolve(request, "quick/parity")
    assert choice.source == "parity-16"
    assert choice.changes == {"model.d_model": 32, "model.iterations": 24, "task.length": 8}
    assert "not measured" in choice.view["note"] and choice.view["preset"] == "custom"
    selected = {slider["name"]: slider["selected"] for slider in choice.view["sliders"]}
    assert selected == {"size": 0, "ticks": 1, "difficulty": 1, "minutes": 2}
    choices.estimates.save(load("parity-16").with_overrides(choice.changes), FIGURES)
    timed = choices.resolve(request | {"sliders": request["sliders"] | {"minutes": 1}}, "quick/parity")
    assert timed.changes["train.steps"] == int((600 - 30) / (0.1 + 1 / 1000)) and "10 min in all" in timed.view["note"]


def test_times_are_shown_with_their_measurement(choices):
    assert choices.describe_time("digits") == "not measured on this computer yet"
    choices.estimates.save(load("quick/digits"), FIGURES)
    config = load("quick/digits")
    seconds = 30 + config.train.steps * (0.1 + 1 / config.train.eval_every)
    assert choices.describe_time("quick/digits") == f"about {format_duration(seconds)}"
    quick = choices.build_view("quick/digits")["presets"][0]
    assert quick["name"] == "quick" and "measured 20" in quick["text"]
    assert load("quick/digits") not in choices.list_unmeasured("digits") and load("digits") in choices.list_unmeasured(
        "digits"
    )
