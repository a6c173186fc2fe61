"""Find the start and the goal of a maze in an image: positions of a colour of their own, or with a letter.

Pure red is the start and pure green the goal. Of two markers of other colours, the one whose hue is nearer to red is the start.
Places of one colour that form a line are a route that is drawn in.
"""

from dataclasses import dataclass, replace

import numpy as np

from training.data.maze import Position
from training.data.maze_reader.colours import compute_lengths, project_colours
from training.data.maze_reader.layout import Layout
from training.data.maze_reader.letters import compute_likeness, normalize_glyph
from training.data.maze_reader.position_means import compute_means, integrate

MARKER_SHARE = 0.8  # of a strip, in which the colours of a marker are looked for
MIN_SCORE = 0.06  # difference of a marker from a path, where 1 is the difference of a wall
MAX_SCORE = 0.4  # that may be asked for
MIN_DARKENING = 0.05  # of a path by a letter
MAX_COLOUR_DISTANCE = 0.4  # between positions that count as one colour
MIN_SATURATION = 0.15
MIN_TINT = 0.04
MIN_GLYPH_SIZE = 5.0  # pixels of a position, below which it shows no letter
GUESS_NOTE = "The start and the goal are guessed from their colours; red is a start and green a goal."
MIN_OWN_DARKENING = 0.25
MIN_NEIGHBOUR_SHARE = 0.6  # of the score of a stronger neighbour
MIN_GROUP_SHARE = 0.55  # of the score of the strongest position of a colour
MIN_ROUTE = 3  # positions of one colour that are a route and no marker
HUES = {"red": 0.0, "green": 120.0}
MAX_HUE_DISTANCE = {"red": 26.0, "green": 50.0}
MIN_HUE_PREFERENCE = 20.0  # between the two ways to call two markers start and goal


@dataclass(frozen=True)
class Markers:
    """Start and goal of an image.

    Attributes:
        start: Position of the start, or None.
        goal: Position of the goal, or None.
        notes: What is doubtful, as sentences.
        problems: Why start or goal are missing, as predicates such as "has 2 red positions".
    """

    start: Position | None = None
    goal: Position | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A position that differs from walls and paths.

    Attributes:
        position: Row and column.
        score: How much it differs.
        colour: Its colour, shape (3).
        tint: Colour that it and the positions around it have beside walls and paths, shape (3).
    """

    position: Position
    score: float
    colour: np.ndarray
    tint: np.ndarray

    @property
    def hue(self) -> float | None:
        """Hue in degrees, or None for a grey position.

        JPEG spreads the hue of a small position over its neighbours, so theirs counts where the position has none.
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
    """What is known of each position.

    Attributes:
        pixels: Image of shape (h, w, 3).
        residual: What pixels have beside a mixture of wall and path, shape (h, w, 3).
        darkness: Share of the wall's colour in each pixel, shape (h, w).
        row_strips: Start and end of each row in pixels, shape (n, 2).
        column_strips: Start and end of each column in pixels, shape (m, 2).
        is_path: Whether each position is path, shape (n, m).
        is_cell: Whether each position is a crossing of two paths, which is always path, shape (n, m).
    """

    pixels: np.ndarray
    residual: np.ndarray
    darkness: np.ndarray
    row_strips: np.ndarray
    column_strips: np.ndarray
    is_path: np.ndarray
    is_cell: np.ndarray

    def get_box(self, position: Position) -> tuple[slice, slice]:
        """Return the pixels of a position."""
        slices = []
        for strip, length in (
            (self.row_strips[position[0]], len(self.pixels)),
            (self.column_strips[position[1]], self.pixels.shape[1]),
        ):
            low = int(np.clip(round(float(strip[0])), 0, length - 1))
            slices.append(slice(low, int(np.clip(round(float(strip[1])), low + 1, length))))
        return slices[0], slices[1]


