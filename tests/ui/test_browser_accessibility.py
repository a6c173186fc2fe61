"""Test in a browser that the page is accessible and that nothing moves while it opens.

axe-core checks every view in light and dark colours, on a desktop and on a phone, with all of its rules and those for the size of targets.
"""

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, expect

from tests.ui.gradio_session import make_access
from tests.ui.run_fixtures import create_fake_run, make_training_service, serve_page
from tests.ui.run_samples_fixture import make_samples, write_samples
from tests.ui.test_browser import browser, choose_checkpoint, draw_one, locate_sentence

__all__ = ["browser"]
pytestmark = pytest.mark.browser

SCREENS = {"desktop": (1366, 900), "phone": (390, 844)}
MAX_LAYOUT_SHIFT = 0.05
SLOW_NETWORK = {"offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 100_000}
SECTIONS = ("inside-section", "options", "halting-section")
TAB_LABELS = {"new": "New run", "all": "All runs", "train": "Train", "models": "Models"}
RUN_AXE = """async (theme) => {
  document.body.classList.toggle("dark", theme === "dark");
  await new Promise((resolve) => setTimeout(resolve, 300));
  const rules = { "target-size": { enabled: true } };
  const only = theme === "dark" ? { runOnly: ["color-contrast"] } : { rules };
  const { violations } = await axe.run({ resultTypes: ["violations"], ...only });
  return violations.flatMap(({ id, impact, nodes }) => nodes.map((node) => {
    const messages = [...node.any, ...node.all, ...node.none].map(({ message }) => message);
    return `${id} (${impact}): ${node.html.slice(0, 200)} ${messages.join("; ")}`;
  }));
}"""
OBSERVE_SHIFTS = """
  window.layoutShift = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.layoutShift += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory, checkpoints_dir) -> Iterator[str]:
    """Serve the page with a Train tab and two runs. Yield the address."""
    service = make_training_service(tmp_path_factory.mktemp("home"), checkpoints_dir)
    samples = make_samples(checkpoints_dir / "parity-16", "parity", ["1011", "10", "111"])
    for name in ("parity-16-20261120-101500", "digits-20261121-101500"):
        write_samples(create_fake_run(service, name, steps=(50, 100)), [50, 100], samples)
    with serve_page(service, make_access("local", {})) as url:
        yield url


@pytest.fixture(params=SCREENS)
def page(request, browser: Browser, address: str) -> Iterator[Page]:
    """Yield the loaded page on one of the screens. An error in its scripts fails the test."""
    width, height = SCREENS[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
    new_page = context.new_page()
    errors: list[str] = []
    new_page.on("pageerror", lambda error: errors.append(str(error)))
    new_page.add_init_script(OBSERVE_SHIFTS)
    new_page.goto(f"{address}?__theme=light")
    new_page.wait_for_selector("#drawing canvas[data-ready]")
    yield new_page
    context.close()
    assert not errors, errors


@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_moves_while_the_page_opens_over_a_slow_network(screen, browser: Browser, address: str):
    width, height = SCREENS[screen]
    context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
    page = context.new_page()
    devtools = context.new_cdp_session(page)
    devtools.send("Network.enable")
    devtools.send("Network.emulateNetworkConditions", SLOW_NETWORK)
    page.add_init_script(OBSERVE_SHIFTS)
    page.goto(f"{address}?__theme=light")
    page.wait_for_selector("#drawing canvas[data-ready]")
    page.wait_for_timeout(1_500)
    assert page.evaluate("layoutShift") < MAX_LAYOUT_SHIFT
    context.close()


def check_view(page: Page, view: str) -> None:
    """Run axe-core on what the page shows, in both themes."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
        page.add_style_tag(
            content="* { transition: none !important; }"
        )  # axe-core must not see colours between two themes
    for theme in ("dark", "light"):
        problems = page.evaluate(RUN_AXE, theme)
        assert not problems, f"{view}, {theme}: " + "\n".join(problems)


def open_tab(page: Page, tabs: str, tab: str) -> None:
    """Select a tab, which may be in the menu of those that do not fit."""
    buttons = page.locator(f"{tabs} button[data-tab-id={tab}]:visible")
    if not buttons.count():
        page.locator(f"{tabs} .overflow-menu > button").first.click()
        page.locator(f"{tabs} .overflow-dropdown").get_by_role("button").filter(has_text=TAB_LABELS[tab]).click()
    else:
        buttons.last.click()


def test_the_think_tab_is_accessible_and_its_first_answer_moves_nothing(page):
    page.wait_for_timeout(1_000)
    assert page.evaluate("layoutShift") < MAX_LAYOUT_SHIFT, "while the page opens"
    check_view(page, "landing")
    before = page.evaluate("layoutShift")
    draw_one(page)
    page.click("#run-drawing")
    expect(locate_sentence(page)).to_contain_text("Confidence")
    page.wait_for_timeout(500)
    assert page.evaluate("layoutShift") - before < MAX_LAYOUT_SHIFT, "at the first answer"
    assert re.match(r"Example 1 of \d", page.locator("#image-examples button").first.get_attribute("aria-label"))
    for section in SECTIONS:
        page.locator(f"#{section} > button").click()
    expect(page.locator("#inside canvas:visible").first).to_be_visible()
    expect(page.locator("#halting .halting")).to_be_visible()
    check_view(page, "result with all sections open")
    choose_checkpoint(page, "parity-16")
    expect(page.locator("#sequence textarea, #sequence input")).to_be_visible()
    page.locator("#policy-text textarea, #policy-text input").fill("energy<<")
    expect(page.locator("#policy-problem")).to_contain_text("not a halting rule")
    check_view(page, "sequence and problem")
    page.locator("#gallery [data-gallery=all]").click()
    check_view(page, "all models")


def test_the_other_tabs_are_accessible(page):
    open_tab(page, "#tabs", "models")
    page.locator("#models .gallery-card").first.click()
    expect(page.locator("#model-facts")).to_contain_text("digits")
    for section in page.locator("#model-sheet .label-wrap").all():
        section.click()
    expect(page.locator("#model-halting .halting")).to_be_visible()
    check_view(page, "model")
    page.click("#close-sheet")
    open_tab(page, "#tabs", "train")
    expect(page.locator("#curves .main-svg").first).to_be_visible(timeout=60_000)
    expect(page.locator("#samples canvas").first).to_be_visible()
    check_view(page, "dashboard")
    page.get_by_label("Show parity-16-20261120-101500 in the charts").check()
    expect(page.locator("#curves [data-curves=runs]")).to_contain_text("parity-16")
    page.evaluate("document.querySelectorAll('#curves details').forEach((part) => { part.open = true; })")
    for section in ("log", "facts", "reproduce"):
        page.locator(f"#{section}-section > button").click()
    page.wait_for_timeout(1_000)
    check_view(page, "dashboard with two runs and all sections open")
    for tab, content in (("new", "#start"), ("all", "#history")):
        open_tab(page, "#train-tabs", tab)
        expect(page.locator(content)).to_be_visible()
        check_view(page, tab)


@pytest.mark.parametrize("page", ["desktop"], indirect=True)
def test_a_digit_is_drawn_by_keyboard(page):
    canvas = page.locator("#drawing canvas")
    canvas.focus()
    page.keyboard.press("Space")
    expect(page.locator("#drawing [data-sketchpad=position]")).to_have_text("Row 8, column 8: ink")
    expect(locate_sentence(page)).to_contain_text("Confidence")
    page.keyboard.press("Space")
    expect(page.locator("#drawing [data-sketchpad=position]")).to_have_text("Row 8, column 8: empty")
    page.click("#run-drawing")
    expect(page.locator("#input-problem")).to_contain_text("There is no picture yet")
    canvas.focus()
    for _ in range(4):
        page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#drawing [data-sketchpad=position]")).to_have_text("Row 4, column 7: empty")
    dark_rows = canvas.evaluate(
        "c => { const rows = []; for (let y = 10; y < 280; y += 20) if (c.getContext('2d').getImageData(150, y, 1, 1).data[0] < 128)"
        " rows.push((y - 10) / 20); return rows; }"
    )
    assert dark_rows == [3, 4, 5, 6, 7], "a line through five cells"
    expect(page.locator("#input-problem")).to_be_hidden()


@pytest.mark.parametrize("page", ["desktop"], indirect=True)
def test_problems_appear_at_the_control_that_caused_them(page, tmp_path):
    problem, policy_problem = page.locator("#input-problem"), page.locator("#policy-problem")
    policy, options = page.locator("#policy-text textarea, #policy-text input"), page.locator("#options > button")
    options.click()
    policy.fill("energy<<")
    expect(policy_problem).to_contain_text("not a halting rule")  # before there is any input
    page.locator("#in-browser input").uncheck()
    options.click()
    expect(policy).to_be_hidden()
    draw_one(page)
    page.click("#run-drawing")
    expect(policy_problem).to_contain_text("not a halting rule")  # its section opens again
    expect(problem).to_be_hidden()
    policy.fill("ticks=3")
    page.click("#run-drawing")
    expect(locate_sentence(page)).to_contain_text("set to 3 ticks")
    expect(policy_problem).to_be_hidden()
    invalid = tmp_path / "bad.png"
    invalid.write_text("not a picture")
    page.get_by_role("tab", name="Upload or webcam").click()
    page.locator("#upload input[type=file]").set_input_files(invalid)
    expect(problem).to_contain_text("not a picture that can be read")
    assert problem.locator("[role=alert]").count() == 1
