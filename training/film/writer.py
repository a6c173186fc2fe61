"""Writing frames to a file: GIF with Pillow, MP4 and WebM with FFmpeg."""

import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from ctm.messages import format_name
from training.film.frames import HEIGHT, WIDTH, Frame

FRAME_RATE = 25
CODECS = {".mp4": "libx264", ".webm": "libvpx-vp9"}
SUFFIXES = (".gif", *CODECS)
GIF_COLOURS = 128


def check_film_path(path: Path) -> None:
    """Check that a film can be written to a path, before the model runs.

    Raises:
        ValueError: The suffix is none of `SUFFIXES`, its package is not installed, or there is no such directory.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"--out must end in {', '.join(SUFFIXES)}: got {format_name(path.name, 80)}.")
    if suffix in CODECS and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise ValueError(f"A {suffix} film needs the package imageio-ffmpeg: install it, or write a .gif.")
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"--out must be a file in a directory that exists: got {format_name(path, 200)}.")


def write_film(frames: Iterable[Frame], path: Path) -> int:
    """Write a film.

    Args:
        frames: Its frames.
        path: Path of the file; its suffix is the format.

    Returns:
        The number of frames.
    """
    return write_gif(frames, path) if path.suffix.lower() == ".gif" else write_video(frames, path)


def write_gif(frames: Iterable[Frame], path: Path) -> int:
    """Write a GIF that repeats for ever."""
    listed = list(frames)
    palettes = [frame.image.quantize(GIF_COLOURS, dither=Image.Dither.NONE) for frame in listed]
    durations = [frame.duration_ms for frame in listed]
    palettes[0].save(path, save_all=True, append_images=palettes[1:], duration=durations, loop=0, optimize=False)
    return len(listed)


def write_video(frames: Iterable[Frame], path: Path) -> int:
    """Write a video with a constant frame rate: each frame is repeated for its duration."""
    imageio_ffmpeg = importlib.import_module("imageio_ffmpeg")  # optional
    options = {
        "codec": CODECS[path.suffix.lower()],
        "macro_block_size": 2,
        "pix_fmt_out": "yuv420p",
        "ffmpeg_log_level": "error",
    }
    writer = imageio_ffmpeg.write_frames(str(path), (WIDTH, HEIGHT), fps=FRAME_RATE, **options)
    writer.send(None)
    count = 0
    try:
        for frame in frames:
            pixels = np.ascontiguousarray(frame.image)
            for _ in range(max(1, round(frame.duration_ms * FRAME_RATE / 1000))):
                writer.send(pixels)
                count += 1
    finally:
        writer.close()
    return count
