"""Settings of image data sets: where the images come from, and how large the model sees them."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pydantic import Field, field_validator, model_validator

from ctm.settings import Settings
from ctm.stores import HubRef
from training.data.preprocessing import resize_center_crop
from training.data.unreadable_images import DEFAULT_MAX_RATE
from training.resume_rules import Changeable


class DataSettings(Settings):
    """Source and size of the images of a data set."""

    dataset: str = Field(
        "",
        title="Data set on the Hub",
        description="data set on the Hub, namespace/name; empty: none, so the task cannot be trained",
    )
    subset: str = Field("", title="Subset", description="subset (configuration) of the data set, if it has several")
    revision: str = Field(
        "", title="Revision", description="commit, tag or branch of the data set; empty: its latest version"
    )
    data_files: Changeable[str] = Field(
        "",
        title="Local data files",
        description="local directory or parquet file to read instead; not written into checkpoints",
    )
    train_split: str = Field(
        "train", min_length=1, title="Training split", description="split to train on; a part of it is held out"
    )
    test_split: str = Field("test", title="Test split", description="split to test on; empty: 10% of train_split")
    image_column: str = Field("image", min_length=1, title="Image column", description="column with the images")
    label_column: str = Field(
        "label", min_length=1, title="Label column", description="column with the classes: indices from 0, or names"
    )
    max_unreadable_rate: Changeable[float] = Field(
        DEFAULT_MAX_RATE,
        ge=0,
        lt=1,
        title="Share of unreadable images",
        description="share of the images that may be missing or damaged; they are skipped",
    )
    streaming: Changeable[bool] = Field(
        False,
        title="Read images while training",
        description="read images during training instead of loading all into memory",
    )
    channels: int = Field(3, title="Colour channels", description="3: colour; 1: grayscale")
    resize: int = Field(
        256, ge=8, le=2_048, title="Resized side", description="shorter side of an image after resizing, pixels"
    )
    crop: int = Field(
        224,
        ge=8,
        le=2_048,
        title="Cropped side",
        description="side of the central square that the model receives, pixels",
    )

    @field_validator("channels")
    @classmethod
    def _check_channels(cls, value: int) -> int:
        if value not in (1, 3):
            raise ValueError("must be 1 (grayscale) or 3 (colour)")
        return value

    @field_validator("dataset")
    @classmethod
    def _check_dataset_name(cls, value: str) -> str:
        if value and str(HubRef.parse(value)) != HubRef.parse(value).repo:
            raise ValueError("must be namespace/name; set its commit in task.revision")
        return HubRef.parse(value).repo if value else value

    @model_validator(mode="after")
    def _check_crop(self) -> "DataSettings":
        if self.crop > self.resize:
            raise ValueError(f"task.crop must not exceed task.resize: got {self.crop} > {self.resize}.")
        return self

    @property
    def display_name(self) -> str:
        """Name of the data set for messages: that of the local files, or that on the Hub; empty if neither is set."""
        return Path(self.data_files).name if self.data_files else self.dataset

    def preprocess(self, image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
        """Return the central square that the model receives, as bytes."""
        return self.to_array(resize_center_crop(self.convert_mode(image), self.resize, self.crop))

    def convert_mode(self, image: Image.Image) -> Image.Image:
        """Convert to RGB or to grayscale, by the number of channels."""
        return image.convert("RGB" if self.channels == 3 else "L")

    def to_array(self, image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
        """Return the pixels of an image in the mode of `convert_mode`."""
        return np.asarray(image, np.uint8).reshape(image.height, image.width, self.channels)
