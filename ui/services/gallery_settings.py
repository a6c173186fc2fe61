"""Names, groups and texts of the checkpoints of a directory, in its file gallery.yaml."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ctm.io.yaml import read_yaml_file

GALLERY_FILE_NAME = "gallery.yaml"
BundledGroup = Literal["think", "compare", "experiments"]
DEFAULT_GROUP: BundledGroup = "think"


class GallerySettingsModel(BaseModel):
    """Base of the schemas: further keys are errors, because the operator writes the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CheckpointText(GallerySettingsModel):
    """What the card of a checkpoint says besides its figures.

    Attributes:
        title: Plain name.
        group: Group of the gallery.
        action: What a visitor does, one sentence.
    """

    title: str = Field(min_length=1, max_length=60)
    group: BundledGroup = DEFAULT_GROUP
    action: str = Field("", max_length=160)


class Study(GallerySettingsModel):
    """A finding: a paragraph and a figure.

    Attributes:
        group: Group of the gallery.
        title: Heading.
        text: Paragraph; `{CHECKPOINT.FIGURE}` stands for a measured figure.
        checkpoints: Checkpoints that the figure compares.
        labels: Their labels in the figure; without, their titles.
        figure: Kind of figure, see `ui.services.gallery_metrics.build_figure`.
        axis: Name of the horizontal axis of a figure by difficulty.
    """

    group: BundledGroup
    title: str = Field(max_length=120)
    text: str = Field(max_length=1500)
    checkpoints: list[str] = Field(min_length=1)
    labels: list[str] = []
    figure: Literal["halted", "by_tick", "by_difficulty", "first_tick"]
    axis: str = "difficulty"


class GallerySettings(GallerySettingsModel):
    """Schema of gallery.yaml.

    Attributes:
        checkpoints: Texts by name of the checkpoint, in the order of the cards.
        studies: Findings, in order.
        demo: Checkpoints whose first example the landing page plays, in order.
    """

    checkpoints: dict[str, CheckpointText] = {}
    studies: list[Study] = []
    demo: list[str] = []


def read_gallery_settings(checkpoints_dir: Path) -> GallerySettings:
    """Read gallery.yaml of a directory of checkpoints; without the file nothing is set.

    Raises:
        ValueError: The file does not fit its schema.
    """
    path = checkpoints_dir / GALLERY_FILE_NAME
    if not path.is_file():
        return GallerySettings()
    try:
        return GallerySettings.model_validate(read_yaml_file(path))
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"]))
        raise ValueError(f"{GALLERY_FILE_NAME} is invalid at {location}: {first['msg']}.") from None
