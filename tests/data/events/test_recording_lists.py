"""Sets that a CSV or TOML file lists, folders that are divided already, and DVS128 Gesture."""

import dataclasses
import json

import made_up_events
import made_up_sets as made_up
import numpy as np
import pytest

from sresnet.cli import main
from sresnet.data import EventConfig, open_data
from sresnet.data.events.read import parse_recording
from sresnet.data.events.recording_list import names_recordings, read_recording_list
from sresnet.data.events.sets import GESTURES, USUAL, list_recordings
from sresnet.data.opening import has_validation
from sresnet.errors import UserError

FOLDER = USUAL["event-folder"]
TINY = "--model.num-steps 2 --model.base-filters 2 --model.depth 8 --train.epochs 1".split()


def long(root, name, seed=0, count=400, duration=1_000_000):
    """A recording of a second."""
    return made_up.put(root / name, made_up.aedat2(count=count, seed=seed, duration=duration))


def write(root, text, name="list.csv"):
    """A list in a folder with two long recordings, and `c.aedat` that no list names."""
    for seed, file in enumerate(("a.aedat", "more/b.aedat", "c.aedat")):
        long(root, file, seed)
    path = root / name
    path.write_text(text)
    return path


def opened(path, cache, config=FOLDER, **options):
    return open_data(config, str(path), seed=0, num_steps=2, cache_dir=str(cache), **options)


SEVERAL = """file,label,start_seconds,stop_seconds,split
a.aedat,wave,0,0.2,train
a.aedat,clap,0.2,0.4,train
more/b.aedat,wave,0.5,,val
more/b.aedat,clap,,0.5,test
"""


def test_parts_of_recordings_are_the_events_between_their_times(tmp_path):
    path = write(tmp_path / "data", SEVERAL)
    listing = list_recordings(FOLDER, str(path))
    assert [source.class_name for source in listing.sources] == ["wave", "clap", "wave", "clap"]
    assert [source.group for source in listing.sources] == ["train", "train", "validation", "test"]
    assert listing.split == "official"
    names = [
        "a.aedat from 0 s to 0.2 s",
        "a.aedat from 0.2 s to 0.4 s",
        "more/b.aedat from 0.5 s",
        "more/b.aedat to 0.5 s",
    ]
    assert [source.name for source in listing.sources] == names
    spans = [(0, 200_000), (200_000, 400_000), (500_000, 1 << 40), (0, 500_000)]
    for source, (start, stop) in zip(listing.sources, spans, strict=True):
        whole = parse_recording(source.path.read_bytes(), source.name)
        after = whole.t - whole.t[0]
        inside = (after >= start) & (after < stop)
        found = listing.read(source)[0].whole()
        assert 0 < len(found) < len(whole)
        for field in ("t", "x", "y", "on"):
            assert np.array_equal(getattr(found, field), getattr(whole, field)[inside]), field
    assert len({listing.read(source)[1] for source in listing.sources}) == 4  # digests of parts, not of files
    assert "recordings beside list.csv that it does not name (1), such as c.aedat" in " ".join(listing.notes)
    assert "list.csv divides the recordings in its column split, not random90" in listing.notes


def test_microseconds_are_those_of_the_clock(tmp_path):
    """Which the first event of these recordings is not at the zero of."""
    path = write(
        tmp_path / "data", "file;class;startTime_usec;endTime_usec\na.aedat;x;100000;300000\nmore/b.aedat;y;;\n"
    )
    first, second = list_recordings(FOLDER, str(path)).sources
    found = list_recordings(FOLDER, str(path)).read(first)[0].whole()
    whole = parse_recording(first.path.read_bytes(), "a.aedat")
    assert whole.t[0] > 0
    assert np.array_equal(found.t, whole.t[(whole.t >= 100_000) & (whole.t < 300_000)])
    assert (first.name, second.name) == ("a.aedat from 100000 us to 300000 us", "more/b.aedat")
    assert second.span is None


TOML = """
[[recording]]
file = "a.aedat"
label = "wave"
start_seconds = 0
stop_seconds = 0.2
split = "train"
[[recording]]
file = "a.aedat"
label = "clap"
start_seconds = 0.2
stop_seconds = 0.4
split = "train"
[[recording]]
file = "more/b.aedat"
label = "wave"
start_seconds = 0.5
split = "val"
[[recording]]
file = "more/b.aedat"
label = "clap"
stop_seconds = 0.5
split = "test"
"""


