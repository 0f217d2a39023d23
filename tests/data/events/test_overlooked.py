"""Nothing is overlooked in silence: another sensor, the camera that is named, files that nobody reads."""

import dataclasses
import json
import zipfile

import made_up_events
import made_up_sets as made_up
import pytest

import sresnet
from sresnet.cli import main
from sresnet.data import EventConfig, open_data
from sresnet.data.events.chips import Sensor, another_sensor, sensor_from_plain
from sresnet.data.events.sets import USUAL
from sresnet.errors import UserError

TINY = "--model.num-steps 2 --model.base-filters 2 --model.depth 8 --train.epochs 1".split()
FOLDER = USUAL["event-folder"]
EVENTS = made_up_events.events(60, 128, 128)


def davis128(events):
    """Addresses as those of all DAVIS, which are not those of a DVS128."""
    header = b"#!AER-DAT2.0\r\n# AEChip: DAVIS128\r\n"
    return made_up_events.aedat2(
        events, header=header, word=lambda x, y, on: (127 - y) << 22 | (127 - x) << 12 | on << 11
    )


def without_a_camera(start):
    """A recording of a DAVIS240 whose header names none."""
    events = made_up_events.events(60, 240, 180, start=start)
    return made_up_events.aedat2_davis(events).replace(b"# AEChip", b"# Chipless")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working folder, with ten recordings of a DVS128 of each of two classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for label, name in enumerate(("cup", "pen")):
        for number in range(10):
            made_up.put(tmp_path / "data" / name / f"{number}.aedat", made_up.aedat2(seed=20 * label + number))
    return tmp_path


def trained(place):
    assert main(["train", "event-folder", *TINY, "--data-dir", "data", "--out", "run"]) == 0
    return place / "run"


def test_predict_knows_the_sensor_of_training(place, capsys):
    run = trained(place)
    sensor = {"name": "DVS128", "width": 128, "height": 128}
    assert json.loads((run / "data.json").read_text())["sensor"] == sensor
    assert json.loads((run / "result.json").read_text())["split"]["sensor"] == sensor
    assert sresnet.load(run).trained.sensor == Sensor("DVS128", 128, 128)
    made_up.put(place / "big.aedat", made_up_events.aedat2_davis(EVENTS))
    capsys.readouterr()
    for words in ([], ["--stream", "1ms"]):
        assert main(["predict", "run", "big.aedat", *words]) == 2
        said = capsys.readouterr().err
        assert "is of a sensor DAVIS240, 240x180 pixels, and the network was trained on DVS128, 128x128 pixels" in said
        assert said.count("\n") == 1
    made_up.put(place / "alike.aedat", davis128(EVENTS))
    assert main(["predict", "run", "alike.aedat"]) == 0
    said = capsys.readouterr().out
    note = "note: alike.aedat is of a sensor DAVIS128, 128x128 pixels, and the network was trained on DVS128"
    assert note in said
    assert main(["predict", "run", "data/cup/0.aedat"]) == 0
    assert "note" not in capsys.readouterr().out
    assert main(["predict", "digits-t4", "a.png", "--chip", "DVS128"]) == 2
    assert "names a camera of events, and the run was trained on pictures" in capsys.readouterr().err


def test_evaluate_knows_the_sensor_of_training(place, capsys):
    trained(place)
    for label, name in enumerate(("cup", "pen")):
        for number in range(10):
            events = made_up_events.events(60, 128, 128, start=20 * label + number)
            made_up.put(place / "big" / name / f"{number}.aedat", made_up_events.aedat2_davis(events))
            made_up.put(place / "alike" / name / f"{number}.aedat", davis128(events))
    capsys.readouterr()
    assert main(["evaluate", "run", "--data-dir", "big"]) == 2
    said = capsys.readouterr().err
    assert "big is of a sensor DAVIS240, 240x180 pixels, and the network was trained on DVS128, 128x128 pixels" in said
    assert main(["evaluate", "run", "--data-dir", "alike"]) == 0
    note = "note: alike is of a sensor DAVIS128, 128x128 pixels, and the network was trained on DVS128"
    assert note in capsys.readouterr().out
    assert main(["evaluate", "run"]) == 0
    assert "sensor" not in capsys.readouterr().out


