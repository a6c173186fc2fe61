"""Test xorbs and shards: chunks of every compression are decoded, and inconsistent data are rejected."""

import hashlib
import struct

import numpy
import pyarrow
import pytest

from tests.fake_hub import xet
from tests.fake_hub.http_request import send_request
from tests.fake_hub.storage_api import XET_TOKEN
from tests.fake_hub.xet import MalformedXetData, Xorb, iter_shard_files

FLOATS = numpy.linspace(0, 1, 5_000, dtype=numpy.float32).tobytes()


def group_bytes(data: bytes) -> bytes:
    return b"".join(data[first::4] for first in range(4))


def pack_chunk(data: bytes, compression: int) -> bytes:
    """Return a chunk in the format of the client."""
    stored = (
        data if compression == 0 else pyarrow.Codec("lz4").compress(group_bytes(data) if compression == 2 else data)
    )
    lengths = len(stored).to_bytes(3, "little") + bytes([compression]) + len(data).to_bytes(3, "little")
    return b"\0" + lengths + bytes(stored)


@pytest.mark.parametrize("compression", [0, 1, 2])
@pytest.mark.parametrize("data", [b"a", b"abcdefg" * 9, FLOATS])
def test_chunks_of_every_compression_are_decoded(compression, data):
    footer = b"XETBLOB" + bytes(90)
    assert Xorb.parse(pack_chunk(data, compression) + pack_chunk(b"next", 0) + footer).chunks == (data, b"next")


@pytest.mark.parametrize("length", range(9))
def test_grouped_bytes_of_any_length_are_restored(length):
    data = bytes(range(length))
    assert xet.ungroup_bytes(group_bytes(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"XETBLOB",
        pack_chunk(b"abc", 0)[:-1],
        pack_chunk(b"abc", 3),
        pack_chunk(b"abc", 0).replace(b"\3", b"\4", 1),
    ],
)
def test_invalid_xorbs_are_rejected(data):
    with pytest.raises(MalformedXetData):
        Xorb.parse(data)


def parse_hash(hash_text: str) -> bytes:
    return struct.pack("<4Q", *(int(hash_text[at : at + 16], 16) for at in range(0, 64, 16)))


XORBS = {"0" * 63 + "1": Xorb((b"one", b"two", b"three")), "0" * 63 + "2": Xorb((b"four",))}


def build_shard(terms: list[tuple[str, int, int, int]], sha256: str, with_verification: bool) -> bytes:
    flags = xet.SHA256_FLAG | (xet.VERIFICATION_FLAG if with_verification else 0)
    records = [xet.SHARD_MAGIC.ljust(48, b"\1"), struct.pack("<32sIIQ", b"f" * 32, flags, len(terms), 0)]
    records += [struct.pack("<32s4I", parse_hash(xorb), 0, *numbers) for xorb, *numbers in terms]
    records += [b"v" * 48] * len(terms) * with_verification
    records += [parse_hash(sha256) + bytes(16), b"\xff" * 32 + bytes(16)]
    return b"".join(records) + b"the rest of the shard" * 9


@pytest.mark.parametrize("verified", [True, False])
def test_a_file_is_assembled_from_two_xorbs_and_verified(verified):
    one, two = XORBS
    terms = [(one, 8, 1, 3), (two, 4, 0, 1), (one, 3, 0, 1)]
    data = b"twothreefourone"
    assert list(iter_shard_files(build_shard(terms, hashlib.sha256(data).hexdigest(), verified), XORBS)) == [data]
    with pytest.raises(MalformedXetData, match="sha256"):
        list(iter_shard_files(build_shard(terms, "0" * 64, verified), XORBS))


@pytest.mark.parametrize(
    ("xorb", "length", "message"), [("0" * 64, 3, "never uploaded"), ("0" * 63 + "1", 4, "says that")]
)
def test_inconsistent_shards_are_rejected(xorb, length, message):
    with pytest.raises(MalformedXetData, match=message):
        list(iter_shard_files(build_shard([(xorb, length, 0, 1)], "0" * 64, True), XORBS))
    with pytest.raises(MalformedXetData, match="no shard"):
        list(iter_shard_files(b"something else", XORBS))


@pytest.mark.parametrize("token", [None, "hf_alice_write"])
def test_the_xet_service_requires_its_own_token(hub_without_client, token):
    for path in ("/v1/shards", f"/v1/xorbs/default/{'0' * 64}"):
        assert send_request(hub_without_client.storage_url, path, "POST", token=token).status == 401
        assert (
            send_request(hub_without_client.storage_url, path, "POST", token=XET_TOKEN).status == 400
        )  # the body is empty


UPLOAD_CASES = {
    "floats": (FLOATS * 40, 2),
    "text": (b"the quick brown fox " * 20_000, 1),
    "noise": (numpy.random.default_rng(0).bytes(300_000), 0),
}


@pytest.mark.parametrize("name", UPLOAD_CASES)
def test_uploads_of_the_real_client_are_decoded(hub, client, hub_and_client, tmp_path, name):
    """The cases use all three compressions; a second file with the same chunks does not upload them again."""
    data, compression = UPLOAD_CASES[name]
    hub.add_repo("alice/x")
    (tmp_path / "file").write_bytes(data)
    upload = "api.upload_file(path_or_fileobj=file, path_in_repo=path, repo_id='alice/x')"
    client(upload, file=tmp_path / "file", path="a.bin")
    assert hub.read_files("alice/x") == {"a.bin": data}
    if hub_and_client.uses_xet:
        assert {request.request.body[4] for request in hub.find_requests("/v1/xorbs/")} == {compression}
        hub.clear_requests()
        (tmp_path / "file").write_bytes(data + b"more")
        client(upload, file=tmp_path / "file", path="b.bin")
        assert hub.read_files("alice/x")["b.bin"] == data + b"more"
        assert sum(len(request.request.body) for request in hub.find_requests("/v1/xorbs/")) < len(data)
