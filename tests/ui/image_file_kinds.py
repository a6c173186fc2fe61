"""Image files of many kinds, to compare the decoding of a browser with that of Python."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin

from benchmarks.image_encodings import build_chunk, build_png, insert_chunk
from tests.paths import ROOT
from training.data.image_reader import EXIF_ORIENTATION

SIZE = (161, 121)  # odd, so that subsampled colours do not fit


def make_photo() -> Image.Image:
    """Return a small photo."""
    with Image.open(ROOT / "data" / "examples" / "photo-cat.jpg") as image:
        return image.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)


def make_drawing() -> Image.Image:
    """Return coloured strokes on white, with sharp edges."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    for index, colour in enumerate(("black", "red", "blue", "#0a7a20", "#f0c000")):
        draw.line((10 + 28 * index, 15, 30 + 28 * index, 105), fill=colour, width=7)
    return image


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the content of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def make_profile() -> bytes:
    """Return an sRGB profile whose red and green are exchanged, so that its use cannot be missed."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", profile, 128)
    offsets = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 136 + 12 * i for i in range(count)}
    red, green = (profile[offsets[name] : offsets[name] + 8] for name in (b"rXYZ", b"gXYZ"))
    profile[offsets[b"rXYZ"] : offsets[b"rXYZ"] + 8] = green
    profile[offsets[b"gXYZ"] : offsets[b"gXYZ"] + 8] = red
    return bytes(profile)


def make_exif(orientation: int, byte_order: str = "<") -> bytes:
    """Return EXIF data with an orientation."""
    exif = Image.Exif()
    exif.endian = byte_order
    exif[EXIF_ORIENTATION] = orientation
    return exif.tobytes()


def make_exif_text(orientation: int) -> PngImagePlugin.PngInfo:
    """Return EXIF data as ImageMagick stores it in a text of a PNG file."""
    data = make_exif(orientation)
    lines = "\n".join(data.hex()[start : start + 72] for start in range(0, 2 * len(data), 72))
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n{lines}\n", zip=True)
    return info


def make_xmp(orientation: int) -> bytes:
    """Return XMP data with an orientation."""
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
    ) % orientation


def make_xmp_text(orientation: int, is_compressed: bool = False) -> PngImagePlugin.PngInfo:
    """Return XMP data as a text of a PNG file."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", make_xmp(orientation).decode(), zip=is_compressed)
    return info


def move_exif_to_end(png: bytes) -> bytes:
    """Return a PNG whose eXIf chunk follows its pixels."""
    start = png.index(b"eXIf") - 4
    (length,) = struct.unpack_from(">I", png, start)
    chunk = png[start : start + 12 + length]
    rest = png.replace(chunk, b"")
    return rest[:-12] + chunk + rest[-12:]


