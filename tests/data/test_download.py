import contextlib
import hashlib
import multiprocessing
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sresnet.data import cifar, download
from sresnet.data.download import fetch_cifar
from sresnet.errors import UserError

CONTENT = random.Random(0).randbytes(700_001)
MD5 = hashlib.md5(CONTENT).hexdigest()
NO_PAUSE = (0, 0, 0)


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT as `server.plan` says: see the fixture."""

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        content, start = (server.contents.pop(0) if server.contents else CONTENT), 0
        if asked and server.supports_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            said = start + server.range_error
            self.send_header("Content-Range", f"bytes {said}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.breaks:
            server.breaks -= 1
            body = body[: len(body) // 3]
        with contextlib.suppress(OSError):
            for at in range(0, len(body), 100_000):
                self.wfile.write(body[at : at + 100_000])
                time.sleep(server.delay)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.contents = []  # what to serve first, in place of CONTENT
    server.supports_ranges = server.says_length = True
    server.breaks = 0  # how many connections end after a third of what is left
    server.statuses = []  # errors to answer with first
    server.range_error = 0
    server.delay = 0
    server.ranges = []
    server.url = f"http://127.0.0.1:{server.server_port}/file"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "file.tar.gz"


def fetch(server, path, md5=MD5, **options):
    download._download(server.url, path, md5, pauses=NO_PAUSE, **options)


def files(path):
    return sorted(entry.name for entry in path.parent.iterdir())


@pytest.mark.parametrize("says_length", [True, False])
def test_a_file_is_fetched_whole(server, path, says_length):
    server.says_length = says_length
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert files(path) == ["file.tar.gz"]
    assert server.ranges == [None]


def test_a_right_file_is_not_fetched_again(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    fetch(server, path)
    assert server.ranges == []
    assert files(path) == ["file.tar.gz"]


def test_another_file_is_left_alone(server, path):
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"file.tar.gz has md5 .*: move it away"):
        fetch(server, path)
    assert path.read_bytes() == b"mine"
    assert server.ranges == []


@pytest.mark.parametrize("supports_ranges", [True, False])
def test_a_part_is_continued_or_begun_anew(server, path, supports_ranges):
    server.supports_ranges = supports_ranges
    path.parent.mkdir()
    path.with_name("file.tar.gz.part").write_bytes(CONTENT[:400_000])
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert files(path) == ["file.tar.gz"]
    assert server.ranges == ["bytes=400000-"]


def test_a_whole_part_needs_only_its_name(server, path):
    path.parent.mkdir()
    path.with_name("file.tar.gz.part").write_bytes(CONTENT)
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert files(path) == ["file.tar.gz"]


def test_a_part_that_is_too_long_is_deleted(server, path):
    path.parent.mkdir()
    path.with_name("file.tar.gz.part").write_bytes(CONTENT + b"more")
    with pytest.raises(UserError, match="was deleted: try again"):
        fetch(server, path)
    assert files(path) == []
    fetch(server, path)
    assert path.read_bytes() == CONTENT


def test_a_longer_part_leaves_nothing_behind_the_file(server, path):
    server.supports_ranges = False
    path.parent.mkdir()
    path.with_name("file.tar.gz.part").write_bytes(CONTENT + b"more")
    fetch(server, path)
    assert path.read_bytes() == CONTENT


def test_broken_connections_are_resumed(server, path):
    server.breaks = 3
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    third = len(CONTENT) // 3
    rest = len(CONTENT) - third
    assert server.ranges[:3] == [None, f"bytes={third}-", f"bytes={third + rest // 3}-"]
    assert len(server.ranges) == 4


def test_broken_connections_without_ranges_start_over(server, path):
    server.supports_ranges, server.breaks = False, 3
    fetch(server, path)
    assert path.read_bytes() == CONTENT


def test_too_many_broken_connections_leave_the_part(server, path):
    server.breaks = 4
    with pytest.raises(
        UserError, match=rf"connection ended after .* of 700,001 bytes\): .* by hand and put it at {path}"
    ):
        fetch(server, path)
    assert files(path) == ["file.tar.gz.part"]
    part = path.with_name("file.tar.gz.part").read_bytes()
    assert part == CONTENT[: len(part)]
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={len(part)}-"


def test_pauses_are_taken_between_tries(server, path, monkeypatch):
    slept = []
    monkeypatch.setattr(download.time, "sleep", slept.append)
    server.statuses = [503, 503]
    download._download(server.url, path, MD5, pauses=(1, 2, 4))
    assert [pause for pause in slept if pause] == [1, 2]


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_not_tried_again(server, path, status):
    server.statuses = [status]
    with pytest.raises(UserError, match=rf"{server.url} is refused \({status} .*by hand and put it at {path}"):
        fetch(server, path)
    assert len(server.ranges) == 1


def test_another_range_than_asked_for_starts_over(server, path):
    path.parent.mkdir()
    path.with_name("file.tar.gz.part").write_bytes(CONTENT[:400_000])
    server.range_error = 5
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=400000-", None]


def test_wrong_bytes_are_deleted(server, path):
    wrong = b"x" + CONTENT[1:]
    server.contents = [wrong]
    with pytest.raises(UserError, match=rf"md5 {hashlib.md5(wrong).hexdigest()}, expected {MD5}, and was deleted"):
        fetch(server, path)
    assert files(path) == []


def test_no_network_names_the_cure(server, path):
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=rf"cannot download {server.url} \(.*refused.*by hand and put it at {path}"):
        fetch(server, path)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*: choose another data folder"):
        fetch(server, tmp_path / "file" / "x")


def test_a_file_that_the_user_puts_there_meanwhile_is_kept(server, path, monkeypatch):
    read = download._read

    def put(response):
        path.write_bytes(b"mine")
        return read(response)

    monkeypatch.setattr(download, "_read", put)
    with pytest.raises(UserError, match="move it away"):
        fetch(server, path)
    assert path.read_bytes() == b"mine"


@pytest.mark.slow
def test_two_processes_fetch_one_good_file(server, path):
    server.delay = 0.02
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=download._download, args=(server.url, path, MD5)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert path.read_bytes() == CONTENT
    assert files(path) == ["file.tar.gz"]
    assert server.ranges == [None]


def test_many_threads_fetch_one_good_file(server, path):
    server.delay = 0.005
    failures = []

    def run():
        try:
            fetch(server, path)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert path.read_bytes() == CONTENT
    assert files(path) == ["file.tar.gz"]
    assert server.ranges == [None]


def test_a_waiting_process_takes_over_what_another_could_not_finish(server, path):
    server.contents, server.delay = [b"x" + CONTENT[1:]], 0.02
    outcomes = []

    def run():
        try:
            fetch(server, path)
            outcomes.append("done")
        except UserError:
            outcomes.append("failed")

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["failed", "done"]
    assert path.read_bytes() == CONTENT
    assert files(path) == ["file.tar.gz"]


def test_fetch_cifar_gets_the_binary_archive_from_the_publisher(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(download, "_download", lambda *arguments: calls.append(arguments))
    path = fetch_cifar("cifar100", tmp_path / "new")
    assert path == tmp_path / "new" / "cifar-100-binary.tar.gz"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
    assert calls == [(url, path, "03b5dce01913d631647c71ecec9e9cb8")]


def test_fetch_cifar_does_not_fetch_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_download", lambda *_: pytest.fail("fetched"))
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for file in cifar.VERSIONS["cifar100"][0].files:
        (folder / file).touch()
    assert fetch_cifar("cifar100", tmp_path) == folder
