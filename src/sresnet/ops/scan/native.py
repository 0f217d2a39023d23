"""Native code: one C++ file, compiled on first use for this machine and this torch, and kept in the user's cache.

The file uses torch's own threads through <ATen/Parallel.h>. It is compiled with OpenMP but not linked to it: the names
are found in the OpenMP that torch has loaded, so there is never a second pool of threads fighting for the cores.
"""

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import filelock
import torch

from sresnet.printing import tell_once

HOST_FLAGS = ("-march=native",)
FLAGS = ("-std=c++20", "-O3", "-fno-math-errno", "-fPIC", "-fopenmp", "-fvisibility=hidden")


class _NativeError(Exception):
    """There is no native code here; the message says why in one line."""


def load(source: Path, flags: tuple[str, ...] = HOST_FLAGS, *, silent: bool = False) -> ctypes.CDLL | None:
    """The library made of `source`; None, and once a line on stderr, where it cannot be had.

    Args:
        source: C++ file with functions of C linkage.
        flags: what the code may be compiled for, such as ("-mavx2", "-mfma"); by default this machine.
        silent: no lines, for code that is compiled in a moment and hardly missed.
    """
    try:
        return _built(source, flags, silent)
    except _NativeError as error:
        if not silent:
            tell_once(f"no native code ({error}): the slower PyTorch reference is used")
        return None


def _built(source: Path, flags: tuple[str, ...] = HOST_FLAGS, silent: bool = False) -> ctypes.CDLL:
    """The library made of `source`, from the cache or compiled now.

    Raises:
        NativeError: no compiler, an error of the compiler, or a cache that cannot be written or trusted.
    """
    if os.name != "posix":
        raise _NativeError("not on this system")
    compiler = _find_compiler()
    try:
        path = _cache_folder() / f"{source.parent.name}-{_key(source, compiler, flags)}.so"
        _remove_parts(path.parent)
        if not _is_whole(path):
            if not silent:
                tell_once(f"compiling {source.parent.name}/{source.name} for this machine (once, about ten seconds)")
            _compile_to(path, source, compiler, flags)
        return ctypes.CDLL(str(path))
    except OSError as error:
        place = error.filename or "the compiled code"
        raise _NativeError(f"{place} cannot be used: {error.strerror or error}") from None


def _find_compiler() -> str:
    """$CXX, c++, g++ or clang++.

    Raises:
        NativeError: none of them is there, or on Windows, which lacks what keeps cached code safe.
    """
    if sys.platform == "win32":
        raise _NativeError("none is compiled on Windows")
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    raise _NativeError("no C++ compiler: install g++ or set CXX")


def _cache_folder() -> Path:
    """Where compiled code is kept: sresnet/native in $XDG_CACHE_HOME or ~/.cache, which only this user can write.

    Raises:
        NativeError: there is no home folder, or another user could put code there.
        OSError: it cannot be made or searched.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME")
        root = Path(base) if base else Path.home() / ".cache"
    except RuntimeError as error:
        raise _NativeError(f"no cache folder ({error}): set XDG_CACHE_HOME") from None
    root.mkdir(parents=True, exist_ok=True)
    status = root.stat()
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise _NativeError(f"others can write {root}: chmod o-w, or set XDG_CACHE_HOME to a folder of your own")
    _check_owner(root, status)
    for folder in (root / "sresnet", root / "sresnet" / "native"):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        _check_owner(folder, status)
        if folder.name == "sresnet" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) == stat.S_IWGRP:
            # The frames of event recordings are there too, and may have been made first, with a umask of 002.
            folder.chmod(stat.S_IMODE(status.st_mode) & ~stat.S_IWGRP)
            status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise _NativeError(f"others can write {folder}: delete it, or set XDG_CACHE_HOME to a folder of your own")
    return folder


def _check_owner(path: Path, status: os.stat_result) -> None:
    """Raise NativeError where `path` belongs to neither this user nor the system's administrator."""
    if status.st_uid not in (os.geteuid(), 0):
        raise _NativeError(f"{path} belongs to another user: set XDG_CACHE_HOME to a folder of your own")


