"""Native code: one C++ file, compiled on first use for this machine and this torch, and kept in the user's cache.

The file uses torch's own threads through <ATen/Parallel.h>. It is compiled with OpenMP but not linked to it: the names
are found in the OpenMP that torch has loaded, so there is never a second pool of threads fighting for the cores.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from sresnet.printing import one_line, say

HOST_FLAGS = ("-march=native",)
FLAGS = ("-std=c++20", "-O3", "-fno-math-errno", "-fPIC", "-fopenmp", "-fvisibility=hidden")


class NativeError(Exception):
    """There is no native code here; the message says why in one line."""


def load(source: Path, flags: tuple[str, ...] = HOST_FLAGS) -> ctypes.CDLL | None:
    """The library made of `source`; None, and once a line on stderr, where it cannot be had.

    Args:
        source: C++ file with functions of C linkage.
        flags: what the code may be compiled for, such as ("-mavx2", "-mfma"); by default this machine.
    """
    try:
        return built(source, flags)
    except NativeError as error:
        tell(f"no native code ({error}): the slower PyTorch reference is used")
        return None


def built(source: Path, flags: tuple[str, ...] = HOST_FLAGS) -> ctypes.CDLL:
    """The library made of `source`, from the cache or compiled now.

    Raises:
        NativeError: no compiler, an error of the compiler, or a cache that cannot be written.
    """
    compiler = find_compiler()
    path = cache_folder() / f"{source.parent.name}-{key(source, compiler, flags)}.so"
    if path.exists():
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # a file cut short by a full disk
            path.unlink(missing_ok=True)
    tell(f"compiling {source.parent.name}/{source.name} for this machine (once, about ten seconds)")
    compile_to(path, source, compiler, flags)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeError(f"{path.name} does not load: {error}") from None


def find_compiler() -> str:
    """$CXX, c++, g++ or clang++.

    Raises:
        NativeError: none of them is there.
    """
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    raise NativeError("no C++ compiler: install g++ or set CXX")


def cache_folder() -> Path:
    """Where compiled code is kept: $XDG_CACHE_HOME or ~/.cache, readable by this user only.

    Raises:
        NativeError: it cannot be made.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(base) if base else Path.home() / ".cache") / "sresnet" / "native"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError) as error:
        raise NativeError(f"the cache folder cannot be made: {error}") from None
    return folder


def key(source: Path, compiler: str, flags: tuple[str, ...]) -> str:
    """A name that changes with everything that the compiled code depends on."""
    parts = (source.read_text(), compiler, run([compiler, "--version"]), *FLAGS, *flags, torch.__version__, processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


@functools.cache
def processor() -> str:
    """What this processor can do; -march=native depends on it, and a home folder may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


def compile_to(path: Path, source: Path, compiler: str, flags: tuple[str, ...]) -> None:
    """Compile `source` to `path`, which appears whole or not at all: two processes may do so at the same time.

    Raises:
        NativeError: the compiler fails, or the disk refuses.
    """
    torch_folder = Path(torch.__file__).parent
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as part:
            thing, library = Path(part) / "kernel.o", Path(part) / "kernel.so"
            include = ["-isystem", str(torch_folder / "include")]
            run([compiler, *FLAGS, *flags, abi, *include, "-c", str(source), "-o", str(thing)])
            # In two steps: -fopenmp while linking would name an OpenMP of its own.
            lib = [f"-L{torch_folder / 'lib'}", "-ltorch_cpu", "-lc10"]
            run([compiler, "-shared", str(thing), *lib, "-o", str(library)])
            library.replace(path)
    except OSError as error:
        raise NativeError(f"{path.parent} cannot be written: {error.strerror}") from None


def run(command: list[str]) -> str:
    """What a command prints.

    Raises:
        NativeError: it fails; the message holds its first line with "error", or its last line.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NativeError(f"{command[0]} does not start: {error.strerror}") from None
    if done.returncode != 0:
        lines = done.stderr.splitlines() or [f"status {done.returncode}"]
        raise NativeError(f"{Path(command[0]).name}: " + next((line for line in lines if "error" in line), lines[-1]))
    return done.stdout


@functools.cache
def tell(line: str) -> None:
    """Print a line on stderr, once per process."""
    say(one_line(f"sresnet: {line}"), error=True, flush=True)
