"""pixels.py: any picture file becomes upright RGB of the wanted size; expected pixels are computed with numpy."""

from __future__ import annotations

import random
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from trainer import pixels
from trainer.errors import DataError
from trainer.pixels import Fit, fitted, flatten, header_size, open_rgb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

# Stored pixels to pixels as seen, by EXIF orientation (EXIF 2.32, table 6: where row 0 and column 0 lie).
UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def blocks(side: int = 16) -> NDArray[np.uint8]:
    """A picture of 3 x 2 blocks of different colours, which no rotation or mirroring leaves alike."""
    corners = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 0], [0, 255, 255], [0, 0, 0]]], np.uint8)
    return corners.repeat(side, 0).repeat(side, 1)


def pixel(picture: Image.Image) -> tuple[int, ...]:
    return tuple(np.array(picture)[0, 0])


def turned(path: Path, orientation: int, **options: Any) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(blocks()).save(path, exif=exif, **options)
    return path


def test_the_usual_picture_files_are_supported() -> None:
    assert {".png", ".jpg", ".jpeg", ".webp", ".bmp"} <= set(pixels.supported_suffixes())
    assert set(pixels.SUFFIXES) - set(pixels.supported_suffixes()) <= {".avif", ".jxl"}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif"])
def test_a_rotated_picture_is_seen_upright(suffix: str, orientation: int, tmp_path: Path) -> None:
    if suffix not in pixels.supported_suffixes():
        pytest.skip(f"this Pillow has no {suffix}")
    path = turned(tmp_path / f"a{suffix}", orientation, quality=95)
    expected = UPRIGHT[orientation](blocks()).astype(int)
    assert header_size(path) == (expected.shape[1], expected.shape[0])
    seen = open_rgb(path)
    assert seen.mode == "RGB" and seen.size == header_size(path)
    centres = np.s_[8::16, 8::16]
    worst = abs(np.array(seen).astype(int)[centres] - expected[centres]).max()
    assert worst <= (0 if suffix == ".png" else 50)


def test_an_orientation_that_does_not_exist_is_upright(tmp_path: Path) -> None:
    as_text = b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHI4sI", 1, 0x0112, 2, 2, b"6\x00\x00\x00", 0)
    paths = [turned(tmp_path / f"{orientation}.png", orientation) for orientation in (0, 9, 77)]
    Image.fromarray(blocks()).save(tmp_path / "text.png", exif=as_text)
    for path in (*paths, tmp_path / "text.png"):
        assert header_size(path) == (48, 32) and (np.array(open_rgb(path)) == blocks()).all()


