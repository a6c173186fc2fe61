"""Top row of the Train tab: whether the visitor may train and why, and login controls.

This protects nothing: every action calls `Access.require_owner` itself.
"""

import gradio as gr

from ui.auth.access import Access
from ui.auth.authenticators import LOGIN_PATH, LOGOUT_PATH
from ui.tabs.event_options import SILENT_EVENT, Updates

JS_LOG_OUT = f'() => fetch("{LOGOUT_PATH}", {{method: "POST"}}).then(() => window.location.reload())'


def build_login_row(access: Access, page: gr.Blocks) -> None:
    """Build the row, and refresh it whenever the page is loaded.

    Args:
        access: Decides who may train.
        page: The page, for its load event.
    """

    def describe(request: gr.Request) -> str:
        return access.describe_access(request)

    with gr.Row(elem_id="login"):
        sentence = gr.Markdown(elem_id="access")
        page.load(describe, None, sentence, **SILENT_EVENT)
        if access.mode == "space":
            gr.LoginButton(size="sm", scale=0, min_width=240)  # outside Spaces Gradio would mock the sign-in
        elif access.mode == "token":
            build_login_buttons(access, page)


def build_login_buttons(access: Access, page: gr.Blocks) -> None:
    """Build the login and the logout button, of which one is visible."""
    log_in = gr.Button("Log in", link=LOGIN_PATH, size="sm", scale=0, min_width=120, visible=False, elem_id="log-in")
    log_out = gr.Button("Log out", size="sm", scale=0, min_width=120, visible=False, elem_id="log-out")
    log_out.click(None, js=JS_LOG_OUT)

    def show(request: gr.Request) -> Updates:
        is_logged_in = access.get_current_user(request) is not None
        return {log_in: gr.Button(visible=not is_logged_in), log_out: gr.Button(visible=is_logged_in)}

    page.load(show, None, [log_in, log_out], **SILENT_EVENT)
