import contextlib
import errno
import json
import math
import os
import socket
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sresnet.cli import MODULES
from sresnet.errors import UserError
from sresnet.files import (
    FileContent,
    ReadAhead,
    kind_of,
    one_at_a_time,
    only_writer,
    parse_json,
    read_json,
    read_regular,
    state_of,
    strangers,
    write_json,
    write_whole,
)

LEFT = ".a.0123456789abcdef.part"


def test_replaces(tmp_path):
    write_whole(tmp_path / "a", b"one")
    write_whole(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# A limit on the size of files is how a full disk is had without filling one.
FILL = """
import resource, signal, sys
from pathlib import Path
from sresnet.errors import UserError
from sresnet.files import write_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_whole(Path(sys.argv[1]), b"x" * 100_000)
except UserError as error:
    print(error)
"""


def test_no_room_keeps_the_old_file(tmp_path):
    path = tmp_path / "weights"
    write_whole(path, b"old")
    done = subprocess.run([sys.executable, "-c", FILL, path], capture_output=True, text=True, check=True)
    assert "weights could not be written" in done.stdout
    assert "run the same command again" in done.stdout
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]


def test_one_writer_at_a_time(tmp_path):
    with only_writer(tmp_path):
        with pytest.raises(UserError, match="in use by another process"), only_writer(tmp_path):
            pass
    with only_writer(tmp_path):
        pass


def test_a_link_is_replaced_and_its_target_kept(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "a").symlink_to("mine")
    write_whole(tmp_path / "a", b"ours")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "a").read_bytes() == b"ours"
    assert not (tmp_path / "a").is_symlink()


def test_a_link_where_parts_were_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".a.part").symlink_to("mine")
    write_whole(tmp_path / "a", b"ours")
    assert (tmp_path / "mine").read_text() == "mine"


def test_no_device_or_folder_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(UserError, match="it is not a regular file"):
            write_whole(tmp_path / name, b"ours")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


@pytest.mark.parametrize("name", ["x" * 255, "\N{GREEK SMALL LETTER ALPHA}" * 127, "\udce9"])
def test_any_name_that_the_disk_takes(tmp_path, name):
    write_whole(tmp_path / name, b"ours")
    assert os.listdir(tmp_path) == [name]


def test_paths_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a", tmp_path / "no" / "a", tmp_path / ("x" * 256), tmp_path / "a\0b"):
        with pytest.raises(UserError, match="could not be written"):
            write_whole(path, b"ours")
        with pytest.raises((UserError, FileNotFoundError)):
            read_regular(path)


def test_what_a_killed_writer_left_is_removed_and_what_is_written_now_is_not(tmp_path):
    (tmp_path / LEFT).write_text("half")
    other = tmp_path / ".b.0123456789abcdef.part"
    other.write_text("half")
    write_whole(tmp_path / "a", b"whole")
    assert sorted(os.listdir(tmp_path)) == sorted([other.name, "a"])
    with one_at_a_time(other):  # as its writer holds it
        with only_writer(tmp_path):
            assert other.exists()
    with only_writer(tmp_path):
        assert not other.exists()


def test_many_writers_of_one_file(tmp_path):
    contents = [bytes([number]) * 50_000 for number in range(8)]

    def write(content):
        for _ in range(25):
            write_whole(tmp_path / "report.html", content)
            assert (tmp_path / "report.html").read_bytes() in contents

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(write, content) for content in contents]:
            done.result()
    assert os.listdir(tmp_path) == ["report.html"]


def test_strangers(tmp_path):
    assert strangers(tmp_path / "no") == []
    for name in (".lock", ".config.json.part", LEFT, ".hidden", "a.part", "b"):
        (tmp_path / name).write_text("")
    assert strangers(tmp_path) == [".hidden", "a.part", "b"]
    with pytest.raises(UserError, match="cannot be used"):
        strangers(tmp_path / "b")


