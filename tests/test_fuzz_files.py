"""Damaged caches, archives, checkpoints, weights, pictures and compiled code: what is right, or a line that says why.

Never more than that: no other exception, no death, and no more time and memory than the worker has (tests/bounded.py).
SRESNET_FUZZ_CASES is the number of cases of all tests here together, 2,000 if unset.
"""

import copy
import ctypes
import functools
import io
import json
import random
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sresnet import UserError, load_released
from sresnet.data.events.cache import prepare
from sresnet.data.events.frames import FrameConfig
from sresnet.data.events.sets import EventConfig, list_recordings
from sresnet.data.folder import read_picture
from sresnet.models import create_model
from sresnet.models.saved import load, model_bytes
from sresnet.models.tensors import CHECKSUM, _header_to_bytes, _parts_of
from sresnet.ops.scan import native
from tests.bounded import CASES, check, outcomes

sys.path.insert(0, str(Path(__file__).parent / "data" / "events"))
import made_up_events as made_up

PICTURES = ("png", "jpg", "gif", "bmp", "webp", "tif", "ppm")
SHARE = CASES // (8 + len(PICTURES))
NUMBERS = (0, 1, 7, 255, 256, 1 << 16, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1)
SNIPPETS = [
    *(struct.pack(form, number) for number in NUMBERS for form in ("<Q", ">Q")),
    *(struct.pack(form, number) for number in NUMBERS if number < 1 << 32 for form in ("<I", ">I")),
    *(bytes([code]) for code in b"().]}abceghijqrstuTUXKMJNRQG\x80\x81\x85\x86\x87\x88\x89\x8a"),
    b"(t(t",
    b"cposix\nsystem\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch\nLongStorage\n",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"\0" * 40,
]


def damage(raw, rng):
    """One to sixteen changes anywhere, or where headers are, near the beginning and in zip files near the end."""
    data = bytearray(raw)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        near = min(len(data), 200)
        spot = rng.choice([rng.randrange(len(data) + 1), rng.randrange(near + 1), len(data) - rng.randrange(near + 1)])
        match rng.randrange(8):
            case 0 | 1 if spot < len(data):
                data[spot] ^= 1 << rng.randrange(8)
            case 2 if rng.random() < 0.3:
                data[spot:] = b""
            case 3:
                data[spot:spot] = rng.choice(SNIPPETS)
            case 4:
                data[spot:spot] = rng.randbytes(rng.randrange(1, 20))
            case 5:
                del data[spot : spot + rng.randrange(1, 20)]
            case 6:
                data[spot:spot] = data[spot : spot + rng.randrange(1, 200)]
            case _:
                piece = rng.choice(SNIPPETS)
                data[spot : spot + len(piece)] = piece
    return bytes(data) if rng.random() < 0.97 else rng.randbytes(rng.randrange(200))


ODD = [None, True, 0, -1, 10**9, 1 << 63, 10**30, 0.5, 1e308, "", "x" * 3000, "../../etc", [], {}, [[]], [0] * 1000]


def damaged_json(text, rng):
    """JSON that says something else; or damaged bytes."""
    return damage(text, rng) if rng.random() < 0.3 else json.dumps(changed(json.loads(text), rng)).encode()


