"""A child process that runs the real Hub client.

`python -m tests.fake_hub.client_process` reads one JSON line per request, with an expression and its values, and writes
one JSON line per result. In an expression `api` is an `HfApi`, and `hub` is huggingface_hub.
"""

import dataclasses
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub

from tests.paths import ROOT


class ClientCallError(Exception):
    """Error of the child process: names of its type and base types, HTTP status, cause and message."""

    def __init__(self, kinds: list[str], status: int | None, cause: str, message: str):
        super().__init__(f"{kinds[0]}: {message}")
        self.kinds, self.status, self.cause, self.message = kinds, status, cause, message

    @property
    def kind(self) -> str:
        return self.kinds[0]


class HubClientProcess:
    """Handle of a child process. Call it with an expression and JSON values for its names; a path becomes text."""

    def __init__(self, environment: Mapping[str, str]):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fake_hub.client_process"],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def __call__(self, expression: str, **names: Any) -> Any:
        self.process.stdin.write(json.dumps([expression, to_json_value(names)]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"The client process ended at {expression}")
        result = json.loads(line)
        if "kinds" in result:
            raise ClientCallError(**result)
        return result["value"]

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def to_json_value(value: Any) -> Any:
    """Convert a value to JSON types; a generator becomes a list."""
    if isinstance(value, Mapping):
        return {str(name): to_json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | Iterator):
        return [to_json_value(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {field.name: to_json_value(getattr(value, field.name, None)) for field in dataclasses.fields(value)}
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def main() -> None:
    warnings.simplefilter("ignore")
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of the client must not mix with the results
    names = {"api": huggingface_hub.HfApi(), "hub": huggingface_hub, "Path": Path}
    for line in sys.stdin:
        try:
            expression, values = json.loads(line)
            result = {"value": to_json_value(eval(expression, names | values))}
        except Exception as error:
            result = {
                "kinds": [kind.__name__ for kind in type(error).__mro__[:-2]],
                "status": getattr(getattr(error, "response", None), "status_code", None),
                "cause": type(error.__cause__).__name__,
                "message": str(error),
            }
        output.write(json.dumps(result) + "\n")
        output.flush()


if __name__ == "__main__":
    main()