def test_a_run_of_an_earlier_version_does_not_know_it(place, capsys):
    run = trained(place)
    about = json.loads((run / "data.json").read_text())
    del about["sensor"]
    (run / "data.json").write_text(json.dumps(about))
    made_up.put(place / "big.aedat", made_up_events.aedat2_davis(EVENTS))
    assert main(["predict", "run", "big.aedat"]) == 0
    assert sresnet.load(run).trained.sensor is None


def test_frames_of_an_earlier_version_are_asked_for_it(place, monkeypatch):
    options = {"seed": 0, "num_steps": 2, "cache_dir": "cache"}
    before = open_data(FOLDER, "data", **options)
    (path,) = (place / "cache").glob("*.json")
    about = json.loads(path.read_text())
    del about["checksum"], about["sensor"]
    path.write_text(json.dumps(about))
    again = open_data(FOLDER, "data", **options)
    assert again.about["sensor"] == before.about["sensor"] == {"name": "DVS128", "width": 128, "height": 128}
    assert json.loads(path.read_text())["sensor"] == again.about["sensor"]
    assert again.train.digest() == before.train.digest()


def test_cameras_of_one_size_are_all_those_of_training(place, capsys):
    for label, name in enumerate(("cup", "pen")):
        for number in range(5):
            events = made_up_events.events(60, 128, 128, start=20 * label + number)
            made_up.put(place / "data" / name / f"{number}.aedat", davis128(events))
    run = trained(place)
    sensor = json.loads((run / "data.json").read_text())["sensor"]
    assert set(sensor.pop("name").split(" or ")) == {"DVS128", "DAVIS128"}
    assert sensor == {"width": 128, "height": 128}
    for recording in ("data/cup/0.aedat", "data/cup/9.aedat"):
        assert main(["predict", "run", recording]) == 0
    assert main(["evaluate", "run"]) == 0
    assert "is of a sensor" not in capsys.readouterr().out
    header = b"% Data file containing CD events.\n% Version 2\n% Width 128\n% Height 128\n"
    made_up.put(place / "other.dat", made_up_events.prophesee(EVENTS, header=header))
    assert main(["predict", "run", "other.dat"]) == 0
    assert "is of a sensor Prophesee, 128x128 pixels, and the network was trained on D" in capsys.readouterr().out


def test_a_sensor_as_json_holds_it():
    sensor = Sensor("DVS128", 128, 128)
    assert sensor_from_plain(sensor.plain()) == sensor
    for nonsense in (None, 3, {}, {"name": "x", "width": 0, "height": 1}, {"name": "x", "width": True, "height": 1}):
        assert sensor_from_plain(nonsense) is None
    assert another_sensor(None, sensor, "a") == another_sensor(sensor, sensor, "a") == ""


def test_the_camera_may_be_named_in_every_verb(place, capsys):
    """Of files whose headers name none, which are taken for those of a DVS128."""
    for label, name in enumerate(("cup", "pen")):
        for number in range(10):
            made_up.put(place / "davis" / name / f"{number}.aedat", without_a_camera(20 * label + number))
    for flag in ("--data.chip", "--chip"):
        words = ["--data-dir", "davis", flag, "DAVIS240"]
        assert main(["data", "prepare", "event-folder", *words, "--data.frames.size", "0", "--num-steps", "2"]) == 0
        assert "240x180 pixels" in capsys.readouterr().out
        assert main(["data", "info", "davis/cup/0.aedat", flag, "DAVIS240"]) == 0
        assert "sensor: DAVIS240, 240x180" in capsys.readouterr().out
        assert main(["data", "view", "davis/cup/0.aedat", flag, "NOSUCH", "--out", "a.png"]) == 2
        assert "NOSUCH" in capsys.readouterr().err
    assert main(["train", "event-folder", *TINY, *words, "--out", "run"]) == 0
    assert json.loads((place / "run" / "data.json").read_text())["sensor"]["name"] == "DAVIS240"
    assert json.loads((place / "run" / "config.json").read_text())["data"]["chip"] == "DAVIS240"
    capsys.readouterr()
    assert main(["predict", "run", "davis/pen/3.aedat"]) == 0  # as in training
    assert main(["predict", "run", "davis/pen/3.aedat", "--chip", "DVS128"]) == 2
    with pytest.raises(UserError, match="chip 'DVS128' means nothing to simulated recordings"):
        dataclasses.replace(USUAL["digits-dvs"], chip="DVS128")


