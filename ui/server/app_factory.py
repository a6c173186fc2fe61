"""Everything behind the page, put together from the settings of the environment. Slow to import, for torch comes with it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from gradio.utils import get_upload_folder

from ctm.stores.accounts import token_here
from training.jobs.process_group import cores
from training.jobs.remote.hf_jobs import RemoteJobs
from training.jobs.scheduler import Runner
from training.publishing.upload_worker import Courier
from ui import page
from ui.auth.access import Access
from ui.auth.authenticators import TokenGate
from ui.auth.login_routes import add_login
from ui.paths import ROOT
from ui.server.app_settings import Environment
from ui.server.gradio_patches import forget
from ui.server.security_middleware import Guard
from ui.services.inference_service import Services, limit_threads
from ui.services.model_catalog import Models
from ui.services.training_service import Trainings

LONGEST_QUEUE = 64  # events that wait for their turn, each kind for itself


class Site:
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
        begin: Callable[[], None] = lambda: None,
        warm_up: Callable[[], None] = lambda: None,
        end: Callable[[], None] = lambda: None,
    ):
        blocks.queue(max_size=LONGEST_QUEUE)
        self.blocks, self.begin, self.warm_up, self.end = blocks, begin, warm_up, end
        self.app = application(blocks, access)

    def let_go(self) -> None:
        for route in self.app.routes:  # every page that is open holds a stream, which waits for this
            if stop := getattr(getattr(route, "app", None), "stop_event", None):
                stop.set()
        self.blocks.close(verbose=False)


def build(environment: Environment, variables: Any = os.environ) -> Site:
    """The site of this app.

    Args:
        environment: its settings.
        variables: of the process: who may train is read from them.

    Raises:
        ValueError: one sentence for a setting that is wrong.
    """
    limit_threads(max(1, cores(variables) // 2))  # several thoughts run at once
    access = Access.from_environment(variables, environment.host)
    try:
        models = Models(environment.checkpoints, environment.home / "runs", environment.models)
    except ValueError as error:
        raise ValueError(f"CTM_MODELS cannot be read. {error}") from None
    services = Services(models, environment.together)
    trainings = trainings_of(environment, models)
    blocks = page.build(services, trainings, access)
    return Site(blocks, access, trainings.begin, services.warm_up, trainings.close)


def trainings_of(environment: Environment, models: Models) -> Trainings:
    """Runs, and who looks after them."""
    token, space, runs = token_here(), environment.space, environment.home / "runs"
    remote = RemoteJobs(token) if token and space else None
    runner = Runner(runs, token=token, resumes=environment.resumes, remote=remote, hub=models.listed, space=space)
    courier = Courier(runs, models.listed)
    return Trainings(
        runner, models, ROOT / "configs", courier, remote, space.partition("/")[0], lasting=environment.lasting
    )


def application(blocks: gr.Blocks, access: Access) -> FastAPI:
    """The page, guarded, with the administrator's login beside it where there is one."""
    app = FastAPI(openapi_url=None)
    app.add_middleware(
        Guard,
        uploads=Path(get_upload_folder()),
        on_space=access.mode == "space",
        hosts=access.hosts,
        in_line=lambda: [event.request for event in list(blocks._queue.event_ids_to_events.values())],
    )
    if isinstance(access.gate, TokenGate):
        add_login(app, access.gate)
    blocks.api_open = False  # what has to wait in line cannot be had beside it
    # Gradio 6.31 takes a mounted page for not launched, and then hands out any file there is
    blocks.has_launched = True
    forget(blocks)
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        root_path=os.environ.get("GRADIO_ROOT_PATH"),
        enable_monitoring=False,
        **page.launch_options(),
    )
