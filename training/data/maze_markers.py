"""Find the start and the goal of a maze in an image: places of a colour of their own, or with a letter.

Pure red is the start and pure green the goal. Of two markers of other colours, the one whose hue is nearer to red is the start.
Places of one colour that form a line are a route that is drawn in.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.data.maze import Position
from training.data.maze_colours import project_colours
from training.data.maze_lattice import compute_means, integrate

MARKER_SHARE = 0.8  # of a strip, in which the colours of a marker are looked for
MIN_SCORE = 0.12  # difference of a marker from a path, where 1 is the difference of a wall
MAX_SCORE = 0.4  # that may be asked for
MIN_DARKENING = 0.1  # of a path by a letter
MAX_COLOUR_DISTANCE = 0.4  # between places that count as one colour
MIN_SATURATION = 0.15
MIN_TINT = 0.04
MIN_FAINT_SATURATION = 0.03
MIN_FAINT_DISTANCE = 60.0  # of two hues
MIN_ROUTE = 3  # places of one colour that are a route and no marker
HUES = {"red": 0.0, "green": 120.0}
MAX_HUE_DISTANCE = {"red": 26.0, "green": 50.0}
MIN_HUE_PREFERENCE = 20.0  # between the two ways to call two markers start and goal
GLYPH_SIZE = 12
GLYPH_LETTERS = "SEGFAB12"


@dataclass(frozen=True)
class Markers:
    """Start and goal of an image.

    Attributes:
        start: Place of the start, or None.
        goal: Place of the goal, or None.
        notes: What is doubtful, as sentences.
        problems: Why start or goal are missing, as parts of a sentence.
    """

    start: Position | None = None
    goal: Position | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A place that differs from walls and paths.

    Attributes:
        place: Row and column.
        score: How much it differs.
        colour: Its colour, shape (3).
        tint: Colour that it and the places around it have beside walls and paths, shape (3).
    """

    place: Position
    score: float
    colour: np.ndarray
    tint: np.ndarray

    @property
    def hue(self) -> float | None:
        """Hue in degrees, or None for a grey place.

        JPEG spreads the hue of a small place over its neighbours, so theirs counts where the place has none.
        """
        hue = compute_hue(self.colour, MIN_SATURATION)
        return compute_hue(self.tint, MIN_TINT) if hue is None else hue

    @property
    def name(self) -> str | None:
        """Return "red" or "green" for these hues, else None."""
        for name, hue in HUES.items():
            if self.hue is not None and get_hue_distance(self.hue, hue) <= MAX_HUE_DISTANCE[name]:
                return name
        return None


@dataclass(frozen=True)
class MarkerMaps:
    """What is known of each place.

    Attributes:
        pixels: Image of shape (h, w, 3).
        residual: What pixels have beside a mixture of wall and path, shape (h, w, 3).
        darkness: Share of the wall's colour in each pixel, shape (h, w).
        row_strips: Start and end of each row in pixels, shape (n, 2).
        column_strips: Start and end of each column in pixels, shape (m, 2).
        is_path: Whether each place is path, shape (n, m).
        is_cell: Whether each place is a crossing of two paths, which is always path, shape (n, m).
    """

    pixels: np.ndarray
    residual: np.ndarray
    darkness: np.ndarray
    row_strips: np.ndarray
    column_strips: np.ndarray
    is_path: np.ndarray
    is_cell: np.ndarray

    def get_box(self, place: Position) -> tuple[slice, slice]:
        """Return the pixels of a place."""
        slices = []
        for strip, length in (
            (self.row_strips[place[0]], len(self.pixels)),
            (self.column_strips[place[1]], self.pixels.shape[1]),
        ):
            low = int(np.clip(round(float(strip[0])), 0, length - 1))
            slices.append(slice(low, int(np.clip(round(float(strip[1])), low + 1, length))))
        return slices[0], slices[1]


def find_markers(
    pixels: np.ndarray, strips: tuple[np.ndarray, np.ndarray], is_wall: np.ndarray, is_cell: np.ndarray, colours: tuple
) -> Markers:
    """Return the start and the goal.

    Args:
        pixels: Image of shape (h, w, 3).
        strips: Start and end of each row and of each column in pixels.
        is_wall: Whether each place is wall, shape (n, m).
        is_cell: Whether each place is a crossing of two paths, shape (n, m).
        colours: Colour of the walls and of the paths.
    """
    residual, darkness = project_colours(pixels, colours[1], colours[0])
    maps = MarkerMaps(pixels, residual, darkness, *strips, ~is_wall, is_cell)
    candidates = find_candidates(maps)
    groups = group_candidates(candidates)
    coloured = [group for group in groups if group[0].hue is not None]
    markers = choose_coloured(coloured)
    plain = [group for group in groups if group[0].hue is None and len(group) < MIN_ROUTE]
    signs = [candidate for group in plain for candidate in group]
    if markers.problems or (markers.start and markers.goal) or not signs:
        return markers
    if markers.start or markers.goal:
        return markers if len(signs) > 1 else add_other(markers, signs[0].place)
    if len(signs) != 2 or coloured:
        return markers
    return choose_faint(signs) or choose_lettered(maps, signs)


