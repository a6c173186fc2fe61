"""Everything behind the page, put together from the settings of the environment. Slow to import, for torch comes with it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from gradio.utils import get_upload_folder

from ctm.stores.accounts import get_local_token
from training.jobs.cpu_limits import count_available_cpus
from training.jobs.remote.hf_jobs import HfJobsClient
from training.jobs.scheduler import JobScheduler
from training.publishing.upload_worker import UploadWorker
from ui import page
from ui.auth.access import Access
from ui.auth.authenticators import TokenAuthenticator
from ui.auth.login_routes import add_login_routes
from ui.paths import ROOT
from ui.server.app_settings import AppSettings
from ui.server.gradio_patches import install_session_patch
from ui.server.security_middleware import SecurityMiddleware
from ui.services.inference_service import InferenceService, limit_threads
from ui.services.model_catalog import ModelCatalog
from ui.services.training_service import TrainingService

MAX_QUEUE_SIZE = 64  # events that wait for their turn, each kind for itself


class WebApp:
    """A page with what is served beside it, and what goes on behind it.

    Args:
        blocks: the page.
        access: who may train.
        begin, warm_up, end: see `ui.server.serve.Site`.
    """

    def __init__(
        self,
        blocks: gr.Blocks,
        access: Access,
        startup: Callable[[], None] = lambda: None,
        warm_up: Callable[[], None] = lambda: None,
        shutdown: Callable[[], None] = lambda: None,
    ):
        blocks.queue(max_size=MAX_QUEUE_SIZE)
        self.blocks, self.startup, self.warm_up, self.shutdown = blocks, startup, warm_up, shutdown
        self.app = create_fastapi_app(blocks, access)

    def close_streams(self) -> None:
        for route in self.app.routes:  # every page that is open holds a stream, which waits for this
            if stop := getattr(getattr(route, "app", None), "stop_event", None):
                stop.set()
        self.blocks.close(verbose=False)


def create_app(settings: AppSettings, environ: Any = os.environ) -> WebApp:
    """The site of this app.

    Args:
        environment: its settings.
        variables: of the process: who may train is read from them.

    Raises:
        ValueError: one sentence for a setting that is wrong.
    """
    limit_threads(max(1, count_available_cpus(environ) // 2))  # several thoughts run at once
    access = Access.from_environment(environ, settings.host)
    try:
        models = ModelCatalog(settings.checkpoints_dir, settings.home_dir / "runs", settings.hub_models)
    except ValueError as error:
        raise ValueError(f"CTM_MODELS cannot be read. {error}") from None
    services = InferenceService(models, settings.max_batch_size)
    trainings = create_training_service(settings, models)
    blocks = page.build_page(services, trainings, access)
    return WebApp(blocks, access, trainings.start_scheduler, services.warm_up, trainings.close)


def create_training_service(settings: AppSettings, catalog: ModelCatalog) -> TrainingService:
    """Runs, and who looks after them."""
    token, space, runs = get_local_token(), settings.space_id, settings.home_dir / "runs"
    remote = HfJobsClient(token) if token and space else None
    runner = JobScheduler(
        runs,
        token=token,
        resume_interrupted=settings.resume_interrupted,
        jobs_client=remote,
        hub_store=catalog.owner_store,
        space_id=space,
    )
    courier = UploadWorker(runs, catalog.owner_store)
    return TrainingService(
        runner,
        catalog,
        ROOT / "configs",
        courier,
        remote,
        space.partition("/")[0],
        has_persistent_storage=settings.has_persistent_storage,
    )


def create_fastapi_app(blocks: gr.Blocks, access: Access) -> FastAPI:
    """The page, guarded, with the administrator's login beside it where there is one."""
    app = FastAPI(openapi_url=None)
    app.add_middleware(
        SecurityMiddleware,
        uploads_dir=Path(get_upload_folder()),
        on_space=access.mode == "space",
        hosts=access.hosts,
        get_queued_requests=lambda: [event.request for event in list(blocks._queue.event_ids_to_events.values())],
    )
    if isinstance(access.authenticator, TokenAuthenticator):
        add_login_routes(app, access.authenticator)
    blocks.api_open = False  # what has to wait in line cannot be had beside it
    # Gradio 6.31 takes a mounted page for not launched, and then hands out any file there is
    blocks.has_launched = True
    install_session_patch(blocks)
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        root_path=os.environ.get("GRADIO_ROOT_PATH"),
        enable_monitoring=False,
        **page.get_launch_options(),
    )
