"""The JavaScript tasks compute the model inputs of drawings, photos and mazes that the Python tasks compute."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmarks import maze_pictures, paper_photos
from tests.paths import ROOT
from tests.ui.image_file_kinds import make_exif, make_exif_text, make_xmp, make_xmp_text, move_exif_to_end
from tests.ui.static.ctm.node_tasks import compare, find_difference, make_parse_job, parse, run_jobs, to_unit_range
from training.data.image_reader import read_image
from training.data.maze import PATH, START, WALL, compute_canonical_bytes
from training.data.maze_reader.letters import load_letters
from training.paths import EXAMPLES_DIR
from training.tasks.digits import load_images
from training.tasks.registry import build_task
from training.tasks.splits import TEST, VALIDATION, assign_split

REAL_INPUTS = ROOT / "tests/data/real_inputs"
QUICK_PHOTOS = ["drawing", "paper, light -30 %", "ruled, tilted", "dark desk", "red pen", "border 1"]
QUICK_MAZES = ["fractional", "coloured", "lines", "compressed", "lettered", "solved"]
SLOW_SAMPLES = 4  # of every kind
CLOTHING_LIGHTS = [(1, 0, 0, 0), (0.92, 0.1, 0.4, 0), (0.55, 1, 0, 0), (1, 0, 0, 5), (0.15, 0.95, 0.35, 0)]
IMAGENET = {"task": "images", "settings": {"names": ["a", "b"]}, "labels": ["a", "b"]}
GREY = {"names": ["a", "b"], "channels": 1, "size": 64, "crop": 48, "mean": [0.3], "std": [0.2]}


def read_metadata(name):
    return json.loads((ROOT / "checkpoints" / name / "task.json").read_text())


DIGITS, FASHION, MAZES = (read_metadata(name) for name in ("digits", "fashion", "mazes-15"))


def to_rgb(pixels):
    """Return bytes of shape (h, w, 3)."""
    return np.asarray(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2), np.uint8)


def open_files(pattern, directory=REAL_INPUTS):
    return {path.stem: np.asarray(Image.open(path).convert("RGB")) for path in sorted(directory.glob(pattern))}


def draw_strokes(seed):
    """Return a drawing as the sketchpad of the page makes it: black strokes, 20 of 280 pixels wide, on white."""
    generator = np.random.default_rng(seed)
    image = Image.new("RGB", (280, 280), "white")
    draw = ImageDraw.Draw(image)
    points = [tuple(point) for point in generator.integers(20, 260, (6, 2)).tolist()]
    draw.line(points, "#111111", width=20, joint="curve")
    for x, y in points:
        draw.ellipse((x - 10, y - 10, x + 10, y + 10), "#111111")
    return np.asarray(image)


def test_drawings_have_the_same_inputs(tmp_path):
    drawings = {f"drawing {seed}": draw_strokes(seed) for seed in range(12)}
    symmetric = np.full((280, 280, 3), 255, np.uint8)
    symmetric[60:220, 130:150] = 17  # its centre of mass lies between two pixels
    dot = np.full((280, 280, 3), 255, np.uint8)
    dot[100:104, 50:54] = 17
    blank = np.full((280, 280, 3), 255, np.uint8)
    compare(drawings | {"symmetric": symmetric, "dot": dot, "blank": blank}, DIGITS, tmp_path)


def test_clean_digits_of_every_size_have_the_same_inputs(tmp_path):
    named = {}
    for index, image in enumerate(load_images(TEST)[0][:8, 0].numpy()):
        side = [28, 8, 14, 29, 56, 113, 400, 28][index]
        large = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)).clip(0, 1)
        light = np.rint(large * 255).astype(np.uint8)
        tinted = (large[..., None] * [200, 120, 30] + (1 - large[..., None]) * [240, 235, 220]).astype(np.uint8)
        named |= {f"{index} light": to_rgb(light), f"{index} dark": to_rgb(255 - light), f"{index} tinted": tinted}
    named["too small"] = np.zeros((7, 30, 3), np.uint8)
    compare(named, DIGITS, tmp_path)


def test_photos_of_digits_have_the_same_inputs(tmp_path):
    photos = {kind: to_rgb(next(paper_photos.generate_photos(kind, 1, seed=3)).pixels) for kind in QUICK_PHOTOS}
    compare(photos | open_files("P*-0-is0.*"), DIGITS, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", paper_photos.KINDS)
def test_photos_of_every_kind_have_the_same_inputs(kind, tmp_path):
    samples = paper_photos.generate_photos(kind, SLOW_SAMPLES, seed=5)
    compare({f"{kind} {index}": to_rgb(sample.pixels) for index, sample in enumerate(samples)}, DIGITS, tmp_path)


@pytest.mark.slow
def test_bundled_photos_have_the_same_inputs(tmp_path):
    compare(open_files("P*"), DIGITS, tmp_path)


def photograph_clothing(example, ground, ink, falloff, border):
    """Return a garment on a ground whose light falls off, with noise and a frame."""
    large = np.asarray(Image.fromarray(example).resize((170, 170), Image.Resampling.BICUBIC)).clip(0, 1)
    image = np.full((240, 320), ground, np.float32)
    image[30:200, 90:260] += large * (ink - ground)
    image *= np.linspace(1, 1 - falloff, 320)
    image += np.random.default_rng(2).normal(0, 0.015 * bool(falloff), image.shape)
    if border:
        image[:border] = image[-border:] = image[:, :border] = image[:, -border:] = 0.1
    return to_rgb(np.rint(image.clip(0, 1) * 255))


def test_clothing_has_the_same_inputs(tmp_path):
    files = open_files("fashion_mnist-*.png", EXAMPLES_DIR)
    example = next(iter(files.values()))[..., 0].astype(np.float32) / 255
    photos = {str(light): photograph_clothing(example, *light) for light in CLOTHING_LIGHTS}
    other = {"drawing": draw_strokes(1), "plain": np.full((30, 30, 3), 90, np.uint8)}
    compare(files | photos | other, FASHION, tmp_path)


@pytest.mark.parametrize("metadata", [IMAGENET, {**IMAGENET, "settings": GREY}], ids=["colour", "grey"])
def test_photographs_have_the_same_inputs(metadata, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 590, 3)).astype(np.uint8)
    named = open_files("photo-*.jpg", EXAMPLES_DIR) | {"wide": noise, "too thin": noise[:29], "small": noise[:, :40]}
    compare(named, metadata, tmp_path)


def test_mazes_have_the_same_inputs(tmp_path):
    pictures = {kind: maze_pictures.make_picture(kind, 3, VALIDATION)[0] for kind in QUICK_MAZES}
    other = {
        "digit": draw_strokes(2),
        "one colour": np.full((30, 30, 3), 90, np.uint8),
        "thin": np.zeros((4, 9, 3), np.uint8),
    }
    compare(pictures | open_files("M*-0.png") | open_files("maze-*.png", EXAMPLES_DIR) | other, MAZES, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", maze_pictures.KINDS)
def test_mazes_of_every_kind_have_the_same_inputs(kind, tmp_path):
    pictures = {f"{kind} {seed}": maze_pictures.make_picture(kind, seed, VALIDATION)[0] for seed in range(SLOW_SAMPLES)}
    compare(pictures, MAZES, tmp_path)


@pytest.mark.parametrize("longest_route", [12, 24, 48])
def test_mazes_with_longer_routes_than_an_answer_have_the_same_inputs(longest_route, tmp_path):
    metadata = MAZES | {"settings": MAZES["settings"] | {"route": 10, "longest_route": longest_route}}
    compare(open_files("maze-15-*.png", EXAMPLES_DIR), metadata, tmp_path)


def test_start_and_goal_can_be_placed_by_hand(tmp_path):
    pixels = next(iter(open_files("maze-15-*.png", EXAMPLES_DIR).values()))
    task = build_task(MAZES)
    grid = task.parse_input(to_unit_range(pixels)).context.grid
    paths = np.argwhere(grid == PATH).tolist()
    wall = np.argwhere(grid == WALL)[0].tolist()
    start = np.argwhere(grid == START)[0].tolist()
    places = [(paths[0], None), (None, paths[-1]), (wall, None), ([99, 0], None), (None, start)]
    expected = [parse(task, pixels, *(place and tuple(place) for place in pair)) for pair in places]
    jobs = [
        make_parse_job(task, MAZES, pixels, one) | {"places": pair} for pair, one in zip(places, expected, strict=True)
    ]
    for job, one, result in zip(jobs, expected, run_jobs(jobs, tmp_path), strict=True):
        assert find_difference(task, job, one, result) is None


def test_generated_mazes_belong_to_the_test_split(tmp_path):
    (sizes,) = run_jobs([{"task": MAZES, "seeds": list(range(20))}], tmp_path)
    task, lengths = build_task(MAZES), []
    for seed, size in enumerate(sizes):
        pixels = np.fromfile(tmp_path / f"0-{seed}.rgba", np.uint8).reshape(size["height"], size["width"], 4)
        assert pixels.shape == (390, 390, 4) and (pixels[..., 3] == 255).all()
        maze = task.parse_input(to_unit_range(pixels)[..., :3])
        assert maze.shift is None and assign_split(compute_canonical_bytes(maze.context.grid)) == TEST
        lengths.append(len(maze.context.find_shortest_moves()))
    assert all(15 <= length <= 30 for length in lengths) and len(set(lengths)) > 3


@pytest.mark.parametrize("settings", [{}, {"route": 10, "longest_route": 40}])
def test_generated_mazes_have_the_wanted_route_length(settings, tmp_path):
    metadata = MAZES | {"settings": MAZES["settings"] | settings}
    (sizes,) = run_jobs([{"task": metadata, "seeds": [0, 1], "difficulty": 34}], tmp_path)
    for seed, size in enumerate(sizes):
        pixels = np.fromfile(tmp_path / f"0-{seed}.rgba", np.uint8).reshape(size["height"], size["width"], 4)
        maze = build_task(MAZES).parse_input(to_unit_range(pixels)[..., :3])
        assert len(maze.context.find_shortest_moves()) == 34
        assert assign_split(compute_canonical_bytes(maze.context.grid)) == TEST


def test_transparent_images_are_placed_on_the_same_background(tmp_path):
    generator = np.random.default_rng(4)
    strokes = 255 - draw_strokes(5)[..., :1]
    dark_ink = np.concatenate([np.zeros((280, 280, 3), np.uint8), strokes], 2)
    light_ink = np.concatenate([np.full((280, 280, 3), 250, np.uint8), strokes], 2)
    sheet = np.concatenate([draw_strokes(6), np.full((280, 280, 1), 255, np.uint8)], 2)
    sheet[:20, :20, 3] = sheet[-9:, -30:, 3] = 0
    noise = generator.integers(0, 256, (40, 40, 4)).astype(np.uint8)
    uniform = np.concatenate([draw_strokes(7), np.full((280, 280, 1), 90, np.uint8)], 2)
    task = build_task(DIGITS)
    images = [dark_ink, light_ink, sheet, noise, uniform]
    jobs = [{"task": DIGITS, "raw": image, "answers": []} for image in images]
    for image, job, result in zip(images, jobs, run_jobs(jobs, tmp_path), strict=True):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        expected = task.parse_input(read_image(file.getvalue()).to_array())
        assert find_difference(task, job, expected, result) is None
        assert result["server"] == bool(((image[..., 3] > 0) & (image[..., 3] < 255)).any())


def save(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return list(file.getvalue())


def test_files_that_only_the_server_reads_exactly_are_named(tmp_path):
    photo = Image.fromarray(draw_strokes(8))
    deep = Image.fromarray(np.full((9, 9), 40_000, np.uint16))
    accepted = [
        save(photo, format="PNG"),
        save(photo.convert("RGBA"), format="PNG"),
        save(photo.convert("P"), format="PNG", transparency=0),
        save(photo.convert("L"), format="JPEG"),
        save(photo, format="JPEG", progressive=True),
        save(photo, format="JPEG", xmp=make_xmp(1)),
        save(photo, format="PNG", exif=make_exif(6)),
        save(photo, format="PNG", pnginfo=make_xmp_text(1)),
    ]
    rejected = [
        save(deep, format="PNG"),
        save(photo, format="PNG", transparency=(255, 255, 255)),
        save(photo, format="PNG", save_all=True, append_images=[photo.rotate(9)]),
        save(photo, format="PNG")[:-20],
        save(photo.convert("CMYK"), format="JPEG"),
        save(photo, format="JPEG")[:-200],
        save(photo, format="JPEG", xmp=make_xmp(6)),
        save(photo, format="PNG", pnginfo=make_exif_text(6)),
        save(photo, format="PNG", pnginfo=make_xmp_text(6)),
        save(photo, format="PNG", pnginfo=make_xmp_text(6, is_compressed=True)),
        list(move_exif_to_end(bytes(save(photo, format="PNG", exif=make_exif(6))))),
        save(photo, format="GIF"),
        save(photo, format="WEBP"),
        [],
        [0xFF, 0xD8],
        [0xFF, 0xD8, 0xFF, 0xE0, 0, 0],
    ]
    results = run_jobs([{"call": "findServerReason", "args": [file]} for file in accepted + rejected], tmp_path)
    assert results[: len(accepted)] == [None] * len(accepted)
    assert all(isinstance(reason, str) and reason.endswith(".") for reason in results[len(accepted) :])


def test_templates_of_letters_are_those_of_python(tmp_path):
    templates = run_jobs([{"call": "listTemplates", "args": []}], tmp_path)[0]
    expected = load_letters()
    assert set(templates) == set(expected)
    for letter, template in expected.items():
        np.testing.assert_allclose(templates[letter], template.ravel(), rtol=0, atol=1e-7)