def find_markers(pixels: np.ndarray, layout: Layout, colours: tuple[np.ndarray, np.ndarray]) -> Markers:
    """Return the start and the goal.

    Args:
        pixels: Image of shape (h, w, 3).
        layout: Walls and paths.
        colours: Colour of the walls and of the paths.
    """
    residual, darkness = project_colours(pixels, colours[1], colours[0])
    maps = MarkerMaps(
        pixels, residual, darkness, layout.row_strips, layout.column_strips, ~layout.is_wall, layout.is_cell
    )
    candidates = find_candidates(maps)
    groups = group_candidates(candidates)
    coloured = [group for group in groups if group[0].hue is not None]
    markers = choose_coloured(coloured)
    plain = [group for group in groups if group[0].hue is None and len(group) < MIN_ROUTE]
    signs = [candidate for group in plain for candidate in group]
    if markers.problems or (markers.start and markers.goal) or not signs:
        return markers
    if markers.start or markers.goal:
        return markers if len(signs) > 1 else add_other(markers, signs[0].position)
    if len(signs) != 2 or coloured:
        return markers
    is_tiny = float(np.diff(maps.row_strips).max()) < MIN_GLYPH_SIZE
    return choose_faint(signs) if is_tiny else choose_lettered(maps, signs)


def add_other(markers: Markers, position: Position) -> Markers:
    """Return the markers with a grey one for the start or the goal that is missing."""
    return replace(markers, goal=position) if markers.start else replace(markers, start=position)


def choose_faint(candidates: list[Candidate]) -> Markers:
    """Return two almost grey positions of a few pixels as start and goal, as JPEG makes of red and green.

    JPEG averages the hues of neighbouring pixels but hardly their luma, and red is darker than green.
    """
    start, goal = sorted(candidates, key=lambda one: float(one.colour.sum()))
    return Markers(start.position, goal.position, (GUESS_NOTE,))


