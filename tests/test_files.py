import subprocess
import sys

import pytest

from sresnet.errors import UserError
from sresnet.files import only_writer, write_whole


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
