"""Gallery of models: a strip that picks one, or all of them in groups; `ui.services.gallery` builds its value."""

from typing import Any

import gradio as gr

from ui.components.html_component import build_html_component

# The name that a visitor picked; for events of the component whose handler needs nothing else.
JS_GET_CHOSEN = "(gallery) => gallery?.chosen ?? ''"
# The version of what is shown, for handlers that send nothing where nothing has changed.
JS_GET_VERSION = "(gallery) => gallery?.version ?? ''"
# The value with another selected checkpoint.
JS_SELECT = "(gallery, name) => ({ ...gallery, selected: name ?? '', chosen: undefined })"


def build_gallery(view: dict[str, Any], elem_id: str, mode: str, selected: str = "") -> gr.HTML:
    """Build a gallery. Its `input` event says that a visitor picked a model.

    Args:
        view: Value of `Gallery.build_view`.
        elem_id: Id of the component in the page.
        mode: "pick" for a strip that selects a model, "browse" for all of them.
        selected: Name of the selected checkpoint.
    """
    return build_html_component("gallery", elem_id, build_gallery_value(view, mode, selected))


def build_gallery_update(view: dict[str, Any], version: Any, mode: str) -> Any:
    """Return the value of a gallery, which keeps its selection; nothing where the page shows this version already.

    Args:
        view: Value of `Gallery.build_view`.
        version: Version that the page shows, see `JS_GET_VERSION`.
        mode: See `build_gallery`.
    """
    return gr.skip() if version == view["version"] else build_gallery_value(view, mode)


def build_gallery_value(
    view: dict[str, Any], mode: str, selected: str | None = None, opened: str | None = None
) -> dict[str, Any]:
    """Return the value of a gallery.

    Args:
        view: Value of `Gallery.build_view`.
        mode: See `build_gallery`.
        selected: Name of the selected checkpoint; None leaves the selection as it is.
        opened: A new text opens the side sheet.
    """
    return {**view, "mode": mode, "selected": selected, "opened": opened}
