"""The Think tab: pick a checkpoint, give it something, watch it think."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from gradio.components.plot import PlotData

from ui.figures import thought_figure
from ui.inputs import FOLLOW, WRITE, PictureInput, drawing_input, on_pad, pad_input, picture_drawn
from ui.live import live_view
from ui.pictures import read_picture
from ui.services import CheckpointInfo, Services

OWN_RULE = "my own rule"
RULE_HELP = "energy<-3, certainty>0.9, same=3, ticks=12; join with | (any) or & (all)"
ANSWER_KEYS = (
    "answer", "label", "probability", "p_correct", "ticks_used", "iterations", "halted_by", "energy", "certainty",
    "answers_by_tick", "likeliest", "policy", "checkpoint", "sentence", "milliseconds",
)  # fmt: skip
QUEUE = {"concurrency_limit": 24, "concurrency_id": "thinking", "show_progress": "minimal"}


def build(services: Services) -> gr.Dropdown | None:
    """Lay out the tab and connect it; gives the choice of the checkpoint, for other tabs to set."""
    names = services.checkpoint_names()
    if not names:
        gr.Markdown("There is no checkpoint yet. Train one: `python -m training train configs/digits.yaml`.")
        return None
    first = services.info(names[0])
    with gr.Row(elem_classes="think"):
        with gr.Column(scale=2, min_width=320):
            checkpoint = gr.Dropdown(
                services.labels(), value=first.name, label="Checkpoint", info="the trained machine that thinks",
                elem_id="checkpoint",
            )  # fmt: skip
            summary = gr.Markdown(first.summary, elem_id="summary")
            pictures = picture_inputs(first, begun(services, first))
            texts = text_inputs(first)
            policy = gr.Dropdown(list_policies(first), label="Stop when", elem_id="policy")
            rule = gr.Textbox(
                default_rule(first), label="Rule", info=RULE_HELP, max_length=500, elem_id="rule", interactive=True
            )
        with gr.Column(scale=5, min_width=320):
            live = live_view()
            with gr.Accordion("Explore the whole thought", open=False):
                figure = gr.Plot(show_label=False, elem_id="figure")

    def pick(name: str) -> list[Any]:
        info = asked(services.info, name)
        return [
            info.summary, gr.Column(visible=info.takes == "image"), ways_to_give(info), picture_hint(info),
            gr.Column(visible=info.drawn), gr.Column(visible=has_pad(info, "image")),
            begun(services, info) if info.takes == "image" else None, None, gr.Button(visible=info.invents),
            gr.Button(visible=has_pad(info, "image")), gr.Dataset(samples=samples(info, "image")),
            gr.Column(visible=info.takes == "text"), gr.Column(visible=has_pad(info, "text")),
            begun(services, info) if info.takes == "text" else None, gr.Textbox(value="", info=info.hint),
            gr.Dataset(samples=samples(info, "text")), gr.Dropdown(list_policies(info), value=first_of(info)),
            default_rule(info), None, None,
        ]  # fmt: skip

    def show_picture(path: str | None, name: str, rule: str) -> tuple[dict[str, Any], Any]:
        return told(lambda: services.think(name, read_picture(path), rule))

    def show_drawing(drawing: Any, name: str, rule: str) -> tuple[dict[str, Any], Any]:
        return told(lambda: services.think(name, read_picture(picture_drawn(drawing)), rule))

    def show_sequence(text: str, name: str, rule: str) -> tuple[dict[str, Any], Any]:
        return told(lambda: services.think(name, text or "", rule))

    def edit(path: str | None, name: str) -> Any:
        return edited(services, asked(services.info, name), asked(read_picture, path))

    def make_up(name: str) -> tuple[Any, Any]:
        picture = asked(services.invent, name, secrets.randbelow(2**31))
        return picture, edited(services, asked(services.info, name), picture / np.float32(255))

    private = {"api_visibility": "private"}
    shown = [live, figure]
    checkpoint.change(
        pick, checkpoint,
        [summary, pictures.column, pictures.ways, pictures.hint, pictures.by_hand, pictures.on_pad, pictures.pad,
         pictures.upload, pictures.invent, pictures.edit, pictures.examples, texts.column, texts.on_pad, texts.pad, texts.text,
         texts.examples, policy, rule, live, figure],
        **private,
    )  # fmt: skip
    policy.input(
        lambda name, picked, rule: asked(services.info, name).policies.get(picked, rule),
        [checkpoint, policy, rule], rule, **private,
    )  # fmt: skip
    rule.input(lambda: OWN_RULE, None, policy, **private)
    pictures.think_drawing.click(show_drawing, [pictures.drawing, checkpoint, rule], shown, **private, **QUEUE)
    pictures.think_upload.click(show_picture, [pictures.upload, checkpoint, rule], shown, **private, **QUEUE)
    pictures.think_pad.click(show_drawing, [pictures.pad, checkpoint, rule], shown, **private, **QUEUE)
    pictures.renew.click(lambda name: make_up(name)[1], checkpoint, pictures.pad, **private)
    pictures.edit.click(
        lambda path, name: (edit(path, name), gr.Tabs(selected="draw")), [pictures.upload, checkpoint],
        [pictures.pad, pictures.ways], **private,
    )  # fmt: skip
    pictures.examples.click(
        lambda row, name: (row[0], edit(row[0], name)), [pictures.examples, checkpoint], [pictures.upload, pictures.pad],
        **private,
    ).then(show_picture, [pictures.upload, checkpoint, rule], shown, **private, **QUEUE)  # fmt: skip
    pictures.invent.click(make_up, checkpoint, [pictures.upload, pictures.pad], **private).then(
        show_picture, [pictures.upload, checkpoint, rule], shown, **private, **QUEUE
    )
    given = [texts.text, checkpoint, rule]
    gr.on([texts.think.click, texts.text.submit], show_sequence, given, shown, **private, **QUEUE)
    texts.examples.click(lambda row: row[0], texts.examples, texts.text, **private).then(
        show_sequence, given, shown, **private, **QUEUE
    )
    texts.pad.input(None, texts.pad, texts.text, js=WRITE, **private)
    texts.text.change(None, [texts.text, texts.pad], texts.pad, js=FOLLOW, **private)  # Gradio's `input` knows no paste
    api(services)
    return checkpoint


@dataclass(frozen=True)
class PictureInputs:
    """Ways to give a picture."""

    column: gr.Column
    hint: gr.Markdown
    ways: gr.Tabs
    by_hand: gr.Column
    drawing: gr.HTML
    think_drawing: gr.Button
    on_pad: gr.Column
    pad: gr.HTML
    think_pad: gr.Button
    renew: gr.Button
    upload: PictureInput
    think_upload: gr.Button
    edit: gr.Button
    invent: gr.Button
    examples: gr.Dataset


@dataclass(frozen=True)
class TextInputs:
    """Ways to give a text."""

    column: gr.Column
    on_pad: gr.Column
    pad: gr.HTML
    text: gr.Textbox
    think: gr.Button
    examples: gr.Dataset


def picture_inputs(info: CheckpointInfo, on_pad: dict[str, Any] | None) -> PictureInputs:
    """Drawing or a pad, upload, something new and examples, visible for checkpoints that take pictures."""
    with gr.Column(visible=info.takes == "image") as column:
        hint = picture_hint(info)
        with ways_to_give(info) as ways:
            with gr.Tab("Draw", id="draw"):
                with gr.Column(visible=info.drawn, elem_id="by-hand") as by_hand:
                    drawing = drawing_input("drawing")
                    think_drawing = gr.Button("Think about the drawing", variant="primary", elem_id="think-drawing")
                with gr.Column(visible=has_pad(info, "image"), elem_id="on-pad") as pad_column:
                    pad = pad_input("picture-pad", on_pad if info.takes == "image" else None)
                    think_pad = gr.Button("Think about it", variant="primary", elem_id="think-pad")
                    renew = gr.Button("Make a new one", elem_id="renew")
            with gr.Tab("Upload or webcam", id="upload"):
                upload = PictureInput(
                    label="Picture", sources=["upload", "webcam", "clipboard"], height=280, elem_id="upload"
                )
                think_upload = gr.Button("Think about the picture", variant="primary", elem_id="think-upload")
                edit = gr.Button("Edit the picture", visible=has_pad(info, "image"), elem_id="edit")
                invent = gr.Button("Think about a new one", visible=info.invents, elem_id="invent")
        examples = gr.Dataset(
            components=[gr.Image(visible=False)], samples=samples(info, "image"), label="Examples, one click away",
            elem_id="picture-examples",
        )  # fmt: skip
    return PictureInputs(
        column, hint, ways, by_hand, drawing, think_drawing, pad_column, pad, think_pad, renew, upload, think_upload, edit,
        invent, examples,
    )  # fmt: skip


def picture_hint(info: CheckpointInfo) -> gr.Markdown:
    return gr.Markdown(f"{info.hint[:1].upper()}{info.hint[1:]}.", elem_id="picture-hint")


def ways_to_give(info: CheckpointInfo) -> gr.Tabs:
    """Tabs, of which the page hides the first where it is empty."""
    return gr.Tabs(selected="draw" if info.drawn or has_pad(info, "image") else "upload", elem_id="ways")


def has_pad(info: CheckpointInfo, takes: str) -> bool:
    return info.pad is not None and info.takes == takes


def begun(services: Services, info: CheckpointInfo) -> dict[str, Any] | None:
    """The value of a checkpoint's pad to begin with; a picture begins as the first example."""
    if has_pad(info, "image") and info.examples:
        return edited(services, info, read_picture(str(info.examples[0])))
    return on_pad(info.pad)


