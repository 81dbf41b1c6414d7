"""The image field: any picture comes out as RGB pixels of one size, the right way up, or says why not."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from mmstream_image.field import Image
from PIL import Image as Pillow
from PIL import ImageCms

from mmstream.interfaces import Fitted, TensorSpec

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")  # as the field's module does; pytest sets filters of its own

RED, GREEN, BLUE, BLACK, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)
QUADRANTS = np.array([[RED, GREEN], [BLUE, BLACK]], np.uint8).repeat(20, 0).repeat(30, 1)
"""uint8[40, 60, 3]: red and green above blue and black, so that every turn of it looks different."""
SHADES = np.add.outer(np.arange(40) * 4, np.arange(60) * 1).astype(np.uint8)[..., None].repeat(3, 2)
"""uint8[40, 60, 3]: smooth, so that resizing keeps it nearly as it is."""


def encoded(pixels, file_format="PNG", **options) -> bytes:
    picture = pixels if isinstance(pixels, Pillow.Image) else Pillow.fromarray(pixels)
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def decoded(data: bytes, size=(40, 60), **parameters) -> np.ndarray:
    pixels = Image(size=size, **parameters).decode(data)["pixels"]
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*size, 3)
    return pixels


def result_of(field: Image, data: bytes) -> np.ndarray | str:
    """The pixels, or the message of a ValueError; any other error is one of the test."""
    try:
        return field.decode(data)["pixels"]
    except ValueError as error:
        return str(error)


def difference(one, other) -> float:
    """Mean difference in levels."""
    return float(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).mean())


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size without having any pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


# Formats and modes


@pytest.mark.parametrize(
    "file_format",
    [
        *("PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "TGA", "PCX", "SGI", "ICO", "ICNS", "IM", "MSP", "XBM"),
        *("JPEG", "JPEG2000", "AVIF", "HEIF", "QOI", "DDS", "SPIDER"),
    ],
)
def test_a_picture_of_any_format_comes_out_alike(file_format):
    mode = {"MSP": "1", "XBM": "1", "SPIDER": "F"}.get(file_format, "RGB")
    pixels = QUADRANTS[:, :, :1].repeat(3, 2) if mode != "RGB" else QUADRANTS  # one level in, one level out
    picture = Pillow.fromarray(pixels).convert(mode, dither=Pillow.Dither.NONE)
    if file_format in ("ICO", "ICNS"):  # they only hold squares
        picture = picture.resize((128, 128), Pillow.Resampling.NEAREST)
    data = encoded(picture, file_format, **({"sizes": [(128, 128)]} if file_format == "ICO" else {}))
    assert difference(decoded(data, resize="stretch"), pixels) < 6


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "LAB", "I;16", "I", "F"])
def test_a_grey_picture_of_any_mode_stays_the_grey_that_it_is(mode):
    grey = np.zeros((40, 60), np.uint8)
    grey[:, 30:] = 255
    if mode == "I;16":
        picture = Pillow.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "I":
        picture = Pillow.fromarray(grey.astype(np.int32) * 257)
    elif mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(Pillow.fromarray(grey).convert("RGB"), srgb, lab, outputMode="LAB")
    else:
        picture = Pillow.fromarray(grey).convert(mode)
    assert picture.mode == mode
    assert difference(decoded(encoded(picture, "PNG" if mode in ("P", "1", "LA") else "TIFF")), grey[..., None]) < 2


def test_a_palette_becomes_the_colours_that_it_means():
    picture = Pillow.fromarray(QUADRANTS).quantize(4)
    assert difference(decoded(encoded(picture)), QUADRANTS) < 1
    assert difference(decoded(encoded(picture, "GIF")), QUADRANTS) < 1


def test_cmyk_becomes_the_colours_that_it_means():
    picture = Pillow.fromarray(QUADRANTS).convert("CMYK")
    assert difference(decoded(encoded(picture, "TIFF")), QUADRANTS) < 1
    assert difference(decoded(encoded(picture, "JPEG", quality=95)), QUADRANTS) < 6


def test_sixteen_bit_grey_is_scaled_and_not_clipped_to_white():
    levels = np.linspace(0, 65535, 60).astype(np.uint16)[None].repeat(40, 0)
    expected = (levels >> 8).astype(np.uint8)[..., None].repeat(3, 2)
    for file_format in ("PNG", "TIFF", "PPM", "JPEG2000"):
        assert difference(decoded(encoded(levels, file_format)), expected) <= 1, file_format


def test_floating_point_grey_goes_from_its_least_to_its_largest():
    levels = np.linspace(-3, 0.5, 60, dtype=np.float32)[None].repeat(40, 0)
    levels[0, 0] = np.nan
    pixels = decoded(encoded(levels, "TIFF"))
    assert (pixels[-1, 0].max(), pixels[-1, -1].min()) == (0, 255)
    assert (np.diff(pixels[-1, :, 0].astype(int)) > 0).all()
    assert (decoded(encoded(np.full((40, 60), 7, np.float32), "TIFF")) == 0).all()


@pytest.mark.parametrize("name", ["tiff_16bit_RGB", "tiff_16bit_RGBa"])
def test_a_sixteen_bit_colour_tiff_looks_like_its_eight_bit_twin(shared_data, name):
    pixels = [
        decoded((shared_data / "odd_images" / file).read_bytes(), (60, 80))
        for file in (f"{name}.tiff", f"{name}_target.png")
    ]
    assert difference(*pixels) < 1
    assert pixels[0].std() > 10


@pytest.mark.parametrize("name", ["16bit.cropped.tif", "16bit.MM.deflate.tif", "16bit.r.tif", "16bit.cropped.jp2"])
def test_a_dark_sixteen_bit_file_stays_dark_in_either_byte_order(shared_data, name):
    pixels = decoded((shared_data / "odd_images" / name).read_bytes())
    assert (pixels.min(), pixels.max()) == (291 >> 8, 694 >> 8)  # as Pillow's tests say of the file


def test_samples_of_twelve_bit_use_all_eight():
    samples = [0, 4095] * 1200
    data = int("".join(f"{sample:012b}" for sample in samples), 2).to_bytes(3600, "big")
    tags = {256: 60, 257: 40, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 40, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    tiff = b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert decoded(tiff)[0, :4, 0].tolist() == [0, 255, 0, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB with a colour", "L with a level", "P with levels"])
@pytest.mark.parametrize("background", [WHITE, (10, 200, 30)])
def test_transparency_lies_over_the_background(mode, background):
    picture = Pillow.new("RGBA", (60, 40), (255, 255, 255, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 30, 40))
    options: dict = {}
    if mode == "P":
        picture = picture.quantize(2)
        options["transparency"] = picture.getpixel((59, 0))
    elif mode == "P with levels":
        picture = picture.quantize(2)
        options["transparency"] = bytes(0 if n == picture.getpixel((59, 0)) else 255 for n in range(2))
    elif mode == "RGB with a colour":
        picture = picture.convert("RGB")
        options["transparency"] = (255, 255, 255)
    elif mode == "L with a level":
        picture = picture.convert("L")
        options["transparency"] = 255
    else:
        picture = picture.convert(mode)
    pixels = decoded(encoded(picture, **options), background=background)
    assert pixels[20, 5].tolist() == [0, 0, 0]
    assert pixels[20, 55].tolist() == list(background)


def test_half_transparency_mixes_with_the_background():
    picture = Pillow.new("RGBA", (60, 40), (0, 0, 0, 128))
    assert difference(decoded(encoded(picture), background=(200, 100, 0)), (100, 50, 0)) < 1


def test_the_hidden_colour_of_transparent_parts_does_not_bleed_at_the_edge():
    picture = Pillow.new("RGBA", (600, 400), (255, 0, 0, 0))
    picture.paste((255, 255, 255, 255), (0, 0, 301, 400))
    assert (decoded(encoded(picture)) == 255).all()


def test_of_several_frames_the_first_is_taken():
    frames = [Pillow.new("RGB", (60, 40), colour) for colour in (BLUE, RED, GREEN)]
    for file_format in ("GIF", "TIFF", "WEBP", "PNG"):
        data = encoded(
            frames[0],
            file_format,
            save_all=True,
            append_images=frames[1:],
            **({"lossless": True} if file_format == "WEBP" else {}),
        )
        assert difference(decoded(data), BLUE) < 2, file_format


# Orientation

TURNS = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels.transpose(1, 0, 2)[::-1],
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels.transpose(1, 0, 2)[:, ::-1],
}
"""How a camera that was held so stores what it sees."""


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("orientation", TURNS)
def test_a_picture_is_turned_upright_whichever_way_the_camera_was_held(orientation, resize, file_format):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    upright = QUADRANTS.repeat(6, 0).repeat(6, 1)  # large enough for JPEG to be scaled while it is decoded
    data = encoded(np.ascontiguousarray(TURNS[orientation](upright)), file_format, exif=exif.tobytes())
    assert difference(decoded(data, resize=resize), QUADRANTS) < 4


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(64, 64), (40, 80), (80, 40)])
@pytest.mark.parametrize(
    ("upright", "turned"),
    [
        ("hopper.jpg", "hopper_orientation_{}.jpg"),
        ("hopper.webp", "hopper_orientation_{}.webp"),
        ("g4_orientation_1.tif", "g4_orientation_{}.tif"),
    ],
)
def test_the_same_picture_stored_in_eight_ways_comes_out_the_same_way_up(shared_data, upright, turned, size, resize):
    folder = shared_data / "odd_images"
    expected = decoded((folder / upright).read_bytes(), size, resize=resize)
    wrong = min(difference(expected, turn) for turn in (expected[::-1], expected[:, ::-1], expected[::-1, ::-1]))
    for orientation in range(2, 9):
        pixels = decoded((folder / turned.format(orientation)).read_bytes(), size, resize=resize)
        assert difference(pixels, expected) < min(4, wrong / 2)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_changes_nothing(orientation):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    assert difference(decoded(encoded(QUADRANTS, exif=exif.tobytes())), QUADRANTS) == 0


def test_damaged_metadata_cost_the_orientation_and_not_the_picture():
    assert difference(decoded(encoded(QUADRANTS, "JPEG", quality=95, exif=b"Exif\0\0garbage, not TIFF")), QUADRANTS) < 6


# Sizes


def test_the_size_is_height_then_width():
    field = Image(size=(10, 30))
    assert field.spec(Fitted()) == {"pixels": TensorSpec((10, 30, 3), "uint8")}
    assert field.decode(encoded(QUADRANTS))["pixels"].shape == (10, 30, 3)


def test_a_picture_of_the_size_that_is_asked_for_is_untouched():
    for resize in ("crop", "pad", "stretch"):
        assert (decoded(encoded(QUADRANTS), resize=resize) == QUADRANTS).all()


def test_crop_fills_the_size_and_cuts_evenly_on_both_sides():
    wide = np.concatenate([np.full((40, 20, 3), RED), np.full((40, 40, 3), WHITE), np.full((40, 20, 3), BLUE)], 1)
    data = encoded(wide.astype(np.uint8))
    assert (decoded(data, (40, 40), resize="crop") == 255).all()
    assert (decoded(data, (10, 10), resize="crop")[:, 1:-1] == 255).all()
    high = encoded(np.ascontiguousarray(wide.transpose(1, 0, 2)).astype(np.uint8))
    assert (decoded(high, (40, 40), resize="crop") == 255).all()


def test_pad_shows_the_whole_picture_in_the_middle_of_the_background():
    pixels = decoded(encoded(np.full((20, 60, 3), RED, np.uint8)), (60, 60), resize="pad", background=(0, 0, 9))
    assert (pixels[20:40] == RED).all()
    assert (pixels[:20] == (0, 0, 9)).all()
    assert (pixels[40:] == (0, 0, 9)).all()
    pixels = decoded(encoded(np.full((200, 100, 3), RED, np.uint8)), (40, 60), resize="pad", background=(0, 0, 9))
    assert (pixels[:, 20:40] == RED).all()
    assert (pixels[:, :20] == (0, 0, 9)).all()
    assert (pixels[:, 40:] == (0, 0, 9)).all()


def test_stretch_ignores_the_proportions():
    pixels = decoded(encoded(QUADRANTS), (60, 20), resize="stretch")
    assert [pixels[5, 2].tolist(), pixels[5, 17].tolist(), pixels[55, 2].tolist(), pixels[55, 17].tolist()] == [
        list(colour) for colour in (RED, GREEN, BLUE, BLACK)
    ]


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
def test_shrinking_is_antialiased(resize):
    board = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)
    pixels = decoded(encoded(board), (32, 32), resize=resize).astype(int)
    assert np.abs(pixels - 127).max() < 12


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("found", [(1, 1), (1, 3000), (3000, 1), (3, 2), (47, 1000), (640, 480)])
@pytest.mark.parametrize("wanted", [(1, 1), (24, 32), (3, 200)])
def test_a_picture_of_any_proportions_fits_any_size(found, wanted, resize):
    pixels = np.full((*found, 3), 100, np.uint8)
    assert (decoded(encoded(pixels), wanted, resize=resize, background=(100, 100, 100)) == 100).all()


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(48, 48), (24, 96), (96, 24)])
def test_a_jpeg_that_is_scaled_while_it_is_decoded_looks_like_one_that_is_not(shared_data, size, resize):
    data = (shared_data / "odd_images/flower.jpg").read_bytes()
    scaled = decoded(data, size, resize=resize)
    whole = decoded(encoded(Pillow.open(io.BytesIO(data)).convert("RGB")), size, resize=resize)
    assert difference(scaled, whole) < 2.5


def test_a_jpeg_is_decoded_no_larger_than_needed(monkeypatch):
    seen = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", _noting_size(seen))
    decoded(encoded(SHADES.repeat(20, 0).repeat(20, 1), "JPEG"), (40, 60))
    assert min(seen) == (150, 100)


def _noting_size(seen: list):
    from PIL import ImageFile

    load = ImageFile.ImageFile.load

    def noting(picture):
        seen.append(picture.size)
        return load(picture)

    return noting


# What is refused


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\0", "no picture of a format that is read begins with b'\\x00'"),
        (
            b"<!DOCTYPE html><html>Not found</html>",
            "no picture of a format that is read begins with b'<!DOCTYPE html><'",
        ),
        (b"\x89PNG\r\n\x1a\n", "no picture|is broken"),
        (b"GIF89a", "no picture|is broken"),
        (encoded(SHADES)[:80], "the picture is broken"),
        (encoded(SHADES, "JPEG")[:700], "the picture is broken: image file is truncated"),
        (encoded(SHADES, "WEBP")[:60], "no picture|is broken"),
        (encoded(SHADES, "TIFF")[:400], "no picture|is broken"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n", "no picture of a format"),
    ],
    ids=lambda value: None if isinstance(value, str) else value[:10].hex(),
)
def test_bytes_that_are_no_whole_picture_are_refused_with_the_reason(data, message):
    with pytest.raises(ValueError, match=message.replace("\\x00", r"\\x00")):
        Image(size=(8, 8)).decode(data)


def test_a_value_that_is_not_bytes_is_refused_with_its_type():
    with pytest.raises(TypeError, match="expected the bytes of a picture; found str"):
        Image(size=(8, 8)).decode("cat.png")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIF", "JPEG2000"])
def test_a_picture_cut_off_anywhere_is_refused_with_the_reason_or_whole(file_format):
    data = encoded(QUADRANTS, file_format)
    for end in range(0, len(data), len(data) // 40 + 1):
        found = result_of(Image(size=(8, 8)), data[:end])
        assert not isinstance(found, str) or found.startswith(("the file is empty", "the picture is", "no picture of"))


def test_too_many_pixels_are_refused_by_the_header_alone():
    field = Image(size=(8, 8), max_pixels=10_000)
    assert field.decode(encoded(np.zeros((100, 100, 3), np.uint8)))["pixels"].shape == (8, 8, 3)
    with pytest.raises(ValueError, match="101 x 100 pixels are more than max_pixels = 10,000"):
        field.decode(png_of(101, 100))
    with pytest.raises(ValueError, match="10000 x 10001 pixels are more than max_pixels = 100,000,000"):
        Image(size=(8, 8)).decode(png_of(10_000, 10_001))
    with pytest.raises(ValueError, match=r"2000000000 pixels.*decompression bomb"):
        Image(size=(8, 8)).decode(png_of(100_000, 20_000))
    with pytest.raises(ValueError, match="the picture is broken"):  # the limit lets it pass, and it has no pixels
        field.decode(png_of(100, 100))


def test_the_picture_within_an_icon_counts_and_not_what_the_icon_says():
    inner = encoded(np.zeros((400, 400), np.uint8))
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    with pytest.raises(ValueError, match="400 x 400 pixels are more than max_pixels"):
        Image(size=(8, 8), max_pixels=10_000).decode(icon)


def test_no_other_program_is_called_for_a_picture_within_a_picture(monkeypatch):
    called = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args: called.append(args))
    inner = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"

    def entry(group: int, number: int, data: bytes) -> bytes:
        return struct.pack(">BBBH", 0x1C, group, number, len(data)) + data

    head = entry(3, 20, b"\0\x0a") + entry(3, 30, b"\0\x0a") + entry(3, 60, b"\1\0") + entry(3, 120, b"\5")
    with pytest.raises(ValueError, match=r"no picture|is broken"):
        Image(size=(8, 8)).decode(head + entry(8, 10, inner) + bytes(5))
    assert not called


def test_the_largest_file_is_what_max_bytes_says():
    assert Image(size=(8, 8)).max_bytes == 64 * 1024 * 1024
    assert Image(size=(8, 8), max_bytes=1000).max_bytes == 1000


# Files from the wild


def test_every_odd_file_gives_pixels_or_an_error_that_can_be_read_also_in_threads(shared_data):
    field = Image(size=(24, 32))
    paths = sorted(path for path in (shared_data / "odd_images").rglob("*") if path.is_file())
    alone = [result_of(field, path.read_bytes()) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda path: result_of(field, path.read_bytes()), paths))
    for path, one, other in zip(paths, alone, together, strict=True):
        if isinstance(one, str):
            assert one == other, path
            known = ("the picture is broken: ", "no picture of a format that is read begins with")
            assert one.startswith(known) or "pixels are more than max_pixels" in one
            assert "0x7f" not in one.split("begins with")[0], path
        else:
            assert (one.dtype, one.shape) == (np.uint8, (24, 32, 3)), path
            assert (one == other).all(), path
    pictures = sum(not isinstance(one, str) for one in alone)
    assert len(paths) > 200
    assert pictures > 0.8 * len(paths)


def test_nothing_is_printed_about_bad_files(shared_data):
    script = (
        "import sys, pathlib\n"
        "from mmstream_image.field import Image\n"
        "field = Image(size=(8, 8))\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).rglob('*')):\n"
        "    try:\n"
        "        path.is_file() and field.decode(path.read_bytes())\n"
        "    except ValueError:\n"
        "        pass\n"
    )
    command = [sys.executable, "-c", script, str(shared_data / "odd_images")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


# Augmentation


def augmented(field: Image, pixels: np.ndarray, *seeds: int) -> list[np.ndarray]:
    import tensorflow as tf

    tensors = {"pixels": tf.constant(pixels)}
    found = [field.augment(tensors, tf.constant([seed, 1], tf.int32)) for seed in seeds]
    assert all(set(one) == {"pixels"} for one in found)
    return [one["pixels"].numpy() for one in found]


def test_augmentation_keeps_the_shape_and_follows_the_seed():
    one, same, *others = augmented(Image(size=(40, 60)), SHADES, 1, 1, 2, 3, 4)
    assert (one.dtype, one.shape) == (SHADES.dtype, SHADES.shape)
    assert (one == same).all()
    assert all((one != other).any() for other in others)
    assert difference(one, SHADES) < 80  # it is still the same picture


def test_augmentation_does_only_what_is_on():
    seeds = range(16)
    assert all((one == SHADES).all() for one in augmented(Image(size=(40, 60), augment=()), SHADES, *seeds))
    flipped = augmented(Image(size=(40, 60), augment=("flip",)), SHADES, *seeds)
    assert {(one == SHADES).all() or (one == SHADES[:, ::-1]).all() for one in flipped} == {True}
    assert {bool((one == SHADES).all()) for one in flipped} == {True, False}
    bright = augmented(
        Image(size=(40, 60), augment=({"brightness": 0.5},)), np.full((40, 60, 3), 200, np.uint8), *seeds
    )
    levels = [int(one[0, 0, 0]) for one in bright]
    assert all((one == level).all() for one, level in zip(bright, levels, strict=True))
    assert 100 <= min(levels) < 200 < max(levels) <= 255
    cropped = augmented(Image(size=(40, 60), augment=({"crop": 0.3},)), SHADES, *seeds)
    assert all(one.min() >= SHADES.min() and one.max() <= SHADES.max() for one in cropped)
    assert all((one != SHADES).any() for one in cropped)


def test_a_turned_picture_shows_the_background_at_its_corners():
    field = Image(size=(40, 60), augment=({"rotate": 180.0},), background=(1, 2, 3))
    turned = augmented(field, np.full((40, 60, 3), 200, np.uint8), *range(16))
    assert all((one[20, 30] == 200).all() for one in turned)
    assert any((one[0, 0] == (1, 2, 3)).all() for one in turned)


def test_zoom_moves_nothing_at_the_centre_and_colour_keeps_grey_grey():
    middle = np.zeros((41, 61, 3), np.uint8)
    middle[18:23, 28:33] = 250
    zoomed = augmented(Image(size=(41, 61), augment=({"zoom": 0.3},)), middle, *range(8))
    assert all(one[20, 30].min() > 240 for one in zoomed)
    assert len({int(one.astype(int).sum()) for one in zoomed}) > 1
    grey = np.random.default_rng(1).integers(50, 200, (40, 60, 1)).astype(np.uint8).repeat(3, axis=2)
    coloured = augmented(Image(size=(40, 60), augment=("colour",)), grey, *range(8))
    assert all((one == one[..., :1]).all() for one in coloured)
    assert any((one != grey).any() for one in coloured)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ([{"crop": 1.0}], "crop needs an amount above 0 and up to 1; found 1"),
        ([{"rotate": 0}], "rotate needs an amount above 0 and up to 180; found 0"),
        ([{"flip": 0.5}], "flip takes no amount"),
        ([{"crop": 0.1, "zoom": 0.1}], "expected one name and its amount"),
    ],
)
def test_an_augmentation_with_a_wrong_amount_is_refused(augment, message):
    with pytest.raises(ValueError, match=message):
        Image(size=(40, 60), augment=augment)


def animation(*colours, file_format):
    frames = [Pillow.new("RGB", (8, 8), colour) for colour in colours]
    out = io.BytesIO()
    frames[0].save(out, file_format, save_all=True, append_images=frames[1:])
    return out.getvalue()


@pytest.mark.parametrize("file_format", ["GIF", "TIFF", "PNG", "WEBP"])
def test_of_several_frames_one_is_taken(file_format):
    data = animation("red", "blue", file_format=file_format)
    assert decoded(data, (8, 8))[4, 4].argmax() == 0
    assert decoded(data, (8, 8), frame=1)[4, 4].argmax() == 2
    with pytest.raises(ValueError, match="there is no frame 2; the picture has 2, numbered from 0"):
        decoded(data, (8, 8), frame=2)


def test_a_file_of_one_frame_has_no_second():
    with pytest.raises(ValueError, match="there is no frame 1"):
        decoded(encoded(Pillow.new("RGB", (8, 8)), "JPEG"), (8, 8), frame=1)
