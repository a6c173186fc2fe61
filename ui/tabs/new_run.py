"""New run: choose a source of settings, change them, estimate the cost, and start the run."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ui.auth.access import Access
from ui.services.recipe_catalog import HUB_PREFIX, RUN_PREFIX
from ui.services.training_service import TrainingService
from ui.tabs.error_messages import run_action, run_as_owner
from ui.tabs.event_options import ESTIMATE_EVENT, OWNER_EVENT, PRIVATE_EVENT, SILENT_EVENT, Updates
from ui.tabs.new_run_fields import SettingFields, TargetFields, format_estimate
from ui.tabs.run_monitor import RunMonitor

NO_ESTIMATE_MESSAGE = "*Estimate* measures a few steps and predicts time, memory and disk."
EMPTY_FORM: dict[str, Any] = {
    "task": "",
    "values": {},
    "name": "",
    "publish": {},
    "initial_weights": [("random weights", "")],
    "init_from": "",
}


class NewRunForm:
    """Components of the form and their events.

    Args:
        training_service: Lists sources, estimates and starts runs.
        access: Decides who may start a run; called inside every action.
    """

    def __init__(self, training_service: TrainingService, access: Access) -> None:
        self.training_service = training_service
        self.access = access
        self.recipes = training_service.recipes
        sources = self.recipes.list_sources()
        self.default_source = sources[0][1] if sources else ""
        form = self.recipes.build_form(self.default_source) if self.default_source else EMPTY_FORM
        self._build_source(sources, form)
        self.settings = SettingFields(form)
        self.target = TargetFields(form, training_service.count_devices())
        with gr.Row():
            self.estimate_button = gr.Button("Estimate", elem_id="estimate", min_width=160)
            self.start_button = gr.Button("Start training", variant="primary", elem_id="start", min_width=160)
        self.estimate_result = gr.Markdown(NO_ESTIMATE_MESSAGE, elem_id="estimate-result", elem_classes="facts")

    def _build_source(self, sources: list[tuple[str, str]], form: Mapping[str, Any]) -> None:
        with gr.Row():
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
            self.name = gr.Textbox(
                form["name"],
                label="Name",
                max_length=40,
                elem_id="run-name",
                min_width=160,
                info="small letters, digits and hyphens; a timestamp is added",
            )

    # --- events ----------------------------------------------------------------------------------------------------

    def connect(self, page: gr.Blocks, tab: gr.Tab, train_tabs: gr.Tabs, run_monitor: RunMonitor) -> None:
        """Connect all events.

        Args:
            page: The page, for its load event.
            tab: Tab of the form, for its select event.
            train_tabs: Tabs of the Train tab.
            run_monitor: Shows the run that was started.
        """
        outputs = [self.name, *self.settings.outputs, *self.target.outputs, self.estimate_result]
        self.settings.connect()
        self._connect_source(page, tab, outputs)
        self._connect_duplicate(train_tabs, run_monitor, outputs)
        self._connect_estimate()
        self._connect_start(train_tabs, run_monitor)

    def _connect_source(self, page: gr.Blocks, tab: gr.Tab, outputs: list[Any]) -> None:
        page.load(self._load_optional_values, None, self.settings.optional_components, **SILENT_EVENT)
        self.source.input(self._fill, self.source, outputs, **PRIVATE_EVENT)
        self.hub_name.submit(self._fill_from_hub, self.hub_name, [self.source, *outputs], **OWNER_EVENT)
        tab.select(
            self._refresh_choices, None, [self.source, self.target.hardware], **OWNER_EVENT, show_progress="hidden"
        )

    def _connect_duplicate(self, train_tabs: gr.Tabs, run_monitor: RunMonitor, outputs: list[Any]) -> None:
        def fill_from_run(run_id: str) -> Updates:
            source = RUN_PREFIX + (run_id or "")
            return {
                self.source: gr.Dropdown(self.recipes.list_sources(), value=source),
                train_tabs: gr.Tabs(selected="new"),
                **self._fill(source),
            }

        run_monitor.buttons["duplicate"].click(
            fill_from_run, run_monitor.run_dropdown, [self.source, train_tabs, *outputs], **PRIVATE_EVENT
        )

    def _connect_estimate(self) -> None:
        inputs = [self.source, self.target.hardware, *self.settings.components.values()]
        self.estimate_button.click(lambda: "Measuring a few steps …", None, self.estimate_result, **SILENT_EVENT).then(
            self._estimate, inputs, self.estimate_result, **ESTIMATE_EVENT
        ).failure(lambda: NO_ESTIMATE_MESSAGE, None, self.estimate_result, **SILENT_EVENT)

    def _connect_start(self, train_tabs: gr.Tabs, run_monitor: RunMonitor) -> None:
        def start(request: gr.Request, source: str, name: str, *values: Any) -> Updates:
            run_id = run_as_owner(self.access, request, self._start_run, request, source, name, values)
            choices = self.training_service.run_views.list_run_choices()
            return {
                run_monitor.run_dropdown: gr.Dropdown(choices, value=run_id),
                train_tabs: gr.Tabs(selected="watch"),
            }

        inputs = [self.source, self.name, *self.target.components, *self.settings.components.values()]
        self.start_button.click(start, inputs, [run_monitor.run_dropdown, train_tabs], **OWNER_EVENT).success(
            run_monitor.show, [run_monitor.run_dropdown, run_monitor.shown_version], run_monitor.outputs, **SILENT_EVENT
        )

    # --- handlers --------------------------------------------------------------------------------------------------

    def _load_optional_values(self) -> Updates:
        """Return the first values of optional settings, because Gradio 6.31 shows 0 for a number without a value."""
        values = self.recipes.build_form(self.default_source)["values"] if self.default_source else {}
        return {part: values.get(field.name) for field, part in self.settings.components.items() if field.is_optional}

    def _fill(self, source: str) -> Updates:
        """Return updates with the settings of a source."""
        form = run_action(self.recipes.build_form, source)
        return {
            self.name: form["name"],
            **self.settings.build_updates(form),
            **self.target.build_updates(form),
            self.estimate_result: NO_ESTIMATE_MESSAGE,
        }

    def _fill_from_hub(self, name: str, request: gr.Request) -> Updates:
        source = HUB_PREFIX + (name or "").strip()
        run_as_owner(self.access, request, self.recipes.build_form, source)  # only the owner may query the Hub
        choices = [*self.recipes.list_sources(), (f"{name}, from the Hub", source)]
        return {self.source: gr.Dropdown(choices, value=source), **self._fill(source)}

    def _refresh_choices(self, request: gr.Request) -> Updates:
        """Return the current sources, and for users who may train the hardware, which queries the Hub."""
        updates: Updates = {self.source: gr.Dropdown(self.recipes.list_sources())}
        if self.access.get_current_user(request):
            options = self.training_service.list_hardware_options()
            updates[self.target.hardware] = gr.Dropdown([(option.label, option.name) for option in options])
        return updates

    def _collect_values(self, source: str, values: tuple[Any, ...]) -> dict[str, Any]:
        """Return the submitted values of the fields that belong to the task of a source."""
        task = self.recipes.load_source(source).config.task["kind"]
        pairs = zip(self.settings.components, values, strict=True)
        return {field.name: value for field, value in pairs if field.task in ("", task)}

    def _estimate(self, request: gr.Request, source: str, hardware: str, *values: Any) -> str:
        def estimate() -> str:
            result = self.training_service.estimate(source, self._collect_values(source, values))
            options = self.training_service.list_hardware_options()
            prices = {option.name: option.price_per_hour for option in options}
            return format_estimate(result, prices.get(hardware))

        return run_as_owner(self.access, request, estimate)

    def _start_run(self, request: gr.Request, source: str, name: str, values: tuple[Any, ...]) -> str:
        """Start a run from the submitted values, and return its id."""
        user = self.access.require_owner(request)
        count = len(self.target.components)
        target = self.target.parse(values[:count])
        return self.training_service.start_run(
            source,
            self._collect_values(source, values[count:]),
            user.name if user.auth_method == "oauth" else "",
            name=(name or "").strip(),
            **target,
        )
