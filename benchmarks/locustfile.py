"""Locust users of the load tests.

`benchmarks.load_test` and `benchmarks.browser_visits` start this file in a separate process, because Locust patches the standard
library on import. Users are HTTP clients: they send the requests of a browser and compute nothing.

A `ServerVisitor` opens the page and then runs inference, pauses and repeats: a request joins the queue (`queue/join`), and the
event stream of the session (`queue/data`) delivers its result. A `BrowserVisitor` opens the page, loads the model, and stays while
its browser would compute; predictions send nothing.
"""

import base64
import itertools
import json
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import gevent
import gevent.event
from locust import HttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser
from requests import Response
from requests.adapters import HTTPAdapter

from benchmarks.http_cache import HTTPCache

API_PREFIX = "/gradio_api"
ANSWER_TIMEOUT_S = 60

visitor_numbers = itertools.count()
plan: dict[str, Any] = {}  # written by `benchmarks.load_test`: inputs and pauses
results: dict[str, Any] = {"samples": []}  # read by `benchmarks.load_test` afterwards


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Add the options for the plan and the results."""
    parser.add_argument("--plan", help="what the visitors do (JSON)")
    parser.add_argument("--results", help="output file (JSON)")


@events.test_start.add_listener
def read_plan(environment: Environment, **_: Any) -> None:
    """Read the plan."""
    plan.update(json.loads(Path(environment.parsed_options.plan).read_text("utf-8")))


@events.test_stopping.add_listener
def record_end(**_: Any) -> None:
    """Record the end of the run and the CPU time."""
    if "end_time" in results:
        return
    results["end_time"] = time.time()
    results["cpu_s"] = results.get("cpu_s", 0.0) + time.process_time()


@events.request.add_listener
def record_request(
    name: str,
    start_time: float,
    response_time: float,
    exception: Exception | None,
    context: dict[str, Any],
    response_length: int = 0,
    response: Response | None = None,
    **_: Any,
) -> None:
    """Record one request. Its bytes are those of the body as it was sent, compressed if the server compresses it."""
    length = int(response.headers.get("Content-Length", response_length)) if response is not None else response_length
    error = str(exception)[:200] or type(exception).__name__ if exception else None
    sample = {"name": name, "start_time": start_time, "milliseconds": response_time, "error": error, "bytes": length}
    results["samples"].append(sample | context)


@events.quitting.add_listener
def write_results(environment: Environment, **_: Any) -> None:
    """Write the results."""
    Path(environment.parsed_options.results).write_text(json.dumps(results), "utf-8")


class SourceAddressAdapter(HTTPAdapter):
    """HTTP adapter that connects from one source address.

    Args:
        address: the source address.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the connection pool with the source address."""
        super().init_poolmanager(*args, **kwargs, source_address=(self.address, 0))


class Visitor(HttpUser):
    """Visitor of the page. Visitors use different source addresses, because the server limits each address."""

    abstract = True

    def on_start(self) -> None:
        """Give the visitor an address and random pauses of its own."""
        number = next(visitor_numbers)
        self.rng = random.Random(number)
        self.client.mount("http://", SourceAddressAdapter(f"127.0.{1 + number // 250}.{1 + number % 250}"))

    def open_session(self) -> None:
        """Open a session of the page, and make the calls that the page makes when it loads."""
        self.session_hash = uuid.uuid4().hex
        # a page keeps this stream open: the server deletes the session when it ends
        self.heartbeat = self.client.get(f"{API_PREFIX}/heartbeat/{self.session_hash}", name="heartbeat", stream=True)
        for event in plan["on_load"]:
            response = self.post(
                "queue/join" if event["queue"] else "run/predict", json=self.build_body(event, event["data"])
            )
            if event["queue"]:
                self.wait_for_event(response["event_id"])

    def wait_time(self) -> float:
        """Return the pause before the next request, in seconds."""
        return self.rng.uniform(*plan["pause"])

    def post(self, path: str, **kwargs: Any) -> Any:
        """Send a request and return the JSON of its response.

        Raises:
            ValueError: The server rejects the request.
        """
        response = self.client.post(f"{API_PREFIX}/{path}", name=path, **kwargs)
        if not response.ok:
            raise ValueError(f"{path} was rejected: {response.text[:200]}")
        return response.json()

    def wait_for_event(self, event_id: str) -> dict[str, Any]:
        """Return the completion event of a request. Reads the stream until the server closes it.

        Raises:
            ValueError: The stream ends without that event.
        """
        path = f"{API_PREFIX}/queue/data?session_hash={self.session_hash}"
        completion: dict[str, Any] = {}
        with closing(self.client.get(path, name="queue/data", stream=True)) as response:
            for line in response.iter_lines():
                event = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
                if event.get("msg") == "process_completed" and event["event_id"] == event_id:
                    completion = event
        if not completion:
            raise ValueError("the stream ended without an answer")
        return completion

    def build_body(self, event: dict[str, Any], data: list[Any]) -> dict[str, Any]:
        """Build the body of a Gradio call."""
        return {
            "data": data,
            "event_data": None,
            "fn_index": event["fn_index"],
            "trigger_id": event["trigger_id"],
            "session_hash": self.session_hash,
        }


class ServerVisitor(Visitor):
    """One open page, whose predictions run on the server."""

    def on_start(self) -> None:
        """Open the page."""
        super().on_start()
        self.client.get("/", name="page")
        self.open_session()
        # The values of the last visitor remain: from then on the page is open for all of them.
        results["start_time"] = time.time()
        results["cpu_s"] = -time.process_time()

    @task
    def run_inference(self) -> None:
        """Submit one input.

        The latency is the time from the request to its completion event. Any failure counts as an error.
        """
        request = self.rng.choice(plan["requests"])
        failure: Exception | None = None
        is_correct = False
        start_time = time.perf_counter()
        try:
            value = self.upload(request["value"]) if request["is_upload"] else request["value"]
            start_time = time.perf_counter()
            with gevent.Timeout(ANSWER_TIMEOUT_S, TimeoutError(f"no answer within {ANSWER_TIMEOUT_S} seconds")):
                data = [value, request["checkpoint"], request["policy"], *request["other_values"]]
                record = self.submit(request, data)
            is_correct = record["answer"] == request["answer"]
        except Exception as error:
            failure = error
        seconds = time.perf_counter() - start_time
        self.environment.events.request.fire(
            request_type="THINK",
            name="thought",
            start_time=time.time() - seconds,
            response_time=seconds * 1e3,
            response_length=0,
            exception=failure,
            context={"checkpoint": request["checkpoint"], "is_correct": is_correct},
        )

    def upload(self, data_url: str) -> dict[str, Any]:
        """Upload the image of a `data:` URL, and return its Gradio file record."""
        content = base64.b64decode(data_url.partition(",")[2])
        (path,) = self.post("upload", files={"files": ("picture.png", content, "image/png")})
        return {
            "path": path,
            "orig_name": "picture.png",
            "size": len(content),
            "mime_type": "image/png",
            "url": f"{self.host}{API_PREFIX}/file={path}",
            "meta": {"_type": "gradio.FileData"},
        }

    def submit(self, event: dict[str, Any], data: list[Any]) -> dict[str, Any]:
        """Press a button that runs inference, and return the record of the result, which a long prediction gives later.

        Raises:
            ValueError: The server gives no answer.
        """
        record = self.run_event(event, data)
        if record.get("is_complete") is False:
            record = self.run_event(plan["follow"], [None, None])  # the server has the key of the prediction
        if "answer" not in record:
            raise ValueError(f"no answer: {record.get('problem')}")
        return record

    def run_event(self, event: dict[str, Any], data: list[Any]) -> dict[str, Any]:
        """Trigger a queued event and return its record, or its problem."""
        response = self.post("queue/join", json=self.build_body(event, data))
        completion = self.wait_for_event(response["event_id"])
        output = completion["output"]
        return output["data"][0] if completion["success"] else {"problem": output.get("error")}


class Phase:
    """Time span in which all visitors do the same; each waits at its end for the others.

    Args:
        name: key of the span in the results.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.num_done = 0
        self.is_over = gevent.event.Event()

    def begin(self) -> None:
        """Record the begin, when the first visitor gets here."""
        results.setdefault("phases", {}).setdefault(self.name, [time.time(), None])

    def end(self) -> None:
        """Wait until all visitors are done."""
        self.num_done += 1
        if self.num_done == plan["visitors"]:
            results["phases"][self.name][1] = time.time()
            self.is_over.set()
        self.is_over.wait()