def test_the_size_is_read_without_decoding_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan of thousands of pictures must take seconds."""
    for suffix in pixels.supported_suffixes():
        Image.fromarray(blocks()).save(tmp_path / f"a{suffix}")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail(f"decoded {self.format}"))
    for suffix in pixels.supported_suffixes():
        assert header_size(tmp_path / f"a{suffix}") == (48, 32)


def test_size_and_picture_agree_also_where_the_exif_data_comes_last(tmp_path: Path) -> None:
    """A PNG may carry eXIf after its pixels; then both readers must take it, or both must not."""
    raw = turned(tmp_path / "a.png", 6).read_bytes()
    start = raw.index(b"eXIf") - 4
    stop = start + 12 + int.from_bytes(raw[start : start + 4], "big")
    (tmp_path / "late.png").write_bytes(raw[:start] + raw[stop:-12] + raw[start:stop] + raw[-12:])
    assert open_rgb(tmp_path / "late.png").size == header_size(tmp_path / "late.png")


@pytest.mark.parametrize(
    ("mode", "value", "seen"),
    [
        ("RGBA", (10, 200, 30, 0), (0, 0, 255)),
        ("RGBA", (10, 200, 30, 255), (10, 200, 30)),
        ("RGBA", (100, 200, 50, 128), (50, 100, 152)),
        ("LA", (200, 0), (0, 0, 255)),
        ("LA", (200, 128), (100, 100, 227)),
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
        ("YCbCr", (255, 128, 128), (255, 255, 255)),
        ("HSV", (0, 255, 255), (255, 0, 0)),
        ("F", 77.0, (77, 77, 77)),
        ("I", 77, (77, 77, 77)),
        ("I", 65535, (255, 255, 255)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 0x8000, (127, 127, 127)),
        ("I;16", 200, (0, 0, 0)),  # nearly black, and not a grey of 200
    ],
)
def test_every_mode_becomes_rgb_on_the_background(mode: str, value: Any, seen: tuple[int, ...]) -> None:
    flat = flatten(Image.new(mode, (4, 4), value), "#0000ff")
    assert flat.mode == "RGB"
    assert max(abs(a - b) for a, b in zip(pixel(flat), seen, strict=True)) <= 1


def test_colour_hidden_under_transparency_does_not_show_in_any_mode() -> None:
    hidden = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    palette = Image.new("P", (4, 4), 3)
    palette.putpalette([255, 0, 0] * 8)
    palette.info["transparency"] = 3
    palette_bytes = palette.copy()
    palette_bytes.info["transparency"] = bytes([255, 255, 255, 0])
    keyed, grey = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("L", (4, 4), 9)
    keyed.info["transparency"], grey.info["transparency"] = (255, 0, 0), 9
    pa = palette.convert("PA")
    pa.putalpha(0)
    for picture in (hidden, hidden.convert("RGBa"), palette, palette_bytes, keyed, grey, pa):
        assert pixel(flatten(picture, "lime")) == (0, 255, 0), picture.mode
        assert pixel(flatten(picture, "#ffffff")) == (255, 255, 255), picture.mode


def test_transparency_survives_the_way_through_files(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (4, 0, 8, 8))
    picture.save(tmp_path / "rgba.png")
    picture.quantize(4).save(tmp_path / "palette.png")
    picture.save(tmp_path / "lossless.webp", lossless=True)
    for path in sorted(tmp_path.iterdir()):
        flat = np.array(open_rgb(path, "#00ff00"))
        assert tuple(flat[0, 0]) == (0, 255, 0) and tuple(flat[0, 7]) == (0, 0, 255), path.name


def test_the_background_may_be_any_colour_that_the_settings_take() -> None:
    for name, seen in (("white", 255), ("#000", 0), ("rgb(7,7,7)", 7), ("#07070780", 7)):
        assert pixel(flatten(Image.new("RGBA", (1, 1), (9, 9, 9, 0)), name)) == (seen, seen, seen)


def test_16_bit_grey_files_keep_their_brightness(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    for top in (65535, 250):
        values = (ramp.astype(np.uint32) * top // 65535).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / "a.png")
        seen = np.array(open_rgb(tmp_path / "a.png")).astype(int)
        assert abs(seen[:, :, 0] - values / 257).max() <= 1 and (seen == seen[:, :, :1]).all()


def test_files_of_other_kinds_are_read(tmp_path: Path) -> None:
    grey = Image.fromarray(blocks()).convert("L")
    for picture, name in (
        (Image.fromarray(blocks()).convert("CMYK"), "cmyk.jpg"), (grey, "grey.jpg"), (grey, "grey.png"),
        (Image.fromarray(blocks()).convert("P"), "palette.png"), (grey.convert("1"), "bits.png"),
        (Image.fromarray(blocks()), "plain.bmp"), (Image.fromarray(blocks()).convert("P"), "palette.bmp"),
    ):  # fmt: skip
        picture.save(tmp_path / name)
        expected = np.array(picture.convert("RGB")).astype(int)[8::16, 8::16]
        assert abs(np.array(open_rgb(tmp_path / name)).astype(int)[8::16, 8::16] - expected).max() < 20, name


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_a_file_that_is_cut_off_is_told_in_a_sentence(suffix: str, tmp_path: Path) -> None:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    noise.save(tmp_path / f"whole{suffix}")
    raw = (tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match=rf"cut\{suffix} cannot be read as a picture \(.+\)\.$") as caught:
        open_rgb(path)
    if suffix in (".png", ".jpg", ".bmp"):
        assert "(the file is cut off)" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"a fox, sitting", b"\x00" * 100, b"GIF"])
def test_a_file_that_is_no_picture_is_told_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    for read in (header_size, open_rgb):
        with pytest.raises(DataError, match=r"^a\.png cannot be read as a picture \([^\[\]]+\)\.$"):
            read(tmp_path / "a.png")


def test_a_missing_file_or_a_folder_is_told_in_a_sentence(tmp_path: Path) -> None:
    for read in (header_size, open_rgb):
        with pytest.raises(DataError, match=r"gone\.png cannot be read as a picture \(No such file or directory\)\.$"):
            read(tmp_path / "gone.png")
        with pytest.raises(DataError, match=r"cannot be read as a picture \(.+\)\.$"):
            read(tmp_path)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head)) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    idat = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + idat)
    for read in (header_size, open_rgb):
        with pytest.raises(DataError, match=r"bomb\.png cannot be read as a picture \(it has too many pixels\)"):
            read(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_damaged_files_give_pictures_or_sentences_and_nothing_else(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    raw, rng = turned(tmp_path / f"a{suffix}", 6).read_bytes(), random.Random(1)
    path, refused = tmp_path / f"b{suffix}", 0
    for _ in range(150):
        damaged = bytearray(raw)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(min(len(raw), 400))] = rng.randrange(256)
        path.write_bytes(damaged)
        for read in (header_size, open_rgb):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    read(path)
                except DataError:
                    refused += 1
    assert refused > 5


def test_a_picture_is_cropped_and_mirrored_to_the_pixel() -> None:
    picture = Image.fromarray(blocks(4))
    fit = Fit(size=(5, 3), resized=(12, 8), corner=(4, 2))
    cut = blocks(4)[2:5, 4:9]
    assert (np.array(fitted(picture, fit, mirrored=False)) == cut).all()
    assert (np.array(fitted(picture, fit, mirrored=True)) == cut[:, ::-1]).all()


def test_a_picture_is_scaled_before_it_is_cropped() -> None:
    cut = np.array(fitted(Image.fromarray(blocks(4)), Fit((16, 16), (48, 32), (32, 16)), mirrored=False)).astype(int)
    assert cut.shape == (16, 16, 3)
    assert abs(cut[8, 8] - [0, 0, 0]).max() < 10  # the last block of the lower row
    scaled = Image.fromarray(blocks(4)).resize((48, 32), Image.Resampling.LANCZOS)
    assert (cut == np.array(scaled)[16:32, 32:48]).all()


def test_a_plugin_for_jpeg_xl_is_taken_when_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugin_of_a_test.py").write_text('from PIL import Image\nImage.register_extension("PNG", ".jxl")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(pixels, "_PLUGIN", "plugin_of_a_test")
    pixels.supported_suffixes.cache_clear()
    try:
        assert ".jxl" in pixels.supported_suffixes()
    finally:
        Image.EXTENSION.pop(".jxl")
        pixels.supported_suffixes.cache_clear()
    monkeypatch.setattr(pixels, "_PLUGIN", "no_such_plugin")
    assert ".jxl" not in pixels.supported_suffixes()
    pixels.supported_suffixes.cache_clear()
