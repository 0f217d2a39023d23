"""Small files that ask for gigabytes are refused, by every reader, before any memory is taken."""

import contextlib
import importlib.util
import io
import json
import os
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import pytest

from sresnet import cli
from sresnet.analysis.prediction import _clips_of_file
from sresnet.config import from_dict, to_dict
from sresnet.data.events.describe import describe_file
from sresnet.data.events.frames import FrameConfig, to_frames
from sresnet.data.events.packed import most_unpacked
from sresnet.data.events.parts import held
from sresnet.data.events.read import read_chunks, read_recording
from sresnet.data.events.recording import Recording
from sresnet.data.events.sets import EventConfig, list_recordings
from sresnet.data.events.view import save_view
from sresnet.data.events.windows import WindowConfig, cut
from sresnet.data.folder import open_folder, read_picture
from sresnet.errors import UserError
from sresnet.files import write_json
from sresnet.limits import check_claim
from sresnet.models import ModelConfig, build
from sresnet.models.saved import WEIGHTS, load, tensors_of
from sresnet.models.tensors import tensors_to_bytes
from sresnet.train.recipes import RECIPES
from sresnet.train.record import CONFIG, read_recipe
from tests.bounded import outcomes

sys.path.insert(0, str(Path(__file__).parent / "data" / "events"))
import made_up_events as made_up

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
        with pytest.raises(UserError, match="is not a valid limit: give gigabytes"):
            check_claim("f", "x", 1, 1, nonsense)


