"""Figures of photos and drawings: kinds of images, notes, limits in time and memory."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from benchmarks.paper_photos import KINDS, Sample, answer, generate_photos, load_engine, measure, render_table
from ctm.checkpoint import load
from inference import Engine
from tests.paths import ROOT
from training.data.foreground import SEVERAL_FIGURES, TOUCHES_EDGE, extract_object, extract_strokes
from training.data.foreground.components import label_components
from training.data.foreground.morphology import close_image, slide_square, smooth
from training.data.foreground.ruling import find_ruling
from training.data.preprocessing import background_level
from training.finalize import get_default_policy
from training.paths import EXAMPLES_DIR
from training.tasks.digits import convert_to_mnist_format, load_images, read_digit
from training.tasks.images import place_on_black
from training.tasks.registry import build_task

PHOTOS = sorted((ROOT / "tests/data/real_inputs").glob("P*-is?.*"))
MAX_SEARCH_TIME_S = 3.0  # CPU time; usually below 0.7


def draw_line_figure(size=(200, 150), ground=240, ink=20, place=(80, 40), length=60) -> np.ndarray:
    """Return a drawing of an angle, "7"."""
    image = Image.new("L", size, ground)
    x, y = place
    ImageDraw.Draw(image).line([(x, y), (x + length // 2, y), (x + 5, y + length)], fill=ink, width=6)
    return np.asarray(image, np.float32) / 255


@pytest.fixture(scope="module")
def task_and_engine():
    return load_engine()


@pytest.mark.parametrize(("count", "min_correct"), [(3, 2), pytest.param(6, 5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_digits_of_every_kind_of_image_are_recognized(kind, count, min_correct, task_and_engine):
    samples = list(generate_photos(kind, count, seed=7))
    answers = answer(*task_and_engine, samples)
    assert sum(choice == sample.label for choice, sample in zip(answers, samples, strict=True)) >= min_correct


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_bundled_photos_are_recognized(path, task_and_engine):
    sample = Sample(np.asarray(Image.open(path).convert("RGB")), int(path.stem[-1]))
    assert answer(*task_and_engine, [sample]) == [sample.label]


def test_photos_depend_on_kind_digit_and_seed_only():
    first, again = (list(generate_photos("ruled", 3, split="validation", seed=4)) for _ in range(2))
    other = list(generate_photos("ruled", 3, split="validation", seed=5))
    assert all(np.array_equal(a.pixels, b.pixels) and a.label == b.label for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, other, strict=True))


def test_images_in_the_format_of_mnist_are_not_changed():
    for digit in load_images("test")[0][:200, 0].numpy():
        ground = background_level(digit)
        strokes = np.clip(digit - ground, 0, 1)
        np.testing.assert_array_equal(convert_to_mnist_format(digit), strokes / strokes.max())


@pytest.mark.parametrize("invert", [False, True])
def test_polarity_follows_the_contrast(invert):
    image = draw_line_figure(ground=120)
    strokes = extract_strokes(1 - image if invert else image)
    assert strokes.box == pytest.approx((36, 76, 105, 115), abs=4)
    assert strokes.pixels.max() == 1 and strokes.notes == ()


def test_several_figures_are_reported_and_the_largest_one_is_read():
    image = np.minimum(draw_line_figure(length=80, place=(20, 40)), draw_line_figure(length=50, place=(140, 50)))
    strokes = extract_strokes(image)
    assert strokes.notes == (SEVERAL_FIGURES,) and strokes.box[3] < 100


def test_a_figure_at_the_edge_is_reported():
    strokes = extract_strokes(draw_line_figure(place=(-2, 40)))
    assert TOUCHES_EDGE in strokes.notes


def test_faint_strokes_are_reported():
    strokes = extract_strokes(draw_line_figure(ground=240, ink=215))
    assert strokes.notes == ("The figure is faint: it differs from the background by only 10%.",)


def test_a_broken_figure_is_read_whole():
    image = draw_line_figure()
    image[68:71] = 240 / 255
    assert extract_strokes(image).box == extract_strokes(draw_line_figure()).box


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0, np.nan, np.inf])
@pytest.mark.parametrize("extract", [extract_strokes, extract_object])
def test_nothing_stands_out_of_equal_pixels(extract, value):
    assert extract(np.full((40, 60, 3), value, np.float32)) is None


def test_an_empty_shaded_sheet_is_empty():
    generator = np.random.default_rng(0)
    for _ in range(10):
        sheet = np.linspace(0.6, 0.9, 320)[None] + generator.normal(0, 0.016, (240, 320))
        assert extract_strokes(sheet.astype(np.float32)) is None


def test_values_that_are_no_numbers_are_ignored():
    image = draw_line_figure()
    image[5, 5] = np.nan
    assert extract_strokes(image).box == extract_strokes(draw_line_figure()).box


@pytest.mark.parametrize("shape", [(300, 300), (3000, 4000), (8, 50_000), (50_000, 1)])
@pytest.mark.parametrize("content", ["noise", "bits", "drawing"])
def test_any_image_is_searched_in_bounded_time(shape, content):
    generator = np.random.default_rng(1)
    if content == "drawing":
        image = np.ones((*shape, 3), np.float32)
        image[shape[0] // 3 : shape[0] // 2 + 1, shape[1] // 3 : shape[1] // 3 + 1 + min(shape) // 9] = 0
    else:
        noise = generator.random((*shape, 1), np.float32)
        image = np.repeat(noise if content == "noise" else (noise > 0.5).astype(np.float32), 3, -1)
    start = time.thread_time()
    extract_strokes(image)
    assert time.thread_time() - start < MAX_SEARCH_TIME_S


@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    seed=st.integers(0, 2**32 - 1),
    levels=st.sampled_from([2, 3, 5, 256]),
    blocks=st.integers(1, 20),
    colour=st.booleans(),
)
def test_any_image_has_a_figure_inside_it_or_none(shape, seed, levels, blocks, colour):
    generator = np.random.default_rng(seed)
    small = generator.integers(0, levels, (-(-shape[0] // blocks), -(-shape[1] // blocks), 3)) / (levels - 1)
    image = small.repeat(blocks, 0).repeat(blocks, 1)[: shape[0], : shape[1]].astype(np.float32)
    image = image if colour else image[..., 0]
    before = image.copy()
    for extract in (extract_strokes, extract_object):
        figure = extract(image)
        if figure is not None:
            top, left, bottom, right = figure.box
            assert 0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]
            assert figure.pixels.dtype == np.float32 and np.isfinite(figure.pixels).all()
            assert figure.pixels.min() >= 0 and 0.05 < figure.pixels.max() <= 1
    np.testing.assert_array_equal(image, before)


def draw_garment(shade: float) -> np.ndarray:
    """Return a large dark shirt on a light ground whose light falls off."""
    image = np.full((180, 240), 0.95, np.float32)
    image[30:160, 70:170] = 0.2
    image[30:70, 40:200] = 0.25
    return image * np.linspace(1, 1 - shade, 240, dtype=np.float32)


@pytest.mark.parametrize("shade", [0.2, 0.4])
def test_an_object_on_a_shaded_ground_looks_as_on_a_plain_one(shade):
    generator = np.random.default_rng(3)
    plain, notes = place_on_black(draw_garment(0), 28)
    noisy = (draw_garment(shade) + generator.normal(0, 0.01, (180, 240))).clip(0, 1).astype(np.float32)
    shaded, _ = place_on_black(noisy, 28)
    assert notes == () and np.abs(plain - shaded).mean() < 0.03


def test_frames_and_specks_are_no_objects():
    image = draw_garment(0)
    plain, _ = place_on_black(image, 28)
    image[:6] = image[-6:] = image[:, :6] = image[:, -6:] = 0.1
    image[20:22, 220:222] = 0.1
    framed, _ = place_on_black(image, 28)
    np.testing.assert_allclose(framed, plain, atol=0.02)


def test_a_digit_reports_its_notes():
    assert read_digit(draw_line_figure(place=(-2, 40)))[1] == (TOUCHES_EDGE,)


def test_photos_are_bundled():
    assert {path.name[:3] for path in map(Path, PHOTOS)} == {"P08", "P09", "P10", "P11", "P12", "P13"}


@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.5, 0.9, 1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (17, 23)])
def test_components_are_those_of_a_flood_fill(shape, share):
    mask = np.random.default_rng(5).random(shape) < share
    components = label_components(mask)
    rest = {(int(row), int(column)) for row, column in np.argwhere(mask)}
    count = 0
    while rest:
        stack = [rest.pop()]
        filled = []
        while stack:
            row, column = stack.pop()
            filled.append((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & rest
            rest -= near
            stack += near
        count += 1
        rows, columns = zip(*filled, strict=True)
        (label,) = {int(components.labels[place]) for place in filled}
        box = (min(rows), min(columns), max(rows) + 1, max(columns) + 1)
        assert components.get_box(label - 1) == box and components.area[label - 1] == len(filled)
    assert len(components) == count and (components.labels > 0).sum() == mask.sum()


@given(
    size=st.integers(1, 12),
    shape=st.tuples(st.integers(12, 20), st.integers(12, 20)),
    combine=st.sampled_from([np.maximum, np.minimum]),
)
def test_windows_of_any_size_combine_all_their_pixels(size, shape, combine):
    values = np.random.default_rng(size).random(shape, np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(values, (size, size))
    expected = windows.max((2, 3)) if combine is np.maximum else windows.min((2, 3))
    np.testing.assert_array_equal(slide_square(values, size, combine), expected)


def test_the_closing_keeps_gradients_and_fills_strokes():
    ramp = np.linspace(0.4, 0.9, 80, dtype=np.float32)[None].repeat(60, 0)
    np.testing.assert_allclose(close_image(ramp, 21), ramp, atol=1e-6)
    image = ramp.copy()
    image[20:40, 30:36] = 0.1
    np.testing.assert_allclose(close_image(image, 21), ramp, atol=0.05)


@pytest.mark.parametrize("slope", [-0.1, 0, 0.13])
def test_lines_across_the_image_are_found_and_strokes_are_kept(slope):
    row, column = np.mgrid[:200, :260]
    lines = ((row + slope * column) % 25 < 1.5).astype(np.float32) * 0.4
    contrast = smooth(lines)
    contrast[40:160, 100:108] = 0.4
    found = find_ruling(contrast, 0.05)
    rest = contrast - found
    assert (rest[:, :90] > 0.1).mean() < 0.01 and (found[40:160, 102:106] > 0).mean() < 0.2
    assert (rest[45:155, 101:107] > 0.1).mean() > 0.8


def test_the_table_of_photos_has_a_row_for_each_kind():
    figures = {"rows": measure(["drawing"], 5, "validation", 1), "command": "python -m x", "date": "2026-01-01"}
    table = render_table(figures)
    assert "| drawing | 5 | **100.0%** | 56.6% to 100.0% | 0 |" in table and "python -m x" in table


CLOTHING = sorted(EXAMPLES_DIR.glob("fashion_mnist-*.png"))


@pytest.fixture(scope="module")
def name_clothing():
    checkpoint = load(ROOT / "checkpoints/fashion")
    task = build_task(checkpoint.task, checkpoint.model.config.to_dict())
    engine = Engine(checkpoint.model, get_default_policy(checkpoint.halting))
    return lambda image: int(engine.run(task.parse_input(image.astype(np.float32)).inputs).answer.argmax())


@pytest.mark.parametrize("path", CLOTHING, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("ground", "ink", "falloff", "border"),
    [(1, 0, 0, 0), (0.92, 0.1, 0.4, 0), (0.47, 0.05, 0, 0), (0.55, 1, 0, 0), (1, 0, 0, 5), (0.15, 0.95, 0.35, 0)],
)
def test_clothing_is_named_as_in_its_data_set(path, ground, ink, falloff, border, name_clothing):
    example = np.asarray(Image.open(path).convert("L"), np.float32) / 255
    large = np.asarray(Image.fromarray(example).resize((170, 170), Image.Resampling.BICUBIC)).clip(0, 1)
    image = np.full((240, 320), ground, np.float32)
    image[30:200, 90:260] += large * (ink - ground)
    image *= np.linspace(1, 1 - falloff, 320)
    image += np.random.default_rng(2).normal(0, 0.015 * bool(falloff), image.shape)
    if border:
        image[:border] = image[-border:] = image[:, :border] = image[:, -border:] = 0.1
    assert name_clothing(np.repeat(image.clip(0, 1)[..., None], 3, -1)) == name_clothing(example)
