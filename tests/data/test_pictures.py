"""Pictures of every kind and number of channels, decoded to eight bits and brought to a size."""

import io
import os
import re
import subprocess
import sys
import zlib

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from gca_jax.data import pictures
from tests.data.prepared import npy, tiff


def png(array, mode=None, **options):
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray(array)
    (picture if mode is None else picture.convert(mode)).save(buffer, "png", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled(channels):
    grey = np.linspace(0, 2**16 - 1, 12).astype(np.uint16).reshape(3, 4)
    found = pictures.pixels(png(grey), channels)
    assert found.shape == (3, 4, channels)
    np.testing.assert_allclose(found, np.repeat(grey[..., None] / 257, channels, 2), atol=0.51)


def test_what_is_transparent_is_laid_on_white():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, [[0, 51], [255, 255]]
    opacity = rgba[..., 3:] / 255
    want = rgba[..., :3] * opacity + 255 * (1 - opacity)
    np.testing.assert_allclose(pictures.pixels(png(rgba), 3), want, atol=1)
    grey = np.array([[[90, 0], [90, 255]]], np.uint8)
    np.testing.assert_array_equal(pictures.pixels(png(grey), 1)[..., 0], [[255, 90]])
    # One colour of a picture without an alpha channel may be transparent too.
    rgb = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    found = pictures.pixels(png(rgb, transparency=(1, 2, 3)), 3)
    np.testing.assert_array_equal(found, [[[255, 255, 255], [4, 5, 6]]])


@pytest.fixture
def five():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 5), dtype=np.uint8)


def test_one_picture_in_every_form(five):
    pages = np.moveaxis(five, 2, 0)
    wide = five.astype(np.uint16) * 257
    forms = [npy(five), npy(pages), npy(five / 255), npy(wide), tiff(*pages)]
    forms.append(tiff(*np.moveaxis(wide, 2, 0)))
    for encoded in forms:
        np.testing.assert_array_equal(pictures.pixels(encoded, 5), five)


