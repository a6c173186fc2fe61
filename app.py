"""Entry point: read the settings from the environment, start the server at once, then build the app.

    python app.py        http://127.0.0.1:7860

Environment variables:

    GRADIO_SERVER_NAME, GRADIO_SERVER_PORT   address to listen on
    CTM_CHECKPOINTS    directory of bundled checkpoints (default: checkpoints/)
    CTM_HOME           directory whose `runs` contains the run directories (default: this directory)
    CTM_MODELS         Hub models to list, separated by spaces or commas
    CTM_ADMIN_TOKEN    secret that permits training; without it only this host may train, and on a Space its owner
    CTM_RESUME         1: runs that the end of the app interrupted resume at its next start
    CTM_BATCH          maximum batch size of one model (default: 16)
    HF_TOKEN           token that publishes the checkpoints of runs
"""

import atexit
import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from training.jobs.cpu_limits import fix_thread_env
from ui.server.app_settings import AppSettings, describe_unknown_variables
from ui.server.serve import WebAppProtocol, serve

# No telemetry, and no usage statistics: Gradio would compute them again after every event. It also asks matplotlib for its backend at
# every event, which without a chosen one imports all of matplotlib for the first visitor.
ENV_DEFAULTS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "100",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
    "MPLBACKEND": "agg",
}


def main() -> None:
    """Serve the app until SIGTERM or Ctrl-C."""
    for name, value in ENV_DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("GRADIO_TEMP_DIR", create_upload_dir())
    fix_thread_env(os.environ)
    try:
        settings = AppSettings.from_environment(os.environ, Path(__file__).parent)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    for sentence in describe_unknown_variables(os.environ):
        sys.stderr.write(f"{sentence}\n")

    def create_app() -> WebAppProtocol:  # importing torch and Gradio takes seconds: the startup page is served first
        return importlib.import_module("ui.server.app_factory").create_app(settings)

    serve(create_app, settings.host, settings.port, behind_proxy=bool(settings.space_id))


def create_upload_dir() -> str:
    """Create the directory of uploads: unreadable for other accounts, and deleted when the app ends."""
    upload_dir = tempfile.mkdtemp(prefix="ctm-page-")
    atexit.register(shutil.rmtree, upload_dir, ignore_errors=True)
    return upload_dir


if __name__ == "__main__":
    main()
