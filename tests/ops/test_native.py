import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sresnet.ops.scan import cpu, native
from sresnet.printing import tell_once
from tests.bounded import outcomes

ANSWER = """
#include <ATen/Parallel.h>
extern "C" __attribute__((visibility("default"))) int answer() { return 42; }
extern "C" __attribute__((visibility("default"))) int threads() { return at::get_num_threads(); }
"""
PLAIN = """extern "C" __attribute__((visibility("default"))) int answer() { return 42; }"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A small C++ file, and a cache that holds nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tell_once.cache_clear()
    folder = tmp_path / "op"
    folder.mkdir()
    (folder / "kernel.cpp").write_text(ANSWER)
    yield folder / "kernel.cpp"
    tell_once.cache_clear()


@pytest.fixture
def compiler():
    try:
        return native._find_compiler()
    except native._NativeError:
        pytest.skip("no C++ compiler")


def cached():
    return [path.name for path in native._cache_folder().iterdir()]


@pytest.mark.usefixtures("compiler")
def test_compiles_once_and_says_so(source, capsys, monkeypatch):
    library = native.load(source)
    assert library.answer() == 42
    assert library.threads() == torch.get_num_threads()
    assert capsys.readouterr().err == "sresnet: compiling op/kernel.cpp for this machine (once, about ten seconds)\n"
    assert len(cached()) == 1
    tell_once.cache_clear()
    monkeypatch.setattr(native, "_compile_to", None)  # would fail
    assert native.load(source).answer() == 42
    assert capsys.readouterr().err == ""


def test_windows_takes_the_reference(source, capsys, monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.delattr("os.O_NOFOLLOW")
    monkeypatch.delattr("os.geteuid")
    assert native.load(source) is None
    assert "no native code (none is compiled on Windows): the slower PyTorch reference" in capsys.readouterr().err


def answer(source):
    library = native.load(source)
    return library.answer() if library else "none"


def in_another_process(source):
    """The answer of the library: code that kills whoever loads it kills only a worker."""
    ((kind, text),) = outcomes(answer, [source])
    assert kind == "valid", text
    return text


@pytest.fixture
def compiled(source, compiler):
    """The cached file of `source`, which includes nothing and takes no time to compile."""
    source.write_text(PLAIN)
    assert in_another_process(source) == "42"
    (path,) = native._cache_folder().iterdir()
    return path


@pytest.mark.parametrize("kept", [0, 4, 0.1, 0.5, 0.99], ids=str)
def test_a_file_that_was_cut_short_is_made_again(source, compiled, kept):
    whole = compiled.read_bytes()
    compiled.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    assert in_another_process(source) == "42"
    assert native._is_whole(compiled)


def test_any_flipped_bit_is_noticed(source, compiled):
    whole = compiled.read_bytes()
    for byte in (0, 20, len(whole) // 2, len(whole) - 1):
        compiled.write_bytes(whole[:byte] + bytes([whole[byte] ^ 4]) + whole[byte + 1 :])
        assert not native._is_whole(compiled)
    # The place of the section table: loaded as it is, this one kills the process.
    compiled.write_bytes(whole[:32] + b"\xff" * 16 + whole[48:])
    assert in_another_process(source) == "42"


def test_nobody_else_can_use_the_file(compiled):
    assert compiled.stat().st_mode & 0o777 == 0o600


def test_a_file_without_a_seal_is_made_again(source, compiled):
    whole = compiled.read_bytes()
    compiled.write_bytes(whole[: whole.rindex(native.SEAL)])
    assert in_another_process(source) == "42"
    assert compiled.read_bytes().count(native.SEAL)


def test_a_link_and_a_file_that_others_can_write_are_not_loaded(source, compiled, tmp_path):
    whole = compiled.read_bytes()
    elsewhere = tmp_path / "elsewhere.so"
    elsewhere.write_bytes(whole)
    compiled.unlink()
    compiled.symlink_to(elsewhere)
    assert not native._is_whole(compiled)
    assert native.load(source).answer() == 42
    assert not compiled.is_symlink()
    assert elsewhere.read_bytes() == whole
    compiled.chmod(0o620)
    assert not native._is_whole(compiled)
    os.unlink(compiled)
    os.mkfifo(compiled)  # opening it would wait for a writer
    assert not native._is_whole(compiled)


def refused(source, capsys, *words):
    """The library is not loaded, and one line says why."""
    tell_once.cache_clear()
    capsys.readouterr()
    assert native.load(source) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in (*words, "the slower PyTorch reference is used"))


@pytest.mark.parametrize(
    ("below", "mode"), [("", 0o777), ("sresnet", 0o777), ("sresnet/native", 0o777), ("sresnet/native", 0o770)]
)
def test_a_folder_that_others_can_write_is_not_used(source, compiled, tmp_path, capsys, below, mode):
    (tmp_path / "cache" / below).chmod(mode)
    refused(source, capsys, f"others can write {tmp_path / 'cache' / below}")


def test_a_folder_made_with_umask_002_is_tightened(source, compiled):
    folder = compiled.parents[1]
    folder.chmod(0o775)
    compiled.parents[2].chmod(0o1777)  # as /tmp: others can write, but not rename
    assert native.load(source).answer() == 42
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_linked_folder_is_not_used(source, compiled, tmp_path, capsys):
    folder = compiled.parent.rename(tmp_path / "native")
    compiled.parent.symlink_to(folder)
    refused(source, capsys, "others can write")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("below", ["", "sresnet", "sresnet/native"])
def test_a_folder_of_another_user_is_not_used(source, compiled, tmp_path, capsys, below):
    os.chown(tmp_path / "cache" / below, 65534, 65534)
    refused(source, capsys, f"{tmp_path / 'cache' / below} belongs to another user")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_not_loaded(source, compiled):
    os.chown(compiled, 65534, 65534)
    assert not native._is_whole(compiled)


@pytest.mark.parametrize("place", ["/no-such-place", "cache/there"], ids=["not to be written", "not to be searched"])
def test_a_folder_without_permission_is_not_used(source, compiled, tmp_path, capsys, monkeypatch, place):
    (tmp_path / "cache").chmod(0)
    user = os.geteuid()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
    try:
        if user == 0:  # whom no mode keeps out
            os.seteuid(65534)
        refused(source, capsys, "cannot be used: Permission denied")
    finally:
        os.seteuid(user)
        (tmp_path / "cache").chmod(0o700)


def test_the_key_names_everything_that_matters(source, compiler, monkeypatch):
    keys = [native._key(source, compiler, native.HOST_FLAGS), native._key(source, compiler, ("-mavx2",))]
    monkeypatch.setattr(torch, "__version__", "2.99")
    keys.append(native._key(source, compiler, native.HOST_FLAGS))
    monkeypatch.setattr(native, "_processor", lambda: "another")
    keys.append(native._key(source, compiler, native.HOST_FLAGS))
    monkeypatch.setattr(native, "_run", lambda command: "g++ 99")
    keys.append(native._key(source, compiler, native.HOST_FLAGS))
    source.write_text(ANSWER + "\n")
    keys.append(native._key(source, compiler, native.HOST_FLAGS))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda monkeypatch, source: monkeypatch.setenv("PATH", "/nowhere"), "no C++ compiler: install g++ or set CXX"),
        (lambda monkeypatch, source: source.write_text("int f( {"), "error"),
        (
            lambda monkeypatch, source: monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null"),
            "/dev/null cannot be used: File exists",
        ),
        (lambda monkeypatch, source: monkeypatch.setenv("CXX", "false"), "false: status 1"),
    ],
    ids=["no compiler", "error", "no cache", "broken compiler"],
)
@pytest.mark.usefixtures("compiler")
def test_says_once_why_there_is_none(source, break_it, words, monkeypatch, capsys):
    monkeypatch.delenv("CXX", raising=False)
    break_it(monkeypatch, source)
    assert native.load(source) is None
    assert native.load(source) is None
    lines = [line for line in capsys.readouterr().err.splitlines() if "compiling" not in line]
    assert len(lines) == 1
    assert words in lines[0]
    assert "reference is used" in lines[0]


@pytest.mark.usefixtures("compiler")
def test_two_processes_at_once(source):
    code = (
        "import sys; from pathlib import Path; from sresnet.ops.scan.native import load;"
        "sys.exit(load(Path(sys.argv[1])).answer())"
    )
    command = [sys.executable, "-c", code, str(source)]
    processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in processes] == [42, 42]
    assert len(cached()) == 1


@pytest.mark.usefixtures("compiler")
def test_what_killed_processes_left_is_removed_and_what_others_work_on_is_not(source):
    left, _ = native._new_part(native._cache_folder())
    (left / "kernel.o").write_bytes(b"half")
    assert native.load(source).answer() == 42  # held by this process, which lives
    assert left.name in cached()
    code = (
        "import os, signal, sys; from pathlib import Path; from sresnet.ops.scan import native;"
        "native._run = lambda command: '' if '--version' in command else os.kill(os.getpid(), signal.SIGKILL);"
        "native.load(Path(sys.argv[1]), ())"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(source)], stderr=subprocess.DEVNULL, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(cached()) == 3
    assert native.load(source).answer() == 42
    assert sorted(cached()) == sorted([left.name, *(name for name in cached() if name.endswith(".so"))])
    assert len(cached()) == 2


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux only")
def test_there_is_one_pool_of_threads():
    if not cpu.available():
        pytest.skip("no C++ compiler")
    # In a process of its own: scikit-learn, which other tests import, brings a pool.
    code = (
        "import torch; from pathlib import Path; from sresnet.ops.bntt_lif import bntt_lif;"
        "from sresnet.ops.neuron import LIFConstants; from sresnet.ops.surrogate import Triangle;"
        "torch.set_num_threads(2); neuron = LIFConstants(leak=0.9, surrogate=Triangle());"
        "bntt_lif(torch.randn(2, 9, 16, 16, 16), None, neuron);"
        "print(Path('/proc/self/maps').read_text())"
    )
    maps = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    mapped = {line.split()[-1] for line in maps.splitlines() if "/" in line}
    pools = {path for path in mapped if any(name in os.path.basename(path) for name in ("gomp", "iomp", "libomp"))}
    assert len(pools) == 1, pools


def test_the_kernel_is_part_of_the_package():
    assert cpu.SOURCE.is_file()