phases: dict[str, Phase] = {}


class BrowserVisitor(Visitor):
    """Visitor whose browser computes: visits of the page, each with a number of predictions that send nothing."""

    def on_start(self) -> None:
        """Start with an empty cache."""
        super().on_start()
        self.cache = HTTPCache()
        results.setdefault("start_time", time.time())
        results.setdefault("cpu_s", -time.process_time())

    @task
    def visit_page(self) -> None:
        """Make all visits. In each of them all visitors open the page before they predict, so that both are measured apart."""
        for kind in plan["visit_kinds"]:
            with self.take_part(f"open {kind}"):
                gevent.sleep(self.rng.uniform(0, plan["opening_s"]) if kind != plan["visit_kinds"][0] else 0)
                for path in plan["page_paths"]:
                    self.fetch(path, "page" if path == "/" else "asset", kind)
                self.open_session()
                for path in plan["model_paths"]:
                    self.fetch(path, "model", kind)
            with self.take_part(f"predict {kind}"):
                for _ in range(plan["thoughts"]):
                    gevent.sleep(self.wait_time())
                    results["thoughts"] = results.get("thoughts", 0) + 1
            self.heartbeat.close()
        results["finished"] = results.get("finished", 0) + 1
        if results["finished"] == plan["visitors"]:
            gevent.spawn_later(1, self.environment.runner.quit)
        raise StopUser

    @contextmanager
    def take_part(self, name: str) -> Iterator[None]:
        """Take part in a phase, and wait at its end for the other visitors."""
        phase = phases.setdefault(name, Phase(name))
        phase.begin()
        yield
        phase.end()

    def fetch(self, path: str, name: str, kind: str) -> None:
        """Fetch a file as a browser does: from its cache, with a conditional request, or anew."""
        headers = self.cache.get_request_headers(path)
        if headers is None:
            return
        context = {"visit": kind}
        with self.client.get(path, name=name, headers=headers, context=context, catch_response=True) as response:
            if response.status_code not in (200, 304):
                response.failure(f"{path} was answered with {response.status_code}")
        self.cache.store(path, response.headers)
