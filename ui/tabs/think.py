"""The Think tab: pick a checkpoint, give it something, watch it think."""

import json
import secrets
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np
from gradio.components.plot import PlotData

from ui.components.html_component import drawn
from ui.components.inputs import FOLLOW, WRITE, PictureInput, picture_drawn
from ui.components.plotly_figures import thought_figure
from ui.components.thought_view import live_view
from ui.services.image_decoding import read_picture
from ui.services.inference_service import MOST_RIVALS, CheckpointInfo, Services
from ui.tabs.think_inputs import (
    begun,
    edited,
    has_pad,
    picture_hint,
    picture_inputs,
    samples,
    text_inputs,
    ways_to_give,
)

OWN, OWN_RULE = "own", "my own rule"
OWN_RULE_SAYS = "Write it below; nothing is known of it beforehand."
RULE_HELP = "energy<-3, certainty>0.9, same=3, ticks=12; join with | (any) or & (all)"
# In the browser, so that who picks a rule and presses Think at once is answered by that rule: what was picked, as text.
PICKED = f"(picked, rule) => picked === '{OWN}' ? rule : picked"
PICKED_IN_VIEW = "(value) => String(value?.picked ?? '').slice(0, 500)"
ANSWER_KEYS = (
    "answer",
    "label",
    "probability",
    "p_correct",
    "ticks_used",
    "iterations",
    "halted_by",
    "energy",
    "certainty",
    "answers_by_tick",
    "likeliest",
    "policy",
    "promise",
    "checkpoint",
    "sentence",
    "milliseconds",
)
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
                services.labels(),
                value=first.name,
                label="Checkpoint",
                info="the trained machine that thinks",
                elem_id="checkpoint",
            )
            summary = gr.Markdown(first.summary, elem_id="summary")
            pictures = picture_inputs(services, first)
            texts = text_inputs(services, first)
            policy = gr.Dropdown(
                list_policies(first), label="Stop when", info=says_of(first, first_of(first)), elem_id="policy"
            )
            rule = gr.Textbox(
                first_of(first), label="Rule", info=RULE_HELP, max_length=500, elem_id="rule", interactive=True
            )
            against = gr.Dropdown(
                services.rivals(first.name),
                value=[],
                multiselect=True,
                max_choices=MOST_RIVALS,
                label="Race against",
                info=f"optional: up to {MOST_RIVALS} that think about the same thing beside it",
                elem_id="against",
            )
        with gr.Column(scale=5, min_width=320):
            race = drawn("race", ("checked", "race"), "race")
            live = live_view()
            with gr.Accordion("Explore the whole thought", open=False):
                figure = gr.Plot(show_label=False, elem_id="figure")
            with gr.Accordion("When it stops, and what that costs", open=False, elem_id="when"):
                halting = drawn("halting", ("checked", "halting"), "halting", services.halting(first.name))

    def pick(name: str) -> list[Any]:
        info = asked(services.info, name)
        return [
            info.summary,
            gr.Column(visible=info.takes == "image"),
            ways_to_give(info),
            picture_hint(info),
            gr.Column(visible=info.drawn),
            gr.Column(visible=has_pad(info, "image")),
            begun(services, info, "image"),
            gr.Button(visible=info.invents),
            None,
            gr.Button(visible=info.invents),
            gr.Button(visible=has_pad(info, "image")),
            gr.Dataset(samples=samples(info, "image")),
            gr.Column(visible=info.takes == "text"),
            gr.Column(visible=has_pad(info, "text")),
            begun(services, info, "text"),
            gr.Textbox(value="", info=info.hint),
            gr.Button(visible=info.invents),
            gr.Dataset(samples=samples(info, "text")),
            policies_anew(info),
            first_of(info),
            gr.Dropdown(services.rivals(name), value=[]),
            None,
            None,
            None,
            services.halting(name),
        ]

    def show_picture(path: str | None, *asked: Any) -> tuple[dict[str, Any], Any, Any]:
        return told(services, lambda: read_picture(path), *asked)

    def show_drawing(drawing: Any, *asked: Any) -> tuple[dict[str, Any], Any, Any]:
        return told(services, lambda: read_picture(picture_drawn(drawing)), *asked)

    def show_sequence(text: str, *asked: Any) -> tuple[dict[str, Any], Any, Any]:
        return told(services, lambda: text or "", *asked)

    def edit(path: str | None, name: str) -> Any:
        return asked(lambda: edited(services, services.info(name), read_picture(path)))

    def make_up(name: str) -> tuple[Any, Any]:
        picture = asked(services.invent, name, secrets.randbelow(2**31))
        return picture, asked(lambda: edited(services, services.info(name), picture / np.float32(255)))

    private = {"api_visibility": "private"}
    asks, shown = [checkpoint, rule, against], [live, figure, race]
    checkpoint.change(
        pick,
        checkpoint,
        [
            summary,
            pictures.column,
            pictures.ways,
            pictures.hint,
            pictures.by_hand,
            pictures.on_pad,
            pictures.pad,
            pictures.renew,
            pictures.upload,
            pictures.invent,
            pictures.edit,
            pictures.examples,
            texts.column,
            texts.on_pad,
            texts.pad,
            texts.text,
            texts.invent,
            texts.examples,
            policy,
            rule,
            against,
            live,
            figure,
            race,
            halting,
        ],
        **private,
    )
    policy.input(None, [policy, rule], rule, js=PICKED, **private)
    policy.input(
        lambda name, picked: gr.Dropdown(info=says_of(asked(services.info, name), picked)),
        [checkpoint, policy],
        policy,
        **private,
    )
    rule.input(lambda: gr.Dropdown(value=OWN, info=OWN_RULE_SAYS), None, policy, **private)
    halting.input(None, halting, rule, js=PICKED_IN_VIEW, **private)
    halting.input(lambda name, value: take(asked(services.info, name), value), [checkpoint, halting], policy, **private)
    pictures.think_drawing.click(show_drawing, [pictures.drawing, *asks], shown, **private, **QUEUE)
    pictures.think_upload.click(show_picture, [pictures.upload, *asks], shown, **private, **QUEUE)
    pictures.think_pad.click(show_drawing, [pictures.pad, *asks], shown, **private, **QUEUE)
    pictures.renew.click(lambda name: make_up(name)[1], checkpoint, pictures.pad, **private)
    pictures.edit.click(
        lambda path, name: (edit(path, name), gr.Tabs(selected="draw")),
        [pictures.upload, checkpoint],
        [pictures.pad, pictures.ways],
        **private,
    )
    pictures.examples.click(
        lambda row, name: (row[0], edit(row[0], name)),
        [pictures.examples, checkpoint],
        [pictures.upload, pictures.pad],
        **private,
    ).then(show_picture, [pictures.upload, *asks], shown, **private, **QUEUE)
    pictures.invent.click(make_up, checkpoint, [pictures.upload, pictures.pad], **private).then(
        show_picture, [pictures.upload, *asks], shown, **private, **QUEUE
    )
    given = [texts.text, *asks]
    gr.on([texts.think.click, texts.text.submit], show_sequence, given, shown, **private, **QUEUE)
    texts.examples.click(lambda row: row[0], texts.examples, texts.text, **private).then(
        show_sequence, given, shown, **private, **QUEUE
    )
    texts.invent.click(
        lambda name: asked(services.invent, name, secrets.randbelow(2**31)), checkpoint, texts.text, **private
    ).then(show_sequence, given, shown, **private, **QUEUE)
    texts.pad.input(None, texts.pad, texts.text, js=WRITE, **private)
    texts.text.change(None, [texts.text, texts.pad], texts.pad, js=FOLLOW, **private)  # Gradio's `input` knows no paste
    api(services)
    return checkpoint


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


