"""Test the Models tab in a real browser, with a loopback Hub."""

import pytest

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
    models_tab.wait_for_selector("#model-facts table")
    yield models_tab
    models_tab.close()
    blocks.close()
    assert errors == []


def test_a_listed_model_is_downloaded_and_used(models_page):
    models_page.get_by_label("alice/parity · on the Hub").click()
    models_page.wait_for_selector("#download")
    assert "not downloaded" in models_page.inner_text("#model-facts") and not models_page.is_visible("#try-model")
    models_page.click("#download")
    models_page.wait_for_selector("#try-model")
    assert not models_page.is_visible("#download")
    models_page.click("#try-model")
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
        models_page.wait_for_function(f"document.querySelector('#model-facts').innerText.includes({message!r})")
    hub.add_fault("drop", max_count=None)
    name.fill("bob/else")
    name.press("Enter")
    models_page.wait_for_function("document.querySelector('#model-facts').innerText.includes('cannot be reached')")
    models_page.get_by_label("Handwritten digits (digits)").click()
    models_page.wait_for_function("document.querySelector('#model-facts').innerText.includes('Bundled')")


def test_a_running_download_shows_its_progress_and_can_be_cancelled(models_page, hub):
    hub.add_fault("stall", r"model\.safetensors", stall_s=30, max_count=None)
    models_page.get_by_label("alice/parity · on the Hub").click()
    models_page.wait_for_selector("#download")
    models_page.click("#download")
    models_page.wait_for_selector("#cancel-download")
    assert models_page.locator("#progress").inner_text()
    models_page.click("#cancel-download")
    models_page.wait_for_function("document.querySelector('#progress').innerText.includes('cancelled')")
    models_page.wait_for_selector("#download")
