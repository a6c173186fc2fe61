"""Settings from the environment -> services -> the page, served.

    python app.py        http://127.0.0.1:7860

GRADIO_SERVER_NAME, GRADIO_SERVER_PORT: where to listen. CTM_CHECKPOINTS: folder of bundled checkpoints (checkpoints/).
CTM_HOME: folder whose `runs` holds the runs (this folder). CTM_MODELS: models of the Hub to list, with spaces or commas.
CTM_ADMIN_TOKEN: secret that lets its holder train; without it only this machine may, and on a Space its owner.
CTM_RESUME: 1 lets runs that the end of the app interrupted go on at its next start. HF_TOKEN: publishes what they make.
"""

import os
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
if not ((PORT := os.environ.get("GRADIO_SERVER_PORT", "7860")).isdecimal() and int(PORT) < 2**16):
    # said here, before Gradio reads it: that would end in a traceback
    raise SystemExit(f"GRADIO_SERVER_PORT must be a number from 0, which takes any free port, to 65535: got {PORT!r}.")

import ui.page
import ui.server
from ctm.stores.accounts import token_here
from training.jobs.courier import Courier
from training.jobs.remote import RemoteJobs
from training.jobs.runner import Runner
from ui.access import Access
from ui.models import Models
from ui.services import Services, limit_threads
from ui.trainings import Trainings

ROOT = Path(__file__).parent
HOME = Path(os.environ.get("CTM_HOME") or ROOT)
PUBLISHED = ("SakanaAI/ctm-imagenet", "SakanaAI/ctm-maze-large")  # by the authors of the paper


def main() -> None:
    limit_threads(max(1, (os.cpu_count() or 2) // 2))
    host = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    port = int(PORT) if "GRADIO_SERVER_PORT" in os.environ else None
    access = find_access(host)
    models = find_models()
    trainings = find_trainings(models)
    page = ui.page.build(Services(models), trainings, access)
    page.queue(max_size=64)
    ui.server.serve(page, access, host, port, on_end=trainings.close, on_start=trainings.begin)


def find_access(host: str) -> Access:
    """Who may train here, from the environment and from where the app listens."""
    try:
        return Access.from_environment(os.environ, host)
    except ValueError as error:
        raise SystemExit(str(error)) from None


def find_models() -> Models:
    """The checkpoints that this machine offers, from the environment."""
    bundled = Path(os.environ.get("CTM_CHECKPOINTS", ROOT / "checkpoints"))
    runs = HOME / "runs"
    listed = os.environ.get("CTM_MODELS", " ".join(PUBLISHED)).replace(",", " ").split()
    try:
        return Models(bundled, runs, listed)
    except ValueError as error:
        raise SystemExit(f"CTM_MODELS cannot be read. {error}") from None


def find_trainings(models: Models) -> Trainings:
    """Runs and who looks after them, from the environment."""
    token, space = token_here(), os.environ.get("SPACE_ID", "")
    remote = RemoteJobs(token) if token and space else None
    runner = Runner(
        HOME / "runs",
        token=token,
        resumes=os.environ.get("CTM_RESUME") == "1",
        remote=remote,
        hub=models.listed,
        space=space,
    )
    return Trainings(
        runner, models, ROOT / "configs", Courier(HOME / "runs", models.listed), remote, space.partition("/")[0]
    )


if __name__ == "__main__":
    main()
