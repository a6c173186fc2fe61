"""Files of the example images in previews of checkpoints, because the page shows images by path."""

import atexit
import hashlib
import logging
import shutil
import tempfile
import threading
from pathlib import Path

from ctm.checkpoint.preview import Preview, decode_image_url
from training.data.image_reader import read_image

MAX_EXAMPLE_PIXELS = 2_000_000

log = logging.getLogger(__name__)


class ExampleFiles:
    """Directory of example images, removed when the process ends. Thread-safe.

    Images come from repositories of other authors, so each is decoded by the image reader and written anew as PNG.
    """

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._lock = threading.Lock()

    def list_paths(self, preview: Preview) -> list[Path]:
        """Return the paths of the readable images of a preview; equal images have equal paths."""
        paths = []
        for url in preview.inputs:
            content = decode_image_url(url)
            try:
                paths.append(self._write(content))
            except ValueError as error:
                log.warning("An example image cannot be shown: %s", error)
        return paths

    def _write(self, content: bytes) -> Path:
        """Write an image if it is not there yet, and return its path."""
        with self._lock:
            if self._directory is None:
                self._directory = Path(tempfile.mkdtemp(prefix="ctm-examples-"))
                atexit.register(shutil.rmtree, self._directory, ignore_errors=True)
            path = self._directory / f"{hashlib.sha256(content).hexdigest()[:24]}.png"
            if not path.is_file():
                read_image(content, max_pixels=MAX_EXAMPLE_PIXELS).to_8_bit().save(path, "PNG")
        return path