def find_candidates(maps: MarkerMaps) -> list[Candidate]:
    """Return the positions that differ from walls and paths, the most different first, without weaker neighbours."""
    sums = integrate(np.concatenate([maps.residual, maps.darkness[..., None]], 2))
    means = compute_means(sums, maps.row_strips, maps.column_strips, MARKER_SHARE)
    residual, darkness = means[..., :3], means[..., 3]
    colour = compute_lengths(residual)
    darkness = darkness - np.median(darkness[maps.is_cell])
    spread = 1.5 * np.median(np.abs(darkness[maps.is_cell]))
    darkness[(darkness < max(MIN_DARKENING, 5 * spread)) | ~maps.is_cell] = 0
    score = np.where(maps.is_path, np.hypot(colour, darkness), 0)
    usual = score[maps.is_cell]
    spread = 1.5 * float(np.median(np.abs(usual - np.median(usual))))
    threshold = min(max(MIN_SCORE, float(np.median(usual)) + 6 * spread), MAX_SCORE)
    score[~maps.is_cell] *= 0.75  # markers lie on crossings; the positions between them receive their blurred colours
    found = np.argwhere(score > threshold)
    found = found[np.argsort(-score[tuple(found.T)], kind="stable")]
    kept: list[Candidate] = []
    for row, column in found[:400].tolist():
        position = (row, column)
        near = [one for one in kept if max(abs(one.position[0] - row), abs(one.position[1] - column)) <= 2]
        is_dark = darkness[position] > MIN_OWN_DARKENING  # itself, while the colour of a neighbour only stains it
        if is_dark or not any(score[position] < MIN_NEIGHBOUR_SHARE * one.score for one in near):
            around = residual[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            kept.append(
                Candidate(position, float(score[position]), estimate_colour(maps, position), around.mean((0, 1)))
            )
    return kept


def estimate_colour(maps: MarkerMaps, position: Position) -> np.ndarray:
    """Return the colour of what covers a position, whole or in part."""
    box = maps.get_box(position)
    pixels, residual = maps.pixels[box].reshape(-1, 3), compute_lengths(maps.residual[box]).ravel()
    weights = residual**3 + 1e-9
    if residual.max() < 0.1:
        weights = maps.darkness[box].ravel().clip(0) ** 3 + 1e-9
    return weights @ pixels / weights.sum()


def group_candidates(candidates: list[Candidate]) -> list[list[Candidate]]:
    """Return the candidates by colour, without positions much weaker than the strongest one of a colour."""
    groups: list[list[Candidate]] = []
    for candidate in candidates:
        for group in groups:
            if is_one_colour(candidate, group[0]):
                group.append(candidate)
                break
        else:
            groups.append([candidate])
    return [[one for one in group if one.score > MIN_GROUP_SHARE * group[0].score] for group in groups]


def is_one_colour(one: Candidate, other: Candidate) -> bool:
    """Return whether two positions have the same colour; how strong it is may differ where a picture is blurred."""
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
        return Markers(single["red"][0].position, single["green"][0].position)
    problems = []
    for name, role in (("red", "start"), ("green", "goal")):
        if not single[name] and (several := [group for group in named[name] if 1 < len(group) < MIN_ROUTE]):
            problems.append(f"has {len(several[0])} {name} positions instead of one {role}")
    if problems:
        return Markers(
            single["red"][0].position if single["red"] else None,
            single["green"][0].position if single["green"] else None,
            problems=tuple(problems),
        )
    lone = sorted((group[0] for group in groups if len(group) == 1), key=lambda one: -one.score)[:2]
    if len(lone) == 2:
        return order_by_hue([one.position for one in lone], lone[0].hue or 0.0, lone[1].hue or 0.0)
    if len(lone) == 1 and lone[0].name:
        return Markers(start=lone[0].position) if lone[0].name == "red" else Markers(goal=lone[0].position)
    return Markers()


def order_by_hue(positions: list[Position], first_hue: float, second_hue: float) -> Markers:
    """Return two positions as start and goal: the start is nearer to red, the goal nearer to green."""
    costs = [
        get_hue_distance(start_hue, HUES["red"]) + get_hue_distance(goal_hue, HUES["green"])
        for start_hue, goal_hue in ((first_hue, second_hue), (second_hue, first_hue))
    ]
    start, goal = positions if costs[0] <= costs[1] else reversed(positions)
    is_clear = abs(costs[0] - costs[1]) >= MIN_HUE_PREFERENCE
    return Markers(start, goal, () if is_clear else (GUESS_NOTE,))


def choose_lettered(maps: MarkerMaps, candidates: list[Candidate]) -> Markers:
    """Return two positions with letters or other signs as start and goal: S is the start, otherwise the first position."""
    first, second = sorted(candidates, key=lambda one: one.position)
    likeness = [compute_likeness(extract_glyph(maps, one.position)) for one in (first, second)]
    preference = likeness[0] - likeness[1]
    start, goal = (first, second) if preference >= 0 else (second, first)
    notes = () if abs(preference) > 0.05 else ("It is unclear which of the two marks is the start.",)
    return Markers(start.position, goal.position, notes)


def extract_glyph(maps: MarkerMaps, position: Position) -> np.ndarray:
    """Return what is drawn on a position, cropped and scaled to `GLYPH_SIZE` a side."""
    ink = maps.darkness[maps.get_box(position)].clip(0, 1)
    border = max(1, round(0.06 * min(ink.shape))) if min(ink.shape) >= 6 else 0
    return normalize_glyph(ink[border : ink.shape[0] - border, border : ink.shape[1] - border])


def compute_hue(colour: np.ndarray, min_saturation: float) -> float | None:
    """Return the hue of a colour in degrees, or None for grey."""
    red, green, blue = colour.tolist()
    if max(colour) - min(colour) < min_saturation:
        return None
    return float(np.degrees(np.arctan2(3**0.5 * (green - blue), 2 * red - green - blue))) % 360


def get_hue_distance(one: float, other: float) -> float:
    """Return the angle between two hues in degrees."""
    return abs((one - other + 180) % 360 - 180)
