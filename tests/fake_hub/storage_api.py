"""What the storage answers: large files, and the service that takes them from the xet client. It knows no accounts."""

import hashlib
import json

from tests.fake_hub.messages import Answer, Refused, Request, file_answer, json_answer
from tests.fake_hub.routing import Routes
from tests.fake_hub.state import Store
from tests.fake_hub.xet import Malformed, Xorb, files_of

STORAGE = Routes()
XET_TOKEN = "xet-of-this-hub"


@STORAGE.route("GET", "/lfs/{oid}")
def download(store: Store, request: Request, oid: str) -> Answer:
    if oid not in store.objects:
        raise Refused(404, message="NoSuchKey")
    return file_answer(request, store.objects[oid], {"ETag": f'"{oid}"'})


@STORAGE.route("PUT", "/lfs/{oid}")
def upload(store: Store, request: Request, oid: str) -> Answer:
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise Refused(400, message="The content does not match its sha256")
    store.objects[oid] = request.body
    return Answer(200, headers={"ETag": f'"{oid}"'})


@STORAGE.route("PUT", "/lfs/{oid}/{number}")
def upload_part(store: Store, request: Request, oid: str, number: str) -> Answer:
    store.parts[oid, int(number)] = request.body
    return Answer(200, headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})


@STORAGE.route("POST", "/lfs/{oid}/complete")
def complete(store: Store, request: Request, oid: str) -> Answer:
    said = request.json()
    data = b""
    for part in said["parts"]:
        sent = store.parts.get((oid, part["partNumber"]))
        if sent is None or part["etag"].strip('"') != hashlib.md5(sent).hexdigest():
            raise Refused(400, message=f"Part {part['partNumber']} is missing, or another one")
        data += sent
    if said["oid"] != oid or hashlib.sha256(data).hexdigest() != oid:
        raise Refused(400, message="The content does not match its sha256")
    store.objects[oid] = data
    return json_answer({"success": True})


def need_xet_token(request: Request) -> None:
    if request.token != XET_TOKEN:
        raise Refused(401, message="No token for this service")


@STORAGE.route("GET", "/v1/chunks/{prefix}/{hash}")
def known_chunk(store: Store, request: Request, prefix: str, hash: str) -> Answer:
    raise Refused(404, message="No such chunk: files of others are not searched")


@STORAGE.route("POST", "/v1/xorb-grants/{prefix}/{hash}")
def grant(store: Store, request: Request, prefix: str, hash: str) -> Answer:
    raise Refused(404, message="Xorbs are sent here")


@STORAGE.route("POST", "/v1/xorbs/{prefix}/{hash}")
def upload_xorb(store: Store, request: Request, prefix: str, hash: str) -> Answer:
    need_xet_token(request)
    known = hash in store.xorbs
    try:
        store.xorbs[hash] = Xorb.read(request.body)
    except (Malformed, OSError) as error:
        raise Refused(400, message=str(error)) from None
    return json_answer({"was_inserted": not known})


@STORAGE.route("POST", "/v2/shards")
def upload_shard_streaming(store: Store, request: Request) -> Answer:
    raise Refused(404, message="There is v1")


@STORAGE.route("POST", "/v1/shards")
def upload_shard(store: Store, request: Request) -> Answer:
    need_xet_token(request)
    try:
        files = list(files_of(request.body, store.xorbs))
    except Malformed as error:
        raise Refused(400, message=str(error)) from None
    for data in files:
        store.objects[hashlib.sha256(data).hexdigest()] = data
    return json_answer({"result": 1})


def xet_answer(store: Store) -> Answer:
    """Where the xet client is to send files, and with what token."""
    year_2100 = 4_102_444_800
    headers = {
        "X-Xet-Cas-Url": store.storage_url,
        "X-Xet-Access-Token": XET_TOKEN,
        "X-Xet-Token-Expiration": str(year_2100),
    }
    body = {"casUrl": store.storage_url, "exp": year_2100, "accessToken": XET_TOKEN}
    return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
