"""Test the Train tab in a browser: start, monitor, stop, resume and use a run, as owner and as visitor."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.training.jobs.conftest import stop_scheduler, wait_until
from tests.ui.gradio_session import make_access
from tests.ui.run_fixtures import create_fake_run, make_training_service, serve_page, write_recipes
from tests.ui.test_browser import browser, choose
from training.jobs.job import Job
from ui.services.training_service import TrainingService

__all__ = ["browser"]
pytestmark = pytest.mark.browser

Open = Callable[..., Page]
ACTIONS = ("#stop", "#kill", "#resume", "#delete", "#duplicate", "#create-archive", "#publish", "#archive")
TIMEOUT_MS = 60_000  # until a run starts or stops, on a slow host
expect.set_options(timeout=20_000)  # a training run slows down a small host


@contextmanager
def open_pages(browser: Browser, address: str) -> Iterator[Open]:
    """Yield a function that opens the tab in a new browser context. An error in the scripts fails the test."""
    contexts, errors = [], []

    def record_console_error(message) -> None:
        if message.type == "error" and "favicon" not in message.text:
            errors.append(message.text)

    def open_tab(width: int = 1280, height: int = 1000, theme: str = "light", address: str = address) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", record_console_error)
        page.goto(f"{address}/?tab=train&__theme={theme}")
        expect(page.locator("#headline")).to_be_visible()
        return page

    try:
        yield open_tab
    finally:
        for context in contexts:
            context.close()
    assert errors == []


@pytest.fixture
def training_service(tmp_path, checkpoints_dir) -> Iterator[TrainingService]:
    service = make_training_service(tmp_path, checkpoints_dir, start_jobs=True)
    yield service
    stop_scheduler(service.scheduler)


@pytest.fixture
def fake_runs_service(tmp_path, checkpoints_dir) -> TrainingService:
    """Return a training service with fake runs in every state."""
    service = make_training_service(tmp_path, checkpoints_dir)
    create_fake_run(service, "parity-16-20261120-101500", steps=(50, 100), submitted_at=time.time() - 90_000)
    stopped = {"status_message": "Stopped and saved at step 20 of 100.", "submitted_at": time.time() - 5_000}
    create_fake_run(service, "a-run-with-quite-a-long-name-20261121-101500", "cancelled", steps=(10, 20), **stopped)
    create_fake_run(
        service,
        "digits-20261122-090000",
        "failed",
        status_message="The loss was not a number at step 30; lower `optim.lr`.",
    )
    create_fake_run(service, "waiting-20261122-100000", "queued", status_message="Waits for its turn.")
    create_fake_run(
        service, "parity-16-20261122-101500", "running", steps=(100, 200, 300), submitted_at=time.time() + 1
    )
    return service


def open_subtab(page: Page, name: str) -> None:
    """Open a tab inside the Train tab. On a phone, some are in an overflow menu."""
    tab = page.locator("#train-tabs").get_by_role("tab", name=name)
    if not tab.is_visible():
        page.locator("#train-tabs .overflow-menu > button").click()
        tab = page.locator("#train-tabs .overflow-dropdown").get_by_text(name)
    tab.click()


def capture_chart(page: Page, chart: str = "loss") -> str:
    return page.locator(f"#curves [data-chart={chart}] .curves-lines").evaluate("canvas => canvas.toDataURL()")


def read_step(page: Page) -> int:
    """Return the step in the headline; 0 without one."""
    match = re.search(r"step ([\d,]+)", page.locator("#headline").inner_text())
    return int(match[1].replace(",", "")) if match else 0


def zoom(page: Page) -> None:
    """Drag across the middle of a chart."""
    box = page.locator("#curves [data-chart=loss] .curves-overlay").bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 40, steps=5)
    page.mouse.up()


def test_a_run_is_started_monitored_stopped_resumed_and_used(browser, training_service):
    with serve_page(training_service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        expect(page.locator("#headline")).to_contain_text("No runs yet")

        open_subtab(page, "New run")
        for recipe, steps in {
            "tiny": "12",
            "endless": "1000000",
        }.items():  # loading a recipe overwrites typed values
            choose(page, "#source", f"^{recipe}$")
            expect(page.locator("#set-train-steps input")).to_have_value(steps)
        page.locator("#run-name input, #run-name textarea").fill("from-the-page")
        page.locator("#set-train-batch_size input").fill("4")
        page.click("#start")
        headline = page.locator("#headline")
        expect(headline).to_contain_text("Training: step", timeout=TIMEOUT_MS)
        assert page.locator("#run input").input_value().startswith("from-the-page-")
        assert (
            training_service.scheduler.get_run_dir(training_service.run_views.get_current_run_id())
            .load_config()
            .train.batch_size
            == 4
        )

        expect(page.locator("#curves [data-chart=loss]")).to_be_visible(timeout=TIMEOUT_MS)
        before, step = capture_chart(page), read_step(page)
        wait_until(lambda: (page.wait_for_timeout(300), read_step(page) > step + 20)[1])
        assert capture_chart(page) != before, "the chart updates without user input"
        expect(page.locator("#log")).to_contain_text("loss")

        zoom(page)
        range_label = page.locator("#curves [data-curves=position]")
        expect(range_label).to_contain_text("Zoomed to steps")
        zoomed, step = re.search(r"Zoomed to steps [\d,]+ to [\d,]+", range_label.inner_text())[0], read_step(page)
        wait_until(lambda: (page.wait_for_timeout(300), read_step(page) > step)[1])
        expect(range_label).to_contain_text(zoomed)

        page.reload()
        start_time = time.monotonic()
        expect(page.locator("#headline")).to_contain_text("Training: step")
        expect(page.locator("#curves [data-chart=loss] .curves-lines")).to_be_visible()
        assert time.monotonic() - start_time < 12, "the limit is loose for slow hosts; the usual time is under a second"
        assert read_step(page) > step, "a reload shows the newest step"

        phone_page = open_tab(width=390, height=844)
        expect(phone_page.locator("#headline")).to_contain_text("Training: step")
        assert phone_page.locator("#run input").input_value() == page.locator("#run input").input_value()

        page.click("#stop")
        expect(headline).to_contain_text("Stopped at step", timeout=TIMEOUT_MS)
        expect(phone_page.locator("#headline")).to_contain_text("Stopped at step", timeout=TIMEOUT_MS)
        expect(page.locator("#stop")).to_be_hidden()
        stopped = read_step(page)

        page.click("#try-run")
        expect(page.locator("#checkpoint input")).to_have_value(re.compile(rf"run:from-the-page-.*@{stopped}$"))
        page.locator("#sequence textarea, #sequence input").fill("1011")
        page.click("#run-text")
        sentence = page.locator("#thought [data-thought=sentence]")  # the energy is calibrated after the last step only
        expect(sentence).to_have_text(
            re.compile(r"The number of ones is \w+\.( Correct\.| Wrong: .*\.)? Probability: .*%\. It used all 4 ticks")
        )

        page.locator("#tabs").get_by_role("tab", name="Train", exact=True).click()
        page.click("#resume")
        expect(headline).to_contain_text("Training: step", timeout=TIMEOUT_MS)
        wait_until(lambda: (page.wait_for_timeout(300), read_step(page) > stopped)[1])

        page.click("#kill")
        expect(page.locator("#confirm-text")).to_contain_text("Force stop?")
        page.click("#confirm")
        expect(headline).to_contain_text("Stopped at step", timeout=TIMEOUT_MS)
        expect(headline).to_contain_text("Killed.")
        page.click("#delete")
        page.click("#cancel")
        expect(page.locator("#confirm-row")).to_be_hidden()
        page.click("#delete")
        page.click("#confirm")
        expect(headline).to_contain_text("No runs yet", timeout=TIMEOUT_MS)


def test_an_unchanged_recipe_is_started_without_overrides(browser, fake_runs_service):
    """Settings without a value stay empty, although a browser would show 0."""
    before = {job.id for job in fake_runs_service.run_views.list_jobs()}
    with serve_page(fake_runs_service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        open_subtab(page, "New run")
        expect(page.locator("#set-train-steps input")).to_have_value("1000000")
        page.locator("#group-loss button").first.click()
        expect(page.locator("#set-loss-lookahead input")).to_have_value("")
        page.click("#start")
        expect(page.locator("#headline")).to_contain_text("Queued")
    (id,) = {job.id for job in fake_runs_service.run_views.list_jobs()} - before
    assert (
        fake_runs_service.scheduler.get_run_dir(id).load_config() == fake_runs_service.recipes.load_source("endless")[0]
    )
    assert fake_runs_service.scheduler.get_run_dir(id).read_command() == "python -m training train configs/endless.yaml"


def test_only_settings_of_the_selected_model_type_are_shown(browser, fake_runs_service):
    with serve_page(fake_runs_service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        open_subtab(page, "New run")
        page.locator("#group-model button").first.click()
        expect(page.locator("#set-model-n_synch_out")).to_be_visible()
        expect(page.locator("#set-model-num_layers")).to_be_hidden()
        choose(page, "#set-model-kind", "lstm")
        expect(page.locator("#set-model-num_layers input")).to_have_value("1")
        expect(page.locator("#set-model-n_synch_out")).to_be_hidden()
        choose(page, "#set-model-kind", "ctm")
        expect(page.locator("#set-model-n_synch_out")).to_be_visible()
        expect(page.locator("#set-model-num_layers")).to_be_hidden()
        expect(page.locator("#set-model-iterations_per_digit")).to_be_hidden()


def test_an_invalid_setting_is_reported_and_the_form_stays_usable(browser, fake_runs_service):
    with serve_page(fake_runs_service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        open_subtab(page, "New run")
        page.locator("#set-train-steps input").fill("0")
        page.click("#start")
        expect(page.locator(".toast-body")).to_contain_text("train.steps")
        expect(page.locator("#start")).to_be_visible()
        choose(page, "#source", "tiny")
        expect(page.locator("#set-train-steps input")).to_have_value("12")


def test_the_selected_run_and_step_are_kept_while_the_run_updates(browser, fake_runs_service):
    with serve_page(fake_runs_service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        choose(page, "#step", "step 100")
        choose(page, "#run", "quite-a-long-name")
        expect(page.locator("#headline")).to_contain_text("Stopped at step 20 of 100")
        expect(page.locator("#resume")).to_be_visible()
        choose(page, "#step", "step 10")
        fake_runs_service.scheduler.store.update(
            "a-run-with-quite-a-long-name-20261121-101500", status_message="Another word."
        )
        expect(page.locator("#headline")).to_contain_text("Another word.")
        expect(page.locator("#step input")).to_have_value("step 10")
        page.click("#try-run")
        expect(page.locator("#checkpoint input")).to_have_value(re.compile("quite-a-long-name-20261121-101500@10"))


def test_a_run_of_the_history_is_opened_and_runs_are_compared(browser, fake_runs_service):
    with serve_page(fake_runs_service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        open_subtab(page, "All runs")
        page.locator("#history").get_by_text("digits-20261122-090000").first.click()
        expect(page.locator("#headline")).to_contain_text("The loss was not a number")
        open_subtab(page, "Compare")
        page.locator("#compared input").click()
        for name in ("parity-16-20261122", "digits"):
            page.get_by_role("option", name=re.compile(name)).click()
        expect(page.locator("#compared-curves [data-chart=loss]")).to_be_visible()
        expect(page.locator("#settings")).to_contain_text("finalize.fit_samples")


def test_an_anonymous_visitor_sees_all_tabs_and_no_owner_buttons(browser, fake_runs_service):
    with serve_page(fake_runs_service, make_access("closed", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        expect(page.locator("#access")).to_contain_text("Training is off")
        for _ in range(2):  # a run in progress, then a stopped run
            expect(page.locator("#try-run")).to_be_visible()
            for action in ACTIONS:
                expect(page.locator(action)).to_be_hidden()
            choose(page, "#run", "quite-a-long-name")
        expect(page.locator("#headline")).to_contain_text("Stopped")
        expect(page.locator("#log")).to_contain_text("step 10 of 100")
        open_subtab(page, "New run")
        page.click("#start")
        expect(page.locator(".toast-body")).to_contain_text("Training is off")
        page.locator(".toast-close").first.click()
        page.click("#estimate")
        expect(page.locator(".toast-body")).to_contain_text("Training is off")
        expect(page.locator("#estimate-result")).not_to_contain_text("Measuring")
    assert len(fake_runs_service.run_views.list_jobs()) == 5


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1600, "dark")])
def test_the_train_tab_does_not_overflow(browser, fake_runs_service, width, theme):
    fake_runs_service.scheduler.store.add(
        Job("x" * 55, "failed", status_message="A very long sentence. " * 9, submitted_at=1.0)
    )
    with serve_page(fake_runs_service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab(width=width, height=844, theme=theme)
        for name in ("Watch", "New run", "All runs", "Compare"):
            open_subtab(page, name)
            page.wait_for_timeout(400)
            if name == "New run":
                for header in page.locator("#train-tabs button.label-wrap:visible").all():
                    header.click()
            page_width = page.evaluate("document.documentElement.scrollWidth")
            assert page_width <= width, f"{name} is {page_width} pixels wide"
            clipped = page.evaluate(JS_FIND_CLIPPED)
            assert clipped == [], f"{name}: {clipped}"
            if name == "All runs":
                widths = page.locator("#history th:visible").evaluate_all("all => all.map(one => one.clientWidth)")
                assert len(widths) >= 10 and min(widths) > 60, "columns keep a readable width, and the table scrolls"
        assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")


JS_FIND_CLIPPED = """() => [...document.querySelectorAll('#train-tabs :is(button, input, h3, label)')]
  .filter(one => one.offsetParent && !one.closest('table, .table-wrap, [role=tablist], .overflow-menu, .tab-container'))
  .filter(one => (box => box.width && (box.right > innerWidth + 1 || box.left < -1))(one.getBoundingClientRect()))
  .map(one => one.outerHTML.slice(0, 120))"""


def test_the_tab_is_usable_with_an_empty_recipe_directory(browser, tmp_path, checkpoints_dir):
    service = make_training_service(tmp_path, checkpoints_dir)
    for path in write_recipes(tmp_path / "configs").glob("*.yaml"):
        path.unlink()
    with serve_page(service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        open_subtab(page, "New run")
        expect(page.locator("#start")).to_be_visible()
