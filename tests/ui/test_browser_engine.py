"""Run the JavaScript engine in a headless browser: the golden files of the bundled checkpoints, and the Web Worker."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.browser_engine import list_checkpoints
from tests.paths import ROOT
from tests.ui.test_browser import browser
from tests.ui.test_javascript_engine import check_decisions, check_outputs

__all__ = ["browser"]
pytestmark = pytest.mark.browser
COMPARE_GOLDEN = """async (names) => {
  const { CHECKPOINT_FILES, compareGolden } = await import("/tests/js/engine/golden.mjs");
  const read = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
  const reports = [];
  for (const name of names) {
    const files = new Map();
    for (const file of CHECKPOINT_FILES) files.set(file, await read(`/checkpoints/${name}/${file}`));
    reports.push(compareGolden(files, await read(`/tests/golden/browser/${name}.safetensors`)));
  }
  return reports;
}"""
THINK_IN_WORKER = """async () => {
  const { CHECKPOINT_FILES, readGolden } = await import("/tests/js/engine/golden.mjs");
  const read = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
  const files = {};
  for (const file of CHECKPOINT_FILES) files[file] = await read(`/checkpoints/digits/${file}`);
  const { facts, tensors } = readGolden(await read("/tests/golden/browser/digits.safetensors"));
  const { shape, values } = tensors.get("inputs");
  const worker = new Worker("/ui/static/ctm/worker.js", { type: "module" });
  const messages = [];
  const done = new Promise((resolve, reject) => {
    worker.onerror = (event) => reject(new Error(event.message));
    worker.onmessage = ({ data }) => {
      messages.push(data);
      if (data.type === "error") reject(new Error(data.message));
      if (data.type === "result") resolve(data);
    };
  });
  worker.postMessage({ type: "load", id: 1, files });
  const row = values.slice(0, values.length / shape[0]);
  worker.postMessage({ type: "think", id: 2, checkpoint: 1, values: row, shape: shape.slice(1), policy: facts.policies[0].policy });
  const { ticks, haltedBy } = await done;
  worker.terminate();
  const expected = { ticks: facts.policies[0].ticks[0], haltedBy: facts.policies[0].halted_by[0] };
  return { ticks, haltedBy, expected, posted: messages.filter((message) => message.type === "tick").length };
}"""


class QuietHandler(SimpleHTTPRequestHandler):
    """Handler of files that writes no log."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".js": "text/javascript", ".mjs": "text/javascript"}

    def log_message(self, format: str, *arguments: object) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve the files of the project. Yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(ROOT))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def test_the_engine_gives_the_same_answers_in_a_browser(browser, address):
    page = browser.new_page()
    page.goto(f"{address}/docs/")
    names = list_checkpoints()
    reports = page.evaluate(COMPARE_GOLDEN, names)
    assert [report["checkpoint"] for report in reports] == names
    for report in reports:
        check_decisions(report)
        check_outputs(report)
    result = page.evaluate(THINK_IN_WORKER)
    assert {"ticks": result["ticks"], "haltedBy": result["haltedBy"]} == result["expected"]
    assert result["posted"] == result["ticks"]
    page.close()
