"""sresnet data info and sresnet data view."""

from pathlib import Path

import made_up_events as made_up
import pytest

from sresnet.cli import main


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("zero", "one"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        (tmp_path / "set" / folder / "1.bin").write_bytes(made_up.nmnist(made_up.events(1200)))
    (tmp_path / "set" / "one" / "2.bin").write_bytes(made_up.nmnist(made_up.events(3))[:-1])
    (tmp_path / "davis.aedat").write_bytes(made_up.aedat2_davis(made_up.events(1200)))
    return tmp_path


def test_info_of_a_file(files, capsys):
    assert main(["data", "info", "davis.aedat"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "file: davis.aedat",
        "format: AEDAT 2.0",
        "sensor: DAVIS240, 240x180",
        "events: 1,200, 33.3 % ON",
        "duration: 0.119900 s, from 5 to 119,905 microseconds",
        "times: microseconds of the camera's clock, not shifted",
        "rate: 10,008 events/s",
        "pixels with events: 34 of 43,200",
        "busiest pixel: column 3, row 1, 36 events",
        "skipped: frame: 2,400; imu: 1,200; trigger: 1,200",
    ]


def test_info_of_a_folder(files, capsys):
    assert main(["data", "info", "set"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert captured.err == ""
    assert lines[:4] == [
        "folder: set",
        "recordings: 2 in 2 folders",
        "  one                      1",
        "  zero                     1",
    ]
    assert "sensors: N-MNIST, 34x34: 2" in lines
    assert "events: 2,400; least 1,200, median 1,200, most 1,200" in lines
    assert "skipped: nothing" in lines
    assert lines[-2] == "unreadable: 1"
    assert lines[-1].startswith("  set/one/2.bin ends at byte 14")
    assert main(["data", "info", "set/zero"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "recordings: 1 in 1 folder"
    assert main(["data", "info", "set", "--damaged", "skip"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "recordings: 3 in 2 folders"
    assert lines[-2:] == ["skipped: incomplete record: 1", "unreadable: 0"]
    Path("set/one/scene.avi").touch()
    Path("set/more").symlink_to(Path("set/zero").resolve())
    assert main(["data", "info", "set"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "recordings: 2 in 2 folders"  # the link leads to recordings that were counted
    left = "left out: files whose endings are not those of recordings, .avi 1 (1), such as one/scene.avi"
    assert f"note: {left}" in lines


@pytest.mark.parametrize("name", ["x.png", "x.gif"])
def test_view(files, capsys, name):
    words = ["data", "view", "davis.aedat", "--out", name, "--frames", "3", "--window-ms", "5"]
    assert main(words) == 0
    assert capsys.readouterr().out == f"1,200 events of davis.aedat drawn into {name}\n"
    assert (files / name).stat().st_size > 500


def test_help(capsys):
    assert main(["data", "--help"]) == 0
    out = capsys.readouterr().out
    assert "data info PATH" in out
    assert "data view PATH" in out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("data", "what to do with data is missing: choose from"),
        ("data vieww x", "data verb 'vieww' is unknown: did you mean 'view'?"),
        ("data info", "path is missing"),
        ("data info none.aedat", "none.aedat cannot be read (No such file or directory)"),
        ("data info set/one/2.bin", "ends at byte 14, inside the record"),
        ("data info davis.aedat --chip Kodak", "names the camera 'Kodak'"),
        ("data info davis.aedat --damaged maybe", "maybe"),
        ("data view davis.aedat", "--out is missing"),
        ("data view davis.aedat --out x.jpg", "does not end in .png or .gif"),
        ("data view davis.aedat --out x.png --frames 0", "frames 0 is out of range"),
        ("data view davis.aedat --out x.png --window-ms -1", "window-ms -1 is out of range"),
        ("data view set --out x.png", "set cannot be read (Is a directory)"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(files, words, complaint, capsys):
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("sresnet: ")
    assert complaint in captured.err
    assert captured.err.count("\n") == 1
