"""Build the app from its settings: services, page and middleware. Slow to import, because the services import torch."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from gradio.utils import get_upload_folder

from ui import page
from ui.auth.access import Access
from ui.auth.authenticators import TokenAuthenticator
from ui.auth.login_routes import add_login_routes
from ui.server.app_settings import AppSettings
from ui.server.gradio_patches import (
    GradioState,
    PageCompression,
    close_event_streams,
    install_session_patch,
    mark_as_launched,
)
from ui.server.security_middleware import SecurityMiddleware
from ui.services.factory import create_inference_service, create_training_service, limit_threads

MAX_QUEUE_SIZE = 64  # queued events per kind of event


class WebApp:
    """The page with its routes, and the services behind it.

    Args:
        blocks: The page.
        access: Decides who may train.
        startup: Called before the first request is served.
        warm_up: Called once requests are served.
        shutdown: Called after the last request; see `ui.server.serve.WebAppProtocol`.
        mcp_server: Whether to offer the API as tools of the Model Context Protocol.

    Attributes:
        app: The application to serve.
    """

    def __init__(
        self,
        blocks: gr.Blocks,
        access: Access,
        startup: Callable[[], None] = lambda: None,
        warm_up: Callable[[], None] = lambda: None,
        shutdown: Callable[[], None] = lambda: None,
        mcp_server: bool = False,
    ) -> None:
        blocks.queue(max_size=MAX_QUEUE_SIZE)
        self.blocks = blocks
        self.startup = startup
        self.warm_up = warm_up
        self.shutdown = shutdown
        self.app = create_fastapi_app(blocks, access, mcp_server)

    def set_local_url(self, url: str) -> None:
        """Set the address at which the tools call the API, which Gradio 6.31 takes from the request otherwise."""
        if self.blocks.mcp_server_obj:
            self.blocks.mcp_server_obj._local_url = url

    def close_streams(self) -> None:
        """End what open pages wait for, so that the server can end."""
        close_event_streams(self.app)
        self.blocks.close(verbose=False)


def create_app(settings: AppSettings, environ: Mapping[str, str] = os.environ) -> WebApp:
    """Build the app.

    Args:
        settings: Settings of the app.
        environ: Environment of the process, which decides who may train.

    Raises:
        ValueError: A setting is invalid. The message is one sentence.
    """
    limit_threads(environ)
    access = Access.from_environment(environ, settings.host)
    runs_dir = settings.home_dir / "runs"
    inference_service = create_inference_service(
        settings.checkpoints_dir, runs_dir, settings.hub_models, settings.max_batch_size
    )
    training_service = create_training_service(
        inference_service.catalog,
        runs_dir,
        settings.space_id,
        settings.resume_interrupted,
        settings.has_persistent_storage,
    )
    blocks = page.build_page(inference_service, training_service, access)
    return WebApp(
        blocks,
        access,
        training_service.start_scheduler,
        inference_service.warm_up,
        training_service.close,
        settings.mcp_server,
    )


def create_fastapi_app(blocks: gr.Blocks, access: Access, mcp_server: bool = False) -> FastAPI:
    """Build the application: the page behind the security middleware, and the login routes where a token is set.

    Raises:
        ValueError: The package of the Model Context Protocol is not installed.
    """
    if mcp_server and importlib.util.find_spec("mcp") is None:
        raise ValueError(
            "GRADIO_MCP_SERVER=true needs the package mcp: run `pip install 'mcp<2'`, or unset the variable."
        )
    app = FastAPI(openapi_url=None)
    app.add_middleware(PageCompression)
    app.add_middleware(
        SecurityMiddleware,
        uploads_dir=Path(get_upload_folder()),
        on_space=access.mode == "space",
        hosts=access.hosts,
        gradio_state=GradioState(blocks),
        mcp_server=mcp_server,
    )
    if isinstance(access.authenticator, TokenAuthenticator):
        add_login_routes(app, access.authenticator)
    blocks.api_open = False  # an event that has to be queued must not run outside the queue
    mark_as_launched(blocks)
    install_session_patch(blocks)
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        root_path=os.environ.get("GRADIO_ROOT_PATH"),
        enable_monitoring=False,
        mcp_server=mcp_server,
        **page.get_launch_options(getattr(blocks, "extra_routes", ())),
    )