def test_toml_says_the_same(tmp_path):
    csv, toml = write(tmp_path, SEVERAL), write(tmp_path, TOML, "list.toml")
    of_csv, of_toml = read_recording_list(csv), read_recording_list(toml)
    assert [dataclasses.replace(row, row="") for row in of_csv.rows] == [
        dataclasses.replace(row, row="") for row in of_toml.rows
    ]
    assert of_toml.rows[2].row == "recording 3"
    assert names_recordings(csv)
    assert names_recordings(toml)


def test_a_list_trains_by_the_usual_recipe(tmp_path, capsys, monkeypatch):
    """With the parts that it says, from another folder; the run finds its list again."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data", SEVERAL)
    command = ["train", "event-folder", *TINY, "--data-dir", "data/list.csv", "--cache-dir", "cache", "--out", "run"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "event-folder, split official: recordings 2 train, 1 validation, 1 test; clips 2 train, 1 validation" in said
    assert "recordings with parts to train on and parts to test or to validate on (1), such as more/b.aedat" in said
    assert "left out: recordings beside list.csv that it does not name (1), such as c.aedat" in said
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["split"]["recordings"] == {"train": 2, "validation": 1, "test": 1}
    assert "validation_top1" in result
    assert main(["evaluate", "run"]) == 0
    assert main(["data", "info", "data/list.csv"]) == 0
    said = capsys.readouterr().out
    assert "list: data/list.csv" in said
    assert "note: 4 rows by class: clap 2, wave 2" in said
    assert "note: 4 rows by split: test 1, train 2, validation 1" in said


def test_a_column_of_parts_that_by_group_does_not_use_is_named(tmp_path, capsys):
    both = "file,label,split,group\na.aedat,x,train,g\nmore/b.aedat,x,test,h\nc.aedat,y,val,g\nd.aedat,y,train,h\n"
    path = write(tmp_path / "data", both)
    long(tmp_path / "data", "d.aedat", 9)
    words = ["--data-dir", str(path), "--cache-dir", str(tmp_path / "cache")]
    group = ["--data.split", "by-group", "--data.test-group", "h"]
    said = "note: list.csv has a column split, which split by-group does not use"
    for command in (
        ["data", "prepare", "event-folder"],
        ["train", "event-folder", *TINY, "--out", str(tmp_path / "run")],
    ):
        assert main([*command, *words, *group]) == 0
        assert said in capsys.readouterr().out
    assert main(["data", "prepare", "event-folder", *words]) == 0
    assert said not in capsys.readouterr().out
    assert main(["data", "info", str(path)]) == 0
    assert "note: the column split divides them; with --data.split by-group it is not used" in capsys.readouterr().out
    path.write_text(both.replace("split", "other"))
    assert main(["data", "prepare", "event-folder", *words, *group]) == 0
    assert said not in capsys.readouterr().out
    assert main(["data", "info", str(path)]) == 0
    assert "the column split divides them" not in capsys.readouterr().out


def test_frames_are_made_again_where_a_row_changes(tmp_path):
    path = write(tmp_path / "data", SEVERAL)
    before = opened(path, tmp_path / "cache")
    path.write_text(SEVERAL.replace("0.5,,val", "0.6,,val"))
    after = opened(path, tmp_path / "cache")
    assert before.validation.digest() != after.validation.digest()
    assert before.validation.batch(np_index(0)).sum() > after.validation.batch(np_index(0)).sum()
    path.write_text(SEVERAL)
    assert opened(path, tmp_path / "cache").validation.digest() == before.validation.digest()


def np_index(*numbers):
    import torch

    return torch.tensor(numbers)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\na.aedat,x\n", "has recordings of 1 class"),
        ("", "line 1 names no column path, file"),
        ("file,label\n", "names no recording: add a line for each below the first"),
        ("file,start_seconds\na.aedat,1\n", r"has no column of classes \(label, class, target\)"),
        ("file,label,class\na.aedat,x,y\n", "has several columns of classes, label and class"),
        ("file,label,label\na.aedat,x,y\n", "has several columns of classes, label and label"),
        ("file,label,group,group\na.aedat,x,g,h\n", "has several columns of groups, group and group"),
        ("file,label,start_us,start_us\na.aedat,x,1,2\n", "has several columns of starts, start_us and start_us"),
        ("file,label,start\na.aedat,x,1\n", "has a column 'start', which does not say its unit: call it start_seconds"),
        ("file,label,start_s,stop_us\na.aedat,x,1,2\n", "has start_s and stop_us: give both in seconds, or both in"),
        ("file,label,start_s\na.aedat,x,soon\n", "line 2 has start_s 'soon': give seconds from the first event"),
        ("file,label,start_s\na.aedat,x,-1\n", "line 2 has start_s '-1': give seconds"),
        ("file,label,start_s\na.aedat,x,nan\n", "line 2 has start_s 'nan': give seconds"),
        ("file,label,start_us\na.aedat,x,1.5\n", "line 2 has start_us '1.5': give whole microseconds"),
        ("file,label,start_s,stop_s\na.aedat,x,2,2\n", "line 2 goes from 2 to 2: the stop must be later"),
        ("file,label\na.aedat,\n", "line 2 has no label: fill it in"),
        ("file,label\nd.aedat,x\n", "line 2 names d.aedat, which does not exist"),
        ("file,label\n../a.aedat,x\n", "line 2 names ../a.aedat, outside the folder of the list"),
        ("file,label,split\na.aedat,x,later\n", "line 2 has split 'later': write one of train"),
        ("file,label,split\na.aedat,x,train\nc.aedat,y,train\n", "has no row of split test or val"),
        ("file,label,split\na.aedat,x,test\nc.aedat,y,test\n", "has no row of split train"),
        ("file,label,group\na.aedat,x,\n", "line 2 has no group: fill it in"),
        ("file,label\na.aedat,x\n\na.aedat,y\n", "line 4 has a.aedat as y, and line 2 as x: delete one"),
        ("file,label\na.aedat,x,1\n", "line 2 has 3 fields, and the first line 2"),
        (
            "file,label,start_s,stop_s,split\na.aedat,x,,,train\na.aedat,y,5,6,train\nc.aedat,x,,,test\n",
            "a.aedat from 5 s to 6 s has no events: the recording goes from 0 s to 0.99",
        ),
    ],
)
def test_mistakes_in_a_list_are_one_line_each(tmp_path, text, words):
    path = write(tmp_path / "data", text)
    with pytest.raises(UserError, match=words) as caught:
        opened(path, tmp_path / "cache")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("recording = 3", "has no list of tables"),
        ("[[recordings]]\nfile = 'a.aedat'", "has 'recordings': a list of recordings has nothing but tables"),
        ("[[recording]]\nfile = 'a.aedat'\nlabel = true", "recording 1 has label True: give a text or a number"),
        ("[[recording]]\nfile = 'a.aedat'", "has no column of classes"),
        ("[[recording]]\nlabel = 'a'\nfile = 'a.aedat'\n[[recording]]\nlabel = 'b'", "recording 2 has a path|no path"),
        ("[[recording]\n", "is no TOML"),
        ("", "names no recording: add a table"),
    ],
)
def test_mistakes_in_toml(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        opened(write(tmp_path / "data", text, "list.toml"), tmp_path / "cache")


def test_a_list_that_is_not_there(tmp_path):
    for name in ("list.csv", "list.toml"):
        with pytest.raises(UserError, match=f"list of recordings .*{name} does not exist: give a CSV"):
            opened(tmp_path / name, tmp_path / "cache")


def test_columns_that_are_not_read_are_named(tmp_path):
    path = write(tmp_path, "file,label,lightning,splt\na.aedat,x,1,train\nmore/b.aedat,y,2,test\n")
    assert read_recording_list(path).notes == ("columns of list.csv that are not read: lightning, splt",)


def subjects(root, count=8, rows=2):
    """A recording of each subject, with parts of both classes."""
    lines = ["file,label,start_seconds,stop_seconds,group"]
    for number in range(count):
        file = long(root, f"s{number}.aedat", seed=number)
        for part in range(2 * rows):
            lines.append(f"{file.name},{('wave', 'clap')[part % 2]},{0.2 * part},{0.2 * part + 0.2},s{number}")
    path = root / "list.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def sides(splits):
    """The recordings of each part, four clips of each."""
    return [set((each.numbers // 4).tolist()) for each in (splits.train, splits.validation, splits.test) if each]


def test_all_parts_of_a_recording_are_on_one_side(tmp_path):
    """Where nothing says how they are divided, and where some are held out."""
    path = subjects(tmp_path / "data", 20)
    splits = opened(path, tmp_path / "cache", dataclasses.replace(FOLDER, validation=0.3))
    train, validation, test = sides(splits)
    assert (len(train), len(validation), len(test)) == (13, 5, 2)
    assert not train & validation
    assert not train & test
    assert not validation & test
    again = opened(path, tmp_path / "cache", dataclasses.replace(FOLDER, split_seed=1))
    assert sides(again)[-1] != test
    assert not any("parts to train on" in note for note in splits.notes)
    with pytest.raises(UserError, match="several rows of s0.aedat, which split first900-by-name would divide"):
        opened(path, tmp_path / "cache", dataclasses.replace(FOLDER, split="first900-by-name"))


def test_groups_of_a_list(tmp_path):
    path = subjects(tmp_path / "data")
    config = dataclasses.replace(FOLDER, split="by-group", test_group="s3")
    splits = opened(path, tmp_path / "cache", config)
    assert sides(splits) == [{0, 1, 2, 4, 5, 6, 7}, {3}]
    with pytest.raises(UserError, match="test_group 's9' is not there"):
        opened(path, tmp_path / "cache", dataclasses.replace(config, test_group="s9"))
    path.write_text(path.read_text().replace("group", "person"))
    with pytest.raises(UserError, match="has no column group: add one"):
        opened(path, tmp_path / "cache", config)
    with pytest.raises(UserError, match="has no column split: add one"):
        opened(path, tmp_path / "cache", dataclasses.replace(FOLDER, split="official"))


def test_a_class_that_is_drawn_on_one_side_alone(tmp_path):
    path = write(
        tmp_path / "data",
        "file,label,start_s,stop_s\na.aedat,x,0,0.2\na.aedat,x,0.2,0.4\nmore/b.aedat,y,0,0.2\nc.aedat,y,0,0.2\n",
    )
    with pytest.raises(UserError, match="class 'x' is not both in the recordings drawn to train on"):
        opened(path, tmp_path / "cache")


def test_parts_that_overlap_are_not_on_both_sides(tmp_path):
    text = SEVERAL.replace("more/b.aedat,clap,,0.5,test", "a.aedat,clap,0.3,0.6,test")
    words = "a.aedat from 0.3 s to 0.6 s, to be tested on, overlaps with a.aedat from 0.2 s to 0.4 s, to be trained on"
    with pytest.raises(UserError, match=words):
        opened(write(tmp_path / "data", text), tmp_path / "cache")
    path = write(tmp_path / "copy", "file,label,split\na.aedat,x,train\nmore/b.aedat,y,train\nc.aedat,y,test\n")
    (path.parent / "c.aedat").write_bytes((path.parent / "a.aedat").read_bytes())
    with pytest.raises(UserError, match="c.aedat, to be tested on, has the same bytes as a.aedat"):
        opened(path, tmp_path / "cache2")


def test_held_out_rows_are_the_test_set_where_there_is_no_other(tmp_path):
    path = write(tmp_path / "data", SEVERAL.replace(",test", ",train"))
    splits = opened(path, tmp_path / "cache")
    assert splits.validation is None
    assert splits.about["recordings"] == {"train": 3, "validation": 0, "test": 1}
    assert "list.csv has no rows of split test: those of val are the test set" in splits.notes


def test_whether_a_part_is_held_out_is_known_beforehand(tmp_path):
    path = write(tmp_path / "data", SEVERAL)
    assert has_validation(FOLDER, str(path))
    assert not has_validation(dataclasses.replace(FOLDER, split="by-group", test_group="a"), str(path))
    assert not has_validation(FOLDER, str(write(tmp_path / "two", SEVERAL.replace("val", "train"))))
    assert has_validation(FOLDER, str(divided(tmp_path / "divided")))
    assert not has_validation(FOLDER, str(tmp_path / "divided" / "train"))


def divided(root):
    seed = 0
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        for name in ("cup", "pen"):
            for number in range(count):
                long(root, f"{part}/{name}/{number}.aedat", seed := seed + 1)
    return root


def test_folders_for_training_and_testing_are_taken_as_that(tmp_path):
    """By the usual recipe too, where they once were classes called train, val and test."""
    root = divided(tmp_path / "data")
    splits = opened(root, tmp_path / "cache")
    assert splits.train.class_names == ("cup", "pen")
    assert splits.about["recordings"] == {"train": 6, "validation": 4, "test": 2}
    assert "data/ is divided into folders for training and testing already, not by random90" in splits.notes
    official = opened(root, tmp_path / "cache", dataclasses.replace(FOLDER, split="official"))
    assert official.train.digest() == splits.train.digest()
    assert official.validation.digest() == splits.validation.digest()


def gestures(root):
    """Three users before a DVS128 in AEDAT 3.1, each with all eleven classes in one recording."""
    for user in (1, 2, 3):
        events = made_up_events.events(330, 128, 128, step=1000, start=7_000_000 * user)
        made_up.put(root / f"user{user:02}_led.aedat", made_up_events.aedat3(events))
        lines = ["class,startTime_usec,endTime_usec"]
        for label in range(11):
            start = 7_000_000 * user + 30_000 * label
            lines.append(f"{label + 1},{start},{start + 20_000}")
        (root / f"user{user:02}_led_labels.csv").write_text("\n".join(lines) + "\n")
    (root / "trials_to_train.txt").write_text("user01_led.aedat\nuser02_led.aedat\n\n")
    (root / "trials_to_test.txt").write_text("user03_led.aedat\n")
    (root / "errata.txt").write_text("none")
    return root


@pytest.mark.parametrize("place", ["", "DvsGesture"])
def test_dvs_gesture(tmp_path, place):
    root = gestures(tmp_path / "data" / place)
    config = USUAL["dvs-gesture"]
    splits = opened(tmp_path / "data", tmp_path / "cache", config)
    assert splits.train.class_names == GESTURES
    assert splits.train.labels.tolist() == [*range(11), *range(11)]
    assert splits.test.labels.tolist() == list(range(11))
    # 20 ms of an event each millisecond.
    assert splits.train.batch(np_index(*range(22))).flatten(1).sum(1).tolist() == [20] * 22
    by_user = opened(
        tmp_path / "data", tmp_path / "cache", dataclasses.replace(config, split="by-group", test_group="user01")
    )
    assert by_user.about["recordings"] == {"train": 22, "validation": 0, "test": 11}
    made_up.put(root / "user04_led.aedat", (root / "user03_led.aedat").read_bytes())
    notes = list_recordings(config, str(tmp_path / "data")).notes
    assert any("recordings in neither list of trials (1)" in note for note in notes)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("user03_led_labels.csv", None, "user03_led_labels.csv is missing"),
        ("user03_led.aedat", None, "trials_to_test.txt line 1 names user03_led.aedat, which does not exist"),
        ("trials_to_train.txt", None, "has no trials_to_train.txt"),
        (
            "user03_led_labels.csv",
            "class,startTime_usec,endTime_usec\n12,1,2\n",
            "line 2 is '12,1,2': expected a class",
        ),
        ("user03_led_labels.csv", "class,startTime_usec,endTime_usec\n1,2,2\n", "line 2 is '1,2,2': expected"),
        ("trials_to_train.txt", "", "has no recordings|there is nothing to train on"),
    ],
)
def test_what_is_wrong_with_dvs_gesture(tmp_path, file, text, words):
    root = gestures(tmp_path / "data")
    if text is None:
        (root / file).unlink()
    else:
        (root / file).write_text(text)
    with pytest.raises(UserError, match=words):
        opened(root, tmp_path / "cache", USUAL["dvs-gesture"])


def test_dvs_gesture_trains_by_its_recipe(tmp_path, capsys):
    root = gestures(tmp_path / "data")
    place = ["--data-dir", str(root), "--cache-dir", str(tmp_path / "cache"), "--out", str(tmp_path / "run")]
    assert main(["train", "dvs-gesture", *TINY, *place]) == 0
    assert "dvs-gesture, split official: recordings 22 train, 11 test" in capsys.readouterr().out


def test_a_list_of_pictures_is_not_one_of_recordings(tmp_path):
    path = write(tmp_path, "image,label\na.png,x\n")
    assert not names_recordings(path)
    path = write(tmp_path, "file,label\n")
    assert not names_recordings(path)


def test_a_recording_alone_is_no_part(tmp_path):
    """A list of whole recordings gives the frames and the split that its class folders give."""
    for label, name in enumerate(("cup", "pen")):
        for number in range(10):
            long(tmp_path / "data", f"{name}/{number}.aedat", seed=20 * label + number)
    config = EventConfig(name="event-folder", split="random90", validation=0.3)
    before = opened(tmp_path / "data", tmp_path / "cache", config)
    lines = [f"{name}/{number}.aedat,{name}" for name in ("cup", "pen") for number in range(10)]
    (tmp_path / "data" / "list.csv").write_text("\n".join(["file,label", *lines]))
    after = opened(tmp_path / "data" / "list.csv", tmp_path / "cache", config)
    for part in ("train", "validation", "test"):
        assert getattr(before, part).digest() == getattr(after, part).digest()
