"""Settings from the environment -> the door, open at once -> what is behind it: services and the page.

    python app.py        http://127.0.0.1:7860

GRADIO_SERVER_NAME, GRADIO_SERVER_PORT: where to listen. CTM_CHECKPOINTS: folder of bundled checkpoints (checkpoints/).
CTM_HOME: folder whose `runs` holds the runs (this folder). CTM_MODELS: models of the Hub to list, with spaces or commas.
CTM_ADMIN_TOKEN: secret that lets its holder train; without it only this machine may, and on a Space its owner.
CTM_RESUME: 1 lets runs that the end of the app interrupted go on at its next start. HF_TOKEN: publishes what they make.
CTM_BATCH: most thoughts that one checkpoint thinks at once (16).
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
from ui.server.serve import serve

GRADIO_ENV_DEFAULTS = {  # Gradio tells nobody of its visitors, and keeps no statistics, which it would make anew after every event
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "100",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
}


def main() -> None:
    for name, value in GRADIO_ENV_DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("GRADIO_TEMP_DIR", create_upload_dir())
    fix_thread_env(os.environ)
    try:
        environment = AppSettings.from_environment(os.environ, Path(__file__).parent)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    for sentence in describe_unknown_variables(os.environ):
        print(sentence, file=sys.stderr)

    def build():  # torch and the screens take seconds to load: visitors are let into the waiting room first
        return importlib.import_module("ui.server.app_factory").create_app(environment)

    serve(build, environment.host, environment.port, behind_proxy=bool(environment.space_id))


def create_upload_dir() -> str:
    """For what visitors upload: no other account may look in, and it goes when the app ends."""
    folder = tempfile.mkdtemp(prefix="ctm-page-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


if __name__ == "__main__":
    main()
