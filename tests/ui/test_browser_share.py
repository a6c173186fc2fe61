"""Test sharing in a browser: links, back and forward, films, pictures, and the stage in a frame of another page."""

import base64
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.test_browser import browser, choose_checkpoint, draw_one, locate_sentence

__all__ = ["browser"]
pytestmark = pytest.mark.browser
WEBM_SIGNATURE, PNG_SIGNATURE = b"\x1aE\xdf\xa3", b"\x89PNG\r\n\x1a\n"
JS_READ_FILM = """async (base64) => {
  const film = document.createElement("video");
  film.src = "data:video/webm;base64," + base64;
  await new Promise((resolve, reject) => { film.onloadeddata = resolve; film.onerror = () => reject(new Error("unreadable")); });
  return { width: film.videoWidth, height: film.videoHeight, duration: film.duration };
}"""
JS_IS_VISIBLE = "(element) => element.checkVisibility()"


def open_page(browser: Browser, address: str, **options) -> Iterator[Page]:
    """Yield a page at an address. An error in its scripts fails the test."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 1000},
        accept_downloads=True,
        reduced_motion="reduce",
        permissions=["clipboard-read", "clipboard-write"],
        **options,
    )
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("[data-share=copy]", state="attached")
    yield page
    context.close()
    assert not errors, errors


@pytest.fixture
def page(browser, server_url) -> Iterator[Page]:
    yield from open_page(browser, server_url)


@pytest.fixture
def other(browser, server_url) -> Iterator[Page]:
    """Yield the page of another visitor."""
    yield from open_page(browser, server_url)


def locate(page: Page, part: str):
    return page.locator(f"[data-share={part}]")


def run_text(page: Page, text: str, ticks: int = 6) -> None:
    """Select the parity model, and run it for some ticks. The address tells which input and which policy an answer belongs to."""
    choose_checkpoint(page, "parity-16")
    expect(page).to_have_url(
        re.compile("model=parity-16&input=")
    )  # the first example: the model is selected completely
    if not page.locator("#policy-text").count():  # the section is built when it is opened
        page.locator("#options button").first.click()
    page.locator("#policy-text").locator("textarea, input").fill(f"ticks={ticks}")
    expect(page).to_have_url(re.compile(rf"policy=ticks%3D{ticks}$"))
    page.locator("#sequence").locator("textarea, input").fill(text)
    expect(page).to_have_url(re.compile(rf"model=parity-16&input={text}&policy=ticks%3D{ticks}$"))
    expect(locate_sentence(page)).to_contain_text(f"set to {ticks} ticks")


def copy_link(page: Page) -> str:
    locate(page, "copy").click()
    expect(locate(page, "status")).to_contain_text("Link copied.")
    return page.evaluate("navigator.clipboard.readText()")


def select_tick(page: Page, tick: int) -> None:
    page.locator("#thought [data-thought=slider]").fill(str(tick))
    expect(page.locator("#thought [data-thought=readout]")).to_contain_text(f"Tick {tick} ")


def test_a_copied_link_shows_another_visitor_the_same_answer_and_tick(page, other):
    run_text(page, "10110")
    sentence = locate_sentence(page).text_content()
    select_tick(page, 3)
    link = copy_link(page)
    assert link.endswith("?model=parity-16&input=10110&policy=ticks%3D6&tick=3")
    expect(page).to_have_url(link)
    other.goto(link)
    expect(other.locator("#thought [data-thought=readout]")).to_contain_text("Tick 3 ")
    expect(other.locator("#sequence").locator("textarea, input")).to_have_value("10110")
    select_tick(other, 6)
    expect(locate_sentence(other)).to_have_text(sentence)
    expect(other).to_have_url(link.removesuffix("&tick=3"))  # it is written after a pause
    other.reload()
    expect(other.locator("#sequence").locator("textarea, input")).to_have_value("10110")
    expect(locate_sentence(other)).to_have_text(sentence)


def test_a_link_to_a_drawing_has_what_the_model_sees(page, other):
    draw_one(page)
    expect(locate_sentence(page)).not_to_be_empty()
    sentence = locate_sentence(page).text_content()
    link = copy_link(page)
    assert "model=digits&input=iVBOR" in link
    other.goto(link)
    expect(locate_sentence(other)).to_have_text(sentence)


def test_a_link_to_a_maze_puts_it_into_the_editor(page, other):
    choose_checkpoint(page, "mazes")
    expect(locate_sentence(page)).not_to_be_empty()
    sentence = locate_sentence(page).text_content()
    link = copy_link(page)
    assert re.search(r"model=mazes&input=[\w-]{20,400}$", link)
    other.goto(link)
    expect(locate_sentence(other)).to_have_text(sentence)
    assert copy_link(other) == link


def test_back_and_forward_go_through_the_models(page):
    run_text(page, "1101")
    expect(page).to_have_url(re.compile("input=1101"))
    choose_checkpoint(page, "arithmetic")
    expect(page).to_have_url(re.compile("model=arithmetic"))
    page.go_back()
    expect(page).to_have_url(re.compile("model=parity-16&input=1101"))
    expect(page.locator("#sequence").locator("textarea, input")).to_have_value("1101")
    expect(locate_sentence(page)).to_contain_text("set to 6 ticks")
    page.go_forward()
    expect(page).to_have_url(re.compile("model=arithmetic"))
    expect(page.locator("#sequence").locator("textarea, input")).not_to_have_value("1101")


@pytest.mark.parametrize(
    ("search", "sentence"),
    [
        ("?model=no-such-model", "The link cannot be opened: "),
        ("?model=digits&tick=first", 'its tick must be a whole number from 1, and it is "first"'),
        ("?model=digits&input=%3Csvg%3E", "its input is no picture"),
        ("?model=mazes&input=AAAA", "its input is no maze"),
    ],
)
def test_an_invalid_address_gets_one_sentence_and_the_default_page(page, server_url, search, sentence):
    page.goto(server_url + search)
    expect(locate(page, "status")).to_contain_text(sentence)
    expect(page).to_have_url(re.compile(r"/$|/\?model=mazes"))
    assert "undefined" not in locate(page, "status").text_content()


def test_the_address_keeps_its_other_parameters(page, server_url):
    page.goto(f"{server_url}?__theme=dark&model=parity-16&input=101")
    expect(locate_sentence(page)).not_to_be_empty()
    select_tick(page, 2)
    expect(page).to_have_url(re.compile("__theme=dark.*tick=2"))
    assert "__theme" not in copy_link(page)


def test_a_film_is_saved_with_its_size_and_duration(page):
    run_text(page, "10110")
    with page.expect_download(timeout=90_000) as download:
        locate(page, "film").click()
        expect(locate(page, "bar")).to_be_visible()
    expect(locate(page, "status")).to_have_text("Film saved.")
    expect(locate(page, "progress")).to_be_hidden()
    content = download.value.path().read_bytes()
    assert download.value.suggested_filename == "ctm-parity-16.webm"
    assert content[:4] == WEBM_SIGNATURE and len(content) > 10_000
    facts = page.evaluate(JS_READ_FILM, base64.b64encode(content).decode("ascii"))
    assert (facts["width"], facts["height"]) == (1080, 608)
    assert 4 < facts["duration"] < 60, "6 ticks and the answer; a loaded host records more slowly"


def test_a_film_can_be_cancelled_and_needs_an_answer(page):
    locate(page, "film").click()
    expect(locate(page, "status")).to_contain_text("Run the model first")
    run_text(page, "10110")
    locate(page, "film").click()
    locate(page, "cancel").click()
    expect(locate(page, "status")).to_have_text("Film cancelled.")
    assert page.evaluate("document.activeElement.dataset.share") == "film"


def test_a_browser_without_a_recorder_gets_a_sentence(page):
    run_text(page, "10110")
    page.evaluate("delete globalThis.MediaRecorder")
    locate(page, "film").click()
    expect(locate(page, "status")).to_contain_text("This browser cannot record films.")


def test_the_stage_and_each_panel_are_saved_as_pictures(page):
    run_text(page, "10110")
    with page.expect_download() as download:
        locate(page, "picture").click()
    content = download.value.path().read_bytes()
    assert content.startswith(PNG_SIGNATURE)
    assert int.from_bytes(content[16:20]) == 1080 and int.from_bytes(content[20:24]) == 608
    buttons = page.get_by_role("button", name=re.compile("^Save picture: "))
    names = {"Energy and certainty by tick", "Answer by tick", "Attention", "16 neurons"}
    assert {name.removeprefix("Save picture: ") for name in list_names(buttons)} == names
    buttons.first.focus()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.path().read_bytes().startswith(PNG_SIGNATURE)
    assert download.value.suggested_filename.endswith("-tick-6.png")


def list_names(buttons) -> list[str]:
    return [button.get_attribute("aria-label") for button in buttons.all() if button.is_visible()]


def test_another_page_can_embed_the_stage_alone(page, server_url):
    run_text(page, "10110")
    locate(page, "embed").click()
    code = locate(page, "snippet").input_value()
    assert code.startswith("<iframe ") and "view=stage" in code and "input=10110" in code
    expect(locate(page, "reach")).to_contain_text("Only this computer")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.share") == "embed"
    page.set_content(f"<h1>Another page</h1>{code}")
    frame = page.frame_locator("iframe")
    expect(frame.locator("#thought [data-thought=sentence]")).to_contain_text("set to 6 ticks")
    expect(frame.locator("[data-share=full]")).to_be_visible()
    expect(frame.locator("#thought [data-thought=play]")).to_be_visible()
    for hidden in ("#gallery", "#sequence", "#think-inputs", "[role=tablist]", "[data-share=copy]", "footer", "h1"):
        for element in frame.locator(hidden).all():
            assert not element.evaluate(JS_IS_VISIBLE), hidden
    frame.locator("[data-share=full]").focus()
    href = frame.locator("[data-share=full]").get_attribute("href")
    assert "input=10110" in href and "view=" not in href
