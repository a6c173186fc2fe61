"""Locust users of the load test.

`benchmarks.load_test` starts this file in a separate process, because Locust patches the standard library on import.

A visitor opens the page and then thinks, waits a little, and thinks again, with the requests that a browser sends: a thought
is put in line (`queue/join`), and the session's stream of events (`queue/data`) tells how it ends.
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
ANSWER_TIMEOUT_S = 60  # seconds that a thought may take

visitor_numbers = itertools.count()  # of visitors
plan: dict[str, Any] = {}  # what `benchmarks.load_test` wrote: what there is to think about, and how long to wait
results: dict[str, Any] = {"samples": []}  # what it reads afterwards


@events.init_command_line_parser.add_listener
def add_options(parser) -> None:
    parser.add_argument("--plan", help="what the visitors do (JSON)")
    parser.add_argument("--told", help="where every request is told (JSON)")


@events.test_start.add_listener
def read_plan(environment, **_) -> None:
    plan.update(json.loads(Path(environment.parsed_options.plan).read_text("utf-8")))


@events.test_stopping.add_listener
def record_end(**_) -> None:
    results["ended"] = time.time()
    results["cpu"] = results.get("cpu", 0.0) + time.process_time()


@events.request.add_listener
def record_request(name: str, start_time: float, response_time: float, exception, context, **_) -> None:
    error = str(exception)[:200] or type(exception).__name__ if exception else None
    sample = {"name": name, "began": start_time, "milliseconds": response_time, "error": error}
    results["samples"].append(sample | context)


@events.quitting.add_listener
def write_results(environment, **_) -> None:
    Path(environment.parsed_options.told).write_text(json.dumps(results), "utf-8")


class SourceAddressAdapter(HTTPAdapter):
    """Connections that come from an address of their own."""

    def __init__(self, address: str):
        self.address = address
        super().__init__()

    def init_poolmanager(self, *args, **kwargs) -> None:
        super().init_poolmanager(*args, **kwargs, source_address=(self.address, 0))


class Visitor(HttpUser):
    """One open page. Visitors come from different addresses, as they do: the server bounds what one address may take."""

    def on_start(self) -> None:
        number = next(visitor_numbers)
        self.rng, self.session_hash = random.Random(number), uuid.uuid4().hex
        self.client.mount("http://", SourceAddressAdapter(f"127.0.{1 + number // 250}.{1 + number % 250}"))
        self.client.get("/", name="page")
        # a page holds this stream for as long as it is open: the server forgets the session when it ends
        self.heartbeat = self.client.get(f"{API_PREFIX}/heartbeat/{self.session_hash}", name="heartbeat", stream=True)
        for event in plan["on_load"]:
            said = self.post(
                "queue/join" if event["queue"] else "run/predict", json=self.build_body(event, event["data"])
            )
            if event["queue"]:
                self.wait_for_event(said["event_id"])
        results["began"], results["cpu"] = time.time(), -time.process_time()  # what the last one to come writes stays

    def wait_time(self) -> float:
        return self.rng.uniform(*plan["pause"])

    @task
    def think(self) -> None:
        """A thought lasts from its request to the event that tells its answer; whatever goes wrong is an error of it."""
        thing = self.rng.choice(plan["things"])
        problem, right, began = None, False, time.perf_counter()
        try:
            given = self.upload(thing["given"]) if thing["upload"] else thing["given"]
            began = time.perf_counter()
            with gevent.Timeout(ANSWER_TIMEOUT_S, TimeoutError(f"no answer within {ANSWER_TIMEOUT_S} seconds")):
                record = self.submit(thing, [given, thing["checkpoint"], thing["rule"], *thing["others"]])
            right = record["answer"] == thing["answer"]
        except Exception as error:
            problem = error
        seconds = time.perf_counter() - began
        self.environment.events.request.fire(
            request_type="THINK",
            name="thought",
            start_time=time.time() - seconds,
            response_time=seconds * 1e3,
            response_length=0,
            exception=problem,
            context={"checkpoint": thing["checkpoint"], "right": right},
        )

    def upload(self, data_url: str) -> dict[str, Any]:
        """Hand over the picture behind a `data:` address as a file, and give what the page then says of it."""
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
        """Press a button that thinks; the record of the thought."""
        said = self.wait_for_event(self.post("queue/join", json=self.build_body(event, data))["event_id"])
        record = said["output"]["data"][0] if said["success"] else {"problem": said["output"].get("error")}
        if "answer" not in record:
            raise ValueError(f"no answer: {record.get('problem')}")
        return record

    def post(self, path: str, **kwargs: Any) -> Any:
        response = self.client.post(f"{API_PREFIX}/{path}", name=path, **kwargs)
        if not response.ok:
            raise ValueError(f"{path} was refused: {response.text[:200]}")
        return response.json()

    def wait_for_event(self, event_id: str) -> dict[str, Any]:
        """The event that tells the end of another one. The stream is read until the server closes it."""
        path, said = f"{API_PREFIX}/queue/data?session_hash={self.session_hash}", {}
        with closing(self.client.get(path, name="queue/data", stream=True)) as response:
            for line in response.iter_lines():
                event = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
                if event.get("msg") == "process_completed" and event["event_id"] == event_id:
                    said = event
        if not said:
            raise ValueError("the stream ended without an answer")
        return said

    def build_body(self, event: dict[str, Any], data: list[Any]) -> dict[str, Any]:
        return {
            "data": data,
            "event_data": None,
            "fn_index": event["fn_index"],
            "trigger_id": event["trigger_id"],
            "session_hash": self.session_hash,
        }
