import dataclasses
import errno
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import made_up_sets as made_up
import numpy as np
import pytest
import torch

from sresnet.data import EventConfig, cached
from sresnet.data.cleaning import cached_sets
from sresnet.data.events import cache, sets
from sresnet.data.events import source as reading
from sresnet.data.events.cache import prepare
from sresnet.data.events.clips import FrameSet
from sresnet.data.events.frames import FrameConfig, to_frames
from sresnet.data.events.read import parse_recording
from sresnet.data.events.sets import USUAL
from sresnet.data.events.windows import WindowConfig
from sresnet.data.stored import SampleFile
from sresnet.errors import UserError

NMNIST = USUAL["nmnist"]


@pytest.fixture
def data(tmp_path):
    return made_up.small_nmnist(tmp_path / "data")


def prepared(data, config=NMNIST, num_steps=3, **options):
    return prepare(config, str(data), num_steps, cache_dir=str(data.parent / "cache"), **options)


def files(data):
    return {path.name: path.read_bytes() for path in (data.parent / "cache").iterdir() if path.suffix != ".lock"}


def test_clips_are_the_frames_of_the_recordings_in_order(data):
    found = prepared(data)
    assert found.made_now
    assert [each["name"] for each in found.recordings[:2]] == ["1.bs2", "2.bs2"]
    clips = found.file.read(range(30))
    assert clips.shape == (30, 3, 2, 34, 34)
    for clip, each in zip(clips, found.recordings, strict=True):
        recording = parse_recording((data / each["name"]).read_bytes(), each["name"])
        assert np.array_equal(clip.numpy(), to_frames(recording, FrameConfig(), 3)[0])
        assert each["events"] == int(clip.sum()) == len(recording)


@pytest.fixture
def fine_times(monkeypatch):
    """As if nothing had been written a moment before it was looked at."""
    monkeypatch.setattr(cached, "COARSE", -60_000_000_000)


def test_made_once(data, fine_times):
    assert prepared(data).made_now
    before = files(data)
    again = prepared(data, watch=lambda *progress: pytest.fail("nothing is to be done"))
    assert not again.made_now
    assert files(data) == before
    changed = dataclasses.replace(NMNIST, validation=0.1, flip=True, shift=2, cutout=0.5)
    assert not prepared(data, changed).made_now  # how clips are used changes none of them


@pytest.mark.parametrize(
    ("fields", "num_steps"),
    [
        ({"frames": FrameConfig(size=17)}, 3),
        ({"frames": FrameConfig(by="count")}, 3),
        ({"windows": WindowConfig(seconds=0.1)}, 3),
        ({"damaged": "skip"}, 3),
        ({}, 4),
    ],
)
def test_other_options_are_other_files(data, fields, num_steps):
    first = prepared(data)
    second = prepared(data, dataclasses.replace(NMNIST, **fields), num_steps)
    assert second.made_now
    assert second.file.path != first.file.path
    assert not prepared(data).made_now


def test_a_changed_recording_is_noticed(data):
    first = prepared(data)
    made_up.put(data / "7.bs2", made_up.nmnist(seed=999))
    os.utime(data / "7.bs2", ns=(1, 1))
    second = prepared(data)
    assert second.made_now
    assert not torch.equal(first.file.read([6]), second.file.read([6]))
    (data / "test100.txt").write_text("60001 3\n")
    assert prepared(data).file.count == 21