def test_a_lock_that_is_a_link_or_no_file(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for make in (lambda lock: lock.symlink_to("mine"), lambda lock: lock.symlink_to("new"), os.mkfifo, Path.mkdir):
        make(tmp_path / ".lock")
        with pytest.raises(UserError, match=r"\.lock cannot be used .*: delete it"), only_writer(tmp_path):
            pass
        with pytest.raises(UserError, match=r"\.lock cannot be used .*: delete it"), one_at_a_time(tmp_path / ".lock"):
            pass
        assert sorted(os.listdir(tmp_path)) == [".lock", "mine"]
        (tmp_path / ".lock").rmdir() if make is Path.mkdir else (tmp_path / ".lock").unlink()
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_lock_is_not_emptied(tmp_path):
    (tmp_path / ".lock").write_text("mine")
    with only_writer(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == "mine"


def test_a_disk_without_locks(tmp_path, monkeypatch):
    def refuse(descriptor, blocking=True):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.lock_descriptor", refuse)
    with pytest.raises(UserError, match="cannot be locked .No locks available"), only_writer(tmp_path):
        pass
    write_whole(tmp_path / "a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_the_second_waits_for_the_first(tmp_path):
    order = []

    def second():
        with one_at_a_time(tmp_path / "lock", lambda: order.append("waits")):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with one_at_a_time(tmp_path / "lock"):
            later = pool.submit(second)
            while not order:
                pass
            order.append("first")
        later.result()
    assert order == ["waits", "first", "second"]


def test_sresnet_is_imported_where_there_is_no_fcntl():
    verbs = ", ".join(f"sresnet.cli.{name}" for name in MODULES.values())
    program = f"import sys; sys.modules['fcntl'] = None; import {verbs}; print('imported')"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert done.stdout == "imported\n", done.stderr


def test_without_fcntl_another_disk_is_no_cure(tmp_path):
    program = (
        "import sys; sys.modules['fcntl'] = None\n"
        "from pathlib import Path; from sresnet.files import only_writer\n"
        "with only_writer(Path(sys.argv[1])): pass"
    )
    words = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        f"sresnet.errors.UserError: lock file {tmp_path}/.lock cannot be locked (fcntl is unavailable): use a Python "
        "with file locks, which has the module fcntl"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf]])
def test_what_json_has_not_is_not_written(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant") as caught:
        write_json(tmp_path / "a.json", {"value": value})
    assert not isinstance(caught.value, UserError)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"{", "Expecting property name"),
        (b"", "Expecting value"),
        (b"[NaN]", "NaN is not a number"),
        (b"[-Infinity]", "-Infinity is not a number"),
        (b"[1e999]", "1e999 is too large"),
        (b"[" + b"9" * 5000 + b"]", "99999999999999999999 is too large"),
        (b"[-18446744073709551616]", "is too large"),
        (b'"\xff"', "can't decode byte 0xff"),
        (b"\xff\xfe{\x00}\x00", "can't decode byte 0xff"),
        (b"[" * 51 + b"]" * 51, "more than 50 levels"),
        (b'{"a":' * 100_000, "more than 50 levels"),
        (b" " * (16 << 20) + b"1", "has 16,777,217 bytes, more than the 16,777,216"),
    ],
)
def test_json_that_is_none(tmp_path, content, fault):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=fault) as caught:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_read(tmp_path, make):
    make(tmp_path / "a.json")
    with pytest.raises(UserError, match="a.json (is not a file|cannot be read)"):
        read_json(tmp_path / "a.json")


def test_what_is_at_a_path(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a file").touch()
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "round").symlink_to("round")
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(str(tmp_path / "socket"))
    kinds = {"pipe": "pipe", "a file": "file", "link": "pipe", "gone": "dead link", "round": "dead link"}
    kinds |= {"socket": "socket", ".": "folder", "/dev/null": "device"}
    kinds |= {"nowhere": "", "a file/inside": "", "zero\0byte": ""}
    assert {name: kind_of(tmp_path / name) for name in kinds} == kinds
    assert state_of(tmp_path / "pipe") == "is a pipe"
    assert state_of(tmp_path / "nowhere") == "does not exist"


def test_no_such_json(tmp_path):
    with pytest.raises(UserError, match="holds no a.json: give the folder of a run"):
        read_json(tmp_path / "a.json")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(st.characters())
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(PLAIN)
def test_what_is_written_is_read(value):
    assert parse_json(json.dumps(value, allow_nan=False).encode(), "here") == value
    assert parse_json(json.dumps(value, allow_nan=False), "here") == value


@given(st.binary(max_size=50) | st.text(st.sampled_from('[]{}":,1e9-.NaIfinty tru\\ud80'), max_size=50))
def test_any_bytes_are_json_or_refused(content):
    with contextlib.suppress(UserError):
        json.dumps(parse_json(content, "here"), allow_nan=False)


def test_a_file_takes_the_memory_of_its_length_and_not_of_the_limit(tmp_path):
    (tmp_path / "short").write_bytes(b"short")
    tracemalloc.start()
    try:
        assert read_regular(tmp_path / "short", 1 << 28) == b"short"
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


@given(st.binary(min_size=30, max_size=60), st.lists(st.tuples(st.integers(-9, 70), st.integers(-9, 70)), max_size=20))
def test_what_is_read_ahead_is_what_the_file_holds(tmp_path_factory, content, parts):
    path = tmp_path_factory.mktemp("ahead") / "file"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch, contextlib.closing(FileContent(path)) as opened:
        patch.setattr("sresnet.files._AHEAD", 16)
        for ahead in (ReadAhead(opened), ReadAhead(content)):
            assert len(ahead) == len(content)
            assert [ahead[start:stop] for start, stop in parts] == [content[start:stop] for start, stop in parts]