def changed(value, rng):
    """A JSON value of which one to four inner values were replaced, taken away or doubled, at any depth."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        inner = value
        while isinstance(inner, dict | list) and inner:
            key = rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
            if not isinstance(inner[key], dict | list) or not inner[key] or rng.random() < 0.3:
                match rng.randrange(4):
                    case 0:
                        del inner[key]
                    case 1 if type(inner[key]) in (int, float):
                        inner[key] += rng.choice([-1, 1, 1000])
                    case 2 if isinstance(inner, list):
                        inner.insert(key, copy.deepcopy(inner[key]))
                    case _:
                        inner[key] = copy.deepcopy(rng.choice(ODD))
                break
            inner = inner[key]
    return value


def test_damage_is_a_function_of_the_seed():
    """Whatever was damaged before in this process: what a case found, it finds again."""
    raw = json.dumps({"a": [1, [2]], "b": {"c": 3}}).encode()
    once, again = ([damaged_json(raw, rng) for _ in range(300)] for rng in (random.Random(0), random.Random(0)))
    assert once == again


def damaged_zip(raw, rng):
    """A zip file of which one member says something else and the checksum agrees; or damaged bytes."""
    if rng.random() < 0.3:
        return damage(raw, rng)
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as whole, zipfile.ZipFile(content, "w") as changed:
        names = whole.namelist()
        chosen = rng.choice([rng.choice(names), next((name for name in names if name.endswith(".pkl")), names[0])])
        for name in names:
            if name != chosen or rng.random() < 0.95:
                inner = whole.read(name)
                changed.writestr(name, damage(inner, rng) if name == chosen else inner)
    return content.getvalue()


def damaged_weights(raw, rng):
    """Weights whose metadata say something else and have no checksum; or damaged bytes."""
    if rng.random() < 0.4:
        return damage(raw, rng)
    header, data = _parts_of(raw)
    model = damaged_json(header["__metadata__"]["model"].encode(), rng).decode(errors="replace")
    if rng.random() < 0.3:
        header = changed(header, rng)
    return _header_to_bytes(header, {"model": model}) + bytes(data)


def fuzz(case, raw, how, rng, **least):
    """Run a share of all cases; one in 25 is not damaged."""
    arguments = (raw if rng.random() < 0.04 else how(raw, rng) for _ in range(SHARE))
    found = outcomes(case, arguments)
    check(found, **least)
    return found


# Frame caches


CONFIG = EventConfig(name="event-folder", split="random90", frames=FrameConfig(size=16))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    for index, name in enumerate(("cat", "dog", "cat", "dog")):
        path = folder / "data" / name / f"{index}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made_up.nmnist(made_up.events(30 + index)))
    prepare(CONFIG, str(folder / "data"), 2, cache_dir=str(folder / "good"))
    return folder


def opened(folder, ending, raw):
    """The frames in a cache of which one file is damaged: they are those of the recordings, whatever it takes."""
    place = folder / f"worker-{ending}"
    place.mkdir(exist_ok=True)
    for path in (folder / "good").iterdir():
        (place / path.name).write_bytes(raw if path.name.endswith(ending) else path.read_bytes())
    found = prepare(CONFIG, str(folder / "data"), 2, cache_dir=str(place))
    expected = np.fromfile(next((folder / "good").glob("*.frames")), dtype=np.uint8)
    assert np.array_equal(found.file.read(range(4)).numpy().ravel(), expected)
    assert [(each["name"], each["class"]) for each in found.recordings] == [
        (f"{name}/{index}.bin", name) for name, index in (("cat", 0), ("cat", 2), ("dog", 1), ("dog", 3))
    ]
    return "made again" if found.made_now else "opened"


@pytest.mark.parametrize(("ending", "how"), [(".json", damaged_json), (".frames", damage)], ids=["json", "clips"])
def test_fuzz_a_damaged_cache_gives_the_right_frames(cache, ending, how):
    raw = next((cache / "good").glob(f"*{ending}")).read_bytes()
    case = functools.partial(opened, cache, ending)
    found = fuzz(case, raw, how, random.Random(ending), refused=0)
    assert {text for _, text in found} == {"made again", "opened"}
    assert all(kind == "valid" for kind, _ in found)


def test_fuzz_a_cache_of_earlier_versions(cache):
    """Without checksums, what a JSON file says has to agree with the recordings there are."""
    about = json.loads(next((cache / "good").glob("*.json")).read_text())
    names = ("clips", "shape", "scale", "class_names", "recordings")
    raw = json.dumps({name: about[name] for name in names}).encode()
    fuzz(functools.partial(opened, cache, ".json"), raw, damaged_json, random.Random("old"), refused=0)


# Zip files


def members(folder, raw):
    (folder / "Train.zip").write_bytes(raw)
    (folder / "Test.zip").write_bytes(raw)
    listing = list_recordings(EventConfig(name="nmnist", split="official"), str(folder))
    return sum(len(listing.read(source)[0]) for source in listing.sources)


def test_fuzz_zip_files(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for digit in range(10):
            method = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[digit % 2]
            archive.writestr(f"Train/{digit}/0.bin", made_up.nmnist(made_up.events(5)), method)
    fuzz(functools.partial(members, tmp_path), content.getvalue(), damage, random.Random("zip"))


# Released checkpoints


def small_checkpoint(zipped):
    """A checkpoint of the released code's form: depth 8, two filters, one step."""
    torch.manual_seed(0)
    filters = {0: (2, 3), 1: (2, 2), 2: (2, 2), 3: (4, 2), 4: (4, 4), 5: (8, 4), 6: (8, 8)}
    state = {f"conv_list.{index}.weight": torch.randn(*shape, 3, 3) for index, shape in filters.items()}
    state["conv1.weight"] = state["conv_list.0.weight"]
    norms = {f"bntt_list.{index}": shape[0] for index, shape in filters.items()}
    for norm, channels in (norms | {"bntt1": 2, "resize_bn_1": 4, "resize_bn_2": 8}).items():
        for part in ("weight", "running_mean", "running_var"):
            state[f"{norm}.0.{part}"] = torch.ones(channels)
    state |= {"conv_resize_1.weight": torch.randn(4, 2, 1, 1), "conv_resize_2.weight": torch.randn(8, 4, 1, 1)}
    state["fc.weight"] = torch.randn(10, 8)
    content = io.BytesIO()
    whole = {"global_step": 3, "state_dict": state, "accuracy": np.float64(50.0)}
    torch.save(whole, content, _use_new_zipfile_serialization=zipped)
    return content.getvalue()