def rewrite(path, content, keep_time=True):
    """Other content of the same size, and as if at the same time."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns or not keep_time


def test_a_recording_of_the_same_size_and_time_that_changed_is_noticed(data, fine_times):
    first, content = prepared(data), (data / "7.bs2").read_bytes()
    rewrite(data / "7.bs2", made_up.nmnist(seed=999))
    second = prepared(data)
    assert second.made_now
    assert second.file.path == first.file.path
    assert second.contents != first.contents
    recording = parse_recording((data / "7.bs2").read_bytes(), "7.bs2")
    assert np.array_equal(second.file.read([6])[0].numpy(), to_frames(recording, FrameConfig(), 3)[0])
    assert not prepared(data).made_now
    rewrite(data / "7.bs2", content)
    assert prepared(data).contents == first.contents


def test_a_change_right_after_it_was_read_is_noticed(data, monkeypatch):
    """Where the clock of the disk is so coarse that the time is the same."""
    statuses = cache._statuses
    monkeypatch.setattr(
        cache, "_statuses", lambda sources: {path: [*status[:2], 7, 7] for path, status in statuses(sources).items()}
    )
    monkeypatch.setattr("time.time_ns", lambda: 7 + cached.COARSE)
    assert prepared(data).made_now
    rewrite(data / "7.bs2", made_up.nmnist(seed=999))
    assert prepared(data).made_now
    monkeypatch.setattr("time.time_ns", lambda: 8 + cached.COARSE)
    assert not prepared(data).made_now  # read again, and from now on it is believed
    reads = count_reads(monkeypatch)
    assert not prepared(data).made_now
    assert reads == []


def count_reads(monkeypatch):
    reads = []
    real = reading._content
    monkeypatch.setattr(reading, "_content", lambda one, *others: reads.append(one.name) or real(one, *others))
    return reads


def test_only_files_that_the_system_says_something_else_of_are_read(data, fine_times, monkeypatch):
    prepared(data)
    reads = count_reads(monkeypatch)
    assert not prepared(data).made_now
    assert reads == []
    content = (data / "7.bs2").read_bytes()
    rewrite(data / "7.bs2", content)  # the same again
    assert not prepared(data).made_now
    assert reads == ["7.bs2"]
    assert not prepared(data).made_now
    assert reads == ["7.bs2"]


def zipped(seeds):
    """A zip file of a recording for each digit."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for digit, seed in enumerate(seeds):
            archive.writestr(zipfile.ZipInfo(f"Train/{digit}/0.bin"), made_up.nmnist(seed=seed))
    return content.getvalue()


def test_recordings_in_zip_files_are_checked_too(tmp_path, fine_times, monkeypatch):
    data = tmp_path / "data"
    for name, first in (("Train", 0), ("Test", 10)):
        made_up.put(data / f"{name}.zip", zipped(range(first, first + 10)))
    found = prepared(data)
    reads = count_reads(monkeypatch)
    rewrite(data / "Train.zip", zipped(range(10)))
    assert not prepared(data).made_now
    assert reads == [f"Train.zip/Train/{digit}/0.bin" for digit in range(10)]
    rewrite(data / "Train.zip", zipped([*range(9), 99]))
    assert prepared(data).made_now
    assert prepared(data).contents != found.contents


def test_a_cache_of_earlier_versions_is_read_once_and_kept(data, monkeypatch):
    made_up.put(data / "6.bs2", b"")
    config = dataclasses.replace(NMNIST, damaged="skip")
    first = prepared(data, config)
    path = first.file.path.with_suffix(".json")
    about = json.loads(path.read_text())
    del about["recordings"][5]["skipped_content"]
    path.write_text(json.dumps({name: about[name] for name in EARLIER}))
    monkeypatch.setattr(cached, "COARSE", -60_000_000_000)
    reads = count_reads(monkeypatch)
    assert not prepared(data, config).made_now
    assert len(reads) == 31  # and the first once more, for its sensor
    assert prepared(data, config).contents == first.contents
    assert len(reads) == 31
    rewrite(data / "6.bs2", b"")
    assert not prepared(data, config).made_now
    assert len(reads) == 32
    about = json.loads(path.read_text())
    for entry in about["recordings"]:
        entry["content"] = entry["content"] and "0" * 32
    path.write_text(json.dumps({name: about[name] for name in EARLIER}))
    assert prepared(data, config).made_now


EARLIER = ("clips", "shape", "scale", "class_names", "recordings")
"""What the JSON file of earlier versions says."""


def count_checks(monkeypatch):
    checks = []
    real = SampleFile.all_checksums
    monkeypatch.setattr(SampleFile, "all_checksums", lambda file: checks.append(file.path.name) or real(file))
    return checks


