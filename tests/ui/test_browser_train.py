"""The Train tab as a person uses it: a run is begun, watched, stopped, gone on with and thought with, and strangers look on."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.training.jobs.conftest import end, until
from tests.ui.gradio_session import access_of
from tests.ui.run_fixtures import pretend, recipes_in, served, trainings_in
from tests.ui.test_browser import browser, choose
from training.jobs.store import Job
from ui.services.training_service import TrainingService

__all__ = ["browser"]
pytestmark = pytest.mark.browser

Open = Callable[..., Page]
ACTIONS = ("#stop", "#kill", "#resume", "#delete", "#again", "#pack", "#publish", "#packed")
WAIT = 60_000  # milliseconds that a training may take to begin or to end, on a slow machine
expect.set_options(timeout=20_000)  # a training takes half of a small machine


@contextmanager
def pages(browser: Browser, address: str) -> Iterator[Open]:
    """Opens the tab in browsers of their own; a test fails on any error that the page's scripts raise or report."""
    contexts, errors = [], []

    def note(said) -> None:
        if said.type == "error" and "favicon" not in said.text:
            errors.append(said.text)

    def open_tab(width: int = 1280, height: int = 1000, theme: str = "light", address: str = address) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", note)
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
def trainings(tmp_path, checkpoints) -> Iterator[TrainingService]:
    made = trainings_in(tmp_path, checkpoints, starts=True)
    yield made
    end(made.scheduler)


@pytest.fixture
def shown(tmp_path, checkpoints) -> TrainingService:
    """Runs that only look as if they trained, in every state."""
    made = trainings_in(tmp_path, checkpoints)
    pretend(made, "parity-16-20261120-101500", steps=(50, 100), submitted=time.time() - 90_000)
    stopped = {"sentence": "Stopped and saved at step 20 of 100.", "submitted": time.time() - 5_000}
    pretend(made, "a-run-with-quite-a-long-name-20261121-101500", "cancelled", steps=(10, 20), **stopped)
    pretend(
        made, "digits-20261122-090000", "failed", sentence="The loss was not a number at step 30; lower `optim.lr`."
    )
    pretend(made, "waiting-20261122-100000", "queued", sentence="Waits for its turn.")
    pretend(made, "parity-16-20261122-101500", "running", steps=(100, 200, 300), submitted=time.time() + 1)
    return made


def room(page: Page, name: str) -> None:
    """Turn to a room of the tab; a phone has those that do not fit behind three dots."""
    tab = page.locator("#train-tabs").get_by_role("tab", name=name)
    if not tab.is_visible():
        page.locator("#train-tabs .overflow-menu > button").click()
        tab = page.locator("#train-tabs .overflow-dropdown").get_by_text(name)
    tab.click()


def painting(page: Page, chart: str = "loss") -> str:
    return page.locator(f"#curves [data-chart={chart}] .curves-lines").evaluate("canvas => canvas.toDataURL()")


def step_of(page: Page) -> int:
    """The step that the headline tells; 0 before there is one."""
    found = re.search(r"step ([\d,]+)", page.locator("#headline").inner_text())
    return int(found[1].replace(",", "")) if found else 0


def zoom(page: Page) -> None:
    """Drag over the middle of a chart."""
    box = page.locator("#curves [data-chart=loss] .curves-over").bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 40, steps=5)
    page.mouse.up()


