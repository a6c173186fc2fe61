"""Test the Model Context Protocol server: its tools predict as the API does, and it is off by default."""

import ast
import asyncio
from typing import Any

import httpx
import numpy as np
import pytest

from tests.ui.server.test_serve import get_startup_failure, run_server
from ui.server import app_factory
from ui.services.image_decoding import encode_data_url

mcp = pytest.importorskip("mcp")
streamable_http = pytest.importorskip("mcp.client.streamable_http")

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a test", "version": "1"}},
}
HEADERS = {"Accept": "application/json, text/event-stream"}


async def use_tools(url: str, calls: list[tuple[str, dict[str, str]]]) -> tuple[dict[str, Any], list[Any]]:
    """Return the listed tools by name, and the results of calls."""
    async with (
        streamable_http.streamable_http_client(url) as (read, write, _),
        mcp.ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        return tools, [await session.call_tool(name, arguments) for name, arguments in calls]


def test_tools_predict_as_the_api_does(checkpoints_dir, tmp_path):
    strokes = np.ones((28, 28, 3), np.float32)
    strokes[4:24, 13:16] = 0
    calls = [
        ("think_sequence", {"text": "1011", "checkpoint": "parity-16"}),
        ("think_image", {"image": encode_data_url(strokes), "checkpoint": "digits", "policy": "ticks=2"}),
        ("think_sequence", {"text": "10x", "checkpoint": "parity-16"}),
    ]
    environment = {
        "CTM_CHECKPOINTS": str(checkpoints_dir),
        "CTM_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "GRADIO_SERVER_PORT": "0",
        "GRADIO_MCP_SERVER": "true",
    }
    with run_server("app.py", **environment) as server:
        url = f"{server.address}/gradio_api/mcp/"
        tools, (sequence, image, error) = asyncio.run(use_tools(url, calls))
        rejected = httpx.post(url, json=INITIALIZE, headers=HEADERS | {"Origin": "https://elsewhere.example"})
        page = httpx.post(f"{server.address}/gradio_api/mcp/messages", json=INITIALIZE, headers=HEADERS)
    assert tools.keys() == {"think_image", "think_sequence"}
    assert "halting policy" in tools["think_sequence"].inputSchema["properties"]["policy"]["description"].lower()
    answer = ast.literal_eval(sequence.content[0].text)
    assert len(answer["answer"]) == 4 and answer["checkpoint"] == "parity-16"
    assert ast.literal_eval(image.content[0].text)["ticks_used"] == 2
    assert error.isError and "Bits are 0 and 1 only, got 'x'." in error.content[0].text
    assert rejected.status_code == 403
    assert page.status_code == 404


def test_the_server_is_off_unless_the_variable_is_set(checkpoints_dir, tmp_path):
    environment = {"CTM_CHECKPOINTS": str(checkpoints_dir), "CTM_HOME": str(tmp_path), "GRADIO_SERVER_PORT": "0"}
    with run_server("app.py", **environment) as server:
        answer = httpx.post(f"{server.address}/gradio_api/mcp/", json=INITIALIZE, headers=HEADERS)
    assert answer.status_code == 404 and "There is nothing at this address" in answer.json()["detail"]


def test_an_unknown_value_of_the_variable_is_rejected():
    code, output = get_startup_failure({"GRADIO_MCP_SERVER": "maybe"}, "app.py")
    assert code == 1 and output == "GRADIO_MCP_SERVER must be true or false: got 'maybe'."


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(app_factory.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"GRADIO_MCP_SERVER=true needs the package mcp: run `pip install 'mcp<2'`"):
        app_factory.create_fastapi_app(None, None, mcp_server=True)
