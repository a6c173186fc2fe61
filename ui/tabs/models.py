"""The Models tab: what there is, bundled, trained here or on the Hub, and thinking with it."""

import re
from typing import Any

import gradio as gr

from ui.components.formatting import bar_of, plain, table_of
from ui.services.inference_service import Services
from ui.services.model_catalog import PURPOSE, split
from ui.tabs.event_options import ASKS, PRIVATE, QUIET

NOT_HERE = "It is not on this machine yet. *Download* fetches it; the page goes on meanwhile."
PLACES = {"bundled": "comes with this app", "run": "trained here", "hub": "from the Hugging Face Hub"}
UNKNOWN = "The checkpoint does not say what it was trained for. Choose what it should do."


def build(services: Services, page: gr.Blocks, tabs: gr.Tabs, thinker: gr.Dropdown | None) -> None:
    """Lay out the tab and connect it.

    Args:
        services: the one door.
        page: told when somebody opens it.
        tabs: to turn to the Think tab.
        thinker: the Think tab's choice of a checkpoint.
    """
    shelf = services.shelf()
    first = shelf[0][1] if shelf else None
    named = gr.State(first)  # the model that is shown, pinned
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            listed = gr.Radio(shelf, value=first, label="Models", elem_id="models", elem_classes="stacked")
            typed = gr.Textbox(
                label="Any model of the Hub",
                placeholder="namespace/name",
                max_length=400,
                elem_id="hub-name",
                info="namespace/name, if needed with @revision and :subfolder",
            )
            look = gr.Button("Look it up", elem_id="look")
        with gr.Column(scale=5, min_width=320):
            facts = gr.Markdown(elem_id="model-facts", elem_classes="facts")
            purpose = gr.Dropdown([], label="What is it for?", info=UNKNOWN, visible=False, elem_id="purpose")
            with gr.Row():
                think = gr.Button("Think with this", variant="primary", visible=False, elem_id="think-with")
                download = gr.Button("Download", variant="primary", visible=False, elem_id="download")
                give_up = gr.Button("Give up", visible=False, elem_id="give-up")
            progress = gr.Markdown(elem_id="progress")
            with gr.Accordion("Card", open=False):
                card = gr.Markdown(elem_id="card")
            with gr.Accordion("Config and figures", open=False):
                details = gr.JSON(show_label=False, elem_id="details")
    watching = gr.Timer(1.0, active=False)
    shown = [named, facts, purpose, think, download, give_up, progress, card, details, watching]

    def show(name: str | None) -> list[Any]:
        return view(services, name)

    listed.input(show, listed, shown, trigger_mode="always_last", **ASKS)
    gr.on(
        [look.click, typed.submit],
        lambda name: [gr.Radio(value=None), *show(name)],
        typed,
        [listed, *shown],
        trigger_mode="always_last",
        **ASKS,
    )
    purpose.input(lambda name, kind: show(f"{split(name)[0]}{PURPOSE}{kind}"), [named, purpose], shown, **ASKS)
    page.load(show, named, shown, **ASKS)

    def list_anew() -> dict[Any, Any]:
        """What there is now, for this tab's list and for the Think tab's."""
        ready = services.labels()
        found = {listed: gr.Radio([*ready, *services.elsewhere()])}
        return found if thinker is None else found | {thinker: gr.Dropdown(ready)}

    lists = [listed] if thinker is None else [listed, thinker]
    page.load(list_anew, None, lists, show_progress="hidden", **PRIVATE)

    def begin(name: str) -> list[Any]:
        try:
            services.download(name)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return tick(name)

    def tick(name: str) -> list[Any]:
        """How the download of the shown model stands."""
        state = services.downloading(name)
        if state is None:
            return [gr.skip(), gr.skip(), gr.skip(), gr.Timer(active=False)]
        running = state["running"]
        return [bar(state), gr.Button(visible=not running), gr.Button(visible=running), gr.Timer(active=running)]

    def arrive(name: str) -> list[Any]:
        """Show a model anew once its download has ended well."""
        state = services.downloading(name)
        if state is None or state["state"] != "finished":
            return [gr.skip()] * (len(shown) + 1)
        return [gr.Radio(services.shelf()), *show(name)]

    on_download = [progress, download, give_up, watching]
    give_up.click(lambda name: (services.give_up(name), tick(name))[1], named, on_download, **PRIVATE)
    for step in (
        download.click(begin, named, on_download, **PRIVATE),
        watching.tick(tick, named, on_download, **QUIET),
    ):
        step.then(arrive, named, [listed, *shown], **QUIET)
    if thinker is not None:
        think.click(
            lambda name: (gr.Dropdown(services.labels(), value=name), gr.Tabs(selected="think")),
            named,
            [thinker, tabs],
            **PRIVATE,
        )


def view(services: Services, name: str | None) -> list[Any]:
    """Everything the tab shows of a model, or the sentence why it shows nothing."""
    if not name or not name.strip():
        return problem(name, "Name a model: namespace/name.")
    try:
        about = services.describe(name)
    except ValueError as error:
        return problem(name, str(error))
    state = services.downloading(about["name"])
    running = bool(state and state["running"])
    note = bar(state) if running else "" if about["here"] else NOT_HERE
    asks = bool(about["choices"]) and not about["title"]
    return [
        about["name"],
        facts_of(about),
        gr.Dropdown(about["choices"], value=None, visible=asks),
        gr.Button(visible=about["ready"]),
        gr.Button(visible=not about["here"] and not running),
        gr.Button(visible=running),
        note,
        without_front_matter(about["card"]) or "It has no card.",
        {key: about[key] for key in ("config", "halting", "metrics")},
        gr.Timer(active=running),
    ]


def problem(name: str | None, sentence: str) -> list[Any]:
    hidden = gr.Button(visible=False)
    return [
        name,
        f"### {plain(split(name or '')[0])}\n{plain(sentence)}",
        gr.Dropdown(visible=False),
        hidden,
        hidden,
        hidden,
        "",
        "",
        None,
        gr.Timer(active=False),
    ]


def facts_of(about: dict[str, Any]) -> str:
    """A short table of what matters."""
    config, name = about["config"], split(about["name"])[0]
    rows = {
        "where": PLACES[about["place"]] + ("" if about["here"] else ", not on this machine"),
        "task": plain(about["title"]) or "not said",
        "measured": plain(about["summary"]),
        "thinks": f"up to {config.get('iterations', 1)} ticks with {config['d_model']:,} neurons",
        "weights": f"{about['size'] / 2**20:,.1f} MB",
        "updated": plain(about["updated"]),
        "to the Hub": plain(about["published"]),
    }
    if about["revision"]:
        rows["revision"] = f"[`{about['revision'][:7]}`]({about['page']}), which is what is loaded"
    return f"### {plain(name.partition('@')[0])}\n\n{table_of(rows)}"


def bar(state: dict[str, Any]) -> str:
    """A download's progress as text that any screen can show."""
    return (f"{bar_of(state['share'])} · " if state["running"] else "") + plain(state["sentence"])


def without_front_matter(card: str) -> str:
    return re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
