"""Remove the parts of a PNG file that do not change its pixels.

Pillow refuses a PNG whose text is long, or one of whose chunks has a wrong checksum. Text and unknown chunks do not matter for
the pixels, and browsers ignore them.
"""

import zlib
from collections.abc import Iterator

from training.data.image_errors import UnreadableImage

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 200_000
MAX_METADATA_BYTES = 2**17  # of a chunk that may hold the orientation, and of its uncompressed text
MIN_CHUNK_BYTES = 12
TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}
OPTIONAL_CHUNKS = {b"tRNS", b"eXIf"} | TEXT_CHUNKS  # that may change how pixels are shown
ORIENTATION_KEYWORDS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")


def is_png(content: bytes) -> bool:
    """Return whether a file begins like a PNG."""
    return content.startswith(PNG_SIGNATURE)


def iterate_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type of each chunk and where it begins and ends; a last chunk that is cut off ends with the file.

    Raises:
        UnreadableImage: There are more than `MAX_CHUNKS` chunks.
    """
    start = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if start + 8 > len(content):
            return
        end = start + MIN_CHUNK_BYTES + int.from_bytes(content[start : start + 4], "big")
        yield content[start + 4 : start + 8], start, min(end, len(content))
        start = end
    raise UnreadableImage("The picture is stored in too many parts. Export it again as PNG or JPEG.")


def has_animation_chunk(content: bytes) -> bool:
    """Return whether a PNG has several frames."""
    chunks = ((name, content[start + 8 : start + 12]) for name, start, _ in iterate_chunks(content))
    return any(name == b"acTL" and int.from_bytes(count, "big") > 1 for name, count in chunks)


def remove_unused_chunks(content: bytes) -> bytes:
    """Return a PNG with the chunks alone that are needed to show its pixels upright.

    Args:
        content: Content of a PNG file; damage to the pixels is left as it is.
    """
    parts = [PNG_SIGNATURE]
    for name, start, end in iterate_chunks(content):
        is_critical = not name[0] & 0x20  # the case of the first letter says whether it is
        if is_critical or (name in OPTIONAL_CHUNKS and _is_needed(name, content, start, end)):
            parts.append(content[start:end])
        if name == b"IEND":
            break
    return b"".join(parts)


def _is_needed(name: bytes, content: bytes, start: int, end: int) -> bool:
    """Return whether a chunk that is not critical is intact and may change how the image is shown."""
    data = memoryview(content)[start + 8 : end - 4]
    if len(data) > MAX_METADATA_BYTES:
        return False
    if zlib.crc32(content[start + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
        return False
    if name in TEXT_CHUNKS:
        return bytes(data[:32]).startswith(ORIENTATION_KEYWORDS) and _is_short_text(name, bytes(data))
    return True


def _is_short_text(name: bytes, data: bytes) -> bool:
    """Return whether text has at most `MAX_METADATA_BYTES` bytes when it is uncompressed."""
    after_keyword = data.partition(b"\0")[2]
    if name == b"tEXt" or (name == b"iTXt" and after_keyword[:1] == b"\0"):
        return True
    compressed = after_keyword[1:] if name == b"zTXt" else after_keyword[2:].split(b"\0", 2)[-1]
    decoder = zlib.decompressobj()
    try:
        decoder.decompress(compressed, MAX_METADATA_BYTES)
    except zlib.error:
        return False
    return decoder.eof
