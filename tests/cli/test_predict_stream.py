"""`sresnet predict RUN FILE --stream`: a class for every window of a long recording."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch

import sresnet
from sresnet.cli import main
from sresnet.cli.parse import seconds_of
from sresnet.data.events.read import read_recording
from sresnet.errors import UserError
from tests.data.events import made_up_sets as made_up

TINY = "--model.base-filters 2 --model.num-steps 2 --model.depth 8 --train.epochs 1 --model.threshold 0.2".split()
NOISE = ["--data.filters.refractory-ms", "0.001"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run on windows of 0.2 s, another on whole recordings, and a recording with a silence."""
    root = tmp_path_factory.mktemp("stream")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        torch.set_num_threads(1)
        for seed, name in enumerate(("train/cup", "test/cup", "train/pen", "test/pen")):
            content = made_up.aedat2(count=2000, seed=seed, duration=1_000_000)
            made_up.put(root / "data" / f"{name}.aedat", content)
        data = ["--data-dir", str(root / "data"), "--data.frames.size", "16", "--data.split", "official"]
        for run, more in (
            ("run", ["--data.window-seconds", "0.2"]),
            ("whole", []),
            ("count", ["--data.frames.by", "count", *NOISE, "--data.windows.least-events", "900"]),
        ):
            assert main(["train", "event-folder", *TINY, *data, *more, "--out", str(root / run)]) == 0
    shutil.copytree(root / "whole", root / "earlier")
    about = json.loads((root / "earlier" / "data.json").read_text())
    del about["clip_seconds"]  # of an earlier version
    (root / "earlier" / "data.json").write_text(json.dumps(about))
    first = read_recording(root / "data" / "train" / "cup.aedat")
    t = np.concatenate([first.t, first.t + 3_000_000])
    x, y, on = (np.concatenate([each, each]).astype(np.int64) for each in (first.x, first.y, first.on))
    address = (127 - x) << 1 | (127 - y) << 8 | 1 - on
    body = np.stack([address, t], 1).astype(">u4").tobytes()
    made_up.put(root / "long.aedat", b"#!AER-DAT2.0\r\n# AEChip: DVS128\r\n" + body)
    made_up.put(root / "cut.aedat", b"#!AER-DAT2.0\r\n# AEChip: DVS128\r\n" + body[:-3])
    return root


def streamed(capsys, *words):
    assert main(["predict", *map(str, words), "--json"]) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_the_mean_over_whole_windows_is_what_predict_says(place, capsys):
    file = place / "data" / "test" / "pen.aedat"
    (found,), said = streamed(capsys, place / "run", file, "--stream", "auto")
    assert main(["predict", str(place / "run"), str(file), "--json"]) == 0
    (whole,) = json.loads(capsys.readouterr().out)
    answers = [each for each in found["answers"] if each["whole"]]
    assert len(answers) == 4
    mean = np.mean([each["probabilities"] for each in answers], 0)
    wanted = {each["name"]: each["probability"] for each in whole["classes"]}
    np.testing.assert_allclose(mean, [wanted[name] for name in found["class_names"]], atol=1e-6)
    assert (found["step_seconds"], found["file"]) == (0.1, str(file))
    assert "steps of 100 ms, windows of 2 steps (200 ms)\n" in said
    assert "note:" not in said


