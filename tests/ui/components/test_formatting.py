"""Test that untrusted text is shown as it is."""

import gradio as gr
import pytest

from tests.ui.test_browser import browser
from ui.components.formatting import escape_info

__all__ = ["browser"]
TEXTS = {
    "digits with + - * between them, such as 3+4*2-1": "digits with + - \u2217 between them, such as 3+4\u22172-1",
    "**strong** and __init__, _emphasis_": "\u2217\u2217strong\u2217\u2217 and \u02cd\u02cdinit\u02cd\u02cd, \u02cdemphasis\u02cd",
    "`code` on\ntwo  lines": "'code' on two lines",
    "[a link](https://example.org) and ([])[]": "[a link] (https://example.org) and ([])[]",
    "<b>bold</b> & &#42;": "<b>bold</b> & &#42;",
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.items())
def test_info_has_no_markup_of_gradio(text, expected):
    assert escape_info(text) == expected


@pytest.mark.browser
def test_gradio_shows_info_as_plain_text(browser):
    with gr.Blocks() as blocks:
        for text in TEXTS:
            gr.Textbox(label="Sequence", info=escape_info(text))
    _, address, _ = blocks.launch(prevent_thread_lock=True, quiet=True)
    page = browser.new_page()
    page.goto(address)
    information = page.locator(".info-text")
    information.nth(len(TEXTS) - 1).wait_for()
    assert information.all_inner_texts() == list(TEXTS.values())
    assert page.locator(".info-text *").count() == 0
    page.close()
    blocks.close()
