"""API of the storage: downloads and uploads of large files, and the xet service. It has no accounts."""

import hashlib
import json

from tests.fake_hub.messages import HubHTTPError, Request, Response, make_file_response, make_json_response
from tests.fake_hub.routing import Routes
from tests.fake_hub.state import HubState
from tests.fake_hub.xet import MalformedXetData, Xorb, iter_shard_files

STORAGE = Routes()
XET_TOKEN = "xet-of-this-hub"


@STORAGE.route("GET", "/lfs/{oid}")
def download_object(state: HubState, request: Request, oid: str) -> Response:
    if oid not in state.objects:
        raise HubHTTPError(404, message="NoSuchKey")
    return make_file_response(request, state.objects[oid], {"ETag": f'"{oid}"'})


@STORAGE.route("PUT", "/lfs/{oid}")
def upload_object(state: HubState, request: Request, oid: str) -> Response:
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise HubHTTPError(400, message="The content does not match its sha256")
    state.objects[oid] = request.body
    return Response(200, headers={"ETag": f'"{oid}"'})


@STORAGE.route("PUT", "/lfs/{oid}/{number}")
def upload_part(state: HubState, request: Request, oid: str, number: str) -> Response:
    state.parts[oid, int(number)] = request.body
    return Response(200, headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})


@STORAGE.route("POST", "/lfs/{oid}/complete")
def complete_upload(state: HubState, request: Request, oid: str) -> Response:
    payload = request.json()
    data = b""
    for part in payload["parts"]:
        sent = state.parts.get((oid, part["partNumber"]))
        if sent is None or part["etag"].strip('"') != hashlib.md5(sent).hexdigest():
            raise HubHTTPError(400, message=f"Part {part['partNumber']} is missing, or another one")
        data += sent
    if payload["oid"] != oid or hashlib.sha256(data).hexdigest() != oid:
        raise HubHTTPError(400, message="The content does not match its sha256")
    state.objects[oid] = data
    return make_json_response({"success": True})


def require_xet_token(request: Request) -> None:
    if request.token != XET_TOKEN:
        raise HubHTTPError(401, message="No token for this service")


@STORAGE.route("GET", "/v1/chunks/{prefix}/{content_hash}")
def find_chunk(state: HubState, request: Request, prefix: str, content_hash: str) -> Response:
    raise HubHTTPError(404, message="No such chunk: files of others are not searched")


@STORAGE.route("POST", "/v1/xorb-grants/{prefix}/{content_hash}")
def grant_xorb_upload(state: HubState, request: Request, prefix: str, content_hash: str) -> Response:
    raise HubHTTPError(404, message="Xorbs are sent here")


@STORAGE.route("POST", "/v1/xorbs/{prefix}/{content_hash}")
def upload_xorb(state: HubState, request: Request, prefix: str, content_hash: str) -> Response:
    require_xet_token(request)
    is_known = content_hash in state.xorbs
    try:
        state.xorbs[content_hash] = Xorb.parse(request.body)
    except (MalformedXetData, OSError) as error:
        raise HubHTTPError(400, message=str(error)) from None
    return make_json_response({"was_inserted": not is_known})


@STORAGE.route("POST", "/v2/shards")
def upload_shard_streaming(state: HubState, request: Request) -> Response:
    raise HubHTTPError(404, message="There is v1")


@STORAGE.route("POST", "/v1/shards")
def upload_shard(state: HubState, request: Request) -> Response:
    require_xet_token(request)
    try:
        files = list(iter_shard_files(request.body, state.xorbs))
    except MalformedXetData as error:
        raise HubHTTPError(400, message=str(error)) from None
    for data in files:
        state.objects[hashlib.sha256(data).hexdigest()] = data
    return make_json_response({"result": 1})


def build_xet_token_response(state: HubState) -> Response:
    """Build the response with the upload address and the token of the xet client."""
    year_2100 = 4_102_444_800
    headers = {
        "X-Xet-Cas-Url": state.storage_url,
        "X-Xet-Access-Token": XET_TOKEN,
        "X-Xet-Token-Expiration": str(year_2100),
    }
    body = {"casUrl": state.storage_url, "exp": year_2100, "accessToken": XET_TOKEN}
    return Response(200, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
