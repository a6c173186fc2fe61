"""Recognize files by their first bytes, for error messages."""

import struct

SIGNATURES = (  # offset, bytes, what the file is
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftyphev", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (4, b"ftypmsf1", "a HEIF picture"),
    (4, b"ftypcrx", "a raw photo of a camera"),
    (4, b"ftyp", "a video"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"gimp xcf", "a GIMP document"),
    (0, b"FUJIFILMCCD-RAW", "a raw photo of a camera"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"PAR1", "a parquet file"),
    (0, b"\x93NUMPY", "a NumPy file"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the picture itself"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"\0\0\1\0", "an icon file"),
)
IMAGE_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypavi", "AVIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"BM", "BMP"),
)
RARE_IMAGE_SIGNATURES = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"qoif", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")
TEXT_SIGNATURES = ((b"<svg", "an SVG drawing"), (b"<!doctype html", "a web page"), (b"<html", "a web page"))
TGA_HEADER_BYTES = 18
TGA_UNCOMPRESSED = (2, 3)
TGA_RUN_LENGTH = (10, 11)


def describe_file(content: bytes) -> str:
    """Return one sentence that says why a file is not a readable picture."""
    if not content:
        return "The file is empty, not a picture that can be read."
    for offset, signature, name in SIGNATURES:
        if content.startswith(signature, offset) and not content.startswith(b"ftypavi", 4):
            return f"The file is {name}, not a picture that can be read."
    for offset, signature, name in IMAGE_SIGNATURES:
        if content.startswith(signature, offset):
            return f"The {name} file is damaged, cut off or of an unusual kind, not a picture that can be read."
    start = content[:1000].lower()
    for signature, name in TEXT_SIGNATURES:
        if signature in start:
            return f"The file is {name}, not a picture that can be read."
    return "This file is not a picture that can be read."


def is_recognized(content: bytes) -> bool:
    """Return whether a file begins as a file of some known kind, a picture or not."""
    if any(content.startswith(signature, offset) for offset, signature, _ in (*SIGNATURES, *IMAGE_SIGNATURES)):
        return True
    start = content[:1000].lower()
    return (
        content.startswith(RARE_IMAGE_SIGNATURES)
        or any(signature in start for signature, _ in TEXT_SIGNATURES)
        or is_plausible_tga(content)
    )


def is_plausible_tga(content: bytes) -> bool:
    """Return whether a file can be a TGA image; the format has no signature at its beginning, so any file could be one."""
    if len(content) <= TGA_HEADER_BYTES:
        return False
    map_type, image_type = content[1:3]
    width, height, depth = struct.unpack_from("<HHB", content, 12)
    if map_type != 0 or depth not in (8, 16, 24, 32) or not width or not height:
        return False
    if content[-18:-2] == b"TRUEVISION-XFILE":
        return image_type in (*TGA_UNCOMPRESSED, *TGA_RUN_LENGTH)
    size = TGA_HEADER_BYTES + content[0] + width * height * depth // 8
    return image_type in TGA_UNCOMPRESSED and len(content) == size
