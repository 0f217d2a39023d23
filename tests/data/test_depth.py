"""Pictures with 16 bits for each channel: what is read of them, and how many of the bits count."""

import json
import struct
import zlib

import numpy as np
import pytest
import torch

from sresnet import load
from sresnet.cli import main
from sresnet.data.depth import _eight_bits, depth_of
from sresnet.data.folder import from_dataset, open_folder, picture_of, read_picture
from sresnet.errors import UserError
from sresnet.models import create_model

Image = pytest.importorskip("PIL.Image")


def values(*shape, most=4095, seed=0):
    """Random numbers from 0 to `most`, which is among them."""
    found = np.random.default_rng(seed).integers(0, most + 1, shape, dtype=np.uint16)
    found.flat[0] = most
    return found


def png(path, array, *, significant=None, kind=None):
    """Write a PNG of 16 bits for each channel, uint16 [H, W, C], each row less the one above it (filter 2)."""
    array = array[..., None] if array.ndim == 2 else array
    height, width, channels = array.shape
    rows = array.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))
    data = b"".join(b"\2" + row.tobytes() for row in filtered)

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    colours = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0))
        + (chunk(b"sBIT", bytes([significant] * channels)) if significant else b"")
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def pixels(path, bits=0):
    return read_picture(path, (6, 6), bits=bits).pixels


def shown(array, bits):
    """uint8 [3, H, W] of uint16 [H, W] or [H, W, C], by division."""
    colours = array[..., None] if array.ndim == 2 else array
    colours = colours[..., :1] if colours.shape[2] < 3 else colours[..., :3]
    found = np.minimum(np.floor(colours / 2 ** (bits - 8)), 255).astype(np.uint8)
    return torch.from_numpy(found).permute(2, 0, 1).expand(3, -1, -1)


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 2), (6, 6, 3), (6, 6, 4)])
@pytest.mark.parametrize(("most", "bits"), [(255, 8), (900, 10), (4095, 12), (16383, 14), (65535, 16)])
def test_png(tmp_path, shape, most, bits):
    array = values(*shape, most=most)
    png(tmp_path / "a.png", array)
    found = read_picture(tmp_path / "a.png", (6, 6))
    assert (found.depth, found.bits) == (bits, bits)
    assert torch.equal(found.pixels, shown(array, bits))
    assert torch.equal(pixels(tmp_path / "a.png", 16), shown(array, 16))


def test_what_pillow_writes(tmp_path):
    array = values(6, 6)
    for name, options in (
        ("a.png", {}),
        ("a.tif", {}),
        ("b.tif", {"compression": "tiff_lzw"}),
        ("c.tif", {"compression": "tiff_adobe_deflate"}),
    ):
        Image.fromarray(array).save(tmp_path / name, **options)
        assert torch.equal(pixels(tmp_path / name), shown(array, 12)), name
    full = values(6, 6, most=65535)
    Image.fromarray(full).save(tmp_path / "a.pgm")
    assert torch.equal(pixels(tmp_path / "a.pgm"), shown(full, 16))


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_colours(tmp_path, order):
    array = values(6, 6, 3)
    data, mark = array.astype(f"{order}u2").tobytes(), {"<": b"II", ">": b"MM"}[order]
    head = 8 + len(data)
    entries = [
        (256, 3, 1, 6), (257, 3, 1, 6), (258, 3, 3, head), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8),
        (277, 3, 1, 3), (278, 3, 1, 6), (279, 4, 1, len(data)),
    ]  # fmt: skip
    file = mark + struct.pack(f"{order}HI", 42, head + 6) + data + struct.pack(f"{order}3H", 16, 16, 16)
    file += struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        short = kind == 3 and count == 1
        file += struct.pack(f"{order}HHI{'H2x' if short else 'I'}", tag, kind, count, value)
    (tmp_path / "a.tif").write_bytes(file + struct.pack(f"{order}I", 0))
    assert torch.equal(pixels(tmp_path / "a.tif"), shown(array, 12))


def test_a_deep_picture_is_turned_upright(tmp_path):
    array = values(6, 6)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif)
    assert torch.equal(pixels(tmp_path / "a.png"), shown(array[::-1, ::-1].copy(), 12))