def add_other(markers: Markers, place: Position) -> Markers:
    """Return the markers with a grey one for the start or the goal that is missing."""
    return replace(markers, goal=place) if markers.start else replace(markers, start=place)


def choose_faint(candidates: list[Candidate]) -> Markers | None:
    """Return two almost grey places as start and goal if their hues differ, as in a JPEG of one pixel a place."""
    hues = [compute_hue(candidate.colour, MIN_FAINT_SATURATION) for candidate in candidates]
    if hues[0] is None or hues[1] is None or get_hue_distance(hues[0], hues[1]) < MIN_FAINT_DISTANCE:
        return None
    return order_by_hue([candidate.place for candidate in candidates], hues[0], hues[1])


def find_candidates(maps: MarkerMaps) -> list[Candidate]:
    """Return the places that differ from walls and paths, the most different first, without weaker neighbours."""
    sums = integrate(np.concatenate([maps.residual, maps.darkness[..., None]], 2))
    means = compute_means(sums, maps.row_strips, maps.column_strips, MARKER_SHARE)
    residual, darkness = means[..., :3], means[..., 3]
    colour = np.linalg.norm(residual, axis=2)
    darkness = darkness - np.median(darkness[maps.is_cell])
    spread = 1.5 * np.median(np.abs(darkness[maps.is_cell]))
    darkness[(darkness < max(MIN_DARKENING, 5 * spread)) | ~maps.is_cell] = 0
    score = np.where(maps.is_path, np.hypot(colour, darkness), 0)
    usual = score[maps.is_cell]
    spread = 1.5 * float(np.median(np.abs(usual - np.median(usual))))
    threshold = min(max(MIN_SCORE, float(np.median(usual)) + 6 * spread), MAX_SCORE)
    score[~maps.is_cell] *= 0.75  # markers lie on crossings; the places between them receive their blurred colours
    found = np.argwhere(score > threshold)
    found = found[np.argsort(-score[tuple(found.T)], kind="stable")]
    kept: list[Candidate] = []
    for row, column in found[:400].tolist():
        place = (row, column)
        near = [one for one in kept if max(abs(one.place[0] - row), abs(one.place[1] - column)) <= 2]
        if not any(score[place] < 0.6 * one.score for one in near):
            around = residual[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            kept.append(Candidate(place, float(score[place]), estimate_colour(maps, place), around.mean((0, 1))))
    return kept


def estimate_colour(maps: MarkerMaps, place: Position) -> np.ndarray:
    """Return the colour of what covers a place, whole or in part."""
    box = maps.get_box(place)
    pixels, residual = maps.pixels[box].reshape(-1, 3), np.linalg.norm(maps.residual[box], axis=2).ravel()
    weights = residual**3 + 1e-9
    if residual.max() < 0.1:
        weights = maps.darkness[box].ravel().clip(0) ** 3 + 1e-9
    return weights @ pixels / weights.sum()


def group_candidates(candidates: list[Candidate]) -> list[list[Candidate]]:
    """Return the candidates by colour, without places much weaker than the strongest one of a colour."""
    groups: list[list[Candidate]] = []
    for candidate in candidates:
        for group in groups:
            if is_one_colour(candidate, group[0]):
                group.append(candidate)
                break
        else:
            groups.append([candidate])
    return [[one for one in group if one.score > 0.55 * group[0].score] for group in groups]


def is_one_colour(one: Candidate, other: Candidate) -> bool:
    """Return whether two places have the same colour; how strong it is may differ where a picture is blurred."""
    if one.hue is None or other.hue is None:
        return one.hue is None and other.hue is None
    if one.name and one.name == other.name:
        return True
    return (
        get_hue_distance(one.hue, other.hue) < 20
        and float(np.linalg.norm(one.colour - other.colour)) < MAX_COLOUR_DISTANCE
    )


def choose_coloured(groups: list[list[Candidate]]) -> Markers:
    """Choose start and goal from the colours that stand out."""
    named = {name: [group for group in groups if group[0].name == name] for name in HUES}
    single = {
        name: sorted((group[0] for group in found if len(group) == 1), key=lambda one: -one.score)
        for name, found in named.items()
    }
    if single["red"] and single["green"]:
        return Markers(single["red"][0].place, single["green"][0].place)
    problems = []
    for name, role in (("red", "start"), ("green", "goal")):
        if not single[name] and (several := [group for group in named[name] if 1 < len(group) < MIN_ROUTE]):
            problems.append(f"{len(several[0])} {name} places for one {role}")
    if problems:
        return Markers(
            single["red"][0].place if single["red"] else None,
            single["green"][0].place if single["green"] else None,
            problems=tuple(problems),
        )
    lone = sorted((group[0] for group in groups if len(group) == 1), key=lambda one: -one.score)[:2]
    if len(lone) == 2:
        return order_by_hue([one.place for one in lone], lone[0].hue or 0.0, lone[1].hue or 0.0)
    if len(lone) == 1 and lone[0].name:
        return Markers(**{"start" if lone[0].name == "red" else "goal": lone[0].place})
    return Markers()


def order_by_hue(places: list[Position], first_hue: float, second_hue: float) -> Markers:
    """Return two places as start and goal: the start is nearer to red, the goal nearer to green."""
    costs = [
        get_hue_distance(start_hue, HUES["red"]) + get_hue_distance(goal_hue, HUES["green"])
        for start_hue, goal_hue in ((first_hue, second_hue), (second_hue, first_hue))
    ]
    start, goal = places if costs[0] <= costs[1] else reversed(places)
    notes = ["The start and the goal are guessed from their colours; red is a start and green a goal."]
    return Markers(start, goal, tuple(notes if abs(costs[0] - costs[1]) < MIN_HUE_PREFERENCE else ()))


def compute_hue(colour: np.ndarray, min_saturation: float) -> float | None:
    """Return the hue of a colour in degrees, or None for grey."""
    red, green, blue = colour.tolist()
    if max(colour) - min(colour) < min_saturation:
        return None
    return float(np.degrees(np.arctan2(3**0.5 * (green - blue), 2 * red - green - blue))) % 360


def get_hue_distance(one: float, other: float) -> float:
    """Return the angle between two hues in degrees."""
    return abs((one - other + 180) % 360 - 180)


# --- letters ---------------------------------------------------------------------------------------------------------


def choose_lettered(maps: MarkerMaps, candidates: list[Candidate]) -> Markers:
    """Return two places with letters or other signs as start and goal: S is the start, otherwise the first place."""
    first, second = sorted(candidates, key=lambda one: one.place)
    likeness = [compute_likeness(extract_glyph(maps, one.place)) for one in (first, second)]
    preference = likeness[0] - likeness[1]
    start, goal = (first, second) if preference >= 0 else (second, first)
    notes = () if abs(preference) > 0.05 else ("It is unclear which of the two marks is the start.",)
    return Markers(start.place, goal.place, notes)


def extract_glyph(maps: MarkerMaps, place: Position) -> np.ndarray:
    """Return what is drawn on a place, cropped and scaled to `GLYPH_SIZE` a side."""
    ink = maps.darkness[maps.get_box(place)].clip(0, 1)
    border = max(1, round(0.06 * min(ink.shape))) if min(ink.shape) >= 6 else 0
    return normalize_glyph(ink[border : ink.shape[0] - border, border : ink.shape[1] - border])


def normalize_glyph(ink: np.ndarray) -> np.ndarray:
    """Return ink cropped to its extent and scaled to `GLYPH_SIZE` a side, with mean 0 and length 1."""
    is_inked = ink > 0.4 * ink.max()
    rows, columns = np.flatnonzero(is_inked.any(1)), np.flatnonzero(is_inked.any(0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    scaled = np.asarray(
        Image.fromarray(cropped).resize((GLYPH_SIZE, GLYPH_SIZE), Image.Resampling.BILINEAR), np.float64
    )
    scaled = scaled - scaled.mean()
    return scaled / max(float(np.linalg.norm(scaled)), 1e-9)


def compute_likeness(glyph: np.ndarray) -> float:
    """Return how much more a glyph is like an S than like another letter that may stand in a maze."""
    letters = load_letters()
    likeness = {letter: float((glyph * template).sum()) for letter, template in letters.items()}
    return likeness["S"] - max(value for letter, value in likeness.items() if letter != "S")


@cache
def load_letters() -> dict[str, np.ndarray]:
    """Return templates of letters."""
    font = ImageFont.load_default(40)
    letters = {}
    for letter in GLYPH_LETTERS:
        image = Image.new("L", (64, 64))
        ImageDraw.Draw(image).text((32, 32), letter, fill=255, font=font, anchor="mm")
        letters[letter] = normalize_glyph(np.asarray(image, np.float32) / 255)
    return letters