SEAL = b"sresnet sha256 "
"""Stands behind the code in a cached file, followed by the digest of all that is before; the loader reads neither.

In one file, so that no two processes can put the code of one beside the digest of the other."""


def _sealed(code: bytes) -> bytes:
    """A cached file of this code."""
    return code + SEAL + hashlib.sha256(code).digest()


def _is_whole(path: Path) -> bool:
    """Whether `path` is a file of this user's that is as it was written: code cut short or altered kills the process.

    Raises:
        OSError: it cannot be read.
    """
    try:
        # What is not a plain file, a link among them, is not followed and not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return False
        raise
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid not in (os.geteuid(), 0)
            or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        ):
            return False
        content = file.read()
    return content == _sealed(content[: -len(SEAL) - hashlib.sha256().digest_size])


def recall(name: str) -> set[str]:
    """The lines that `remember` has put into the file of this name; none where it cannot be read."""
    try:
        return set((_cache_folder() / name).read_text(encoding="utf-8").splitlines()) if os.name == "posix" else set()
    except (_NativeError, OSError, UnicodeDecodeError):
        return set()


def remember(name: str, line: str) -> None:
    """Add a line to the file of this name beside the compiled code; nothing happens where it cannot be written."""
    with contextlib.suppress(_NativeError, OSError):
        if os.name == "posix":
            with (_cache_folder() / name).open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")


def _key(source: Path, compiler: str, flags: tuple[str, ...]) -> str:
    """A name that changes with everything that the compiled code depends on."""
    parts = (
        source.read_text(encoding="utf-8"),
        compiler,
        _run([compiler, "--version"]),
        *FLAGS,
        *flags,
        torch.__version__,
        _processor(),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


@functools.cache
def _processor() -> str:
    """What this processor can do; -march=native depends on it, and a home folder may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


def _compile_to(path: Path, source: Path, compiler: str, flags: tuple[str, ...]) -> None:
    """Compile `source` to `path`, which appears whole or not at all: two processes may do so at the same time.

    Raises:
        NativeError: the compiler fails.
        OSError: the disk refuses.
    """
    torch_folder = Path(torch.__file__).parent
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    part, descriptor = _new_part(path.parent)
    try:
        thing, library, whole = part / "kernel.o", part / "kernel.so", part / "sealed.so"
        include = ["-isystem", str(torch_folder / "include")]
        _run([compiler, *FLAGS, *flags, abi, *include, "-c", str(source), "-o", str(thing)])
        # In two steps: -fopenmp while linking would name an OpenMP of its own.
        lib = [f"-L{torch_folder / 'lib'}", "-ltorch_cpu", "-lc10"]
        _run([compiler, "-shared", str(thing), *lib, "-o", str(library)])
        whole.write_bytes(_sealed(library.read_bytes()))
        whole.chmod(0o600)
        whole.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(descriptor)


def _remove_parts(cache: Path) -> None:
    """Remove what processes that were killed while they compiled have left in the cache."""
    for part in cache.glob(".part-*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if filelock.lock_descriptor(descriptor, blocking=False):
                    shutil.rmtree(part)
            finally:
                os.close(descriptor)


def _new_part(cache: Path) -> tuple[Path, int]:
    """An empty folder in the cache, open and held by this process like a lock; OSError where the disk refuses."""
    while True:
        part = Path(tempfile.mkdtemp(dir=cache, prefix=".part-"))
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            with contextlib.suppress(OSError):  # a disk without locks, where leftovers are not removed
                filelock.lock_descriptor(descriptor)
            if part.exists():
                return part, descriptor
            os.close(descriptor)  # another process took it for a leftover before it was held


def _run(command: list[str]) -> str:
    """What a command prints.

    Raises:
        NativeError: it fails; the message holds its first line with "error", or its last line.
    """
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    except OSError as error:
        raise _NativeError(f"{command[0]} does not start: {error.strerror}") from None
    if done.returncode != 0:
        lines = done.stderr.splitlines() or [f"status {done.returncode}"]
        raise _NativeError(f"{Path(command[0]).name}: " + next((line for line in lines if "error" in line), lines[-1]))
    return done.stdout