def make_interlaced_png(image: Image.Image) -> bytes:
    """Return an RGB image as a PNG with Adam7 interlacing."""
    pixels = np.asarray(image)
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    data = b"".join(
        b"\0" + row.tobytes() for top, left, step_y, step_x in passes for row in pixels[top::step_y, left::step_x]
    )
    header = struct.pack(">IIBBBBB", *image.size, 8, 2, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(build_chunk(*chunk) for chunk in chunks)


def make_alpha(low: int, high: int) -> Image.Image:
    """Return an alpha channel that is low at the left and high at the right."""
    ramp = np.linspace(low, high, SIZE[0]).round().astype(np.uint8)
    return Image.fromarray(np.repeat(ramp[None], SIZE[1], 0))


def make_jpeg_files() -> dict[str, bytes]:
    """Return JPEG files by kind."""
    photo, drawing = make_photo(), make_drawing()
    files = {}
    for name, image in (("photo", photo), ("drawing", drawing)):
        for sampling, number in (("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)):
            files[f"JPEG {sampling}, {name}"] = encode(image, "JPEG", quality=85, subsampling=number)
            files[f"JPEG {sampling} progressive, {name}"] = encode(
                image, "JPEG", quality=85, subsampling=number, progressive=True
            )
        files[f"JPEG quality 30, {name}"] = encode(image, "JPEG", quality=30)
        files[f"JPEG grey, {name}"] = encode(image.convert("L"), "JPEG", quality=85)
    for orientation in range(1, 9):
        files[f"JPEG EXIF orientation {orientation}"] = encode(
            photo, "JPEG", quality=85, subsampling=2, exif=make_exif(orientation)
        )
    files["JPEG EXIF orientation 6, grey"] = encode(photo.convert("L"), "JPEG", exif=make_exif(6))
    for orientation in (0, 9):
        files[f"JPEG EXIF orientation {orientation}, invalid"] = encode(photo, "JPEG", exif=make_exif(orientation))
    files["JPEG EXIF orientation 8, big endian"] = encode(photo, "JPEG", exif=make_exif(8, ">"))
    files["JPEG XMP orientation 6"] = encode(photo, "JPEG", xmp=make_xmp(6))
    files["JPEG XMP orientation 1"] = encode(photo, "JPEG", xmp=make_xmp(1))
    files["JPEG grey with profile"] = encode(photo.convert("L"), "JPEG", icc_profile=make_profile())
    files["JPEG with several pictures"] = encode(photo, "MPO", save_all=True, append_images=[drawing])
    files["JPEG with data after its end"] = encode(photo, "JPEG") + bytes(20)
    files["JPEG CMYK"] = encode(photo.convert("CMYK"), "JPEG", quality=85)
    files["JPEG RGB without conversion"] = encode(photo, "JPEG", quality=85, keep_rgb=True)
    files["JPEG with profile"] = encode(photo, "JPEG", quality=85, icc_profile=make_profile())
    files["JPEG restart markers"] = encode(photo, "JPEG", quality=85, restart_marker_blocks=3)
    return files


def make_png_files() -> dict[str, bytes]:
    """Return PNG files by kind."""
    photo, drawing = make_photo(), make_drawing()
    plain = encode(photo, "PNG")
    palette = drawing.quantize(16)
    deep = (np.asarray(photo.convert("L")).astype(np.uint16) * 257) ^ 0x1F
    deep_colours = (np.asarray(photo).astype(">u2") * 257).reshape(SIZE[1], -1)
    bits = np.packbits(np.asarray(drawing.convert("L")) > 127, axis=1)
    transparent, half = drawing.copy(), photo.copy()
    transparent.putalpha(drawing.convert("L").point(lambda level: 0 if level > 250 else 255))
    half.putalpha(make_alpha(20, 255))
    opaque = photo.copy()
    opaque.putalpha(255)
    return {
        "PNG RGB": plain,
        "PNG RGBA, opaque": encode(opaque, "PNG"),
        "PNG RGBA, transparent ground": encode(transparent, "PNG"),
        "PNG RGBA, half transparent": encode(half, "PNG"),
        "PNG grey": encode(photo.convert("L"), "PNG"),
        "PNG grey with alpha": encode(half.convert("LA"), "PNG"),
        "PNG 1 bit": build_png((*SIZE, 1, 0), bits),
        "PNG 16 bits grey": encode(Image.fromarray(deep), "PNG"),
        "PNG 16 bits RGB": build_png((*SIZE, 16, 2), deep_colours),
        "PNG palette": encode(palette, "PNG"),
        "PNG palette, one transparent": encode(palette, "PNG", transparency=palette.getpixel((0, 0))),
        "PNG palette, half transparent": encode(palette, "PNG", transparency=bytes(range(20, 180, 10))),
        "PNG transparent colour": encode(drawing, "PNG", transparency=(255, 255, 255)),
        "PNG gamma 1.0": insert_chunk(plain, build_chunk(b"gAMA", struct.pack(">I", 100_000))),
        "PNG sRGB chunk": insert_chunk(plain, build_chunk(b"sRGB", b"\0")),
        "PNG with profile": encode(photo, "PNG", icc_profile=make_profile()),
        "PNG cICP, BT.2100 PQ": insert_chunk(plain, build_chunk(b"cICP", bytes((9, 16, 0, 1)))),
        "PNG EXIF orientation 6": encode(photo, "PNG", exif=make_exif(6)),
        "PNG EXIF orientation 3": encode(photo, "PNG", exif=make_exif(3)),
        "PNG EXIF after the pixels": move_exif_to_end(encode(photo, "PNG", exif=make_exif(6))),
        "PNG EXIF in a text": encode(photo, "PNG", pnginfo=make_exif_text(6)),
        "PNG XMP orientation 6": encode(photo, "PNG", pnginfo=make_xmp_text(6)),
        "PNG XMP orientation 6, compressed": encode(photo, "PNG", pnginfo=make_xmp_text(6, is_compressed=True)),
        "PNG XMP orientation 1": encode(photo, "PNG", pnginfo=make_xmp_text(1)),
        "PNG interlaced": make_interlaced_png(photo),
    }


def make_other_files() -> dict[str, bytes]:
    """Return files of other formats by kind."""
    photo, drawing = make_photo(), make_drawing()
    return {
        "WebP lossy": encode(photo, "WEBP", quality=80),
        "WebP lossless": encode(photo, "WEBP", lossless=True),
        "WebP EXIF orientation 6": encode(photo, "WEBP", quality=80, exif=make_exif(6)),
        "WebP with profile": encode(photo, "WEBP", lossless=True, icc_profile=make_profile()),
        "AVIF": encode(photo, "AVIF", quality=80),
        "AVIF 4:4:4": encode(photo, "AVIF", quality=90, subsampling="4:4:4"),
        "GIF": encode(drawing.quantize(16), "GIF"),
        "BMP": encode(photo, "BMP"),
    }
