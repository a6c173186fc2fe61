"""Test that mazes are read from pictures of many kinds; `benchmarks.maze_pictures` measures the same kinds on more pictures."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from benchmarks.maze_pictures import COLOUR_PAIRS, KINDS, draw_lines, enlarge, is_read_correctly, make_picture, paint
from tests.paths import ROOT
from training.data.maze import COLOURS, GOAL, PATH, START, WALL
from training.data.maze_reader.position_means import compute_means, integrate
from training.data.maze_reader.reader import parse_maze, read_maze
from training.data.maze_reader.reading import IncompleteMazeError
from training.tasks.splits import VALIDATION

FILES = ROOT / "tests" / "data" / "real_inputs"
PICTURES_PER_KIND = 4
GRID = np.array(
    [
        ["#.SG".index(mark) for mark in row]
        for row in (
            "###########",
            "#S..#.....#",
            "###.#.###.#",
            "#...#...#.#",
            "#.#####.#.#",
            "#.#...#.#.#",
            "#.#.#.#.#.#",
            "#...#.#.#.#",
            "#.###.###.#",
            "#...#....G#",
            "###########",
        )
    ],
    np.uint8,
)
PLAIN = np.where(GRID == WALL, WALL, PATH).astype(np.uint8)
NEXT_TO_START = (1, 2)


def read(pixels):
    return read_maze(np.asarray(pixels, np.float32) / 255)


def enlarge_strips(grid, wall_px, corridor_px):
    """Picture of a maze whose walls and corridors have different widths."""
    widths = np.where(np.arange(len(grid)) % 2 == 0, wall_px, corridor_px)
    return paint(grid).repeat(widths, 0).repeat(widths, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_most_pictures_of_each_kind_are_read_correctly(kind):
    pictures = [make_picture(kind, seed, VALIDATION) for seed in range(PICTURES_PER_KIND)]
    assert sum(is_read_correctly(*picture) for picture in pictures) >= PICTURES_PER_KIND - 1


@pytest.mark.parametrize("maze", [0, 1])
@pytest.mark.parametrize("name", ["M02-400px", "M03-margin10", "M04-blue-walls", "M05-line-maze", "M06-smooth"])
def test_pictures_of_one_maze_are_read_alike(name, maze):
    exact = np.asarray(Image.open(FILES / f"M02-400px-{maze}.png").convert("RGB"), np.float32) / 255
    centres = ((np.arange(15) + 0.5) * 400 / 15).astype(int)
    expected = parse_maze(exact[np.ix_(centres, centres)])
    pixels = np.asarray(Image.open(FILES / f"{name}-{maze}.png").convert("RGB"), np.float32) / 255
    assert np.array_equal(parse_maze(pixels).grid, expected.grid)


@pytest.mark.parametrize("pair", COLOUR_PAIRS)
def test_walls_and_paths_have_any_two_colours_either_way_round(pair):
    for colours in (COLOUR_PAIRS[pair], COLOUR_PAIRS[pair][::-1]):
        assert np.array_equal(read(enlarge(paint(GRID, *colours), 7.3)).grid, GRID)


@pytest.mark.parametrize("wall_px, corridor_px", [(1, 8), (4, 8), (1, 30), (4, 30), (14, 5)])
def test_walls_have_any_thickness(wall_px, corridor_px):
    assert np.array_equal(read(enlarge_strips(GRID, wall_px, corridor_px)).grid, GRID)


def test_sides_may_differ_and_positions_need_not_be_square():
    wide = np.concatenate([GRID[:, :-1], PLAIN], 1)
    wide[5, 10] = PATH
    assert np.array_equal(read(enlarge(paint(wide), 6.7)).grid, wide)
    stretched = Image.fromarray(paint(GRID)).resize((99, 125), Image.Resampling.NEAREST)
    assert np.array_equal(read(stretched).grid, GRID)


def test_a_caption_shading_and_a_slight_rotation_do_no_harm():
    page = Image.fromarray(np.pad(enlarge(paint(GRID), 12), ((50, 20), (20, 20), (0, 0)), constant_values=255))
    ImageDraw.Draw(page).text((22, 14), "Find the way", fill=(0, 0, 0), font=ImageFont.load_default(14))
    assert np.array_equal(read(page).grid, GRID)
    shaded = np.asarray(page) * np.linspace(1, 0.6, page.width)[:, None]
    assert np.array_equal(read(shaded).grid, GRID)
    assert np.array_equal(read(page.rotate(1, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255))).grid, GRID)


def test_a_maze_without_markers_is_recognised_and_can_be_completed():
    for pixels in (enlarge(paint(PLAIN), 7.3), enlarge_strips(PLAIN, 2, 17)):
        reading = read(pixels)
        assert np.array_equal(reading.grid, PLAIN) and reading.start is reading.goal is None
        with pytest.raises(IncompleteMazeError, match="11 x 11 positions has no red start and no green goal") as caught:
            parse_maze(pixels.astype(np.float32) / 255)
        assert np.array_equal(caught.value.reading.grid, PLAIN)
        assert np.array_equal(parse_maze(pixels.astype(np.float32) / 255, (1, 1), (9, 9)).grid, GRID)


def test_a_position_placed_by_hand_replaces_a_marker_and_must_be_a_path():
    pixels = enlarge(paint(GRID), 7.3).astype(np.float32) / 255
    assert parse_maze(pixels, start=NEXT_TO_START).start == NEXT_TO_START
    for start, message in (((0, 0), "must be a path"), ((1, 99), "must be a path"), ((9, 9), "two positions")):
        with pytest.raises(ValueError, match=message):
            parse_maze(pixels, start=start)


def test_what_is_missing_or_double_is_named():
    without_goal = np.where(GRID == GOAL, PATH, GRID).astype(np.uint8)
    two_starts = GRID.copy()
    two_starts[5, 5] = START
    for grid, message in (
        (without_goal, "has no green goal"),
        (two_starts, "has 2 red positions instead of one start"),
    ):
        with pytest.raises(IncompleteMazeError, match=message):
            parse_maze(enlarge(paint(grid), 8.6).astype(np.float32) / 255)


def test_two_openings_of_the_outer_wall_are_start_and_goal():
    opened = PLAIN.copy()
    opened[0, 1] = opened[10, 9] = PATH
    reading = read(np.pad(enlarge_strips(opened, 2, 17), ((9, 9), (9, 9), (0, 0)), constant_values=255))
    assert (reading.start, reading.goal) == ((0, 1), (10, 9)) and reading.notes
    assert np.array_equal(reading.grid != WALL, opened != WALL)


def test_strips_say_where_each_position_is_in_the_picture():
    reading = read(
        np.pad(draw_lines(np.random.default_rng(0), GRID, 2, 18), ((7, 0), (30, 0), (0, 0)), constant_values=255)
    )
    assert np.allclose(reading.row_strips[[0, 1, -1]], [[7, 9], [9, 27], [107, 109]], atol=0.6)
    assert np.allclose(reading.column_strips[[0, 1]], [[30, 32], [32, 50]], atol=0.6)


def test_a_large_picture_is_reduced_and_its_strips_are_not():
    reading = read(enlarge(paint(GRID, (20, 20, 60)), 290))
    assert np.array_equal(reading.grid, GRID)
    assert np.allclose(reading.row_strips[-1], [2_900, 3_190], atol=6)


def make_noise(*shape):
    return np.random.default_rng(0).random(shape)


@pytest.mark.parametrize(
    "pixels, message",
    [
        (np.full((50, 50, 3), 0.5), "one colour"),
        (np.full((50, 50, 3), np.nan), "one colour"),
        (make_noise(64, 64, 3), "No maze"),
        ((make_noise(300, 300, 1) > 0.5) * np.ones(3), "No maze"),
        (make_noise(8, 8, 1).repeat(20, 0).repeat(20, 1).round() * np.ones(3), "."),
        ((np.indices((200, 200))[0] // 8 % 2)[..., None] * np.ones(3), "No maze"),
        ((np.indices((211, 211)).sum(0) % 2)[..., None] * np.ones(3), "No maze"),
        (make_noise(1, 50_000, 3), "positions per side"),
        (make_noise(50_000, 6, 3), "positions per side"),
        (make_noise(40, 40), "needs colours"),
        (make_noise(40, 40, 4), "needs colours"),
        (make_noise(0, 40, 3), "positions per side"),
    ],
)
def test_other_pictures_get_one_sentence(pixels, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_maze(pixels.astype(np.float32))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_values_that_are_no_numbers_are_read_as_white():
    pixels = enlarge(COLOURS[GRID].astype(np.float32).round().astype(np.uint8) * 255, 9.4).astype(np.float32) / 255
    pixels[3, 5:9], pixels[60, 60] = np.nan, np.inf
    assert np.array_equal(parse_maze(pixels).grid, GRID)


def test_means_count_fractions_of_pixels():
    image = np.arange(12.0).reshape(3, 4)
    strips = np.array([[0.0, 2.0], [1.5, 2.5]])
    means = compute_means(integrate(image), strips, strips, share=1.0)
    assert means[0, 0] == pytest.approx(image[:2, :2].mean())
    assert means[1, 1] == pytest.approx((image[1, 1] + image[1, 2] + image[2, 1] + image[2, 2]) / 4)