def released(folder, raw):
    (folder / "best.pth.tar").write_bytes(raw)
    model = load_released(folder / "best.pth.tar")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in model.parameters())
    return model.config.depth


@pytest.mark.parametrize(("zipped", "how"), [(True, damaged_zip), (False, damage)], ids=["zip", "stream"])
def test_fuzz_released_checkpoints(tmp_path, zipped, how):
    case = functools.partial(released, tmp_path)
    fuzz(case, small_checkpoint(zipped), how, random.Random(f"released {zipped}"))


# Weights


def weights(folder, raw):
    (folder / "weights.safetensors").write_bytes(raw)
    model = load(folder)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in model.parameters())
    return model.config.depth


def test_fuzz_weights(tmp_path):
    raw = model_bytes(create_model("sresnet8", base_filters=2, num_steps=2))
    assert CHECKSUM.encode() in raw
    fuzz(functools.partial(weights, tmp_path), raw, damaged_weights, random.Random("weights"))


# Compiled code


def loaded(folder, raw):
    """The answer of code that is loaded; UserError in place of making it again."""
    path = folder / "kernel.so"
    path.unlink(missing_ok=True)
    path.write_bytes(raw)
    path.chmod(0o600)
    if not native._is_whole(path):
        raise UserError("it is compiled again")
    library = ctypes.CDLL(str(path))
    assert library.answer() == 42
    ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))
    return "loaded"


def test_fuzz_compiled_code(tmp_path, monkeypatch):
    try:
        native._find_compiler()
    except native._NativeError:
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "op" / "kernel.cpp"
    source.parent.mkdir()
    source.write_text('extern "C" __attribute__((visibility("default"))) int answer() { return 42; }')
    native._built(source)
    (path,) = (tmp_path / "cache" / "sresnet" / "native").iterdir()
    fuzz(functools.partial(loaded, tmp_path), path.read_bytes(), damage, random.Random("so"), valid=0.005)


# Pictures


def seen(path, raw):
    path.write_bytes(raw)
    assert read_picture(path, (8, 8)).pixels.shape == (3, 8, 8)
    return "seen"


@pytest.mark.parametrize("ending", PICTURES)
def test_fuzz_pictures(tmp_path, ending):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / f"a.{ending}"
    image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(path)
    fuzz(functools.partial(seen, path), path.read_bytes(), damage, random.Random(ending))
