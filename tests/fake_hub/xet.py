"""Decoder of xet uploads: xorbs contain chunks, shards list the chunks of each file.

A xorb is a row of chunks, each with a header of 8 bytes: version, stored length (24 bits), compression, length (24 bits).
A shard is made of records of 48 bytes. After the header come files: one record with a hash, flags and a count, as many terms
(xorb, flags, bytes, first chunk, chunk after the last), as many verification records if flagged, and one record with the
file's sha256 if flagged. A hash of ones ends the list; the rest of the shard is ignored. All numbers are little-endian.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

import pyarrow

CHUNK_HEADER = struct.Struct("<B3sB3s")
RECORD_BYTES = 48
SHARD_MAGIC = b"HFRepoMetaData\0"
VERIFICATION_FLAG, SHA256_FLAG = 1 << 31, 1 << 30
LZ4 = pyarrow.Codec("lz4")


class MalformedXetData(ValueError):
    """The upload does not follow its format."""


@dataclass(frozen=True)
class Xorb:
    chunks: tuple[bytes, ...]

    @classmethod
    def parse(cls, data: bytes) -> "Xorb":
        """Parse the chunks of a serialised xorb; a footer, which some clients send, is ignored."""
        chunks, at = [], 0
        while at + CHUNK_HEADER.size <= len(data) and data[at] == 0:
            _, stored, compression, length = CHUNK_HEADER.unpack_from(data, at)
            at += CHUNK_HEADER.size
            end = at + int.from_bytes(stored, "little")
            chunks.append(decompress_chunk(data[at:end], compression, int.from_bytes(length, "little")))
            at = end
        if not chunks or at > len(data):
            raise MalformedXetData("The xorb is cut off, or empty")
        return cls(tuple(chunks))


def decompress_chunk(data: bytes, compression: int, length: int) -> bytes:
    match compression:
        case 0:
            chunk = data
        case 1:
            chunk = LZ4.decompress(data, length, asbytes=True)
        case 2:
            chunk = ungroup_bytes(LZ4.decompress(data, length, asbytes=True))
        case _:
            raise MalformedXetData(f"Unknown compression {compression}")
    if len(chunk) != length:
        raise MalformedXetData(f"A chunk of {len(chunk)} bytes says that it has {length}")
    return chunk


def ungroup_bytes(grouped: bytes) -> bytes:
    """Restore the order of bytes that were grouped by their position modulo four."""
    chunk = bytearray(len(grouped))
    lengths = [len(range(first, len(grouped), 4)) for first in range(4)]
    for first, end in enumerate(accumulate(lengths)):
        chunk[first::4] = grouped[end - lengths[first] : end]
    return bytes(chunk)


def format_hash(hash_bytes: bytes) -> str:
    """Format a hash as xet does: four 64-bit numbers in hexadecimal."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", hash_bytes))


@dataclass(frozen=True)
class ShardTerm:
    """A range of chunks of one xorb."""

    xorb: str
    length: int
    first: int
    end: int

    def read(self, xorbs: Mapping[str, Xorb]) -> bytes:
        if self.xorb not in xorbs:
            raise MalformedXetData(f"The shard names xorb {self.xorb}, which was never uploaded")
        data = b"".join(xorbs[self.xorb].chunks[self.first : self.end])
        if len(data) != self.length:
            raise MalformedXetData(f"A run of {len(data)} bytes says that it has {self.length}")
        return data


def iter_shard_files(shard: bytes, xorbs: Mapping[str, Xorb]) -> Iterator[bytes]:
    """Assemble the files of a shard; each is checked against its sha256 if the shard has it."""
    if not shard.startswith(SHARD_MAGIC):
        raise MalformedXetData("This is no shard")
    records = (shard[at : at + RECORD_BYTES] for at in range(RECORD_BYTES, len(shard), RECORD_BYTES))
    for record in records:
        hash, flags, count = struct.unpack_from("<32sII", record)
        if hash == b"\xff" * 32:
            return
        terms = [next(records) for _ in range(count)]
        data = b"".join(parse_term(term).read(xorbs) for term in terms)
        if flags & VERIFICATION_FLAG:
            for _ in range(count):
                next(records)
        if flags & SHA256_FLAG and format_hash(next(records)[:32]) != hashlib.sha256(data).hexdigest():
            raise MalformedXetData("A file is not what its sha256 says")
        yield data


def parse_term(record: bytes) -> ShardTerm:
    xorb, _, length, first, end = struct.unpack("<32s4I", record)
    return ShardTerm(format_hash(xorb), length, first, end)