def edited(services: Services, info: CheckpointInfo, picture: np.ndarray) -> Any:
    """The value of a checkpoint's pad with a picture on it; nothing changes where there is no such pad."""
    return on_pad(info.pad, asked(services.to_edit, info.name, picture)) if has_pad(info, "image") else gr.skip()


def text_inputs(info: CheckpointInfo) -> TextInputs:
    """A pad, a text line and examples, visible for checkpoints that take sequences."""
    with gr.Column(visible=info.takes == "text") as column:
        with gr.Column(visible=has_pad(info, "text")) as pad_column:
            pad = pad_input("text-pad", on_pad(info.pad) if info.takes == "text" else None)
        text = gr.Textbox(label="Sequence", info=info.hint, max_length=1_000, elem_id="sequence", autofocus=False)
        think = gr.Button("Think", variant="primary", elem_id="think-text")
        examples = gr.Dataset(
            components=[gr.Textbox(visible=False)], samples=samples(info, "text"), label="Examples, one click away",
            elem_id="text-examples",
        )  # fmt: skip
    return TextInputs(column, pad_column, pad, text, think, examples)


def api(services: Services) -> None:
    """The same through the API: two named endpoints that give plain data."""
    with gr.Column(visible=False):
        image, text = PictureInput(label="image"), gr.Textbox(label="text")
        of_images, of_texts = (gr.Textbox(name, label="checkpoint") for name in ("digits", "parity-16"))
        policy = gr.Textbox("", label="policy")
        answer = gr.JSON(label="answer")
        by_image, by_text = gr.Button(), gr.Button()

    def think_image(image: str | None, checkpoint: str, policy: str) -> dict[str, Any]:
        """Think about a picture; an empty policy is the checkpoint's own."""
        return answered(asked(lambda: services.think(checkpoint, read_picture(image), policy)))

    def think_sequence(text: str, checkpoint: str, policy: str) -> dict[str, Any]:
        """Think about a sequence; an empty policy is the checkpoint's own."""
        return answered(asked(services.think, checkpoint, text or "", policy))

    by_image.click(think_image, [image, of_images, policy], answer, api_name="think_image", **QUEUE)
    by_text.click(think_sequence, [text, of_texts, policy], answer, api_name="think_sequence", **QUEUE)


def answered(record: dict[str, Any]) -> dict[str, Any]:
    """The part of a record that a program wants."""
    record = record | {"ticks_used": record["ticks"]}
    return {key: record[key] for key in ANSWER_KEYS}


def told(think: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], Any]:
    """A record for the live view and its figure; what is wrong with the input is told where the thought would be."""
    try:
        record = think()
    except ValueError as error:
        return {"problem": str(error)}, None
    return record, PlotData(type="plotly", plot=json.dumps(thought_figure(record)))


def asked(question, *given):
    """Ask the services; what is wrong with the input becomes one sentence on screen and in the API."""
    try:
        return question(*given)
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from None


def samples(info: CheckpointInfo, takes: str) -> list[list[str]]:
    return [[str(example)] for example in info.examples] if info.takes == takes else []


def list_policies(info: CheckpointInfo) -> list[str]:
    return [*info.policies, OWN_RULE]


def first_of(info: CheckpointInfo) -> str:
    return next(iter(info.policies))


def default_rule(info: CheckpointInfo) -> str:
    return info.policies[first_of(info)]