def test_bits_that_a_file_names(tmp_path):
    dark = values(6, 6, 3, most=300)
    png(tmp_path / "a.png", dark, significant=12)
    assert torch.equal(pixels(tmp_path / "a.png"), shown(dark, 12))
    png(tmp_path / "a.png", values(6, 6, 3, most=65535), significant=12)  # scaled up, as the PNG standard asks
    assert read_picture(tmp_path / "a.png", (6, 6)).depth == 16
    for damaged in (b"", b"\x89PNG\r\n\x1a\n\0\0\0\4sBIT", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR"):
        assert depth_of(dark, damaged) == 10


def test_what_is_brighter_than_the_bits_is_as_bright_as_can_be():
    assert _eight_bits(np.array([0, 4095, 4096, 65535], np.uint16), 12).tolist() == [0, 255, 255, 255]
    assert _eight_bits(np.array([0, 255, 256], np.uint16), 8).tolist() == [0, 255, 255]


def test_colours_of_16_bits_take_more_memory(tmp_path):
    png(tmp_path / "a.png", np.zeros((3000, 3000, 3), np.uint16))
    read_picture(tmp_path / "a.png", (6, 6))
    with pytest.raises(UserError, match="0.2"):
        read_picture(tmp_path / "a.png", (6, 6), memory_limit=0.1)


@pytest.fixture
def deep(tmp_path):
    """Class folders of 12-bit PNGs; the first of each class are so dark that 10 bits or 8 hold them."""
    for part, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(("cat", "dog")):
            for number in range(count):
                most = (200, 1000, 4000, 4095)[number] if part == "train" else 4095
                png(
                    tmp_path / "data" / part / name / f"{number}.png",
                    values(6, 6, 3, most=most, seed=10 * label + number),
                )
    Image.fromarray(values(6, 6, 3, most=255).astype(np.uint8)).save(tmp_path / "data" / "train" / "cat" / "9.png")
    return tmp_path / "data"


def everything(samples):
    return samples.batch(torch.arange(len(samples)))


@pytest.mark.parametrize("stored", [False, True])
def test_one_scale_for_the_whole_set(deep, stored):
    given = {"cache_dir": str(deep.parent / "cache")} if stored else {}
    splits = open_folder(deep, 6, **given)
    assert splits.about["bits"] == 12
    assert splits.notes == (
        "pictures of 16 bits for each channel (12), such as train/cat/0.png: values of 0 to 4,095 (12 bits) become 0 "
        "to 255, in all of them alike",
    )
    found = everything(splits.train)
    for place, (name, most) in enumerate([("cat/0", 200), ("cat/1", 1000), ("cat/2", 4000), ("cat/3", 4095)]):
        assert torch.equal(found[place], shown(values(6, 6, 3, most=most, seed=place), 12)), name
    assert torch.equal(found[4], shown(values(6, 6, 3, most=255), 8))  # 9.png, of 8 bits
    as_before = open_folder(deep, 6, bits=16, **given)
    assert as_before.about["bits"] == 16
    assert torch.equal(everything(as_before.train)[3], shown(values(6, 6, 3, most=4095, seed=3), 16))
    again = open_folder(deep, 6, **given)
    assert torch.equal(everything(again.train), found)
    if stored:
        assert again.train.kept.decoded == 0  # both scales are kept
        memory = open_folder(deep, 6)
        assert torch.equal(everything(memory.train), found)
        assert memory.train.digest() == splits.train.digest() != as_before.train.digest()
        png(deep / "train" / "dog" / "0.png", values(6, 6, 3, most=65535))
        brighter = open_folder(deep, 6, **given)
        assert brighter.about["bits"] == 16
        assert torch.equal(everything(brighter.train)[5], shown(values(6, 6, 3, most=65535), 16))
        Image.fromarray(np.full((6, 6, 3), 7, np.uint8)).save(deep / "train" / "dog" / "0.png")
        for _ in range(2):
            eight = open_folder(deep, 6, bits=16, **given)
            assert everything(eight.train)[5].unique().tolist() == [7]
        assert eight.train.kept.decoded == 0


def test_a_set_without_deep_pictures_says_nothing(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(5):
            array = values(6, 6, 3, most=255, seed=number + 10 * len(list(tmp_path.iterdir())))
            Image.fromarray(array.astype(np.uint8)).save(tmp_path / name / f"{number}.png")
    splits = open_folder(tmp_path, 6)
    assert "bits" not in splits.about
    assert splits.notes == ()


TINY = (
    "--model.base-filters 4 --model.num-steps 2 --model.in-channels 3 --train.batch-size 4 --train.epochs 1 "
    "--data.name folder --data.image-size 6 --data.crop-padding 0 --device cpu"
).split()


def test_a_run_keeps_its_scale(deep, tmp_path, capsys, monkeypatch):
    run, words = tmp_path / "run", ["train", "digits", *TINY, "--data-dir", str(deep), "--out", str(tmp_path / "run")]
    assert main(words) == 0
    about = json.loads((run / "data.json").read_text())
    assert about["bits"] == 12
    first = json.loads((run / "result.json").read_text())
    capsys.readouterr()
    # A brighter picture that comes later changes nothing of what the run makes of others.
    png(tmp_path / "one.png", values(6, 6, 3, most=700, seed=5))
    seen = []
    monkeypatch.setattr(
        "sresnet.analysis.prediction.read_picture", lambda *a, **k: seen.append(k) or read_picture(*a, **k)
    )
    assert main(["predict", str(run), str(tmp_path / "one.png")]) == 0
    assert seen[0]["bits"] == 12
    png(deep / "test" / "dog" / "bright.png", values(6, 6, 3, most=65535))
    assert main(["evaluate", str(run)]) == 0
    assert "values of 0 to 4,095 (12 bits)" in capsys.readouterr().out
    (deep / "test" / "dog" / "bright.png").unlink()
    # A run of before, which took the upper 8 of all 16 bits, goes on with them.
    old = tmp_path / "old"
    splits = open_folder(deep, 6, bits=16)
    monkeypatch.setattr("sresnet.cli.runs.open_data", lambda *a, bits=0, **k: splits)
    assert main([*words[:-1], str(old)]) == 0
    monkeypatch.undo()
    about = json.loads((old / "data.json").read_text())
    del about["bits"], about["parts"]
    (old / "data.json").write_text(json.dumps(about))
    assert main([*words[:-1], str(old)]) == 0
    assert main(["evaluate", str(old)]) == 0
    said = capsys.readouterr().out
    assert "values of 0 to 65,535 (16 bits)" in said
    assert "not the data of the run" not in said
    about["bits"] = 17
    (old / "data.json").write_text(json.dumps(about))
    assert main(["evaluate", str(old)]) == 2
    assert "bits is 17" in capsys.readouterr().err
    assert json.loads((run / "result.json").read_text()) == first


def test_images_in_memory():
    image = Image.fromarray(values(6, 6))
    assert torch.equal(from_dataset([(image, 0)]).images[0], shown(values(6, 6), 16)[:1])
    assert torch.equal(from_dataset([(image, 0)], bits=12).images[0], shown(values(6, 6), 12)[:1])
    assert torch.equal(picture_of(image, (6, 6), 1, 12), shown(values(6, 6), 12)[:1])
    assert torch.equal(picture_of(image, (6, 6), 1), shown(values(6, 6), 16)[:1])


@pytest.mark.parametrize("own", [False, True], ids=["shipped", "trained here"])
def test_networks_for_8_bits_see_12_as_the_same_picture_of_8(tmp_path, capsys, own):
    """They were trained on 8 bits: of 16, a picture of 12 bits would be almost black."""
    bright = values(32, 32, most=4095)
    Image.fromarray(bright).save(tmp_path / "12.png")
    Image.fromarray((bright >> 4).astype(np.uint8)).save(tmp_path / "8.png")
    network = str(tmp_path / "run") if own else "digits-t4"
    if own:
        tiny = "--model.base-filters 2 --model.num-steps 2 --train.epochs 1 --train.batch-size 256"
        assert main(["train", "digits", *tiny.split(), "--out", network]) == 0
        capsys.readouterr()
    model = load(network) if own else create_model(network, pretrained=True)
    expected = model.predict(tmp_path / "8.png")
    assert model.predict(tmp_path / "12.png") == expected
    assert model.predict(Image.fromarray(bright)) == expected
    assert main(["predict", network, *(str(tmp_path / name) for name in ("12.png", "8.png"))]) == 0
    said = [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()]
    assert len(said) == 2
    assert said[0] == said[1]