def test_the_camera_is_part_of_what_frames_depend_on(place):
    options = {"seed": 0, "num_steps": 2, "cache_dir": "cache"}
    before = open_data(FOLDER, "data", **options)
    with pytest.raises(UserError, match="NOSUCH"):
        open_data(dataclasses.replace(FOLDER, chip="NOSUCH"), "data", **options)
    assert open_data(FOLDER, "data", **options).train.digest() == before.train.digest()


def test_time_steps_have_one_name_in_two_forms(place, capsys):
    for flag in ("--num-steps", "--model.num-steps"):
        assert main(["data", "prepare", "event-folder", "--data-dir", "data", f"{flag}=3"]) == 0
        assert "20 clips of 3 frames" in capsys.readouterr().out
        assert main(["train", "digits", flag, "3", "--toml"]) == 0
        assert "num_steps = 3" in capsys.readouterr().out


def test_files_beside_folders_of_parts_and_groups_are_named(place):
    made_up.put(place / "data" / "stray.aedat", made_up.aedat2(seed=99))
    (place / "data" / "notes.txt").write_text("x")
    group = EventConfig(name="event-folder", split="by-group", test_group="pen")
    for name in ("cup", "pen"):
        for number in range(10):
            made_up.put(
                place / "groups" / name / f"k{number % 2}" / f"{number}.aedat",
                made_up.aedat2(seed=number + len(name) * (name == "cup") * 100),
            )
    (place / "groups" / "stray.aedat").write_bytes(made_up.aedat2(seed=99))
    (place / "groups" / "notes.txt").write_text("x")
    for root, config, folders in (("groups", group, "cup/, pen/"), ("parts", FOLDER, "train/, test/")):
        if root == "parts":
            (place / "groups").rename(place / "parts")
            (place / "parts" / "cup").rename(place / "parts" / "train")
            (place / "parts" / "pen").rename(place / "parts" / "test")
        notes = open_data(config, root, seed=0, num_steps=2, cache_dir="cache").notes
        assert f"left out: recordings beside {folders} (1), such as stray.aedat" in notes
        assert "left out: files whose endings are not those of recordings, .txt 1 (1), such as notes.txt" in notes


def test_members_of_zip_files_that_are_not_read_are_named(tmp_path):
    made_up.dvs_cifar10(tmp_path / "data", per_class=10)
    (tmp_path / "data" / "cat" / "cat_0.pcap").write_bytes(b"x")
    root = made_up.zipped(tmp_path / "data", tmp_path / "zips")
    with zipfile.ZipFile(root / "dog.zip", "a") as archive:
        archive.writestr("__MACOSX/dog/._a", b"x")
    notes = open_data(EventConfig(), str(root), seed=0, num_steps=2, cache_dir=str(tmp_path / "cache")).notes
    said = "left out: files whose endings are not those of recordings, .pcap 1 (1), such as cat.zip/cat/cat_0.pcap"
    assert notes == (said,)


def test_links_to_folders_that_are_read_already_are_named(place):
    (place / "data" / "cup" / "more").mkdir()
    made_up.put(place / "data" / "cup" / "more" / "a.aedat", made_up.aedat2(seed=77))
    (place / "data" / "cup" / "again").symlink_to(place / "data" / "cup" / "more")
    (place / "data" / "cup" / "up").symlink_to(place / "data")
    splits = open_data(FOLDER, "data", seed=0, num_steps=2, cache_dir="cache")
    assert splits.about["recordings"]["train"] + splits.about["recordings"]["test"] == 21
    said = "left out: links to folders that are read by another path, or lie above (2), such as cup/again"
    assert splits.notes == (said,)
