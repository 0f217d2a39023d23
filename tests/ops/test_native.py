import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sresnet.ops import native
from sresnet.ops.bntt_lif import cpu
from sresnet.ops.memory import keep_freed_memory

ANSWER = """
#include <ATen/Parallel.h>
extern "C" __attribute__((visibility("default"))) int answer() { return 42; }
extern "C" __attribute__((visibility("default"))) int threads() { return at::get_num_threads(); }
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A small C++ file, and a cache that holds nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native.tell.cache_clear()
    folder = tmp_path / "op"
    folder.mkdir()
    (folder / "kernel.cpp").write_text(ANSWER)
    yield folder / "kernel.cpp"
    native.tell.cache_clear()


@pytest.fixture
def compiler():
    try:
        return native.find_compiler()
    except native.NativeError:
        pytest.skip("no C++ compiler")


def cached():
    return [path.name for path in native.cache_folder().iterdir()]


@pytest.mark.usefixtures("compiler")
def test_compiles_once_and_says_so(source, capsys, monkeypatch):
    library = native.load(source)
    assert library.answer() == 42
    assert library.threads() == torch.get_num_threads()
    assert capsys.readouterr().err == "sresnet: compiling op/kernel.cpp for this machine (once, about ten seconds)\n"
    assert len(cached()) == 1
    native.tell.cache_clear()
    monkeypatch.setattr(native, "compile_to", None)  # would fail
    assert native.load(source).answer() == 42
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("compiler")
def test_a_file_that_was_cut_short_is_made_again(source):
    path = native.cache_folder() / f"op-{native.key(source, native.find_compiler(), native.HOST_FLAGS)}.so"
    path.write_bytes(b"\x7fELF")
    assert native.load(source).answer() == 42


def test_the_key_names_everything_that_matters(source, compiler, monkeypatch):
    keys = [native.key(source, compiler, native.HOST_FLAGS), native.key(source, compiler, ("-mavx2",))]
    monkeypatch.setattr(torch, "__version__", "2.99")
    keys.append(native.key(source, compiler, native.HOST_FLAGS))
    monkeypatch.setattr(native, "processor", lambda: "another")
    keys.append(native.key(source, compiler, native.HOST_FLAGS))
    monkeypatch.setattr(native, "run", lambda command: "g++ 99")
    keys.append(native.key(source, compiler, native.HOST_FLAGS))
    source.write_text(ANSWER + "\n")
    keys.append(native.key(source, compiler, native.HOST_FLAGS))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda monkeypatch, source: monkeypatch.setenv("PATH", "/nowhere"), "no C++ compiler: install g++ or set CXX"),
        (lambda monkeypatch, source: source.write_text("int f( {"), "error"),
        (lambda monkeypatch, source: monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null"), "cache folder cannot be made"),
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
        "import sys; from pathlib import Path; from sresnet.ops.native import load;"
        "sys.exit(load(Path(sys.argv[1])).answer())"
    )
    command = [sys.executable, "-c", code, str(source)]
    processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in processes] == [42, 42]
    assert len(cached()) == 1


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux only")
def test_there_is_one_pool_of_threads():
    if not cpu.available():
        pytest.skip("no C++ compiler")
    # In a process of its own: scikit-learn, which other tests import, brings a pool.
    code = (
        "import torch; from pathlib import Path; from sresnet.ops.bntt_lif import bntt_lif;"
        "torch.set_num_threads(2); bntt_lif(torch.randn(2, 9, 16, 16, 16), leak=0.9);"
        "print(Path('/proc/self/maps').read_text())"
    )
    maps = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    mapped = {line.split()[-1] for line in maps.splitlines() if "/" in line}
    pools = {path for path in mapped if any(name in os.path.basename(path) for name in ("gomp", "iomp", "libomp"))}
    assert len(pools) == 1, pools


def test_the_kernel_is_part_of_the_package():
    assert cpu.SOURCE.is_file()


def test_freed_memory_is_kept():
    code = (
        "import resource, torch; from sresnet.ops.memory import keep_freed_memory; assert keep_freed_memory();"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt;"
        "work = lambda: torch.empty(12_000_000).fill_(1);"
        "[work() for _ in range(10)]; before = faults(); [work() for _ in range(10)];"
        # Otherwise 11,719 each. A few are left to chance: what else lies in the heap decides when the first are kept.
        "assert faults() - before < 40_000, faults() - before"
    )
    if (
        sys.platform != "linux"
        or not hasattr(os, "confstr")
        or "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or "")
    ):
        assert not keep_freed_memory()
        return
    subprocess.run([sys.executable, "-c", code], check=True)
