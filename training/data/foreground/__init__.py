"""Extract the figure of a drawing or of a photo, light on black: what stands out from the ground.

Modules: `extraction` is the entry; `channels` sizes and colours; `search` candidates; `grounds`, `ruling` and `sheets` what
lies behind a figure; `measures` and `parts` what belongs to it; `objects` solid objects; `components` and `morphology` the
image operations.
"""

from training.data.foreground.extraction import (
    SEVERAL_FIGURES,
    TOUCHES_EDGE,
    Foreground,
    extract_object,
    extract_strokes,
)

__all__ = ["SEVERAL_FIGURES", "TOUCHES_EDGE", "Foreground", "extract_object", "extract_strokes"]
