"""Settings from the environment -> services -> the page, served.

    python app.py        http://127.0.0.1:7860

GRADIO_SERVER_NAME, GRADIO_SERVER_PORT: where to listen. CTM_CHECKPOINTS: folder of checkpoints (default: checkpoints/).
"""

import os
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import ui.page
from ui.services import Services, limit_threads

ROOT = Path(__file__).parent


def main() -> None:
    limit_threads(max(1, (os.cpu_count() or 2) // 2))
    services = Services(Path(os.environ.get("CTM_CHECKPOINTS", ROOT / "checkpoints")))
    page = ui.page.build(services)
    page.queue(max_size=64)
    page.launch(**ui.page.launch_options())


if __name__ == "__main__":
    main()
