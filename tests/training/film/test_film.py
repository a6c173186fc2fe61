"""Test films without a browser: which frames there are, what they show, and the files."""

import importlib.util
import itertools

import numpy as np
import pytest
from PIL import Image

from tests.ui.conftest import make_checkpoint
from training.__main__ import main
from training.film.canvas import Box, Canvas, break_lines, measure_text, shorten
from training.film.frames import END_MS, HEIGHT, WIDTH, compute_tick_duration_ms, iterate_frames
from training.film.record_view import RecordView
from training.film.stage import build_glow, draw_picture, draw_stage
from training.paths import EXAMPLES_DIR
from training.pipeline import pipeline
from training.tasks import make_task

INPUTS = {
    "parity": "1011001",
    "brackets": "([])[]",
    "sorting": "0.95 -0.27 1.09 0.40 -0.07 1.44 1.47 -0.21 0.08 -0.52",
    "qamnist": "3 7 5 : 1 + 3 - 2",
    "digits": str(EXAMPLES_DIR / "digit-5.png"),
    "mazes": str(EXAMPLES_DIR / "maze-15-2.png"),
}
ROUTE_COLOUR = (0, 114, 178)
HAS_FFMPEG = importlib.util.find_spec("imageio_ffmpeg") is not None


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Return the directory of an untrained checkpoint for each task."""
    root = tmp_path_factory.mktemp("film")
    for name in INPUTS:
        make_checkpoint(root / name, name, **make_task({"kind": name}).get_spec().config_overrides)
    return root


@pytest.fixture(scope="module")
def records(checkpoints):
    """Return a record of three ticks for each task."""
    records = {}
    for name, value in INPUTS.items():
        model = pipeline(checkpoints / name)
        user_input = np.asarray(Image.open(value).convert("RGB"), np.float32) / 255 if value.endswith("png") else value
        records[name] = model.build_record(user_input, "ticks=3")
    return records


def draw(record, tick):
    canvas = Canvas(600, 504)
    draw_stage(canvas, RecordView(record), tick, Box(0, 0, 600, 504))
    return np.asarray(canvas.to_image())


@pytest.mark.parametrize("name", INPUTS)
def test_a_film_has_one_frame_a_tick_and_the_answer(records, name):
    frames = list(iterate_frames(records[name], "A title"))
    ticks = records[name]["ticks"]  # more than three where the input arrives over several ticks
    assert [frame.duration_ms for frame in frames] == [*[compute_tick_duration_ms(ticks)] * ticks, END_MS]
    pixels = [np.asarray(frame.image) for frame in frames]
    assert all(image.shape == (HEIGHT, WIDTH, 3) for image in pixels)
    for before, after in itertools.pairwise(pixels):
        assert (before != after).any(), "the counter of ticks changes"


def test_frames_depend_on_the_record_alone(records):
    first, second = (list(iterate_frames(records["mazes"], "T")) for _ in range(2))
    assert all((np.asarray(a.image) == np.asarray(b.image)).all() for a, b in zip(first, second, strict=True))


def test_the_stage_shows_the_input_picture_and_the_route_of_the_tick(records):
    record = records["mazes"] | {"attention": None, "routes": [[1, 1, 1, 2, 1, 3, 1, 4], [], [1, 1]]}
    canvas = Canvas(150, 150)
    draw_picture(canvas, RecordView(record | {"routes": None}), 1, Box(0, 0, 150, 150))
    size = record["input"]["width"]
    shown = np.asarray(canvas.to_image())[5 :: 150 // size, 5 :: 150 // size][:size, :size]
    assert (shown == RecordView(record).picture).all()
    counts = [(draw(record, tick) == ROUTE_COLOUR).all(2).sum() for tick in (1, 2, 3)]
    assert counts[0] > 2 * counts[2] > counts[1] == 0


def test_the_glow_is_strongest_where_the_attention_is():
    glow = build_glow(np.array([[0.0, 1.0], [0.5, 0.25]]))
    assert glow[0, 0, 3] == 0 and glow[0, 1, 3] > glow[1, 0, 3] > glow[1, 1, 3] > 0


def test_bars_are_as_long_as_probabilities(records):
    choices = {"kind": "classes", "of": 2, "labels": ["a", "b"], "probabilities": [[0.25, 0.75]] * 3}
    pixels = draw(records["parity"] | {"choices": choices}, 1)
    certain, other = ((pixels == colour).all(2).sum(1).max() for colour in (ROUTE_COLOUR, (91, 100, 114)))
    assert certain == pytest.approx(3 * other, rel=0.05)


@pytest.mark.parametrize(("ticks", "total_ms"), [(1, 1500), (2, 1500), (5, 1750), (40, 5000), (400, 4000)])
def test_a_tick_is_shown_as_long_as_the_page_shows_it(ticks, total_ms):
    duration_ms = compute_tick_duration_ms(ticks)
    assert duration_ms % 10 == 0 and ticks * duration_ms == pytest.approx(total_ms, rel=0.05)


def test_texts_fit_their_room():
    shown = shorten("a long name of a class", 80, 14)
    assert shown.startswith("a long") and measure_text(shown, 14) <= 80
    lines = break_lines("one two three four five six seven", 70, 14, 3)
    assert len(lines) == 3 and lines[-1].endswith("\N{HORIZONTAL ELLIPSIS}")
    assert " ".join(break_lines("one two three", 70, 14, 9)) == "one two three"


def test_the_command_writes_a_gif(checkpoints, tmp_path, capsys):
    out = tmp_path / "film.gif"
    main(["film", str(checkpoints / "parity"), "--input", "1011", "--policy", "ticks=4", "--out", str(out)])
    assert f"Wrote {out}: 5 frames" in capsys.readouterr().out
    with Image.open(out) as film:
        assert (film.format, film.size, film.n_frames) == ("GIF", (WIDTH, HEIGHT), 5)
        durations = []
        for index in range(5):
            film.seek(index)
            durations.append(film.info["duration"])
    assert durations == [*[compute_tick_duration_ms(4)] * 4, END_MS]


def test_the_command_reads_a_text_from_a_file(checkpoints, tmp_path, capsys):
    (tmp_path / "bits.txt").write_text("1011\n")
    words = [str(checkpoints / "parity"), "--policy", "ticks=2"]
    for name, value in (("a.gif", "1011"), ("b.gif", str(tmp_path / "bits.txt"))):
        main(["film", *words, "--input", value, "--out", str(tmp_path / name)])
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


@pytest.mark.skipif(not HAS_FFMPEG, reason="imageio-ffmpeg is not installed")
@pytest.mark.parametrize(("suffix", "signature"), [(".mp4", b"ftyp"), (".webm", b"\x1aE\xdf\xa3")])
def test_the_command_writes_videos(checkpoints, tmp_path, suffix, signature):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

    out = tmp_path / f"film{suffix}"
    main(["film", str(checkpoints / "digits"), "--input", INPUTS["digits"], "--policy", "ticks=2", "--out", str(out)])
    assert signature in out.read_bytes()[:12]
    reader = imageio_ffmpeg.read_frames(str(out))
    facts = next(reader)
    assert facts["size"] == (WIDTH, HEIGHT) and facts["duration"] == pytest.approx(1.5 + END_MS / 1000, abs=0.2)
    assert len(next(reader)) == WIDTH * HEIGHT * 3


@pytest.mark.parametrize(
    ("name", "words", "problem"),
    [
        ("parity", ["--input", "102", "--out", "film.gif"], "Bits are 0 and 1"),
        ("parity", ["--input", "101", "--out", "film.avi"], "--out must end in .gif, .mp4, .webm"),
        ("parity", ["--input", "101", "--out", "missing/film.gif"], "a directory that exists"),
        ("parity", ["--input", "101", "--out", "film.gif", "--policy", "soon"], "is not a halting rule"),
        ("digits", ["--input", "no-such.png", "--out", "film.gif"], "cannot be read"),
        ("digits", ["--input", "https://host.example/a.png", "--out", "film.gif"], "Images are not downloaded"),
        ("nothing", ["--input", "1", "--out", "film.gif"], "nothing"),
    ],
)
def test_wrong_arguments_get_one_sentence_and_no_file(checkpoints, tmp_path, monkeypatch, name, words, problem):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        main(["film", str(checkpoints / name), *words])
    message = str(error.value)
    assert problem in message and message.startswith("Error: ") and "Traceback" not in message
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(HAS_FFMPEG, reason="imageio-ffmpeg is installed")
def test_a_video_without_its_package_says_what_to_install(checkpoints, tmp_path):
    with pytest.raises(SystemExit, match="needs the package imageio-ffmpeg"):
        main(["film", str(checkpoints / "parity"), "--input", "1", "--out", str(tmp_path / "film.mp4")])