def test_four_bands_are_taken_as_they_are():
    """And not laid on white, as a picture with transparency is."""
    rgba = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    np.testing.assert_array_equal(pictures.pixels(tiff(rgba), 4), rgba)
    np.testing.assert_array_equal(pictures.pixels(npy(rgba[..., :3]), 3), rgba[..., :3])


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (npy(np.zeros((6, 8, 4), np.uint8)), "is [6, 8, 4], not [h, w, 5] as data.channels has it"),
        (npy(np.zeros((6, 8, 5), np.int64)), "is of int64, not of uint8, uint16 or floats"),
        (npy(np.full((6, 8, 5), 2.0)), "has floats from 2 to 2, they must lie in [0, 1]"),
        (npy(np.full((6, 8, 5), np.nan)), "they must lie in [0, 1]"),
        (npy(np.array([{}], object)), "pickle"),
        (npy(np.zeros((6, 8, 5), np.uint8))[:-9], "expected 240 bytes got 231"),
        (pictures.ARRAY, "EOF"),
        (b"no picture", "is no picture that Pillow reads: save it as .npy [h, w, c]"),
        (tiff(*[np.zeros((4, 4), np.uint8)] * 2), "has 2 pages, not 5 as data.channels has it"),
        (tiff(*(np.zeros((4, 4 + k // 4), np.uint8) for k in range(5))), "5 pages, which are not"),
        (npy(np.zeros((6, 6, 5), np.uint8)).replace(b"5), }", b"5(, }"), "is no picture"),
        (npy(np.zeros((6, 6, 5), np.uint8)).replace(b"(6, 6", b"((((" * 90), "is no picture"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(encoded, message):
    with pytest.raises(OSError, match=re.escape(message)) as caught:
        pictures.pixels(encoded, 5)
    assert "\n" not in str(caught.value).strip()


def test_each_channel_is_resized_as_a_grey_picture(five):
    found = pictures.resize(five, 3, 4)
    for k in range(5):
        plane = PIL.Image.fromarray(five[..., k]).resize((3, 4), PIL.Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(found[..., k], plane)


def saved(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def blocks(height, width, block=8, seed=0):
    """Random colours in blocks, which every codec keeps."""
    return np.kron(
        np.random.default_rng(seed).integers(
            0, 256, (height // block, width // block, 3), np.uint8
        ),
        np.ones((block, block, 1), np.uint8),
    )


def test_every_suffix_of_pillow_is_read_or_named():
    known = PIL.Image.registered_extensions()
    assert not pictures.UNREAD - {*PIL.Image.OPEN}
    assert not {*pictures.suffixes()} - known.keys()
    rest = {known[suffix] for suffix in known.keys() - {*pictures.suffixes()}}
    assert rest == pictures.UNREAD | {"PALM", "PDF"}  # these two Pillow only writes
    cameras = {".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".ppm"}
    assert cameras | {".avif", ".pgm", ".pbm", ".jp2", ".tga", ".mpo"} < {*pictures.suffixes()}


@pytest.mark.parametrize(
    "kind", ["png", "webp", "bmp", "gif", "ppm", "tiff", "jpeg2000", "tga", "avif", "jpeg"]
)
def test_every_format_gives_its_pixels(kind):
    image = blocks(16, 24)
    found = pictures.pixels(saved(PIL.Image.fromarray(image), kind, **LOSSLESS.get(kind, {})), 3)
    atol = {"jpeg": 4, "avif": 4}.get(kind, 0)
    np.testing.assert_allclose(found.astype(int), image, atol=atol)


LOSSLESS = {
    "webp": {"lossless": True},
    "jpeg": {"quality": 100, "subsampling": 0},
    "avif": {"quality": 100, "subsampling": "4:4:4"},
}


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "avif"])
def test_a_picture_is_upright_whatever_way_it_is_stored(kind, turn):
    """EXIF 2.3's orientation: which side of what is shown is row 0 and column 0 of the file."""
    shown = blocks(16, 24)
    row, column = "TTBBLRRL"[turn - 1], "LRRLTTBB"[turn - 1]
    stored = shown if turn < 5 else np.moveaxis(shown, 0, 1)
    stored = stored[::-1] if row in "BR" else stored
    stored = stored[:, ::-1] if column in "BR" else stored
    exif = PIL.Image.Exif()
    exif[0x0112] = turn
    encoded = saved(PIL.Image.fromarray(stored), kind, exif=exif, **LOSSLESS.get(kind, {}))
    atol = {"jpeg": 4, "avif": 4}.get(kind, 0)
    np.testing.assert_allclose(pictures.pixels(encoded, 3).astype(int), shown, atol=atol)
    if kind == "tiff":  # bands are turned too
        found = pictures.pixels(tiff_of_four(stored, exif), 4)
        np.testing.assert_array_equal(found[..., :3], shown)


def tiff_of_four(image, exif):
    whole = np.concatenate([image, image[..., :1]], axis=2)
    return saved(PIL.Image.fromarray(whole), "tiff", exif=exif)


def test_a_damaged_exif_hides_no_picture():
    image = blocks(16, 24)
    for exif in (b"Exif\0\0MM\0", b"Exif\0\0nonsense", b"\xff" * 40):
        encoded = saved(PIL.Image.fromarray(image), "png", exif=exif)
        np.testing.assert_array_equal(pictures.pixels(encoded, 3), image)


X = np.linspace(0, 1, 64).reshape(8, 8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.rint(X * 65535).astype(np.uint16), X * 255),
        (X.astype(np.float32), X * 255),
        (X > 0.5, (X > 0.5) * 255),
        ((X * 1e6).astype(np.int32), "is of int32, not of uint8, uint16 or floats in [0, 1]"),
        ((X * 4000 - 1000).astype(np.int32), "is of int32, not of"),
        ((X * 5000).astype(np.float32), "has floats from 0 to 5000, they must lie in [0, 1]"),
        (X.astype(np.float32) - 1, "has floats from -1 to 0, they must lie in [0, 1]"),
        (np.where(X < 0.5, np.nan, X).astype(np.float32), "has floats from nan to nan"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_goes_by_its_depth(values, expected, channels):
    encoded = saved(PIL.Image.fromarray(values), "tiff")
    if isinstance(expected, str):
        with pytest.raises(OSError, match=re.escape(expected)):
            pictures.pixels(encoded, channels)
    else:
        found = pictures.pixels(encoded, channels)
        np.testing.assert_allclose(found, np.repeat(expected[..., None], channels, 2), atol=0.51)


@pytest.mark.parametrize("top", [4095, 65535])
def test_a_pgm_of_more_than_eight_bits_has_its_own_white(top):
    values = np.rint(X * top).astype(">u2")
    encoded = b"P5 8 8 %d\n" % top + values.tobytes()
    np.testing.assert_allclose(pictures.pixels(encoded, 1)[..., 0], X * 255, atol=0.52)


def test_a_look_has_levels_and_pages():
    pages = [PIL.Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (9, 40, 70)]
    stack = saved(pages[0], "tiff", save_all=True, append_images=pages[1:])
    assert pictures.look(stack, pictures.pixels(stack, 1))[:3] == (9, 9, 3)
    assert pictures.look(stack, pictures.pixels(stack, 3)).pages == 3
    at = stack.rfind(b"\x00\x01\x04\x00")  # the width in the last page's directory
    damaged = stack[:at] + b"\x00\x09" + stack[at + 2 :]
    assert pictures.look(damaged, pictures.pixels(damaged, 1))[:3] == (9, 9, 1)
    alone = png(np.arange(5, 69, dtype=np.uint8).reshape(8, 8))
    assert pictures.look(alone, pictures.pixels(alone, 1))[:3] == (5, 68, 1)
    stack = saved(pages[0], "tiff", save_all=True, append_images=[*pages, pages[0]])
    assert pictures.look(stack, pictures.pixels(stack, 5)).pages == 1  # they are the channels


@pytest.mark.parametrize(("kind", "mode"), [("jpeg", "RGB"), ("png", "RGB"), ("png", "P")])
def test_a_large_picture_is_decoded_reduced_and_looks_the_same(kind, mode, monkeypatch):
    monkeypatch.setattr(pictures, "LARGE", 400 * 300)
    smooth = PIL.Image.fromarray(blocks(12, 16, 1)).resize((1024, 768), pictures.BILINEAR)
    encoded = saved(smooth.convert(mode), kind)
    whole = pictures.pixels(encoded, 3)
    for side, shape in ((8, (96, 128)), (32, (128, 171)), (48, (192, 256)), (200, (768, 1024))):
        found = pictures.pixels(encoded, 3, side)
        assert min(found.shape[:2]) >= min(pictures.GAP * side, 768)
        if kind == "png":
            assert found.shape == (*shape, 3)
        one, other = (pictures.centre(x, side, side).astype(int) for x in (whole, found))
        assert np.abs(one - other).mean() < 1
    np.testing.assert_array_equal(pictures.pixels(encoded, 3, 200), whole)


PEAKS = """
import os, resource, sys
from gca_jax.data import pictures

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

pictures.pixels(open(sys.argv[1], "rb").read(), 1)  # what is loaded once
for name in sys.argv[2:]:
    encoded = open(name, "rb").read()
    if os.fork() == 0:
        before = peak()
        try:
            said = pictures.pixels(encoded, 8 if name.endswith(".tif") else 3, 32).shape
        except OSError as error:
            said = error
        print(f"{peak() - before:.0f} MiB {said}", flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
def test_memory_follows_the_file_and_not_what_it_claims(tmp_path):
    """Seen at 32 pixels. Pillow takes 192 MiB for 50 megapixels, and 92 for the PNG's 24."""
    one = PIL.Image.fromarray(blocks(768, 1024, 64)).resize((8192, 6144), pictures.BILINEAR)
    small = PIL.Image.fromarray(blocks(64, 64))
    white = PIL.Image.new("L", (3000, 3000), "white")
    claim = b"IHDR" + (12900).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    body = b"IDAT" + zlib.compress(bytes(12900 * 12901), 1)
    chunks = [
        (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        for chunk in (claim, body, b"IEND")
    ]
    files = {
        "0.png": saved(small, "png"),
        "1.jpg": saved(one, "jpeg"),
        "2.png": saved(one.resize((6000, 4000)), "png", compress_level=1),
        "3.png": b"\x89PNG\r\n\x1a\n" + b"".join(chunks),
        "4.tif": saved(
            white,
            "tiff",
            save_all=True,
            append_images=[white] * 7,
            compression="tiff_adobe_deflate",
        ),
    }
    for name, encoded in files.items():
        (tmp_path / name).write_bytes(encoded)
    code = [sys.executable, "-c", PEAKS, *(str(tmp_path / name) for name in files)]
    out = subprocess.run(code, capture_output=True, text=True, check=True, env=os.environ).stdout
    jpeg, large, bomb, stack = out.splitlines()
    assert jpeg.endswith("MiB (768, 1024, 3)")
    assert int(jpeg.split()[0]) < 24
    assert large.endswith("MiB (500, 750, 3)")
    assert int(large.split()[0]) < 92 + 24
    assert f"claims {12900**2} pixels in {len(files['3.png'])} bytes, which is no picture" in bomb
    assert f"claims {8 * 3000**2} pixels in {len(files['4.tif'])} bytes, which" in stack
    assert max(int(line.split()[0]) for line in (bomb, stack)) < 8
