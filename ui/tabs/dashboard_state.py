"""What a page shows of the runs, as the browser sends it with every event of the dashboard."""

from dataclasses import dataclass
from typing import Any

from ui.services.run_view_models import MAX_COMPARED_RUNS

MAX_ID_CHARS = 300
MAX_VERSION_CHARS = 2000
PARTS = ("list", "head", "log", "curves", "samples")

# The value of the list of runs without the runs, so that the request of every second stays short. The log is asked for while its
# section is open.
JS_GET_STATE = """(value) => [{
  selected: value?.selected ?? [], shown: value?.shown ?? "", revision: value?.revision ?? 0, versions: value?.versions ?? {},
  has_log: Boolean(document.querySelector("#log")?.offsetParent),
}]"""


@dataclass(frozen=True)
class DashboardState:
    """Selection of a page, and the versions of what it shows.

    Attributes:
        selected: Runs in the charts, at most `MAX_COMPARED_RUNS`.
        shown: Run whose state, log and samples are shown; empty for none.
        revision: Number of the selection in this page. The answer has the same number, so that the page can tell a late answer.
        versions: Version of each part that the page shows, by the names in `PARTS`.
        has_log: Whether the log is visible.
    """

    selected: tuple[str, ...] = ()
    shown: str = ""
    revision: int = 0
    versions: tuple[tuple[str, str], ...] = ()
    has_log: bool = False

    @classmethod
    def parse(cls, value: Any) -> "DashboardState":
        """Return the state that a browser sent, which may be anything."""
        if not isinstance(value, dict):
            return cls()
        selected, versions, revision = (value.get(name) for name in ("selected", "versions", "revision"))
        ids = [run_id for run_id in selected if is_run_id(run_id)] if isinstance(selected, list) else []
        known = versions if isinstance(versions, dict) else {}
        return cls(
            selected=tuple(dict.fromkeys(ids))[:MAX_COMPARED_RUNS],
            shown=value["shown"] if is_run_id(value.get("shown")) else "",
            revision=revision if isinstance(revision, int) and abs(revision) < 2**53 else 0,
            versions=tuple(
                (part, known[part][:MAX_VERSION_CHARS]) for part in PARTS if isinstance(known.get(part), str)
            ),
            has_log=value.get("has_log") is True,
        )


def is_run_id(value: Any) -> bool:
    """Return whether a value may be the id of a run."""
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARS


def get_shown_run(value: Any) -> str:
    """Return the run that a page shows, for the handlers of buttons; empty for none.

    Args:
        value: Value of the list of runs, as the browser sent it.
    """
    return DashboardState.parse(value).shown


def build_selection(run_id: str) -> dict[str, Any]:
    """Return the value of the list of runs that selects one run, whatever the visitor selects."""
    return {"selected": [run_id], "shown": run_id, "is_forced": True}
