"""New run in three steps: choose a task card, choose a preset, start. A list of all settings is below."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ui.auth.access import Access
from ui.components.formatting import format_duration
from ui.components.new_run import (
    JS_GET_CHANGES,
    JS_GET_REQUEST,
    build_run_settings,
    build_settings_value,
    build_task_cards,
)
from ui.services.gallery import Gallery
from ui.services.recipe_catalog import HUB_PREFIX, RUN_PREFIX, slugify
from ui.services.run_choices import RunChoices
from ui.services.settings_form import build_settings_list, locate_errors, parse_submitted_changes
from ui.services.training_service import TrainingService
from ui.tabs.dashboard import DASHBOARD_TAB_ID, NEW_RUN_TAB_ID, RunDashboard
from ui.tabs.dashboard_state import build_selection, get_shown_run
from ui.tabs.error_messages import run_action, run_as_owner
from ui.tabs.event_options import ESTIMATE_EVENT, OWNER_EVENT, PRIVATE_EVENT, SILENT_EVENT, Updates
from ui.tabs.new_run_fields import TargetFields, format_estimate

NO_ESTIMATE_MESSAGE = "*Estimate* measures a few steps of these settings and predicts time, memory and disk."
EMPTY_FORM: dict[str, Any] = {
    "name": "",
    "publish": {},
    "initial_weights": [("random weights", "")],
    "init_from": "",
}
REFRESH_INTERVAL_S = 4.0  # of the times on the cards, while some are measured


class NewRunForm:
    """Components of the form and their events.

    Args:
        training_service: Lists sources, estimates and starts runs.
        access: Decides who may start a run; called inside every action.
        gallery: Gives the accuracy and the thumbnail of the bundled checkpoint of a card.
    """

    def __init__(self, training_service: TrainingService, access: Access, gallery: Gallery) -> None:
        self.training_service = training_service
        self.access = access
        self.gallery = gallery
        self.recipes = training_service.recipes
        self.choices = RunChoices(
            self.recipes, training_service.scheduler.estimates, training_service.estimate_worker, format_duration
        )
        sources = self.recipes.list_sources()
        self.default_source = self._find_default_source(sources)
        form = self.recipes.build_form(self.default_source) if self.default_source else EMPTY_FORM
        self.cards = build_task_cards(self._build_cards(self.default_source))
        self.measure_button = gr.Button(
            "Measure the times on this computer", size="sm", elem_id="measure", visible=bool(self.choices.cards)
        )
        self._build_other_sources(sources)
        self._build_start(form)
        self.settings = build_run_settings(self.default_source)
        self.timer = gr.Timer(REFRESH_INTERVAL_S, active=False)

    def _find_default_source(self, sources: list[tuple[str, str]]) -> str:
        """Return the quick look of the first card; the first source without cards; empty without sources."""
        for card in self.choices.cards:
            return card.quick or card.recipe
        return sources[0][1] if sources else ""

    def _build_other_sources(self, sources: list[tuple[str, str]]) -> None:
        has_cards = bool(self.choices.cards)
        with (
            gr.Accordion("Other recipes, earlier runs, models of the Hub", open=not has_cards, elem_id="other-sources"),
            gr.Row(),
        ):
            self.source = gr.Dropdown(
                sources,
                value=self.default_source or None,
                label="Recipe",
                elem_id="source",
                scale=2,
                min_width=280,
                info="Start from a recipe or an earlier run",
            )
            self.hub_name = gr.Textbox(
                label="Or fine-tune a Hub model",
                placeholder="owner/name",
                max_length=300,
                scale=2,
                min_width=280,
                elem_id="hub-source",
                submit_btn="Load",
                info="loads its settings and weights; step count starts at 0",
            )

    def _build_start(self, form: Mapping[str, Any]) -> None:
        gr.Markdown("### 3. Start", elem_id="start-heading")
        with gr.Row(elem_id="start-row"):
            with gr.Column(scale=2, min_width=220):
                self.name = gr.Textbox(form["name"], label="Name", max_length=100, elem_id="run-name")
                self.name_hint = gr.Markdown(describe_name(form["name"]), elem_id="run-name-hint")
            self.start_button = gr.Button("Start training", variant="primary", elem_id="start", min_width=160)
            self.estimate_button = gr.Button("Estimate", elem_id="estimate", min_width=120)
        self.estimate_result = gr.Markdown(NO_ESTIMATE_MESSAGE, elem_id="estimate-result", elem_classes="facts")
        self.target = TargetFields(form, self.training_service.count_devices())

    # --- events ----------------------------------------------------------------------------------------------------

    def connect(self, page: gr.Blocks, tab: gr.Tab, train_tabs: gr.Tabs, dashboard: RunDashboard) -> None:
        """Connect all events.

        Args:
            page: The page, for its load event.
            tab: Tab of the form, for its select event.
            train_tabs: Tabs of the Train tab.
            dashboard: Shows the run that was started.
        """
        self.outputs = [self.cards, self.name, self.settings, *self.target.outputs, self.estimate_result]
        self._connect_source(tab)
        self._connect_duplicate(train_tabs, dashboard)
        self._connect_estimate()
        self._connect_start(train_tabs, dashboard)

    def _connect_source(self, tab: gr.Tab) -> None:
        chosen = [self.source, *self.outputs]
        self.cards.input(self._choose, [self.cards, self.source], chosen, js=JS_GET_REQUEST, **SILENT_EVENT)
        self.source.input(self._fill, self.source, self.outputs, **PRIVATE_EVENT)
        self.hub_name.submit(self._fill_from_hub, self.hub_name, [self.source, *self.outputs], **OWNER_EVENT)
        self.settings.input(
            self._list_settings, [self.settings, self.source], self.settings, js=JS_GET_CHANGES, **SILENT_EVENT
        )
        self.name.change(describe_name, self.name, self.name_hint, **SILENT_EVENT)
        tab.select(
            self._refresh_choices,
            [self.source, self.cards],
            [self.source, self.target.hardware, self.cards, self.timer],
            **OWNER_EVENT,
            show_progress="hidden",
        )

    def _connect_duplicate(self, train_tabs: gr.Tabs, dashboard: RunDashboard) -> None:
        def fill_from_run(runs: Any) -> Updates:
            source = RUN_PREFIX + get_shown_run(runs)
            return {
                self.source: gr.Dropdown(self.recipes.list_sources(), value=source),
                train_tabs: gr.Tabs(selected=NEW_RUN_TAB_ID),
                **self._fill(source),
            }

        dashboard.buttons["duplicate"].click(
            fill_from_run, dashboard.runs, [self.source, train_tabs, *self.outputs], **PRIVATE_EVENT
        )

    def _connect_estimate(self) -> None:
        inputs = [self.source, self.target.hardware, self.settings]
        self.estimate_button.click(lambda: "Measuring a few steps …", None, self.estimate_result, **SILENT_EVENT).then(
            self._estimate, inputs, self.estimate_result, **ESTIMATE_EVENT
        ).failure(lambda: NO_ESTIMATE_MESSAGE, None, self.estimate_result, **SILENT_EVENT)
        self.measure_button.click(self._measure, [self.source, self.cards], [self.cards, self.timer], **OWNER_EVENT)
        self.timer.tick(self._refresh_times, [self.source, self.cards], [self.cards, self.timer], **SILENT_EVENT)

    def _connect_start(self, train_tabs: gr.Tabs, dashboard: RunDashboard) -> None:
        def start(request: gr.Request, source: str, name: str, *values: Any) -> Updates:
            self.check_access(request)
            *target, settings = values
            try:
                run_id = self._start_run(request, source, name, target, settings)
            except ValueError as error:
                return {self.settings: self._show_error(error, source, settings)}
            return {
                dashboard.runs: build_selection(run_id),
                train_tabs: gr.Tabs(selected=DASHBOARD_TAB_ID),
            }

        inputs = [self.source, self.name, *self.target.components, self.settings]
        outputs = [dashboard.runs, train_tabs, self.settings]
        # A rejected form raises no error: its messages appear at the fields, and the tab stays.
        dashboard.refresh(self.start_button.click(start, inputs, outputs, **OWNER_EVENT))

    # --- handlers --------------------------------------------------------------------------------------------------

    def check_access(self, request: gr.Request) -> None:
        """Check that a user may train.

        Raises:
            gr.Error: The user may not.
        """
        run_as_owner(self.access, request, lambda: None)

    def _build_cards(self, source: str, view: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the value of the cards, with accuracy and thumbnail of the bundled checkpoints."""
        view = dict(view or self.choices.build_view(source))
        cards = []
        for card in view["cards"]:
            bundled = self.gallery.get_card(card["checkpoint"]) or {}
            cards.append(card | {name: bundled.get(name) for name in ("accuracy", "thumbnail")})
        return view | {"cards": cards}

    def _choose(self, request: Any, source: str) -> Updates:
        """Return updates with the settings that were chosen on the cards."""
        choice = run_action(self.choices.resolve, read_request(request), source)
        return {self.source: choice.source, **self._fill(choice.source, choice.changes, choice.view)}

    def _fill(
        self, source: str, changes: Mapping[str, Any] | None = None, view: Mapping[str, Any] | None = None
    ) -> Updates:
        """Return updates with the settings of a source."""
        form = run_action(self.recipes.build_form, source)
        return {
            self.cards: self._build_cards(source, view),
            self.name: form["name"],
            self.settings: build_settings_value(source, changes),
            **self.target.build_updates(form),
            self.estimate_result: NO_ESTIMATE_MESSAGE,
        }

    def _fill_from_hub(self, name: str, request: gr.Request) -> Updates:
        source = HUB_PREFIX + (name or "").strip()
        run_as_owner(self.access, request, self.recipes.build_form, source)  # only the owner may query the Hub
        choices = [*self.recipes.list_sources(), (f"{name}, from the Hub", source)]
        return {self.source: gr.Dropdown(choices, value=source), **self._fill(source)}

    def _list_settings(self, value: Any, source: str) -> dict[str, Any]:
        """Return the list of all settings of the source, for a visitor who opened it."""
        config = run_action(self.recipes.load_source, source).config
        changes = run_action(parse_submitted_changes, value)
        return build_settings_value(source, changes, **build_settings_list(config))

    def _refresh_choices(self, request: gr.Request, source: str, cards: Any) -> Updates:
        """Return the current sources and times; for users who may train also the hardware, which queries the Hub."""
        updates: Updates = {self.source: gr.Dropdown(self.recipes.list_sources())}
        if self.access.get_current_user(request):
            options = self.training_service.list_hardware_options()
            updates[self.target.hardware] = gr.Dropdown([(option.label, option.name) for option in options])
            self.training_service.estimate_worker.request(self.choices.list_unmeasured())
        return updates | self._refresh_times(source, cards)

    def _refresh_times(self, source: str, cards: Any) -> Updates:
        """Return the cards with the times that are known by now; the browser keeps what is chosen."""
        value = self._build_cards(source or self.default_source)
        shown = cards if isinstance(cards, Mapping) else {}
        is_shown = all(value[name] == shown.get(name) for name in ("cards", "presets"))
        return {
            self.cards: gr.skip() if is_shown else value | {"is_refresh": True},
            self.timer: gr.Timer(active=bool(value["is_measuring"])),
        }

    def _measure(self, request: gr.Request, source: str, cards: Any) -> Updates:
        """Measure the presets of the selected card now, for an owner who asks for it."""

        def measure() -> None:
            recipe = str(cards.get("selected") or "") if isinstance(cards, Mapping) else ""
            self.training_service.measure(self.choices.list_unmeasured(recipe))

        run_as_owner(self.access, request, measure)
        return self._refresh_times(source, cards)

    def _estimate(self, request: gr.Request, source: str, hardware: str, settings: Any) -> str:
        def estimate() -> str:
            result = self.training_service.estimate(source, parse_submitted_changes(settings))
            options = self.training_service.list_hardware_options()
            prices = {option.name: option.price_per_hour for option in options}
            return format_estimate(result, prices.get(hardware))

        return run_as_owner(self.access, request, estimate)

    def _start_run(self, request: gr.Request, source: str, name: str, target: list[Any], settings: Any) -> str:
        """Start a run from the submitted values, and return its id."""
        user = self.access.require_owner(request)
        return self.training_service.start_run(
            source,
            parse_submitted_changes(settings),
            user.name if user.auth_method == "oauth" else "",
            name=(name or "").strip(),
            **self.target.parse(target),
        )

    def _show_error(self, error: ValueError, source: str, settings: Any) -> dict[str, Any]:
        """Return the list of settings with an error at the fields that caused it."""
        try:
            config = self.recipes.load_source(source).config
            changes = parse_submitted_changes(settings)
        except ValueError as problem:
            return build_settings_value(source, problem=str(problem))
        errors = locate_errors(str(error), config)
        if not errors:
            return build_settings_value(
                source, changes, problem=str(error).replace("`", ""), **get_open_fields(settings)
            )
        return build_settings_value(source, changes, errors=errors, **build_settings_list(config))


def get_open_fields(settings: Any) -> dict[str, Any]:
    """Return the fields that the list of settings shows already."""
    names = ("groups", "fields", "values")
    return {name: settings[name] for name in names if isinstance(settings, Mapping) and settings.get(name)}


def read_request(value: Any) -> Any:
    """Return what was chosen on the cards; a client without JavaScript sends the whole value."""
    return value.get("request", value) if isinstance(value, Mapping) else value


def describe_name(name: str) -> str:
    """Return the line beneath the name: what the run will be called."""
    return f"The run is called `{slugify(name or '')}`; a time is added if that name is taken."
