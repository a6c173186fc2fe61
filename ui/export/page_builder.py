"""The exported page: one HTML file that holds its script, its styles and its checkpoints, and loads nothing else."""

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from ui.bundler import bundle_modules
from ui.export.checkpoint_data import PageCheckpoint
from ui.paths import STATIC_DIR
from ui.static_files import SOURCE_MODULES, read_static

PAGE_ENTRY, WORKER_ENTRY = "standalone/index.js", "ctm/worker.js"
# Directory of each component, and the id of its element in standalone.html.
COMPONENTS = {
    "editors": "editor",
    "sketchpad": "drawing",
    "thought": "thought",
    "teleport": "teleport",
    "inside": "inside",
    "halting": "halting",
    "problem": "problem",
}
DEFAULT_TITLE = "Continuous Thought Machine"
DESCRIPTION = (
    "A neural network that thinks in steps: watch its answer change tick by tick, and see when it decides to stop."
)
PAPER_URL = "https://arxiv.org/abs/2505.05522"
HUB_URL = "https://huggingface.co"
PLACEHOLDER_PATTERN = re.compile(r"\{\{(\w+)\}\}")
# Scripts only by their digest, no connections. Styles may be inline: components set them on elements.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src '{digest}'; worker-src blob:; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def build_page(checkpoints: Sequence[PageCheckpoint], title: str = "") -> str:
    """Build the page. Equal checkpoints give equal text.

    Args:
        checkpoints: The checkpoints to choose from, the first one shown first.
        title: Title of the page; default: that of the task if there is one checkpoint.

    Returns:
        HTML.

    Raises:
        ValueError: Two checkpoints have the same name.
    """
    names = [checkpoint.name for checkpoint in checkpoints]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"Two checkpoints have the name {repeated[0]!r}: rename a directory, or export one of them.")
    script = build_script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    values = {
        "title": html.escape(title or get_default_title(checkpoints)),
        "description": html.escape(DESCRIPTION),
        "policy": CONTENT_SECURITY_POLICY.format(digest=f"sha256-{digest}"),
        "favicon": "data:image/png;base64," + encode_base64((STATIC_DIR / "favicon.png").read_bytes()),
        "style": build_style(),
        "script": script,
        "data": build_data_blocks(checkpoints),
        "footer": build_footer(checkpoints),
        **{name: read_static(f"{name}/{name}.html") for name in COMPONENTS},
    }
    return PLACEHOLDER_PATTERN.sub(lambda match: values[match[1]], read_static("standalone/standalone.html"))


def get_default_title(checkpoints: Sequence[PageCheckpoint]) -> str:
    """Return the title of a page: that of the task if there is one checkpoint."""
    return f"{DEFAULT_TITLE}: {checkpoints[0].title}" if len(checkpoints) == 1 else DEFAULT_TITLE


@cache
def build_script() -> str:
    """Return the script of the page and of its worker."""
    return bundle_modules(SOURCE_MODULES, PAGE_ENTRY, WORKER_ENTRY)


def build_style() -> str:
    """Return the styles. Those of a component apply within its element alone, as Gradio scopes them."""
    common = read_static("common/component.css")
    scoped = (
        f"#{element_id} {{\n{common}{read_static(f'{name}/{name}.css')}}}" for name, element_id in COMPONENTS.items()
    )
    return "\n".join([read_static("standalone/standalone.css"), *scoped])


def build_data_blocks(checkpoints: Sequence[PageCheckpoint]) -> str:
    """Return the elements that `page-data.js` reads. Browsers do not run them."""
    blocks = [build_json_block("page-data", {"checkpoints": [checkpoint.data for checkpoint in checkpoints]})]
    blocks += [build_text_block(f"weights-{index}", item.weights) for index, item in enumerate(checkpoints)]
    digits = next((checkpoint.digits for checkpoint in checkpoints if checkpoint.digits), None)
    if digits:
        blocks.append(build_text_block("digits", gzip.compress(digits, mtime=0)))
    return "\n".join(blocks)


def build_json_block(element_id: str, data: Any) -> str:
    """Return JSON as a data block. No `<` is left in it that could end the element or begin a comment."""
    content = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{element_id}">{content}</script>'


def build_text_block(element_id: str, content: bytes) -> str:
    """Return bytes as a data block in base64."""
    return f'<script type="text/plain" id="{element_id}">{encode_base64(content)}</script>'


def encode_base64(content: bytes) -> str:
    """Return bytes in base64."""
    return base64.b64encode(content).decode("ascii")


def build_footer(checkpoints: Sequence[PageCheckpoint]) -> str:
    """Return accuracy, license and source of every checkpoint, and the paper, as HTML."""
    lines = []
    for checkpoint in checkpoints:
        name = f"<b>{html.escape(checkpoint.name)}</b>"
        if checkpoint.repo:
            name = f'<a href="{HUB_URL}/{html.escape(checkpoint.repo)}" rel="noreferrer">{name}</a>'
        license_text = f" License: {html.escape(checkpoint.license)}." if checkpoint.license else ""
        lines.append(f"<p>{name}: {html.escape(checkpoint.summary)}{license_text}</p>")
    lines.append(
        f'<p>Continuous Thought Machines: <a href="{PAPER_URL}" rel="noreferrer">arXiv 2505.05522</a>. '
        "The models run in plain JavaScript, without a server.</p>"
    )
    return "\n".join(lines)
