"""Test the Train tab in a browser: start, watch, compare, stop, resume and use runs, as owner and as visitor."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.training.jobs.conftest import stop_scheduler, wait_until
from tests.ui.gradio_session import make_access
from tests.ui.run_fixtures import create_fake_run, make_training_service, serve_page, write_recipes
from tests.ui.run_samples_fixture import make_samples, write_samples
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

    def open_tab(width: int = 1280, height: int = 1000, theme: str = "light", query: str = "") -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", record_console_error)
        page.goto(f"{address}/?tab=train&__theme={theme}{query}")
        expect(page.locator("#headline h3").first).to_be_visible(timeout=TIMEOUT_MS)
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


def choose_run(page: Page, name: str) -> None:
    """Show a run of the list."""
    page.locator("#runs .runs-name").filter(has_text=re.compile(name)).click()


def open_section(page: Page, section: str) -> None:
    page.locator(f"#{section}-section > button").click()


def locate_plot(page: Page, chart: str = "loss"):
    return page.locator(f"#curves [data-chart={chart}] .curves-plot")


def read_last_step(page: Page, chart: str = "loss") -> float:
    """Return the last position of the lines of a chart."""
    return locate_plot(page, chart).evaluate("plot => Math.max(...plot.data.flatMap((line) => line.x))")


def read_range(page: Page, chart: str = "loss") -> list[float]:
    """Return the positions in sight of a chart."""
    return locate_plot(page, chart).evaluate("plot => plot.layout.xaxis.range")


def read_step(page: Page) -> int:
    """Return the step in the headline; 0 without one."""
    match = re.search(r"step ([\d,]+)", page.locator("#headline").inner_text())
    return int(match[1].replace(",", "")) if match else 0


def zoom(page: Page) -> None:
    """Drag across the middle of a chart."""
    plot = locate_plot(page)
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 62, steps=5)
    page.mouse.up()


def test_a_run_is_started_watched_stopped_resumed_and_used(browser, training_service):
    with serve_page(training_service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        expect(page.locator("#headline")).to_contain_text("No runs yet")

        page.locator("#runs [data-runs=new]").click()
        open_settings(page)
        for recipe, steps in {
            "tiny": "12",
            "endless": "1000000",
        }.items():  # loading a recipe overwrites typed values
            choose(page, "#source", f"^{recipe}$")
            expect(page.locator("#set-train-steps")).to_have_value(steps)
        page.locator("#run-name input, #run-name textarea").fill("from the page")
        expect(page.locator("#run-name-hint")).to_contain_text("from-the-page")
        page.locator("#set-train-batch_size").fill("4")
        page.click("#start")
        headline = page.locator("#headline")
        expect(headline).to_contain_text("Training: step", timeout=TIMEOUT_MS)
        expect(headline).to_contain_text("from-the-page")
        assert (
            training_service.scheduler.get_run_dir(training_service.run_views.get_current_run_id())
            .load_config()
            .train.batch_size
            == 4
        )

        expect(locate_plot(page).locator(".main-svg").first).to_be_visible(timeout=TIMEOUT_MS)
        before, step = read_last_step(page), read_step(page)
        wait_until(lambda: (page.wait_for_timeout(300), read_step(page) > step + 20)[1])
        wait_until(lambda: (page.wait_for_timeout(300), read_last_step(page) > before)[1])
        open_section(page, "log")
        expect(page.locator("#log")).to_contain_text("loss")

        zoom(page)
        wait_until(lambda: (page.wait_for_timeout(300), read_range(page)[1] < read_last_step(page))[1])
        zoomed, step = read_range(page), read_step(page)
        wait_until(lambda: (page.wait_for_timeout(300), read_step(page) > step)[1])
        assert read_range(page) == zoomed == read_range(page, "accuracy"), "new points change no zoom"

        page.reload()
        start_time = time.monotonic()
        expect(page.locator("#headline")).to_contain_text("Training: step")
        expect(locate_plot(page).locator(".main-svg").first).to_be_visible()
        assert time.monotonic() - start_time < 30, "the limit is loose for slow hosts; the usual time is two seconds"
        assert read_step(page) > step, "a reload shows the newest step"

        phone_page = open_tab(width=390, height=844)
        expect(phone_page.locator("#headline")).to_contain_text("Training: step")
        assert phone_page.locator("#headline h3").inner_text() == page.locator("#headline h3").inner_text()

        page.click("#stop")
        expect(headline).to_contain_text("Stopped at step", timeout=TIMEOUT_MS)
        expect(phone_page.locator("#headline")).to_contain_text("Stopped at step", timeout=TIMEOUT_MS)
        expect(page.locator("#stop")).to_be_hidden()
        stopped = read_step(page)

        page.click("#try-run")
        expect(page.locator("#checkpoint input")).to_have_value(re.compile(rf"run:from-the-page@{stopped}$"))
        page.locator("#sequence textarea, #sequence input").fill("1011")
        page.click("#run-text")
        sentence = page.locator("#thought [data-thought=sentence]")  # the energy is calibrated after the last step only
        expect(sentence).to_have_text(
            re.compile(r"The number of ones is \w+\.( Correct\.| Wrong: .*\.)? Probability: .*%\. It used all 4 ticks")
        )

        assert "tab=train" not in page.url, "a link to the result opens the result"
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


def open_settings(page: Page) -> None:
    """Open the list of all settings."""
    page.locator("#run-settings summary").click()
    expect(page.locator("#set-train-steps")).to_be_visible()


def test_the_settings_are_searched_changed_reset_and_corrected(browser, fake_runs_service):
    """One page load: fields of the architecture only, marked changes, errors at their field, and an unchanged start."""
    before = {job.id for job in fake_runs_service.run_views.list_jobs()}
    with serve_page(fake_runs_service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        open_subtab(page, "New run")
        assert page.locator(".run-setting").count() == 0, "the list is built when it is opened"
        open_settings(page)
        expect(page.locator("#set-train-steps")).to_have_value("1000000")
        expect(page.locator("#set-loss-lookahead")).to_have_value("")

        expect(page.locator("#set-model-n_synch_out")).to_be_visible()
        for hidden in ("num_layers", "iterations_per_digit"):
            expect(page.locator(f"#set-model-{hidden}")).to_be_hidden()
        page.locator("#set-model-kind").select_option("lstm")
        expect(page.locator("#set-model-num_layers")).to_have_value("1")
        expect(page.locator("#set-model-n_synch_out")).to_be_hidden()
        page.get_by_role("button", name="Reset Architecture").click()
        expect(page.locator("#set-model-n_synch_out")).to_be_visible()

        page.get_by_label("Search settings").fill("learning RATE")
        expect(page.locator("#set-optim-lr")).to_be_visible()
        expect(page.locator("#set-train-steps")).to_be_hidden()
        page.get_by_label("Search settings").fill("")

        steps = page.get_by_role("textbox", name="Training steps")
        steps.fill("0")
        page.click("#start")
        expect(steps).to_have_attribute("aria-invalid", "true")
        expect(steps).to_be_focused()
        error_id = steps.get_attribute("aria-describedby").split()[-1]
        expect(page.locator(f"#{error_id}")).to_contain_text("Training steps")
        assert page.locator(".toast-body").count() == 0
        expect(page.locator("#run-settings summary")).to_contain_text("1 changed")
        page.locator("#run-settings").get_by_role("button", name="Reset all").click()
        expect(steps).to_have_value("1000000")
        expect(steps).to_have_attribute("aria-invalid", "false")

        page.click("#start")
        expect(page.locator("#headline")).to_contain_text("Queued")
    (id,) = {job.id for job in fake_runs_service.run_views.list_jobs()} - before
    run_dir = fake_runs_service.scheduler.get_run_dir(id)
    assert run_dir.load_config() == fake_runs_service.recipes.load_source("endless")[0]
    assert run_dir.read_command() == "python -m training train configs/endless.yaml"


def write_cards(recipes_dir: Path) -> None:
    """Write a card for the recipes `tiny` (as its quick look) and `endless`."""
    (recipes_dir / "cards.json").write_text(
        json.dumps(
            [
                {
                    "recipe": "endless",
                    "quick": "tiny",
                    "title": "Odd or even",
                    "learns": "Learns to count.",
                    "size": [8, 16],
                    "ticks": [2, 4],
                    "difficulty": {
                        "label": "Bits",
                        "levels": [
                            {"text": "4", "changes": {"task.length": 4}},
                            {"text": "5", "changes": {"task.length": 5}},
                        ],
                    },
                    "minutes": [1, 2],
                }
            ]
        )
    )


def test_a_run_is_started_from_a_card_in_three_steps(browser, tmp_path, checkpoints_dir, monkeypatch):
    write_cards(write_recipes(tmp_path / "configs"))
    service = make_training_service(tmp_path, checkpoints_dir)
    monkeypatch.setattr(service.estimate_worker, "request", lambda _: None)
    figures = dict.fromkeys(("seconds_per_evaluation", "seconds_to_start", "seconds_to_finalize"), 1.0)
    service.scheduler.estimates.save(service.recipes.load_source("tiny").config, figures | {"seconds_per_step": 0.5})
    with serve_page(service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        open_subtab(page, "New run")
        card = page.get_by_role("button", name=re.compile("Odd or even. Learns to count."))
        expect(card).to_have_attribute("aria-pressed", "true")
        expect(card).to_contain_text(re.compile(r"Quick look: about \d+ s"))
        expect(card).to_contain_text("Full recipe: about 5 days")  # the same cost of a step
        quick = page.get_by_role("radio", name=re.compile("Quick look"))
        expect(quick).to_be_checked()
        page.get_by_role("radio", name=re.compile("Custom")).check()
        bits = page.get_by_role("slider", name=re.compile("Bits"))
        bits.focus()
        page.keyboard.press("Home")
        expect(bits).to_have_attribute("aria-valuetext", "4")
        expect(page.locator("#run-settings summary")).to_contain_text(re.compile(r"\d changed"))
        quick.check()
        expect(page.locator("#run-settings summary")).to_have_text("All settings")
        page.click("#start")
        expect(page.locator("#headline")).to_contain_text("Queued")
    (job,) = service.run_views.list_jobs()
    assert job.id == "tiny"
    assert service.scheduler.get_run_dir(job.id).load_config() == service.recipes.load_source("tiny").config


def test_the_selected_run_and_step_are_kept_while_the_run_updates(browser, fake_runs_service):
    with serve_page(fake_runs_service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        choose(page, "#step", "step 100")
        choose_run(page, "quite-a-long-name")
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


def test_a_run_of_the_history_is_opened(browser, fake_runs_service):
    with serve_page(fake_runs_service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        open_subtab(page, "All runs")
        page.locator("#history").get_by_text("digits-20261122-090000").first.click()
        expect(page.locator("#headline")).to_contain_text("The loss was not a number")
        expect(page.locator("#runs [aria-current]")).to_contain_text("digits-20261122-090000")


@pytest.mark.parametrize("width", [1366, 390])
def test_runs_are_compared_duplicated_and_deleted(browser, fake_runs_service, width):
    long_name, current = "a-run-with-quite-a-long-name-20261121-101500", "parity-16-20261122-101500"
    run_dir = fake_runs_service.scheduler.get_run_dir(long_name)
    config = run_dir.load_config().with_overrides({"train.seed": 9})
    run_dir.config_file.unlink()
    run_dir.initialize(config)
    with serve_page(fake_runs_service, make_access("local", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab(width=width, height=844)
        expect(page.locator("#headline")).to_contain_text(current)
        page.get_by_label(f"Show {long_name} in the charts").check()
        runs = page.locator("#curves [data-curves=runs]")
        expect(runs).to_contain_text(long_name)
        expect(runs).to_contain_text(current)
        expect(page.locator("#curves [data-curves=settings]")).to_contain_text("train.seed")
        expect(page.locator("#headline")).to_contain_text(current)
        assert f"runs={current},{long_name}" in page.url
        page.locator("#curves [data-curves=axis]").select_option("samples")
        assert page.url.endswith("x=samples")
        wait_until(lambda: (page.wait_for_timeout(300), read_last_step(page) == 300 * config.train.batch_size)[1])

        choose_run(page, "quite-a-long-name")
        expect(page.locator("#headline")).to_contain_text("Stopped at step 20")
        page.click("#duplicate")
        open_settings(page)
        expect(page.locator("#set-train-seed")).to_have_value("9")
        open_subtab(page, "Dashboard")
        expect(page.locator("#headline")).to_contain_text("Stopped at step 20")
        page.click("#delete")
        expect(page.locator("#confirm-text")).to_contain_text(long_name)
        page.click("#confirm")
        expect(page.locator("#runs")).not_to_contain_text(long_name)
        expect(page.locator("#headline")).to_contain_text(current)
        expect(runs).to_be_empty()


def test_an_address_opens_the_runs_that_it_names(browser, fake_runs_service):
    runs = "digits-20261122-090000,parity-16-20261120-101500"
    with serve_page(fake_runs_service, make_access("closed", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab(query=f"&runs={runs}&x=time")
        expect(page.locator("#headline h3").first).to_have_text("digits-20261122-090000")
        expect(page.locator("#runs input:checked")).to_have_count(2)
        expect(page.locator("#curves [data-curves=axis]")).to_have_value("time")
        expect(locate_plot(page)).to_contain_text("seconds of training")
        other = open_tab(query="&runs=gone-20261122-090000")
        expect(other.locator("#headline h3").first).to_have_text("parity-16-20261122-101500")


def test_charts_are_saved_zoomed_by_keyboard_and_read_as_tables(browser, fake_runs_service):
    with serve_page(fake_runs_service, make_access("closed", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        expect(locate_plot(page).locator(".main-svg").first).to_be_visible(timeout=TIMEOUT_MS)
        panel = page.locator("#curves [data-chart=loss]")
        with page.expect_download() as download:
            panel.get_by_role("button", name="Save Loss as CSV").click()
        lines = download.value.path().read_text().splitlines()
        assert lines[0] == "run,series,step,seconds,samples,value" and len(lines) == 31
        with page.expect_download() as download:
            panel.get_by_role("button", name="Save Loss as PNG").click()
        assert (
            download.value.path().read_bytes().startswith(b"\x89PNG") and download.value.path().stat().st_size > 5_000
        )
        panel.get_by_text("Values").click()
        expect(panel.locator("table tbody tr")).to_have_count(1)
        expect(locate_plot(page)).to_have_attribute("aria-label", re.compile(r"Loss\. training: .* at step 300\."))
        assert page.locator("#curves [data-chart=speed] .main-svg").count() == 0, "a folded chart is not drawn"
        page.locator("#curves [data-chart=speed] summary").first.click()
        expect(page.locator("#curves [data-chart=speed] .main-svg").first).to_be_visible()

        whole = read_range(page)
        locate_plot(page).focus()
        page.keyboard.press("+")
        wait_until(lambda: (page.wait_for_timeout(100), read_range(page)[1] < whole[1])[1], 20)
        assert read_range(page, "accuracy") == read_range(page), "all charts show the same steps"
        page.locator("#curves [data-curves=reset]").click()
        wait_until(lambda: (page.wait_for_timeout(100), read_range(page) == whole)[1], 20)
        assert locate_plot(page).evaluate("plot => plot.layout.yaxis.type") == "log"
        panel.get_by_label("logarithmic").uncheck()
        wait_until(
            lambda: (
                page.wait_for_timeout(100),
                locate_plot(page).evaluate("plot => plot.layout.yaxis.type") == "linear",
            )[1],
            20,
        )


def test_the_samples_of_every_evaluation_are_shown(browser, fake_runs_service, checkpoints_dir):
    run_dir = fake_runs_service.scheduler.get_run_dir("parity-16-20261122-101500")
    samples = make_samples(checkpoints_dir / "parity-16", "parity", ["1011", "10", "1110"])
    write_samples(run_dir, [100, 200, 300], samples)
    with serve_page(fake_runs_service, make_access("closed", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        cards = page.locator("#samples .samples-card")
        expect(cards).to_have_count(3)
        expect(cards.first).to_contain_text("1011 at 300")
        expect(cards.first).to_contain_text(re.compile("Correct|Wrong"))
        painted = "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size > 2"
        assert cards.locator("canvas").first.evaluate(painted)
        page.locator("#samples [data-samples=slider]").focus()
        page.keyboard.press("Home")
        expect(cards.first).to_contain_text("1011 at 100")
        write_samples(run_dir, [100, 200, 300, 400], samples)
        expect(page.locator("#samples [data-samples=slider]")).to_have_attribute("max", "3")
        expect(cards.first).to_contain_text("1011 at 100")
        page.locator("#samples [data-samples=slider]").focus()
        page.keyboard.press("End")
        expect(cards.first).to_contain_text("1011 at 400")
        choose_run(page, "digits-2026")
        expect(page.locator("#samples .samples")).to_be_hidden()


def test_a_page_that_nobody_sees_asks_for_nothing(browser, fake_runs_service):
    with serve_page(fake_runs_service, make_access("closed", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))

        def count_requests() -> int:
            page.wait_for_timeout(500)  # of requests that are under way
            requests.clear()
            page.wait_for_timeout(3_000)
            return sum("/gradio_api/" in url and "heartbeat" not in url for url in requests)

        assert 1 <= count_requests() <= 4, "one request a second, whatever is selected"
        page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
        assert count_requests() == 0
        page.evaluate("Object.defineProperty(document, 'hidden', { value: false, configurable: true })")
        assert count_requests() >= 1
        page.locator("#tabs").get_by_role("tab", name="Think").click()
        assert count_requests() == 0


def test_an_anonymous_visitor_sees_all_tabs_and_no_owner_buttons(browser, fake_runs_service):
    with serve_page(fake_runs_service, make_access("closed", {})) as address, open_pages(browser, address) as open_tab:
        page = open_tab()
        expect(page.locator("#access")).to_contain_text("Training is off")
        for _ in range(2):  # a run in progress, then a stopped run
            expect(page.locator("#try-run")).to_be_visible()
            for action in ACTIONS:
                expect(page.locator(action)).to_be_hidden()
            choose_run(page, "quite-a-long-name")
        expect(page.locator("#headline")).to_contain_text("Stopped")
        open_section(page, "log")
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
        for name in ("Dashboard", "New run", "All runs"):
            open_subtab(page, name)
            page.wait_for_timeout(400)
            if name == "New run":
                for header in page.locator("#train-tabs button.label-wrap:visible").all():
                    header.click()
                open_settings(page)
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
