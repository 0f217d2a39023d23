"""Caches of pictures and frames on the command line: filled beforehand, used by all verbs, emptied."""

import re
from pathlib import Path

import numpy as np
import pytest

from sresnet.cli import main
from sresnet.data import pictures
from sresnet.files import one_at_a_time, read_json, write_json

Image = pytest.importorskip("PIL.Image")

TINY = "--model.in-channels 3 --model.base-filters 2 --model.num-steps 1 --train.epochs 1".split()
FOLDER = "--data.name folder --data.image-size 8".split()
FEW = "--data.train-images 10 --data.test-images 10 --num-steps 2".split()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for label in range(2):
        for index in range(10):
            path = Path("mine", f"class{label}", f"{index}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(10 * label + index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)


def words(text):
    return text.split()


def test_pictures_are_decoded_beforehand(capsys):
    prepare = words("data prepare folder --data-dir mine --data.image-size 8")
    assert main(prepare) == 0
    said = capsys.readouterr()
    place = r"home/sresnet/pictures/folder-[0-9a-f]{16}\.pictures"
    assert re.match(rf"20 pictures of 8x8 pixels are decoded into .*{place}: 0.0 MB, [0-9.,]+ GB are free\n", said.out)
    assert re.search(r"^20 pictures of 8x8 pixels: 0.0 MB, 20 decoded now, in \d+\.\d s$", said.out, re.M)
    (path,) = re.findall(r"^cache: (.+)$", said.out, re.M)
    assert Path(path).stat().st_size == 20 * 3 * 8 * 8
    assert main(prepare) == 0
    said = capsys.readouterr()
    assert "20 pictures of 8x8 pixels: 0.0 MB, which were there already\n" in said.out
    assert "decoded into" not in said.out
    assert main(["train", "digits", *FOLDER, *TINY, "--data-dir", "mine", "--out", "run"]) == 0
    assert "decoded into" not in capsys.readouterr().out


def test_a_run_remembers_where_its_pictures_are_kept_and_trusts_no_other_folder(tmp_path, capsys):
    train = ["train", "digits", *FOLDER, *TINY, "--data-dir", "mine", "--out", "run", "--cache-dir", "chosen"]
    assert main(train) == 0
    said = capsys.readouterr().out
    assert said.startswith("20 pictures of 8x8 pixels are decoded into chosen/folder-")
    before = {path: path.read_bytes() for path in Path("chosen").glob("*.pictures")}
    for verb in ("evaluate run", "analyse run --images 4", "report run --images 4", "finetune run --train.epochs 1"):
        assert main(words(verb)) == 0
        assert "decoded into" not in capsys.readouterr().out
    assert not Path("home/sresnet/pictures").exists()
    assert {path: path.read_bytes() for path in before} == before
    environment = read_json(Path("run/environment.json"))
    assert environment["cache_dir"] == "chosen"
    write_json(Path("run/environment.json"), environment | {"cache_dir": "victim"})
    assert main(["evaluate", "run"]) == 0
    note = f"note: victim of run holds no pictures; they are kept in {tmp_path}/home/sresnet/pictures\n"
    assert capsys.readouterr().err == note
    assert not Path("victim").exists()


def test_caches_are_emptied(capsys, monkeypatch):
    assert main(words("data clean")) == 0
    places = "home/sresnet/frames or .*home/sresnet/pictures"
    assert re.fullmatch(rf"nothing to remove in .*{places}\n", capsys.readouterr().out)
    assert main(words("data prepare folder --data-dir mine")) == 0
    assert main(words("data prepare folder --data-dir mine --data.image-size 8")) == 0
    assert main(["data", "prepare", "digits-dvs", *FEW]) == 0
    capsys.readouterr()
    assert main(words("data clean --dry-run")) == 0
    said = capsys.readouterr().out.splitlines()
    kept = [path for path in Path("home/sresnet").rglob("*.*") if path.parent.name in ("frames", "pictures")]
    assert [re.split("[ :]", line)[2] for line in said] == ["frames", "pictures", "pictures"]
    assert all(re.fullmatch(r"would remove (frames|pictures): .*, 0\.\d MB", line) for line in said)
    assert len(kept) == 9
    assert main(words("data clean --data-dir mine/class0")) == 0
    assert "nothing to remove" in capsys.readouterr().out
    monkeypatch.chdir("mine")
    assert main(words("data clean --data-dir .")) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert all(line.startswith("removed pictures: ") for line in said)
    monkeypatch.chdir("..")
    assert [path.exists() for path in kept] == [path.parent.name == "frames" for path in kept]
    assert main(words("data clean")) == 0
    assert not any(path.exists() for path in kept)
    assert len(list(Path("mine").rglob("*.png"))) == 20


def test_a_cache_that_is_being_filled_is_left(capsys):
    assert main(words("data prepare folder --data-dir mine --cache-dir here")) == 0
    (lock,) = Path("here").glob("*.lock")
    capsys.readouterr()
    with one_at_a_time(lock):
        assert main(words("data clean --cache-dir here")) == 0
    assert re.match(r"note: left, .* is being filled by another process: wait for it", capsys.readouterr().out)
    assert len(list(Path("here").iterdir())) == 3


@pytest.mark.parametrize("verb", ["train digits", "data prepare folder"])
def test_what_is_wrong_is_a_line(capsys, monkeypatch, verb):
    folder = [*words(verb), "--data-dir", "mine", *(FOLDER if "train" in verb else ())]
    assert main([*folder, "--cache-dir", "/proc/none"]) == 2
    assert capsys.readouterr().err.startswith("sresnet: cache folder /proc/none cannot be used (")
    Path("a file").touch()
    assert main([*folder, "--cache-dir", "a file"]) == 2
    assert (
        capsys.readouterr().err
        == "sresnet: cache folder a file cannot be used (File exists): choose another --cache-dir\n"
    )
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda folder: type("", (), {"free": 5}))
        assert main([*folder, "--cache-dir", "here"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("sresnet: cache folder here has 0.0 MB free, and 20 pictures of ")
    assert said.endswith(": make room there or choose another --cache-dir\n")
    monkeypatch.setattr(pictures, "_MANY", 3)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError))
    assert main(folder) == 2
    assert "pictures are kept in the home folder, and none is known: add --cache-dir DIR" in capsys.readouterr().err