def told(
    services: Services, read: Callable[[], Any], name: str, rule: str, against: list[str] | None
) -> tuple[dict[str, Any], Any, Any]:
    """A record for the live view, its figure, and the race; what is wrong with the input is told where the thought would be."""
    try:
        given = read()
        record = services.think(name, given, rule)
        lanes = services.race(record, given, against) if against else []
    except ValueError as error:
        return {"problem": str(error)}, None, None
    return record, PlotData(type="plotly", plot=json.dumps(thought_figure(record))), {"lanes": lanes} if lanes else None


def asked(question, *given):
    """Ask the services; what is wrong with the input becomes one sentence on screen and in the API."""
    try:
        return question(*given)
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from None


def list_policies(info: CheckpointInfo) -> list[tuple[str, str]]:
    """Names for people and rules as text."""
    return [*((offer.name, rule) for rule, offer in info.offers.items()), (OWN_RULE, OWN)]


def policies_anew(info: CheckpointInfo) -> gr.Dropdown:
    first = first_of(info)
    return gr.Dropdown(list_policies(info), value=first, info=says_of(info, first))


def take(info: CheckpointInfo, value: Any) -> gr.Dropdown:
    """The rule that was picked in the Halting view, under its own name if it is on offer."""
    rule = str(value.get("picked", "")) if isinstance(value, dict) else ""
    return gr.Dropdown(value=rule if rule in info.offers else OWN, info=says_of(info, rule))


def says_of(info: CheckpointInfo, rule: Any) -> str:
    offer = info.offers.get(str(rule))
    return offer.says if offer else OWN_RULE_SAYS


def first_of(info: CheckpointInfo) -> str:
    """The rule that is used where none is picked."""
    return next(iter(info.offers))