def test_text_table_and_picture_say_the_same(place, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    table, picture = tmp_path / "classes.csv", tmp_path / "classes.svg"
    words = ["predict", str(place / "run"), str(place / "long.aedat"), "--stream", "50ms"]
    assert main([*words, "--csv", str(table), "--out", str(picture)]) == 0
    said = capsys.readouterr().out
    assert "note: the network was trained on steps of 100 ms: on others it may be less accurate" in said
    assert re.search(r"^  1\.0\d\d to 3\.0\d\d s: no events$", said, re.M)
    assert re.search(
        r"^  0\.000 to \d\.\d+ s: (cup|pen), \d+\.\d %( \(\d+\.\d to \d+\.\d %\), \d+ windows)?$", said, re.M
    )
    assert f"written into {table}\ndrawn into {picture}\n" in said
    rows = list(csv.DictReader(table.read_text().splitlines()))
    (found,), _ = streamed(capsys, place / "run", place / "long.aedat", "--stream", "0.05s")
    assert len(rows) == len(found["answers"]) > 30
    for row, answer in zip(rows, found["answers"], strict=True):
        assert (float(row["start_s"]), float(row["end_s"])) == (answer["start"], answer["end"])
        assert (row["file"], row["class"], int(row["step"])) == ("long.aedat", answer["class"], answer["step"])
        assert float(row["confidence"]) == max(float(row["cup"]), float(row["pen"])) == answer["confidence"]
    drawn = picture.read_text()
    assert all(word in drawn for word in ("cup", "pen", "time since the first event (s)", "probability (%)"))
    assert main([*words, "--csv", str(table)]) == 0  # its own table
    (tmp_path / "mine.csv").write_text("file,mine\n")
    capsys.readouterr()
    assert main([*words, "--csv", str(tmp_path / "mine.csv")]) == 2
    assert "exists and was not made by sresnet: choose another --csv" in capsys.readouterr().err
    assert (tmp_path / "mine.csv").read_text() == "file,mine\n"


def test_auto_is_the_usual_length_of_whole_recordings(place, capsys):
    trained = sresnet.load(place / "whole").trained
    assert trained is not None
    assert trained.lengths is not None
    assert 0.98 < trained.lengths.shortest <= trained.lengths.usual <= trained.lengths.longest <= 1
    (found,), said = streamed(capsys, place / "whole", place / "long.aedat", "--stream", "auto")
    assert found["step_seconds"] == pytest.approx(trained.lengths.usual / 2, abs=1e-6)
    assert "note:" not in said
    _, said = streamed(capsys, place / "whole", place / "long.aedat", "--stream", "50ms")
    assert re.search(r"note: the network was trained on steps of \d+ ms: on others it may be less", said)
    assert [each["class"] for each in found["answers"] if each["whole"]]


def test_a_recording_far_longer_than_those_of_training_gets_a_note(place, capsys):
    for run, noted in (("whole", True), ("run", False), ("earlier", False)):
        assert main(["predict", str(place / run), str(place / "long.aedat")]) == 0
        said = capsys.readouterr().out
        assert ("long.aedat lasts 4 s" in said) == noted
        assert ("; --stream auto walks through a long recording\n" in said) == noted
    assert main(["predict", str(place / "whole"), str(place / "data" / "test" / "pen.aedat")]) == 0
    assert "note:" not in capsys.readouterr().out


def test_python_gives_the_answers_of_the_command(place, capsys):
    (found,), _ = streamed(capsys, place / "run", place / "long.aedat", "--stream", "auto", "--stride", "50000us")
    whole = read_recording(place / "long.aedat")
    columns = (whole.t, whole.x, whole.y, whole.on)
    slices = [tuple(column[first : first + 97] for column in columns) for first in range(0, len(whole) + 97, 97)]
    answers = list(sresnet.stream(place / "run", slices, stride=0.05, size=(128, 128)))
    ours, theirs = [each.probabilities for each in answers], [each["probabilities"] for each in found["answers"]]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert [(each.end - whole.t[0]) / 1e6 for each in answers] == [each["end"] for each in found["answers"]]


MISTAKES = {
    "no unit": ("run long.aedat --stream 50", "--stream '50' is not a length of time: 50 of what? give a unit"),
    "no number": ("run long.aedat --stream ms", "--stream 'ms' is not a length of time: give a unit"),
    "two points": ("run long.aedat --stream 1..5s", "--stream '1..5s' is not a length of time"),
    "nothing": ("run long.aedat --stream 0ms", "--stream '0ms' is not a length of time that events have"),
    "no value": ("run long.aedat --stream", "--stream has no value"),
    "a stride alone": ("run long.aedat --stride 50ms", "--stride belongs to a stream: add --stream 50ms"),
    "a table alone": ("run long.aedat --csv a.csv", "--csv belongs to a stream"),
    "an ending": ("run long.aedat --stream 50ms --out a.gif", "does not end in .png or .svg"),
    "no step known": ("earlier long.aedat --stream auto", "no length of a time step is known"),
    "too long": ("run long.aedat --stream 10s", "lasts 3.99"),
    "a window too long": (
        "count long.aedat --stream 3s",
        "s, and no window (6 s) ends within it: choose a shorter one",
    ),
    "few events": (
        "count long.aedat --stream 1ms --stride 1ms",
        "s, and no window (2 ms) that ends within it has 900 events that the filters leave: choose a longer one",
    ),
    "damage": ("run cut.aedat --stream 50ms", "or leave out what is damaged (damaged skip)"),
    "damage somehow": ("run cut.aedat --stream 50ms --damaged yes", "damaged 'yes' is unknown: choose error, or skip"),
    "damage of pictures": ("digits-t4 a.png --damaged skip", "damaged 'skip' is for recordings of events"),
    "pictures": ("digits-t4 long.aedat --stream 50ms", "digits-t4 was trained on pictures"),
    "no recording": ("run data --stream 50ms", "data"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(place, capsys, monkeypatch, name):
    monkeypatch.chdir(place)
    words, fault = MISTAKES[name]
    assert main(["predict", *words.split()]) == 2
    said = capsys.readouterr().err
    assert fault in said
    assert said.count("\n") == 1


def test_damage_is_left_out_where_that_is_asked_for(place, capsys):
    """Though the run stops at it: the message of a file that is cut off says so."""
    (whole,), _ = streamed(capsys, place / "run", place / "long.aedat", "--stream", "50ms")
    (found,), _ = streamed(capsys, place / "run", place / "cut.aedat", "--stream", "50ms", "--damaged", "skip")
    assert found["answers"][:20] == whole["answers"][:20]
    file, skip = str(place / "cut.aedat"), ["--data.damaged", "skip"]
    assert main(["predict", str(place / "run"), file]) == 2
    assert "or leave out what is damaged (damaged skip)" in capsys.readouterr().err
    assert main(["predict", str(place / "run"), file, *skip]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--stream", "70ms"], r"the last [\d.]+ ms with \d+ events are less than a step and in no answer"),
        (["count", "--stream", "300ms"], r"the last [\d.]+ ms with \d+ events are less than a window and in no answer"),
        # The windows of which fewer than 900 events are known are 600 ms long, and longer than one is the silence.
        (["count", "--stream", "300ms", "--stride", "900ms"], r"the last [\d.]+ s with [\d,]+ events are in no answer"),
    ],
)
def test_what_is_in_no_answer_is_said(place, capsys, words, said):
    run, *options = words
    assert main(["predict", str(place / run), str(place / "long.aedat"), *options]) == 0
    out = capsys.readouterr().out
    assert re.search(said, out), out


def test_lengths_of_time():
    wanted = {"50ms": 0.05, "0.05s": 0.05, "200us": 2e-4, "200µs": 2e-4, "1.5 S": 1.5, "1e-3s": 1e-3}
    assert {text: seconds_of("--stream", text) for text in wanted} == pytest.approx(wanted)
    for text in ("", "s", "5m", "-5ms", "1e9s", "5 ms ms", "٥ms", "nans", "infs"):
        with pytest.raises(UserError, match="is not a length of time"):
            seconds_of("--stream", text)
