"""Locust users of the load test.

`benchmarks.load_test` starts this file in a separate process, because Locust patches the standard library on import.

A visitor opens the page and then runs inference, pauses and repeats, with the requests that a browser sends: a request joins the
queue (`queue/join`), and the event stream of the session (`queue/data`) delivers its result.
"""

import base64
import itertools
import json
import random
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent
from locust import HttpUser, events, task
from requests.adapters import HTTPAdapter

API_PREFIX = "/gradio_api"
ANSWER_TIMEOUT_S = 60

visitor_numbers = itertools.count()
plan: dict[str, Any] = {}  # written by `benchmarks.load_test`: inputs and pauses
results: dict[str, Any] = {"samples": []}  # read by `benchmarks.load_test` afterwards


@events.init_command_line_parser.add_listener
def add_options(parser) -> None:
    """Add the options for the plan and the results."""
    parser.add_argument("--plan", help="what the visitors do (JSON)")
    parser.add_argument("--results", help="output file (JSON)")


@events.test_start.add_listener
def read_plan(environment, **_) -> None:
    """Read the plan."""
    plan.update(json.loads(Path(environment.parsed_options.plan).read_text("utf-8")))


@events.test_stopping.add_listener
def record_end(**_) -> None:
    """Record the end of the run and the CPU time."""
    results["ended"] = time.time()
    results["cpu"] = results.get("cpu", 0.0) + time.process_time()


@events.request.add_listener
def record_request(name: str, start_time: float, response_time: float, exception, context, **_) -> None:
    """Record one request."""
    error = str(exception)[:200] or type(exception).__name__ if exception else None
    sample = {"name": name, "began": start_time, "milliseconds": response_time, "error": error}
    results["samples"].append(sample | context)


@events.quitting.add_listener
def write_results(environment, **_) -> None:
    """Write the results."""
    Path(environment.parsed_options.results).write_text(json.dumps(results), "utf-8")


class SourceAddressAdapter(HTTPAdapter):
    """HTTP adapter that connects from a given source address."""

    def __init__(self, address: str):
        self.address = address
        super().__init__()

    def init_poolmanager(self, *args, **kwargs) -> None:
        super().init_poolmanager(*args, **kwargs, source_address=(self.address, 0))


class Visitor(HttpUser):
    """One open page. Visitors use different source addresses, because the server limits each address."""

    def on_start(self) -> None:
        """Open the page and make the calls that it makes when it loads."""
        number = next(visitor_numbers)
        self.rng, self.session_hash = random.Random(number), uuid.uuid4().hex
        self.client.mount("http://", SourceAddressAdapter(f"127.0.{1 + number // 250}.{1 + number % 250}"))
        self.client.get("/", name="page")
        # a page keeps this stream open: the server deletes the session when it ends
        self.heartbeat = self.client.get(f"{API_PREFIX}/heartbeat/{self.session_hash}", name="heartbeat", stream=True)
        for event in plan["on_load"]:
            response = self.post(
                "queue/join" if event["queue"] else "run/predict", json=self.build_body(event, event["data"])
            )
            if event["queue"]:
                self.wait_for_event(response["event_id"])
        results["began"], results["cpu"] = time.time(), -time.process_time()  # the last visitor's values remain

    def wait_time(self) -> float:
        """Return the pause before the next request, in seconds."""
        return self.rng.uniform(*plan["pause"])

    @task
    def think(self) -> None:
        """Submit one input. The latency is the time from the request to its completion event; any failure counts as an error."""
        thing = self.rng.choice(plan["things"])
        problem, is_correct, start_time = None, False, time.perf_counter()
        try:
            value = self.upload(thing["given"]) if thing["upload"] else thing["given"]
            start_time = time.perf_counter()
            with gevent.Timeout(ANSWER_TIMEOUT_S, TimeoutError(f"no answer within {ANSWER_TIMEOUT_S} seconds")):
                record = self.submit(thing, [value, thing["checkpoint"], thing["rule"], *thing["others"]])
            is_correct = record["answer"] == thing["answer"]
        except Exception as error:
            problem = error
        seconds = time.perf_counter() - start_time
        self.environment.events.request.fire(
            request_type="THINK",
            name="thought",
            start_time=time.time() - seconds,
            response_time=seconds * 1e3,
            response_length=0,
            exception=problem,
            context={"checkpoint": thing["checkpoint"], "right": is_correct},
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
        """Press a button that runs inference, and return the record of the result."""
        event_data = self.wait_for_event(self.post("queue/join", json=self.build_body(event, data))["event_id"])
        record = (
            event_data["output"]["data"][0] if event_data["success"] else {"problem": event_data["output"].get("error")}
        )
        if "answer" not in record:
            raise ValueError(f"no answer: {record.get('problem')}")
        return record

    def post(self, path: str, **kwargs: Any) -> Any:
        """Send a request and return the JSON of its response."""
        response = self.client.post(f"{API_PREFIX}/{path}", name=path, **kwargs)
        if not response.ok:
            raise ValueError(f"{path} was rejected: {response.text[:200]}")
        return response.json()

    def wait_for_event(self, event_id: str) -> dict[str, Any]:
        """Return the completion event of a request. Reads the stream until the server closes it."""
        path, completion = f"{API_PREFIX}/queue/data?session_hash={self.session_hash}", {}
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
