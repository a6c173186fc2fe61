"""Test the view models of runs, also with many viewers and with broken run directories."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.training.jobs.conftest import make_tiny_config
from tests.ui.conftest import make_checkpoint
from tests.ui.queued_runs import TOKEN, start_run, training_service
from tests.ui.run_fixtures import create_fake_run, make_metrics_lines
from training.jobs.job import Job
from training.jobs.redaction import redact_token
from training.publishing.outbox import Outbox
from training.run_dir import RunDir
from ui.components.formatting import format_progress_bar
from ui.services.gallery import Gallery
from ui.services.run_view_models import MAX_LOG_CHARS, build_headline, read_log_tail
from ui.services.training_curves import build_curves_data, build_run_data
from ui.tabs.run_format import format_headline, format_run_facts

__all__ = ["training_service"]


def test_a_run_is_read_once_for_all_viewers(training_service, monkeypatch):
    run_dir = create_fake_run(training_service, "run-1", state="running")
    reads = []
    monkeypatch.setattr(
        RunDir,
        "read_metrics",
        lambda self, original_read_metrics=RunDir.read_metrics: reads.append(1) or original_read_metrics(self),
    )
    with ThreadPoolExecutor(16) as pool:
        views = list(pool.map(lambda _: training_service.run_views.get_run_view("run-1"), range(100)))
    assert len(reads) == 1 and len({id(view) for view in views}) == 1
    first = views[0]
    run_dir.log_metrics({"step": 60, "loss": 0.01})
    second = training_service.run_views.get_run_view("run-1")
    assert second is not first and second["version"] != first["version"] and len(reads) == 2
    assert training_service.run_views.get_run_view("run-1") is second
    training_service.scheduler.store.update("run-1", status_message="Stopping.")
    assert training_service.run_views.get_run_view("run-1")["sentence"] == "Stopping."


@pytest.mark.parametrize(
    "change",
    [
        lambda run_dir: run_dir.write_status("training", 51, 100),
        lambda run_dir: run_dir.log_metrics({"step": 51}),
        lambda run_dir: run_dir.log_file.write_text("more\n" * 9),
        lambda run_dir: make_checkpoint(run_dir.checkpoint_dir(70), "parity"),
        lambda run_dir: make_checkpoint(run_dir.final_checkpoint_dir, "parity"),
        lambda run_dir: Outbox(run_dir.path).enqueue(run_dir.checkpoint_dir(10), "ann/x", "t"),
    ],
)
def test_any_change_of_a_run_changes_the_version_of_its_view(training_service, change):
    run_dir = create_fake_run(training_service, "run-1", state="running", steps=(10,))
    before = training_service.run_views.get_run_view("run-1")
    change(run_dir)
    assert training_service.run_views.get_run_view("run-1")["version"] != before["version"]


def test_a_line_that_is_logged_during_a_read_is_in_the_next_view(training_service, monkeypatch):
    """The version is computed before reading; otherwise a viewer would miss the line."""
    run_dir = create_fake_run(training_service, "run-1", state="running")
    original_read_metrics = RunDir.read_metrics

    def read_then_log(self):
        metrics = original_read_metrics(self)
        monkeypatch.setattr(RunDir, "read_metrics", original_read_metrics)
        run_dir.log_metrics({"step": 60, "loss": 0.5})
        return metrics

    monkeypatch.setattr(RunDir, "read_metrics", read_then_log)
    first = training_service.run_views.get_run_view("run-1")
    second = training_service.run_views.get_run_view("run-1")
    steps = [view["data"]["points"]["loss"][0][-1] for view in (first, second)]
    assert steps == [50, 60] and first["version"] != second["version"]


def test_a_view_model_reports_progress(training_service):
    create_fake_run(training_service, "run-1", state="running", steps=(10, 20))
    view = training_service.run_views.get_run_view("run-1")
    assert (view["step"], view["steps"], view["share"], view["saved"]) == (20, 100, 0.2, [10, 20])
    assert view["left"] == 80 / 5 and view["headline"] == "Training: step 20 of 100" and not view["finished"]
    json.dumps(view, allow_nan=False)
    assert "about 16 s left" in format_headline(view)


@pytest.mark.parametrize(("has_steps", "expected"), [(True, "training"), (False, "starting")])
def test_the_state_of_a_run_is_the_same_in_all_views(training_service, has_steps, expected):
    run_dir = create_fake_run(training_service, "run-1", state="running", steps=(10, 20))
    if not has_steps:
        run_dir.status_file.unlink()
    views = training_service.run_views
    view = views.get_run_view("run-1")
    assert views.list_runs() == [{"id": "run-1", "task": "parity", "state": expected}]
    assert (view["state_label"], views.list_history_rows()[0][1]) == (expected, expected)
    assert view["headline"].lower().startswith(expected)


def test_the_headline_names_the_stage_of_a_run_in_stages():
    status = {"phase": "training", "step": 8, "steps": 15, "stage": 2, "stages": 3}
    job = Job(id="a", state="running", submitted_at=0.0)
    assert build_headline(job, status) == "Training: step 8 of 15, stage 2 of 3"


def test_progress_is_an_element_that_screen_readers_know():
    assert format_progress_bar(0.214) == '<label><progress value="0.2140" max="1"></progress> 21%</label>'
    assert 'value="1.0000"' in format_progress_bar(1.7)


def test_the_tail_of_a_log_consists_of_whole_lines(tmp_path):
    log = tmp_path / "log.txt"
    assert read_log_tail(log) == ""
    log.write_text("".join(f"line {number}\n" for number in range(20_000)))
    tail = read_log_tail(log)
    assert len(tail) <= MAX_LOG_CHARS and tail.startswith("line ") and tail.endswith("line 19999\n")
    assert tail.splitlines()[0] == f"line {20_000 - len(tail.splitlines())}", "the first line is complete"
    log.write_bytes(b"\x1b[31mred\x1b[0m 10%\r20%\r\xff\n")
    assert read_log_tail(log) == "red 10%\n20%\n\ufffd\n"
    log.write_text("".join(f"{number} done\r" for number in range(10_000)))
    assert read_log_tail(log).endswith("9999 done\n"), "carriage returns of a progress bar end lines"


@pytest.mark.parametrize("before", range(0, len(TOKEN) + 2, 3))
def test_the_token_is_redacted_in_a_log_tail_even_if_it_is_truncated(tmp_path, before):
    log = tmp_path / "log.txt"
    log.write_text(f"x {TOKEN} y\n")
    assert redact_token(read_log_tail(log), TOKEN) == "x ••• y\n"
    start = "a" * 50 + TOKEN  # the tail begins inside the token
    log.write_text(start + "\n" + "b" * (MAX_LOG_CHARS - before - 2) + "\n")
    tail = redact_token(read_log_tail(log), TOKEN)
    assert tail.strip("b\n") == "" and "nobody" not in tail


def test_no_view_contains_the_token_of_the_app(training_service):
    run_dir = create_fake_run(training_service, "run-1", state="running")
    run_dir.log_file.write_text(f"Authorization: Bearer {TOKEN}\n")
    assert TOKEN not in json.dumps(training_service.run_views.get_run_view("run-1"))


def test_the_history_has_one_row_per_run(training_service):
    run_dir = create_fake_run(training_service, "old-1", submitted_at=1_000_000.0, submitted_by="ann")
    (run_dir.path / "log.txt").write_bytes(b"x\n" * 2**20)
    create_fake_run(training_service, "new-1", state="failed")
    job, _ = start_run(training_service)
    rows = training_service.run_views.list_history_rows()
    assert [row[0] for row in rows] == [job.id, "new-1", "old-1"]
    assert [row[1] for row in rows] == ["queued", "failed", "finished"]
    task, step, accuracy, minutes, started_at, submitted_by, target, size = rows[-1][2:]
    assert (task, step, accuracy, submitted_by, target) == ("parity", 50, 90.0, "ann", "local")
    assert minutes > 0 and started_at.startswith("1970-01-12") and 2 <= size < 3
    json.dumps(rows, allow_nan=False)


def test_runs_are_compared_with_their_differences_marked(training_service):
    create_fake_run(training_service, "one")
    run_dir = create_fake_run(training_service, "two")
    (run_dir.path / "config.yaml").unlink()
    run_dir.initialize(make_tiny_config(steps=100).with_overrides({"train.seed": 9}))
    curves = training_service.run_views.get_curves(["one", "two"], "two")
    assert [run["name"] for run in curves["runs"]] == ["one", "two"] and curves["heatmap"]["name"] == "two"
    assert curves["differences"] == [["train.seed", "0", "9"]]
    assert training_service.run_views.get_curves(["one"], "one")["differences"] == []
    assert training_service.run_views.get_curves([], "one")["runs"] == []
    with pytest.raises(ValueError, match="no run called"):
        training_service.run_views.get_curves(["one", "../two"], "one")


def test_settings_are_compared_again_only_after_a_change(training_service, monkeypatch):
    run_dirs = [create_fake_run(training_service, name) for name in ("one", "two")]
    reads, original_load_config = [], RunDir.load_config
    monkeypatch.setattr(RunDir, "load_config", lambda self: reads.append(1) or original_load_config(self))
    views = training_service.run_views
    assert views.get_setting_differences(["one", "two"]) == [] == views.get_setting_differences(["one", "two"])
    assert len(reads) == 2
    (run_dirs[1].path / "config.yaml").unlink()
    run_dirs[1].initialize(make_tiny_config(steps=100).with_overrides({"train.seed": 9}))
    assert views.get_setting_differences(["one", "two"]) == [["train.seed", "0", "9"]]


def test_samples_of_a_run_are_read_by_step(training_service):
    run_dir = create_fake_run(training_service, "run-1")
    views = training_service.run_views
    empty_version = views.get_samples_version("run-1")
    assert views.get_samples("run-1") == {"run": "run-1", "steps": [], "step": None, "samples": []}
    sample = {"title": "101", "is_correct": True, "record": {"ticks": 1, "certainty": [0.5]}}
    for number, step in enumerate((10, 20), 1):
        run_dir.samples.append({"step": step, "evaluation": number, "samples": [sample] * number})
    with run_dir.samples_file.open("a") as file:
        file.write('{"step":30,"evaluation":3,"samp')
    assert views.get_samples_version("run-1") != empty_version
    newest = views.get_samples("run-1")
    assert (newest["steps"], newest["step"], len(newest["samples"])) == ([10, 20], 20, 2)
    assert views.get_samples("run-1", 10)["samples"] == [sample]
    assert views.get_samples("run-1", 15)["step"] == 20
    with pytest.raises(ValueError, match="no run called"):
        views.get_samples("../run-1")


BROKEN_FILES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"7",
    b'{"step": "x", "steps": [1], "steps_per_second": "fast", "phase": 5}',
    b'{"step": 1e999, "steps": -5}',
    b'{"step": null}\n[1]\n"x"\n3',
    b"a: b: c",
    b"!!python/object:os.system {}",
    b'{"validation_accuracy_best": "high", "step": 5}\n',
    b"[" * 100_000,
]


@pytest.mark.parametrize(
    "file",
    [
        "metrics.jsonl",
        "samples.jsonl",
        "status.json",
        "config.yaml",
        "command.txt",
        "log.txt",
        "ending.json",
        "outbox/1-a/entry.json",
    ],
)
@pytest.mark.parametrize("content", BROKEN_FILES, ids=lambda content: repr(content[:16]))
def test_a_damaged_file_of_one_run_does_not_affect_other_runs(training_service, file, content):
    create_fake_run(training_service, "good-1", state="running")
    run_dir = create_fake_run(training_service, "odd-1", state="cancelled", steps=(10,))
    (run_dir.path / file).parent.mkdir(parents=True, exist_ok=True)
    (run_dir.path / file).write_bytes(content)
    view = training_service.run_views.get_run_view("odd-1")
    json.dumps(view, allow_nan=False)
    assert format_headline(view) and format_run_facts(view).count("\n|") < 20
    assert training_service.run_views.get_run_view("good-1")["step"] == 50
    assert [row[0] for row in training_service.run_views.list_history_rows()] == ["odd-1", "good-1"]
    assert len(training_service.recipes.list_sources()) == 4 and training_service.create_archive("odd-1")
    for call in (
        lambda: training_service.recipes.build_form("run:odd-1"),
        lambda: training_service.run_views.get_curves(["odd-1", "good-1"], "odd-1"),
        lambda: training_service.run_views.get_samples("odd-1"),
    ):
        try:
            call()
        except ValueError as error:
            assert "Traceback" not in str(error) and len(str(error)) < 500


def test_a_run_whose_directory_is_gone_is_still_listed(training_service):
    training_service.scheduler.store.add(Job("gone-1", "failed", status_message="It went."))
    assert training_service.run_views.get_run_view("gone-1")["headline"] == "Failed at no step yet"
    assert training_service.run_views.list_history_rows()[0][:3] == ["gone-1", "failed", "?"]
    assert training_service.run_views.list_runs() == [{"id": "gone-1", "task": "?", "state": "failed"}]
    assert training_service.run_views.get_curves(["gone-1"], "gone-1")["charts"] == []
    with pytest.raises(ValueError, match=r"no run at|cannot be read"):
        training_service.recipes.build_form("run:gone-1")


def test_metrics_of_fake_runs_appear_in_the_charts():
    """The metrics of fake runs have the names that the charts use."""
    view = build_curves_data([build_run_data("a", make_metrics_lines(100))])
    assert {"loss", "accuracy", "rate", "speed"} <= {chart["id"] for chart in view["charts"]}


def test_every_list_is_new_after_a_run_finishes_and_after_it_is_deleted(training_service):
    """The lists of the Think, Train and Models tabs are asked again when a visitor opens the tab."""

    def list_runs() -> list[bool]:
        catalog, views, recipes = training_service.catalog, training_service.run_views, training_service.recipes
        gallery = Gallery(catalog).build_view()
        return [
            "run:run-1" in catalog.list_names(),
            "run:run-1" in json.dumps(gallery),
            "run:run-1" in dict(map(reversed, recipes.list_initial_weights())),
            "run:run-1" in dict(map(reversed, recipes.list_sources())),
            "run-1" in [run["id"] for run in views.list_runs()],
            "run-1" in [row[0] for row in views.list_history_rows()],
        ]

    run_dir = create_fake_run(training_service, "run-1", state="running", steps=(10,))
    assert list_runs() == [False, False, False, True, True, True]
    make_checkpoint(run_dir.final_checkpoint_dir, "parity")
    training_service.scheduler.store.update("run-1", state="succeeded")
    assert list_runs() == [True] * 6
    training_service.delete("run-1")
    assert list_runs() == [False] * 6