def png(width, height):
    """A whole picture of one bit a pixel, all black."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress(bytes((1 + -(-width // 8)) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def strip_of(path):
    return read_picture(path, (32, 32)).pixels.float().mean().item()


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
    assert read_picture(tmp_path / "small.png", (8, 8)).pixels.shape == (3, 8, 8)
    assert Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(UserError, match="claims 0.0 GB .* limit of 1e-06 GB"):
        read_picture(tmp_path / "small.png", (8, 8), memory_limit=1e-6)


def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="cannot be read to its end"):
        read_picture(tmp_path / "pipe.png", (8, 8))
    with pytest.raises(UserError, match="does not exist"):
        read_picture(tmp_path / "none.png", (8, 8))


def test_a_scaled_picture_is_not_larger_either(tmp_path):
    with pytest.raises(UserError, match="image_size 30000 claims 10.8 GB of memory for a scaled picture"):
        open_folder(tmp_path, 30_000)


# Event recordings


def start_of_events(count):
    """What is before the events of a packet."""
    return struct.pack("<I", 32 + 16 * count) + made_up.aedat4_events([])[4:-4] + struct.pack("<I", count)


def read(path):
    return len(read_recording(path))


def needs_decoder():
    if not importlib.util.find_spec("lz4"):
        pytest.skip("no decoder of AEDAT4")


@pytest.mark.parametrize(("compression", "pack"), made_up.PACKERS.values(), ids=made_up.PACKERS)
def test_packed_events_are_read(tmp_path, compression, pack):
    needs_decoder()
    count = 300_000
    packet = pack(start_of_events(count), 16 * count)
    assert most_unpacked(packet, compression, exact=True) == 36 + 16 * count
    (tmp_path / "a.aedat4").write_bytes(made_up.aedat4_packed([packet] * 2, compression))
    assert fits(read, tmp_path / "a.aedat4") == "600000"


@pytest.mark.parametrize(("compression", "pack"), made_up.PACKERS.values(), ids=made_up.PACKERS)
def test_a_packet_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path, compression, pack):
    needs_decoder()
    count = 30_000_000
    packet = pack(start_of_events(count), 16 * count)
    (tmp_path / "a.aedat4").write_bytes(made_up.aedat4_packed([packet], compression))
    assert len(packet) < 2_000_000
    refused(
        read, tmp_path / "a.aedat4", "a.aedat4 claims 2.4 GB of memory for a packet that unpacks to 480,000,036 byt"
    )


def test_packets_that_unpack_to_gigabytes_together_are_not_unpacked_to_the_last(tmp_path):
    needs_decoder()
    count = 1_000_000
    packet = made_up.zstandard(start_of_events(count), 16 * count)
    (tmp_path / "a.aedat4").write_bytes(made_up.aedat4_packed([packet] * 200, 3))
    refused(read, tmp_path / "a.aedat4", "a.aedat4 claims 1.0 GB of memory for 39,000,000 events")
    assert fits(in_chunks, tmp_path / "a.aedat4") == "200000000"


def in_chunks(path):
    return sum(len(chunk) for chunk in read_chunks(path))


def test_words_that_are_many_events_each(tmp_path):
    """Two bytes of EVT 3.0 are up to twelve events."""
    path = tmp_path / "a.raw"
    path.write_bytes(made_up.raw_header("EVT3") + b"\x00\x80\x05\x00" + b"\x00\x30\xff\x4f" * 4_000_000)
    refused(read, path, "a.raw claims 1.0 GB of memory for 38,5")
    assert fits(in_chunks, path) == "48000000"


@pytest.mark.parametrize(("compression", "pack"), made_up.PACKERS.values(), ids=made_up.PACKERS)
@pytest.mark.parametrize("cut", [1, 5, 6, 9, 40, -1])
def test_blocks_that_do_not_fit_together(compression, pack, cut):
    packet = pack(b"some literals, twice as many as a token can say", 1000)
    with pytest.raises(ValueError, match="inside a frame"):
        most_unpacked(packet[:cut], compression, exact=True)
    with pytest.raises(ValueError, match="not the start of a frame"):
        most_unpacked(b"?" + packet, compression)


SPIKES = "6d0000307370696b65200100ffe62f45"
"""A compressed block of Zstandard, as its own program writes it: 300 times "spike "."""
THREE = "28b52ffd00587c0000387370696b6573200100f6ffca8b114c000008650100fcff3910025500001070610100db131d0801"
"""A frame of three such blocks: 300,000 letters."""


@pytest.mark.parametrize(
    ("frame", "unpacked", "most"),
    [
        (f"28b52ffd600806{SPIKES}", 1800, 1800),
        (f"28b52ffd0058{SPIKES}", 1800, 1 << 17),
        (THREE, 300_000, 3 << 17),
        (f"28b52ffd0000{SPIKES}", 0, 1 << 10),
    ],
    ids=["length in the header", "no length", "several blocks", "small window"],
)
def test_compressed_blocks_unpack_to_no_more_than_a_block_may(frame, unpacked, most):
    assert unpacked <= most_unpacked(bytes.fromhex(frame), 3) == most


def test_a_length_that_does_not_end_in_its_block():
    block = b"\x1f\0\x01\0" + b"\xff" * 10
    frame = made_up.lz4(b"")[:7] + struct.pack("<I", len(block)) + block
    assert most_unpacked(frame + bytes(4), 1) == 255 * len(block)
    with pytest.raises(ValueError, match="inside a frame"):
        most_unpacked(frame + bytes(4), 1, exact=True)


def frames(path):
    return to_frames(read_recording(path), FrameConfig(), 4)[0].shape


def described(path):
    return describe_file(path).active_pixels


def drawn(path):
    save_view(read_recording(path), path.with_suffix(".gif"))


@pytest.mark.parametrize("look", [frames, described, drawn])
def test_a_sensor_of_more_pixels_than_memory_has(tmp_path, look):
    if look is drawn:
        pytest.importorskip("PIL")
    some = made_up.events(40)
    path = tmp_path / "wide.dat"
    path.write_bytes(made_up.prophesee(some, header=b"% Version 2\n% Width 16384\n% Height 16384\n"))
    refused(look, path, "GB of memory for", "16384x16384 pixels")
    path.write_bytes(made_up.prophesee(some, header=b"% Version 2\n% Width 1280\n% Height 720\n"))
    fits(look, path)
    if look is drawn:  # a column is drawn as wide as any other sensor
        path.write_bytes(made_up.prophesee([(1, 0, 1, True)], header=b"% Version 2\n% Width 1\n% Height 16384\n"))
        refused(look, path, "1x16384 pixels")


def windows_of(times):
    import numpy as np

    column = np.zeros(len(times), dtype=np.uint16)
    recording = Recording(
        t=np.array(times), x=column, y=column, on=column == 0, width=1, height=1, sensor="made up", skipped={}
    )
    return [each.span for each in cut(held(recording), WindowConfig(seconds=0.001)).windows]


def test_windows_without_events_take_nothing():
    """One event of the year 2020 among times near 0."""
    assert fits(windows_of, [5, 6, 1_577_836_800_000_000]) == "[(5, 1005)]"
    late = 1_577_836_800_000_005
    assert windows_of([5, 2005, 2007, late, late + 999]) == [(5, 1005), (2005, 3005), (late, late + 1000)]
    assert windows_of([5, 2004, 2005, 3003]) == [(5, 1005), (1005, 2005)]
    assert windows_of([7]) == [(7, 1007)]


def zipped(path, content, method=zipfile.ZIP_DEFLATED, claimed=None):
    """A zip file of one recording for each of ten digits, the first of `content`; `claimed`: what its header says."""
    with zipfile.ZipFile(path / "Train.zip", "w") as archive:
        for digit in range(10):
            archive.writestr(
                f"Train/{digit}/0.bin", content if digit == 0 else made_up.nmnist(made_up.events()), method
            )
    (path / "Test.zip").write_bytes((path / "Train.zip").read_bytes())
    if claimed is not None:
        whole = (path / "Train.zip").read_bytes()
        at = whole.index(b"PK\x01\x02") + 24
        (path / "Train.zip").write_bytes(whole[:at] + struct.pack("<I", claimed) + whole[at + 4 :])
    return path


def first_member(path):
    listing = list_recordings(EventConfig(name="nmnist", split="official"), str(path))
    return len(listing.read(listing.sources[0])[0])


def test_a_member_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
    zipped(tmp_path, bytes(200_000_000))
    assert (tmp_path / "Train.zip").stat().st_size < 300_000
    refused(
        first_member, tmp_path, "Train/0/0.bin claims 1.6 GB of memory for the 200,000,000 bytes that it unpacks to"
    )


def test_a_member_is_unpacked_no_further_than_it_says(tmp_path):
    """600 MB behind a header that says 1,000 bytes: the checksum is of others."""
    zipped(tmp_path, bytes(600_000_000), claimed=1000)
    ((kind, text),) = outcomes(first_member, [tmp_path], memory=100 << 20)
    assert (kind, "Train/0/0.bin cannot be read (Bad CRC-32" in text) == ("refused", True), text


@pytest.mark.parametrize(("method", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")])
def test_other_ways_to_pack_are_refused(tmp_path, method, name):
    zipped(tmp_path, made_up.nmnist(made_up.events()), method)
    with pytest.raises(
        UserError, match=f"0.bin is compressed by {name}: make it again with members stored or deflated"
    ):
        first_member(tmp_path)


# Networks


def saved(path, **fields):
    """A weights file of a small network whose configuration says something else; returns its folder."""
    config = {"family": "sresnet", "depth": 8, "base_filters": 2, "num_steps": 2, "norm": "tdbn"}
    tensors = tensors_of(build(from_dict(ModelConfig, config)))
    content = tensors_to_bytes(tensors, {"model": json.dumps(config | fields)})
    (path / WEIGHTS).write_bytes(content)
    recipe = RECIPES["digits"][1]
    write_json(path / CONFIG, to_dict(recipe) | {"model": to_dict(recipe.model) | config | fields})
    assert len(content) < 12_000
    return path


def loaded(folder):
    return load(folder).config.depth


def recipe_of(folder):
    return read_recipe(folder).model.depth


@pytest.mark.parametrize("what", [loaded, recipe_of])
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"base_filters": 1000}, "claims 1.2 GB of memory for a network of"),
        ({"num_classes": 10**8}, "claims 3.2 GB of memory for a network of"),
        ({"num_steps": 3_000_000}, "claims 1.5 GB of memory for 3,000,000 time steps"),
        ({"num_classes": 10**19}, "it is out of range"),
    ],
    ids=["filters", "classes", "steps", "no number"],
)
def test_a_configuration_of_a_line_makes_no_network_of_gigabytes(tmp_path, what, fields, words):
    assert fits(what, saved(tmp_path)) == "8"
    ((kind, text),) = outcomes(what, [saved(tmp_path, **fields)])
    assert (kind, words in text) == ("refused", True), text


def test_what_the_tensors_of_the_file_are_not_is_not_made(tmp_path, monkeypatch):
    """A network within the limit, which would still take a second to make."""
    monkeypatch.setattr("sresnet.models.saved.blank", None)  # would fail
    with pytest.raises(UserError, match="this network needs"):
        load(saved(tmp_path, base_filters=500))


def command(words):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        return f"{cli.main(words)}: {said.getvalue()}"


@pytest.mark.parametrize("verb", ["info", "report", "evaluate", "analyse"])
def test_commands_refuse_such_a_run(tmp_path, verb):
    assert fits(command, [verb, str(saved(tmp_path, base_filters=1000))]).startswith(
        f"2: sresnet: {tmp_path}/config.json claims 1.2 GB of memory for a network of"
    )


def test_a_run_on_images_that_no_memory_holds(tmp_path):
    about = {"class_names": ["a", "b"], "mean": None, "std": None}
    for side, expected in ((8, "0: "), (16384, f"2: sresnet: {tmp_path}/data.json claims 2.1 GB of memory for images")):
        write_json(saved(tmp_path) / "data.json", about | {"image_size": [side, side]})
        assert fits(command, ["info", str(tmp_path)]).startswith(expected)


def test_windows_to_predict_are_not_more_than_memory_has(tmp_path):
    """Each of them would be; together they are not made."""
    path = tmp_path / "a.bin"
    path.write_bytes(made_up.nmnist(made_up.events(12, step=100)))
    config = EventConfig(name="event-folder", split="random90", windows=WindowConfig(seconds=1e-4))
    about = {"image_size": [34, 34]}
    assert len(_clips_of_file(path, config, 10, about, 1.0)) == 11
    with pytest.raises(UserError, match=r"a.bin claims 0.0 GB of memory for 11 x 10 frames of 34x34 pixels"):
        _clips_of_file(path, config, 10, about, 1e-3)


def test_the_flag_raises_the_limit(tmp_path, capsys):
    path = tmp_path / "wide.dat"
    path.write_bytes(made_up.prophesee(made_up.events(40), header=b"% Version 2\n% Width 16384\n% Height 16384\n"))
    assert cli.main(["data", "info", str(path)]) == 2
    assert "raise --memory-limit" in capsys.readouterr().err
    assert cli.main(["data", "info", str(path), "--memory-limit", "10"]) == 0
    assert "16384x16384" in capsys.readouterr().out
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    predict = ["predict", "--model", "digits-t4", str(tmp_path / "a.png"), "--memory-limit"]
    assert cli.main([*predict, "0.00001"]) == 2
    assert "a.png claims 0.0 GB of memory for a picture of 40x40 pixels" in capsys.readouterr().err
    assert cli.main([*predict, "1"]) == 0
    for nonsense in ("nan", "0", "many"):
        assert cli.main([*predict, nonsense]) == 2
        assert "give gigabytes, such as 1" in capsys.readouterr().err
