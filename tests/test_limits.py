"""Small files that ask for gigabytes are refused, by every reader, before any memory is taken."""

import os
import struct
import zlib

import pytest

from sresnet.data.folder import read_image
from sresnet.errors import UserError
from sresnet.limits import check_claim
from tests.bounded import outcomes

Image = pytest.importorskip("PIL.Image")


def test_a_claim_is_compared_with_the_limit_and_with_the_length():
    check_claim("f", "x", 1_000_000_000, 0, 1.0)
    check_claim("f", "x", 64_000_000_000, 2_000_000_000, 1.0)
    check_claim("f", "x", 64_000_000_001, 2_000_000_000, 65)
    check_claim("f", "x", 10**30, 10, float("inf"))
    with pytest.raises(UserError, match=r"f claims 1.0 GB of memory for x, more than 32 times its 31,249,999 bytes"):
        check_claim("f", "x", 1_000_000_001, 31_249_999, 1.0)
    with pytest.raises(UserError, match="raise --memory-limit"):
        check_claim("f", "x", 64_000_000_001, 2_000_000_000, 1.0)
    for nonsense in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="is no limit: give gigabytes"):
            check_claim("f", "x", 1, 1, nonsense)


def png(width, height):
    """A whole picture of one bit a pixel, all black."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress(bytes((1 + -(-width // 8)) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def strip_of(path):
    return read_image(path, (32, 32)).float().mean().item()


def refused(case, argument, *words):
    """The case is refused, in these words, by a process that could not have taken the memory."""
    ((kind, text),) = outcomes(case, [argument])
    assert kind == "refused", text
    assert all(word in text for word in words), text
    assert "raise --memory-limit" in text


def fits(case, argument):
    ((kind, text),) = outcomes(case, [argument])
    assert kind == "valid", text
    return text


@pytest.mark.parametrize("size", [(1, 1_000_000), (1_000_000, 1)])
def test_a_strip_is_cut_before_it_is_scaled(tmp_path, size):
    (tmp_path / "strip.png").write_bytes(png(*size))
    assert (tmp_path / "strip.png").stat().st_size < 130_000
    assert fits(strip_of, tmp_path / "strip.png") == "0.0"
    # What is left is the middle.
    pixels = Image.new("RGB", (3, 1001))
    pixels.paste((255, 255, 255), (0, 499, 3, 502))
    pixels.rotate(0 if size[0] == 1 else 90, expand=True).save(tmp_path / "middle.png")
    assert float(fits(strip_of, tmp_path / "middle.png")) > 230


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path):
    (tmp_path / "square.png").write_bytes(png(40_000, 40_000))
    refused(strip_of, tmp_path / "square.png", "claims 12.8 GB of memory for a picture of 40,000x40,000 pixels")


def test_the_limit_can_be_raised_beyond_that_of_pillow(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    (tmp_path / "small.png").write_bytes(png(400, 400))
    assert read_image(tmp_path / "small.png", (8, 8)).shape == (3, 8, 8)
    assert Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(UserError, match="claims 0.0 GB .* limit of 1e-06 GB"):
        read_image(tmp_path / "small.png", (8, 8), memory_limit=1e-6)


def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="no file that can be read to its end"):
        read_image(tmp_path / "pipe.png", (8, 8))
    with pytest.raises(UserError, match="does not exist"):
        read_image(tmp_path / "none.png", (8, 8))