@pytest.mark.parametrize("place", [0, 5, 100_000, -1], ids=str)
def test_clips_that_were_changed_are_made_again(data, place, fine_times):
    path = prepared(data).file.path
    whole = path.read_bytes()
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(place % len(whole))
        file.write(bytes([whole[place] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # size and time say nothing
    again = prepared(data)
    assert again.made_now
    assert again.file.path.read_bytes() == whole
    assert not prepared(data).made_now


def test_clips_are_compared_with_their_checksums_only_where_need_be(data, monkeypatch):
    found = prepared(data)
    checks = count_checks(monkeypatch)
    assert not prepared(data).made_now  # they were written a moment ago: a change might have the same time
    assert len(checks) == 1
    monkeypatch.setattr(cached, "COARSE", -60_000_000_000)
    for _ in range(3):
        assert not prepared(data).made_now
    assert len(checks) == 1
    found.file.path.touch()
    assert not prepared(data).made_now
    assert not prepared(data).made_now
    assert len(checks) == 2


def test_a_clip_that_changes_later_is_noticed_when_it_is_read(data):
    file = prepared(data).file
    expected = file.read([3, 5])
    with file.path.open("r+b") as opened:
        opened.seek(4 * file.sample_bytes + 7)
        opened.write(b"\x99")
    assert torch.equal(file.read([3, 5]), expected)
    with pytest.raises(UserError, match="clip 4 of .* is damaged: delete it and run the same command again"):
        file.read([3, 4])


def test_a_cache_of_earlier_versions_gains_checksums(data, fine_times, monkeypatch):
    path = prepared(data).file.path.with_suffix(".json")
    about = json.loads(path.read_text())
    path.write_text(json.dumps({name: about[name] for name in EARLIER}))
    checks = count_checks(monkeypatch)
    for _ in range(2):
        found = prepared(data)
        assert not found.made_now
        assert found.file.checksums == about["checksums"]
    assert len(checks) == 1
    assert set(json.loads(path.read_text())) == set(about)


@pytest.mark.parametrize(
    "change",
    [
        {"clips": 29},
        {"shape": [3, 2, 34]},
        {"shape": [2, 3, 34, 34]},
        {"shape": [3, 2, 1 << 40, 1 << 40]},
        {"shape": [3, 2, 34, -34]},
        {"scale": 0.0},
        {"class_names": ["0", "1"]},
        {"checksums": [1]},
        {"checksums": [0] * 30},
        {"checksum": "0"},
    ],
    ids=str,
)
def test_a_json_file_that_no_version_wrote_is_made_again(data, fine_times, change):
    path = prepared(data).file.path.with_suffix(".json")
    about = json.loads(path.read_text())
    whole = {name: about[name] for name in (*EARLIER, "checksums")} | change
    path.write_text(json.dumps(whole))
    assert prepared(data).made_now
    about["recordings"][2] |= {"class": "3"} if about["recordings"][2]["class"] != "3" else {"class": "4"}
    path.write_text(json.dumps({name: about[name] for name in EARLIER}))
    assert prepared(data).made_now
    assert not prepared(data).made_now


def test_a_skipped_recording_that_was_mended_is_noticed(data, fine_times):
    config = dataclasses.replace(NMNIST, damaged="skip")
    good = (data / "6.bs2").read_bytes()
    rewrite(data / "6.bs2", b"\xff" * len(good))
    assert prepared(data, config).file.count == 29
    rewrite(data / "6.bs2", b"\xff" * len(good))
    assert not prepared(data, config).made_now
    rewrite(data / "6.bs2", good)
    assert prepared(data, config).file.count == 30


@pytest.mark.parametrize(
    "changes",
    [
        {"clips": "30"},
        {"shape": [3, 2, 34]},
        {"scale": None},
        {"class_names": [1]},
        {"recordings": []},
        {"recordings": [{}] * 30},
        {"recordings": 3},
        {"files": 3},
        {"files": {"a": 3}},
        {"seen": "now"},
    ],
    ids=str,
)
def test_a_damaged_note_about_clips_is_made_again(data, changes):
    path = prepared(data).file.path.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert prepared(data).made_now
    assert not prepared(data).made_now


def test_the_name_of_a_cache_is_that_of_earlier_versions(data):
    """A cache of gigabytes must not be made again because this code changed."""
    for path in data.glob("*"):
        os.utime(path, ns=(10**18, 10**18))
    listing = sets.list_recordings(NMNIST, str(data))
    files = {path: status[:2] for path, status in cache._statuses(listing.sources).items()}
    named = {f"/data/{Path(path).name}": [*status, 1, 2] for path, status in files.items()}
    assert cache._key(NMNIST, listing, 3, named) == "91acc5f2ee8359a9"


def test_a_file_that_was_cut_short_is_made_again(data):
    path = prepared(data).file.path
    path.write_bytes(path.read_bytes()[:-1])
    assert prepared(data).made_now
    path.with_suffix(".json").write_text("{")
    assert prepared(data).made_now


def test_progress_names_what_comes_next(data):
    seen = []
    prepared(data, watch=lambda *progress: seen.append(progress))
    assert seen[0] == (0, 30, "1.bs2")
    assert [done for done, _, _ in seen] == list(range(31))


def test_full_disk(data, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(UserError, match="could not be written .No space left on device.: make room or choose"):
            prepared(data)
    assert {Path(name).suffix for name in files(data)} <= {".begun", ".list"}  # nothing that looks complete
    assert prepared(data).made_now


def test_a_cache_folder_that_is_a_file(data):
    (data.parent / "cache").write_text("")
    with pytest.raises(UserError, match="cache folder .*cache cannot be used .*: choose another --cache-dir"):
        prepared(data)


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "sresnet" / "frames"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == Path.home() / ".cache" / "sresnet" / "frames"


def test_damage(data):
    made_up.put(data / "5.bs2", made_up.nmnist() + b"\0")
    with pytest.raises(UserError, match="5.bs2 ends at byte 201, inside the record that starts at byte 200"):
        prepared(data)
    assert files(data) == {}
    made_up.put(data / "6.bs2", b"")
    found = prepared(data, dataclasses.replace(NMNIST, damaged="skip"))
    assert found.file.count == 29
    assert found.recordings[4]["left_out"] == {"incomplete record": 1}
    assert "6.bs2 is empty" in found.recordings[5]["skipped"]
    for path in data.glob("*.bs2"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="none of the 30 recordings can be used: the first, 1.bs2: 1.bs2 is empty"):
        prepared(data, dataclasses.replace(NMNIST, damaged="skip"))


def test_recordings_of_different_sensors(data):
    draw = np.random.default_rng(0)
    wide = np.stack([draw.integers(100, 200, 40), draw.integers(0, 100, 40), *np.zeros((3, 40), dtype=int)], 1)
    made_up.put(data / "9.bs2", wide.astype(np.uint8).tobytes())
    with pytest.raises(UserError, match="9.bs2 is of 304x240 pixels and 1.bs2 of 34x34: keep recordings of different"):
        prepared(data)


def test_frames_that_cannot_be_made_name_the_recording(data):
    with pytest.raises(UserError, match="1.bs2: frames of 64x64 pixels are larger than the sensor, 34x34"):
        prepared(data, dataclasses.replace(NMNIST, frames=FrameConfig(size=64)))
    with pytest.raises(UserError, match="num_steps 0 is less than 1"):
        prepared(data, num_steps=0)
    with pytest.raises(UserError, match="num_steps 10001 is more than 10,000 frames of a clip"):
        prepared(data, num_steps=10_001)


# ---------------------------------------------------------------------------------------------------------------------


PAUSED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from sresnet.data import cached
from sresnet.data.cleaning import cached_sets
from sresnet.data.events import cache, sets
real = cache._write_clips
def paused(filler, *arguments):
    real(filler, *arguments)
    print("clip", flush=True)
    while filler.size > 50_000 and not Path(sys.argv[4]).exists():
        time.sleep(0.01)
cache._write_clips = paused
from test_cache import NMNIST
found = cache.prepare(NMNIST, sys.argv[1], 3, cache_dir=sys.argv[2], watch=lambda d, t, n: print(n, flush=True))
print("made", found.made_now, flush=True)
"""


@pytest.fixture
def filler(data):
    """Starts a process that fills the cache, but for the last clips, and goes on when the file `go` is there."""
    started = []

    def start():
        here = Path(__file__).parent
        command = [sys.executable, "-c", PAUSED, *map(str, (data, data.parent / "cache", here, data.parent / "go"))]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.stdout.close()
        process.wait()


def wait_for(process, line):
    for seen in process.stdout:
        if seen.strip() == line:
            return
    pytest.fail(f"the process ended without {line!r}")


def test_killed_while_writing(data, filler, monkeypatch):
    process = filler()
    for _ in range(8):
        wait_for(process, "clip")
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert sorted(name.rpartition(".")[2] for name in files(data)) == ["begun", "list"]  # it was really writing
    (found,) = cached_sets(data.parent / "cache")
    assert found.files[0].suffix == ".begun"
    assert len(found.sources) == 30
    reads = count_reads(monkeypatch)
    monkeypatch.setattr(cached, "COARSE", -60_000_000_000)
    same_as_made_at_once(data)
    assert reads[:23] == [f"{number}.bs2" for number in (*range(8, 21), *range(60_001, 60_011))]


def same_as_made_at_once(data, config=NMNIST):
    """Whether the cache is completed to what a process makes that nobody disturbs, with nothing left over."""
    found = prepared(data, config)
    assert found.made_now
    assert sorted(Path(name).suffix for name in files(data)) == [".frames", ".json"]
    again = prepare(config, str(data), 3, cache_dir=str(data.parent / "other"))
    assert again.made_now
    assert found.file.path.read_bytes() == again.file.path.read_bytes()
    assert (found.recordings, found.file.checksums, found.contents) == (
        again.recordings,
        again.file.checksums,
        again.contents,
    )
    assert not prepared(data, config).made_now


def begun(data, monkeypatch, clips=8, config=NMNIST):
    """What is left where the disk is full behind so many clips: the file of clips, and the list."""
    real, written = os.pwrite, []

    def full(descriptor, content, place):
        if len(content) == 6936:
            written.append(place)
            if len(written) > clips:
                real(descriptor, content[:100], place)
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, content, place)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(UserError, match=r"begun could not be written \(No space left on device\): what it holds"):
            prepared(data, config)
    (path,) = (data.parent / "cache").glob("*.begun")
    return path, path.with_suffix(".list")


def test_a_full_disk_keeps_what_is_there(data, fine_times, monkeypatch):
    begun(data, monkeypatch)
    reads = count_reads(monkeypatch)
    same_as_made_at_once(data)
    assert len(reads) == 22 + 30


def test_recordings_that_were_skipped_are_gone_over_too(data, fine_times, monkeypatch):
    made_up.put(data / "3.bs2", b"")
    config = dataclasses.replace(NMNIST, damaged="skip")
    begun(data, monkeypatch, config=config)
    reads = count_reads(monkeypatch)
    same_as_made_at_once(data, config)
    assert "3.bs2" not in reads[:21]


def test_a_recording_that_changed_meanwhile_is_made_anew(data, monkeypatch):
    begun(data, monkeypatch)
    rewrite(data / "5.bs2", made_up.nmnist(seed=999))
    reads = count_reads(monkeypatch)
    same_as_made_at_once(data)
    # What was written a moment before is looked at, up to the one that changed.
    assert reads[:31] == [f"{number}.bs2" for number in (*range(1, 6), *range(5, 21), *range(60_001, 60_011))]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("place", [0, 0.4, 0.99, None], ids=str)
def test_damage_to_what_was_begun_costs_only_time(data, fine_times, monkeypatch, which, place):
    path = begun(data, monkeypatch)[which]
    content = bytearray(path.read_bytes())
    if place is None:
        path.unlink()
    else:
        content[int(place * len(content))] ^= 8
        path.write_bytes(content)
    same_as_made_at_once(data)


@pytest.mark.parametrize(
    "line", ["[]", '{"seen": "x", "files": 3}', '{"entry": {}, "checksums": [], "sensor": [], "shape": []}']
)
@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_a_list_that_says_something_else_costs_only_time(data, fine_times, monkeypatch, line, number):
    path = begun(data, monkeypatch)[1]
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = cached._line_of(json.loads(line))
    path.write_bytes(b"".join(lines))
    same_as_made_at_once(data)


def busy(data, numbers=(8, 13), events=3000):
    """Make some recordings those of one busy pixel each."""
    for number in numbers:
        (data / f"{number}.bs2").write_bytes(bytes([3, 4, 0x80, 0, 9]) * events)
    return data


@pytest.mark.parametrize(("events", "dtype", "bytes_each"), [(3000, "uint16", 2), (70_000, "int32", 4)])
def test_clips_are_widened_where_a_count_needs_it(data, fine_times, monkeypatch, events, dtype, bytes_each):
    reads = count_reads(monkeypatch)
    busy(data, events=events)
    said = []
    found = prepared(data, num_steps=1, note=said.append)
    assert reads.count("8.bs2") == 2  # once more, as the clips before it had to be widened
    assert len(reads) == 31
    assert [line.split()[0] for line in said] == ["30", "23"]  # clips, and those that are left for wider ones
    assert found.file.path.stat().st_size == 30 * 2 * 34 * 34 * bytes_each
    assert [each["largest"] for each in found.recordings if "largest" in each] == [events, events]
    clips = found.file.read(range(30))
    assert clips.dtype == torch.int32
    for clip, each in zip(clips, found.recordings, strict=True):
        recording = parse_recording((data / each["name"]).read_bytes(), each["name"])
        assert np.array_equal(clip.numpy(), to_frames(recording, FrameConfig(), 1)[0])
    again = prepared(data, num_steps=1)
    assert (again.made_now, again.file.dtype.name, again.contents) == (False, dtype, found.contents)


def test_killed_anywhere_clips_end_as_wide_as_they_have_to_be(data, fine_times, monkeypatch):
    """The process ends at each of its writes, one run after the other; the last one goes through."""
    busy(data)
    real = os.pwrite, os.truncate

    class Ended(BaseException):
        pass

    def run_until(number):
        done = iter(range(number))

        def write(descriptor, content, place):
            if next(done, None) is None:
                real[0](descriptor, content[: len(content) // 2], place)
                raise Ended
            return real[0](descriptor, content, place)

        def cut(file, size):
            if next(done, None) is None:
                raise Ended
            real[1](file, size)

        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", write)
            patched.setattr(os, "truncate", cut)
            return prepared(data)

    number = 0
    while True:
        try:
            run_until(number)
            break
        except Ended:
            same_as_made_at_once(data)
        for folder in ("cache", "other"):
            shutil.rmtree(data.parent / folder)
        number += 1 if 14 < number < 30 else 5  # while clips are widened, each
    assert number > 60  # clips, and lines of the list


def test_clips_that_need_not_be_wide_any_more_are_narrowed(data, fine_times, monkeypatch):
    """The busy recording has changed when the next process goes on."""
    usual = (data / "8.bs2").read_bytes()
    busy(data, [8])
    monkeypatch.setattr(cache, "append_line", ends_at("8.bs2", cache.append_line))
    with pytest.raises(KeyboardInterrupt):
        prepared(data)
    monkeypatch.undo()
    monkeypatch.setattr(cached, "COARSE", -60_000_000_000)
    (list_,) = (data.parent / "cache").glob("*.list")
    assert cached.entries_of(list_)[0]["dtype"] == "uint16"
    (data / "8.bs2").write_bytes(usual)
    (begun,) = (data.parent / "cache").glob("*.begun")
    for path in (begun, list_):  # the name depends on sizes of the recordings
        path.rename(path.with_stem(Path(name_of(data)).stem))
    same_as_made_at_once(data)


def ends_at(name, real):
    """`append_line` that a user interrupts at a recording."""

    def append(descriptor, line, path):
        if line["entry"]["name"] == name:
            raise KeyboardInterrupt
        real(descriptor, line, path)

    return append


def name_of(data):
    """Of the file of clips, as they are made elsewhere."""
    return prepare(NMNIST, str(data), 3, cache_dir=str(data.parent / "elsewhere")).file.path.name


def test_a_full_disk_while_clips_are_widened_keeps_what_is_there(data, fine_times, monkeypatch):
    busy(data)
    monkeypatch.setattr(cache, "check_room", lambda *arguments: 0 if "wider" not in arguments[2] else full())

    def full():
        raise cached.NotWrittenError("cache folder has 0 MB free")

    with pytest.raises(UserError, match="0 MB free"):
        prepared(data)
    monkeypatch.undo()
    monkeypatch.setattr(cached, "COARSE", -60_000_000_000)
    reads = count_reads(monkeypatch)
    assert prepared(data).made_now
    assert reads[0] == "8.bs2"


SATURATE = dataclasses.replace(NMNIST, frames=FrameConfig(counts="saturate"))


def as_of_before(found, changes=None):
    """The JSON file as earlier versions wrote it."""
    path = found.file.path.with_suffix(".json")
    about = json.loads(path.read_text()) | (changes or {})
    path.write_text(json.dumps({name: value for name, value in about.items() if name != "checksum"}))


def test_one_file_does_for_both_where_no_count_is_beyond_a_byte(data, fine_times):
    exact = prepared(data)
    both = prepared(data, SATURATE)
    assert (both.made_now, both.contents, both.file.path) == (False, exact.contents, exact.file.path)


def test_what_is_shown_of_counts_needs_no_other_clips(data, fine_times):
    """Voxels and surfaces do, of real numbers; both are gone over and found again as counts are."""
    counts = prepared(data)
    for name in ("binary", "log"):
        same = prepared(data, dataclasses.replace(NMNIST, frames=FrameConfig(representation=name)))
        assert (same.made_now, same.contents, same.file.path) == (False, counts.contents, counts.file.path)
    for fields in (
        {"representation": "voxel"},
        {"representation": "surface"},
        {"representation": "surface", "surface_ms": 9.0},
    ):
        config = dataclasses.replace(NMNIST, frames=FrameConfig(**fields))
        found = prepared(data, config)
        assert (found.made_now, found.file.dtype) == (True, np.float32)
        assert found.contents != counts.contents
        assert [each["events"] for each in found.recordings] == [each["events"] for each in counts.recordings]
        recording = parse_recording((data / "3.bs2").read_bytes(), "3.bs2")
        assert np.array_equal(found.file.read([2])[0].numpy(), to_frames(recording, config.frames, 3)[0])
        again = prepared(data, config)
        assert (again.made_now, again.contents) == (False, found.contents)
        saturating = dataclasses.replace(config, frames=dataclasses.replace(config.frames, counts="saturate"))
        assert prepared(data, saturating).file.path == found.file.path  # of a run whose data.json says nothing
    assert len(list((data.parent / "cache").glob("*.frames"))) == 4


def test_real_numbers_go_on_where_a_process_was_interrupted(data, fine_times, monkeypatch):
    config = dataclasses.replace(NMNIST, frames=FrameConfig(representation="voxel"))
    with monkeypatch.context() as patched:
        patched.setattr(cache, "append_line", ends_at("10.bs2", cache.append_line))
        with pytest.raises(KeyboardInterrupt):
            prepared(data, config)
    with monkeypatch.context() as patched:
        reads = count_reads(patched)
        same_as_made_at_once(data, config)
    assert reads[0] == "10.bs2"


def test_clips_that_saturated_in_an_earlier_version(data, fine_times):
    """They are what a run of then asks for, and stay so when exact ones are made: then both have their own."""
    busy(data)
    before = prepared(data, SATURATE)
    assert before.file.path.name.endswith("-saturated.frames")
    assert sum(each["saturated"] for each in before.recordings) == 2 * (3000 - 255)
    usual = before.file.path.with_name(before.file.path.name.replace("-saturated", ""))
    for ending in (".frames", ".json"):
        before.file.path.with_suffix(ending).rename(usual.with_suffix(ending))
    found = prepared(data, SATURATE)
    assert (found.made_now, found.contents, found.file.path) == (False, before.contents, usual)
    exact = prepared(data)
    assert (exact.made_now, exact.file.path) == (True, usual)
    assert exact.contents != before.contents
    again = prepared(data, SATURATE)
    assert (again.made_now, again.contents) == (False, before.contents)
    assert again.file.path == before.file.path
    assert not prepared(data).made_now
    assert not prepared(data, SATURATE).made_now
    assert again.file.read([7]).equal(exact.file.read([7]).clamp(max=255).to(torch.uint8))


def test_what_an_earlier_version_began_and_saturated_is_made_anew(data, fine_times, monkeypatch):
    busy(data)
    with monkeypatch.context() as patched:
        patched.setattr(cache, "append_line", ends_at("10.bs2", cache.append_line))
        with pytest.raises(KeyboardInterrupt):
            prepared(data, SATURATE)
    for path in (data.parent / "cache").iterdir():
        path.rename(path.with_name(path.name.replace("-saturated", "")))
    same_as_made_at_once(data)


def test_killed_before_the_json_file(data, fine_times, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(cache, "_write_about", lambda *arguments: pytest.exit("killed"))
        with pytest.raises(BaseException, match="killed"):
            prepared(data)
    assert sorted(Path(name).suffix for name in files(data)) == [".frames", ".list"]
    reads = count_reads(monkeypatch)
    same_as_made_at_once(data)
    assert len(reads) == 30  # those of the other cache


def test_a_recording_that_cannot_be_used_leaves_nothing(data):
    made_up.put(data / "7.bs2", b"abc")
    with pytest.raises(UserError, match="7.bs2"):
        prepared(data)
    assert files(data) == {}


def test_the_size_is_said_before(data, monkeypatch):
    said = []
    prepared(data, note=said.append)
    assert len(said) == 1
    assert said[0].startswith("30 clips of 3 frames, 34x34 pixels, are made in ")
    assert ".frames: 0.2 MB, " in said[0]
    prepared(data, note=said.append)
    prepared(data, dataclasses.replace(NMNIST, windows=WindowConfig(seconds=0.1)), note=said.append)
    assert said[1].startswith("about ")
    assert len(said) == 2
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("", (), {"free": 30 * 6936 - 1}))
    with pytest.raises(UserError, match=r"has 0.2 MB free, and 30 clips of 4 frames, 34x34 pixels take 0.3 MB"):
        prepared(data, num_steps=4)


def test_the_second_process_waits_and_takes_what_the_first_made(data, filler):
    first = filler()
    wait_for(first, "clip")
    second = filler()
    wait_for(second, "another process")
    assert first.poll() is None
    (data.parent / "go").touch()
    assert second.communicate()[0].splitlines() == ["made False"]
    assert first.communicate()[0].splitlines()[-1] == "made True"


# ---------------------------------------------------------------------------------------------------------------------


def test_subsets_and_batches(data):
    found = prepared(data)
    clips = FrameSet(
        file=found.file, numbers=torch.arange(30), labels=torch.arange(30) % 10, class_names=tuple("0123456789")
    )
    part = clips.subset(torch.tensor([7, 3, 3]))
    assert (len(part), part.shape, part.labels.tolist()) == (3, (3, 2, 34, 34), [7, 3, 3])
    assert torch.equal(part.batch(torch.tensor([2, 0])), found.file.read([3, 7]))
    assert part.to(torch.device("cpu")).labels.tolist() == [7, 3, 3]
    assert torch.equal(part.subset(torch.tensor([1])).batch(torch.tensor([0])), found.file.read([3]))
    with pytest.raises(UserError, match="one per clip"):
        dataclasses.replace(clips, labels=torch.arange(5))
    with pytest.raises(UserError, match="labels run from 0 to 9: expected 0 to 2"):
        dataclasses.replace(clips, class_names=("a", "b", "c"))


def test_a_file_that_shrinks_while_it_is_read(data):
    file = prepared(data).file
    os.truncate(file.path, 100)
    with pytest.raises(UserError, match="was cut short at clip 4: delete it"):
        file.read([4])
    with pytest.raises(UserError, match="has not the 30 clips it should"):
        SampleFile(file.path, 30, file.shape)
    with pytest.raises(UserError, match="cannot be read"):
        SampleFile(file.path.with_suffix(".nothing"), 30, file.shape)


def memory_of_reading(path, count, shape, queue):
    """Peak of this process's memory, in bytes, grown by reading every clip in batches of ten."""
    file = SampleFile(path, count, shape)
    file.read(range(10))
    before = peak()
    for start in range(0, count, 10):
        file.read(range(start, start + 10))
    queue.put(peak() - before)


def peak():
    (line,) = [
        line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_memory_does_not_grow_with_the_set(tmp_path):
    shape, count = (10, 2, 64, 64), 1000  # 82 MB
    path = tmp_path / "big.frames"
    with path.open("wb") as file:
        file.truncate(count * 10 * 2 * 64 * 64)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=memory_of_reading, args=(path, count, shape, queue))
    process.start()
    assert queue.get(timeout=60) < 10e6
    process.join()


def test_ten_thousand_recordings_of_dvs_cifar10_take_less_than_5_gb(tmp_path):
    """Nothing but the frames: T * 2 * H * W bytes each."""
    made_up.dvs_cifar10(tmp_path / "data", per_class=1)
    config = EventConfig(frames=FrameConfig(size=64))
    found = prepare(config, str(tmp_path / "data"), 50, cache_dir=str(tmp_path / "cache"))
    assert found.file.path.stat().st_size == 10 * 409_600
    about = len(json.dumps(found.recordings)) / 10
    assert 10_000 * (409_600 + about) < 4.2e9