def test_a_run_is_begun_watched_stopped_gone_on_with_and_thought_with(browser, trainings):
    with served(trainings, access_of("local", {})) as address, pages(browser, address) as opened:
        page = opened()
        expect(page.locator("#headline")).to_contain_text("There is no run yet")

        room(page, "New run")
        for recipe, steps in {
            "tiny": "12",
            "endless": "1000000",
        }.items():  # what is typed too early would be filled over
            choose(page, "#source", f"^{recipe}$")
            expect(page.locator("#set-train-steps input")).to_have_value(steps)
        page.locator("#run-name input, #run-name textarea").fill("from-the-page")
        page.locator("#set-train-batch_size input").fill("4")
        page.click("#start")
        headline = page.locator("#headline")
        expect(headline).to_contain_text("Training: step", timeout=WAIT)
        assert page.locator("#run input").input_value().startswith("from-the-page-")
        assert trainings.scheduler.get_run_dir(trainings.run_views.get_current_run_id()).config().train.batch_size == 4

        expect(page.locator("#curves [data-chart=loss]")).to_be_visible(timeout=WAIT)
        before, step = painting(page), step_of(page)
        until(lambda: (page.wait_for_timeout(300), step_of(page) > step + 20)[1])
        assert painting(page) != before, "the curve grows by itself"
        expect(page.locator("#log")).to_contain_text("loss")

        zoom(page)
        where = page.locator("#curves [data-curves=where]")
        expect(where).to_contain_text("Zoomed to steps")
        zoomed, step = re.search(r"Zoomed to steps [\d,]+ to [\d,]+", where.inner_text())[0], step_of(page)
        until(lambda: (page.wait_for_timeout(300), step_of(page) > step)[1])
        expect(where).to_contain_text(zoomed)

        page.reload()
        seconds = time.monotonic()
        expect(page.locator("#headline")).to_contain_text("Training: step")
        expect(page.locator("#curves [data-chart=loss] .curves-lines")).to_be_visible()
        assert time.monotonic() - seconds < 12, (
            "the limit is loose, for slow machines; the usual time is under a second"
        )
        assert step_of(page) > step, "it goes on where it is by now, not where it was left"

        other = opened(width=390, height=844)
        expect(other.locator("#headline")).to_contain_text("Training: step")
        assert other.locator("#run input").input_value() == page.locator("#run input").input_value()

        page.click("#stop")
        expect(headline).to_contain_text("Stopped at step", timeout=WAIT)
        expect(other.locator("#headline")).to_contain_text("Stopped at step", timeout=WAIT)
        expect(page.locator("#stop")).to_be_hidden()
        stopped = step_of(page)

        page.click("#think-with-run")
        expect(page.locator("#checkpoint input")).to_have_value(re.compile(rf"run:from-the-page-.*@{stopped}$"))
        page.locator("#sequence textarea, #sequence input").fill("1011")
        page.click("#think-text")
        said = page.locator(
            "#thought [data-live=sentence]"
        )  # what its energy says of being right is known at the end alone
        expect(said).to_have_text(
            re.compile(r"The number of ones is \w+ \(certainty 0\.\d\d\)\. It thought to the last tick, 4")
        )

        page.locator("#tabs").get_by_role("tab", name="Train", exact=True).click()
        page.click("#resume")
        expect(headline).to_contain_text("Training: step", timeout=WAIT)
        until(lambda: (page.wait_for_timeout(300), step_of(page) > stopped)[1])

        page.click("#kill")
        expect(page.locator("#question")).to_contain_text("End this run at once?")
        page.click("#yes")
        expect(headline).to_contain_text("Stopped at step", timeout=WAIT)
        expect(headline).to_contain_text("Killed.")
        page.click("#delete")
        page.click("#no")
        expect(page.locator("#sure")).to_be_hidden()
        page.click("#delete")
        page.click("#yes")
        expect(headline).to_contain_text("There is no run yet", timeout=WAIT)


def test_a_recipe_that_is_not_touched_is_started_as_it_is(browser, shown):
    """Settings without a value stay without one, though a browser would show a number as 0."""
    before = {job.id for job in shown.run_views.list_jobs()}
    with served(shown, access_of("local", {})) as address, pages(browser, address) as opened:
        page = opened()
        room(page, "New run")
        expect(page.locator("#set-train-steps input")).to_have_value("1000000")
        page.get_by_role("button", name="The loss").click()
        expect(page.locator("#set-loss-lookahead input")).to_have_value("")
        page.click("#start")
        expect(page.locator("#headline")).to_contain_text("Waiting for its turn")
    (id,) = {job.id for job in shown.run_views.list_jobs()} - before
    assert shown.scheduler.get_run_dir(id).config() == shown.settings("endless")[0]
    assert shown.scheduler.get_run_dir(id).command() == "python -m training train configs/endless.yaml"


def test_a_wrong_setting_is_told_where_the_form_is(browser, shown):
    with served(shown, access_of("local", {})) as address, pages(browser, address) as opened:
        page = opened()
        room(page, "New run")
        page.locator("#set-train-steps input").fill("0")
        page.click("#start")
        expect(page.locator(".toast-body")).to_contain_text("train.steps")
        expect(page.locator("#start")).to_be_visible()
        choose(page, "#source", "tiny")
        expect(page.locator("#set-train-steps input")).to_have_value("12")


