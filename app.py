"""Settings from the environment -> services -> the page, served.

    python app.py        http://127.0.0.1:7860

GRADIO_SERVER_NAME, GRADIO_SERVER_PORT: where to listen. CTM_CHECKPOINTS: folder of bundled checkpoints (checkpoints/).
CTM_RUNS: folder of run folders (runs/). CTM_MODELS: models of the Hub to list, with spaces or commas between them.
"""

import os
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import ui.page
from ui.models import Models
from ui.services import Services, limit_threads

ROOT = Path(__file__).parent
PUBLISHED = ("SakanaAI/ctm-imagenet", "SakanaAI/ctm-maze-large")  # by the authors of the paper


def main() -> None:
    limit_threads(max(1, (os.cpu_count() or 2) // 2))
    page = ui.page.build(Services(find_models()))
    page.queue(max_size=64)
    page.launch(**ui.page.launch_options())


def find_models() -> Models:
    """The checkpoints that this machine offers, from the environment."""
    bundled = Path(os.environ.get("CTM_CHECKPOINTS", ROOT / "checkpoints"))
    runs = Path(os.environ.get("CTM_RUNS", ROOT / "runs"))
    listed = os.environ.get("CTM_MODELS", " ".join(PUBLISHED)).replace(",", " ").split()
    try:
        return Models(bundled, runs, listed)
    except ValueError as error:
        raise SystemExit(f"CTM_MODELS cannot be read. {error}") from None


if __name__ == "__main__":
    main()
