"""sresnet data info: what the frames of a folder of recordings would take, and what a byte a count would lose."""

import json
from pathlib import Path

import made_up_events as made_up
import pytest
from test_frames import hd_recording
from test_recording_lists import gestures

from sresnet.cli import main
from sresnet.data.events.frame_facts import describe_frames
from sresnet.data.events.frames import FrameConfig
from sresnet.data.events.parts import held
from sresnet.data.events.source import Source
from sresnet.data.events.windows import WindowConfig


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("zero", "one"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "1.bin").write_bytes(made_up.nmnist(made_up.events(1200)))
    (tmp_path / "set" / "one" / "2.bin").write_bytes(b"\x03\x04\x80\x00\x09" * 1000)
    (tmp_path / "set" / "one" / "3.bin").write_bytes(b"\x03\x04\x80\x00\x09" * 3 + b"\x00")
    return tmp_path


def test_info_says_what_frames_would_take(folder, capsys):
    assert main(["data", "info", "set"]) == 0
    assert "frames:" not in capsys.readouterr().out
    words = ["data", "info", "set", "--num-steps", "2", "--frames.size", "17"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "frames: 3 clips of 17x17 pixels, T = 2, up to 1,000 events at a pixel and step\n" in out
    assert "counts: 2 bytes each; 22 % of 3,400 events are beyond 255\n" in out
    assert "warning" not in out
    assert main([*words, "--frames.counts", "saturate"]) == 0
    assert "warning: with counts 'saturate' 22 % of the events are lost" in capsys.readouterr().out
    assert main([*words, "--frames.by", "whole", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["frames"]
    assert (facts["events"], facts["beyond"], facts["largest"]) == (3400, 745, 1000)


def test_info_by_recipe(folder, capsys):
    assert main(["data", "info", "set", "--recipe", "nmnist"]) == 0
    assert "frames: 3 clips of 17x17 pixels, T = 8, up to 1,000 events at a pixel and step\n" in capsys.readouterr().out
    assert main(["data", "info", "set", "--recipe", "nmnist", "--num-steps", "3"]) == 0
    assert "T = 3" in capsys.readouterr().out
    assert main(["data", "info", "set", "--recipe", "digits"]) == 2
    assert "recipe 'digits' is not one of event recordings: did you mean 'digits-dvs'?" in capsys.readouterr().err
    assert main(["data", "info", "set", "--num-steps", "2", "--frames.size", "64"]) == 2
    assert "1.bin: frames of 64x64 pixels are larger than the sensor, 34x34" in capsys.readouterr().err


def test_frames_of_a_list_are_of_the_parts_that_it_names(folder, capsys):
    rows = ["set/one/1.bin,up,0,0.04,train", "set/one/1.bin,down,0.04,,train", "other.bin,up,,,test"]
    Path("other.bin").write_bytes(made_up.nmnist(made_up.events(1200, start=9)))
    Path("list.csv").write_text("\n".join(["file,label,start_seconds,stop_seconds,split", *rows]), encoding="utf-8")
    said = "note: frames are of the parts of recordings that are labelled, the rest of the facts of all\n"
    assert main(["data", "info", "list.csv", "--num-steps", "3"]) == 0
    out = capsys.readouterr().out
    assert "frames: 3 clips of 34x34 pixels, T = 3" in out
    assert said in out
    assert main(["data", "info", "list.csv", "--num-steps", "3", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert main(["data", "prepare", "event-folder", "--data-dir", "list.csv", "--num-steps", "3", "--json"]) == 0
    assert counted["frames"]["events"] == json.loads(capsys.readouterr().out)["events"] == 2400
    assert main(["data", "info", "set", "--num-steps", "3"]) == 0
    assert said not in capsys.readouterr().out


def test_frames_of_gestures_are_of_those_that_are_labelled(tmp_path, capsys):
    gestures(tmp_path)
    assert main(["data", "info", str(tmp_path), "--recipe", "dvs-gesture"]) == 0
    out = capsys.readouterr().out
    assert "frames: 33 clips" in out
    assert "the parts of recordings that are labelled" in out


def test_a_high_definition_recording_in_windows():
    """As in `test_frames`: three fifths of it at 32x32."""
    recording = hd_recording(1.1)
    asked = [Source(name="spot.raw", class_name="spot")], lambda source: (held(recording), "")
    windows = WindowConfig(seconds=0.5)
    facts = describe_frames(*asked, FrameConfig(size=32, representation="voxel"), windows, 8, memory_limit=1)
    assert (facts.clips, facts.bytes_each, facts.height) == (2, 2, 32)
    assert facts.events == pytest.approx(500_000, rel=0.01)
    assert 0.5 < facts.beyond / facts.events < 0.7
    facts = describe_frames(*asked, FrameConfig(size=128), windows, 8, memory_limit=1)
    assert (facts.bytes_each, facts.beyond) == (1, 0)