def test_what_was_chosen_stays_chosen_while_the_run_goes_on(browser, shown):
    with served(shown, access_of("local", {})) as address, pages(browser, address) as opened:
        page = opened()
        choose(page, "#step", "step 100")
        choose(page, "#run", "quite-a-long-name")
        expect(page.locator("#headline")).to_contain_text("Stopped at step 20 of 100")
        expect(page.locator("#resume")).to_be_visible()
        choose(page, "#step", "step 10")
        shown.scheduler.store.update("a-run-with-quite-a-long-name-20261121-101500", sentence="Another word.")
        expect(page.locator("#headline")).to_contain_text("Another word.")
        expect(page.locator("#step input")).to_have_value("step 10")
        page.click("#think-with-run")
        expect(page.locator("#checkpoint input")).to_have_value(re.compile("quite-a-long-name-20261121-101500@10"))


def test_a_run_of_the_history_is_opened_and_runs_are_compared(browser, shown):
    with served(shown, access_of("local", {})) as address, pages(browser, address) as opened:
        page = opened()
        room(page, "All runs")
        page.locator("#history").get_by_text("digits-20261122-090000").first.click()
        expect(page.locator("#headline")).to_contain_text("The loss was not a number")
        room(page, "Compare")
        page.locator("#compared input").click()
        for name in ("parity-16-20261122", "digits"):
            page.get_by_role("option", name=re.compile(name)).click()
        expect(page.locator("#compared-curves [data-chart=loss]")).to_be_visible()
        expect(page.locator("#settings")).to_contain_text("finish.fit_samples")


def test_a_stranger_sees_everything_and_no_button_that_acts(browser, shown):
    with served(shown, access_of("closed", {})) as address, pages(browser, address) as opened:
        page = opened()
        expect(page.locator("#may-train")).to_contain_text("Training is closed to everybody")
        for _ in range(2):  # a run that goes on, then one that is over
            expect(page.locator("#think-with-run")).to_be_visible()
            for action in ACTIONS:
                expect(page.locator(action)).to_be_hidden()
            choose(page, "#run", "quite-a-long-name")
        expect(page.locator("#headline")).to_contain_text("Stopped")
        expect(page.locator("#log")).to_contain_text("step 10 of 100")
        room(page, "New run")
        page.click("#start")
        expect(page.locator(".toast-body")).to_contain_text("Training is closed to everybody")
        page.locator(".toast-close").first.click()
        page.click("#estimate")
        expect(page.locator(".toast-body")).to_contain_text("Training is closed to everybody")
        expect(page.locator("#cost")).not_to_contain_text("Measuring")
    assert len(shown.run_views.list_jobs()) == 5


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1600, "dark")])
def test_nothing_of_the_tab_is_cut_off(browser, shown, width, theme):
    shown.scheduler.store.add(Job("x" * 55, "failed", sentence="A very long sentence. " * 9, submitted=1.0))
    with served(shown, access_of("local", {})) as address, pages(browser, address) as opened:
        page = opened(width=width, height=844, theme=theme)
        for name in ("Watch", "New run", "All runs", "Compare"):
            room(page, name)
            page.wait_for_timeout(400)
            if name == "New run":
                for title in page.locator("#train-tabs button.label-wrap:visible").all():
                    title.click()
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name} is {wide} pixels wide"
            outside = page.evaluate(CUT_OFF)
            assert outside == [], f"{name}: {outside}"
            if name == "All runs":
                widths = page.locator("#history th:visible").evaluate_all("all => all.map(one => one.clientWidth)")
                assert len(widths) >= 10 and min(widths) > 60, "words stay words on a phone, and the table scrolls"
        assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")


CUT_OFF = """() => [...document.querySelectorAll('#train-tabs :is(button, input, h3, label)')]
  .filter(one => one.offsetParent && !one.closest('table, .table-wrap, [role=tablist], .overflow-menu, .tab-container'))
  .filter(one => (box => box.width && (box.right > innerWidth + 1 || box.left < -1))(one.getBoundingClientRect()))
  .map(one => one.outerHTML.slice(0, 120))"""


def test_a_recipe_folder_that_is_empty_is_no_end(browser, tmp_path, checkpoints):
    made = trainings_in(tmp_path, checkpoints)
    for path in recipes_in(tmp_path / "configs").glob("*.yaml"):
        path.unlink()
    with served(made, access_of("local", {})) as address, pages(browser, address) as opened:
        page = opened()
        room(page, "New run")
        expect(page.locator("#start")).to_be_visible()
