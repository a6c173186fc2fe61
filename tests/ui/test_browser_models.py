"""Test the Models tab in a real browser, with a loopback Hub."""

import pytest
from playwright.sync_api import expect

from tests.fake_hub.fixtures import read_dir_files
from tests.ui.conftest import make_checkpoint, make_inference_service
from tests.ui.test_browser import browser
from ui import page as pages

__all__ = ["browser"]
pytestmark = pytest.mark.browser


@pytest.fixture
def models_page(browser, hub, tmp_path):
    """Yield the Models tab. The Hub has a parity model that is listed, and a digits model that is not."""
    make_checkpoint(tmp_path / "bundled" / "digits", "digits")
    hub.add_repo("alice/parity", read_dir_files(make_checkpoint(tmp_path / "parity", "parity")))
    hub.add_repo("bob/digits", read_dir_files(make_checkpoint(tmp_path / "other", "digits")))
    blocks = pages.build_page(
        make_inference_service(tmp_path / "bundled", endpoint=hub.url, hub_models=["alice/parity"])
    )
    _, address, _ = blocks.queue().launch(prevent_thread_lock=True, quiet=True, **pages.get_launch_options())
    models_tab = browser.new_page(viewport={"width": 1280, "height": 1000})
    errors: list[str] = []
    models_tab.on("pageerror", lambda error: errors.append(str(error)))
    models_tab.goto(address)
    models_tab.get_by_role("tab", name="Models").click()
    models_tab.wait_for_selector("#models .gallery-card")
    yield models_tab
    models_tab.close()
    blocks.close()
    assert errors == []


def test_a_listed_model_is_downloaded_and_used(models_page):
    models_page.click("#models [data-name='alice/parity']")
    models_page.wait_for_selector("#download")
    expect(models_page.locator("#model-facts")).to_contain_text("not downloaded")
    assert not models_page.is_visible("#try-model")
    models_page.click("#download")
    models_page.wait_for_selector("#try-model")
    assert not models_page.is_visible("#download")
    expect(models_page.locator("#models [data-name='alice/parity']")).to_have_count(
        0
    )  # it is listed with its commit now
    models_page.click("#try-model")
    expect(models_page.locator("#model-sheet")).to_be_hidden()
    models_page.wait_for_selector("#sequence textarea, #sequence input")
    models_page.locator("#sequence textarea, #sequence input").fill("1011")
    models_page.click("#run-text")
    models_page.wait_for_function(
        "document.querySelector('#thought [data-thought=sentence]').textContent.includes('ticks')"
    )


def test_any_model_can_be_looked_up_and_errors_are_shown_in_place(models_page, hub):
    name = models_page.locator("#hub-name textarea, #hub-name input")
    for text, message in (
        ("bob/digits", "not downloaded"),
        ("bob/nothing", "no model bob/nothing"),
        ("nonsense<script>", "no checkpoint called"),
        ("bob/digits@nowhere", "no revision 'nowhere'"),
    ):
        name.fill(text)
        models_page.click("#load-model")
        expect(models_page.locator("#model-facts")).to_contain_text(message)
        models_page.click("#close-sheet")
    hub.add_fault("drop", max_count=None)
    name.fill("bob/else")
    name.press("Enter")
    expect(models_page.locator("#model-facts")).to_contain_text("cannot be reached")
    models_page.keyboard.press("Escape")
    models_page.click("#models [data-name=digits]")
    expect(models_page.locator("#model-facts")).to_contain_text("Bundled")


def test_the_side_sheet_shows_card_config_and_halting(models_page):
    models_page.click("#models [data-name=digits]")
    sheet = models_page.locator("#model-sheet")
    expect(sheet.locator("#model-facts")).to_contain_text("16 neurons")
    sheet.get_by_text("Accuracy versus thinking time").click()
    expect(sheet.locator("#model-halting")).to_contain_text("fit-energy")
    sheet.get_by_text("Config and metrics").click()
    expect(sheet.locator("#metadata")).to_contain_text("d_model")


def test_a_running_download_shows_its_progress_and_can_be_cancelled(models_page, hub):
    hub.add_fault("stall", r"model\.safetensors", stall_s=30, max_count=None)
    models_page.click("#models [data-name='alice/parity']")
    models_page.wait_for_selector("#download")
    models_page.click("#download")
    models_page.wait_for_selector("#cancel-download")
    assert models_page.locator("#progress").inner_text()
    models_page.click("#cancel-download")
    models_page.wait_for_function("document.querySelector('#progress').innerText.includes('cancelled')")
    models_page.wait_for_selector("#download")


def test_models_of_a_hub_that_does_not_answer_are_grey(browser, hub, tmp_path):
    make_checkpoint(tmp_path / "bundled" / "digits", "digits")
    hub.add_fault("drop", max_count=None)
    blocks = pages.build_page(
        make_inference_service(tmp_path / "bundled", endpoint=hub.url, hub_models=["alice/parity"])
    )
    _, address, _ = blocks.queue().launch(prevent_thread_lock=True, quiet=True, **pages.get_launch_options())
    page = browser.new_page()
    page.goto(address)
    page.get_by_role("tab", name="Models").click()
    card = page.locator("#models [data-name='alice/parity'][data-offline]")
    expect(card).to_have_accessible_name("alice/parity, The Hub cannot be reached now")
    page.close()
    blocks.close()
