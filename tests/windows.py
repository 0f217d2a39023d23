"""Run commands of the package as far as Windows can be imitated: `python tests/windows.py FOLDER`.

Modules of the package are imported with an `os` that is called "nt" and lacks what Windows lacks, a `sys` of platform
"win32", and without the modules that only Unix has. An open file can be neither renamed, replaced nor deleted, and text
without a named encoding is an error. Paths, processes and the compiler of Windows are not imitated.
"""

import importlib
import os
import pkgutil
import sys
import types
from pathlib import Path

LACKS = (
    "preadv pread pwrite pwritev geteuid getuid getgid chown fchown fchmod fork forkpty killpg setsid nice statvfs "
    "mkfifo sched_getaffinity getloadavg posix_fallocate posix_fadvise sendfile uname wait3 wait4 register_at_fork "
    "sysconf O_CLOEXEC O_NONBLOCK O_NOCTTY O_NOFOLLOW O_DIRECTORY O_SYNC"
).split()
UNIX_ONLY = "fcntl resource pwd grp termios tty pty syslog crypt readline".split()
# What other packages do at their first import is not of interest here.
FIRST = "torch numpy filelock tyro rich.progress rich.table jinja2 safetensors.torch sklearn.datasets PIL.Image"


class _Imitation(types.ModuleType):
    """A module with some names of its own, others missing, and the rest as they are."""

    def __init__(self, real: types.ModuleType, lacks: list[str], **own: object) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(_real=real, _lacks=frozenset(lacks), **own)

    def __getattr__(self, name: str) -> object:
        if name in self._lacks:
            raise AttributeError(f"module {self._real.__name__} of Windows has no {name}")
        return getattr(self._real, name)


def _imported() -> None:
    """Import every module of the package as on Windows."""
    for name in FIRST.split():
        importlib.import_module(name)
    windows = {"os": _Imitation(os, LACKS, name="nt", O_BINARY=0), "sys": _Imitation(sys, [], platform="win32")}
    before = {name: sys.modules.get(name) for name in [*windows, *UNIX_ONLY]}
    sys.modules.update(windows)
    sys.modules.update(dict.fromkeys(UNIX_ONLY))  # whose import is then an error
    import sresnet

    for module in pkgutil.walk_packages(sresnet.__path__, "sresnet."):
        if not module.name.startswith("sresnet.ops.scan.gpu.") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name, module in before.items():
        if module is None:
            del sys.modules[name]
        else:
            sys.modules[name] = module
    named = [m for m in sys.modules.values() if getattr(m, "__name__", "").startswith("sresnet")]
    assert any(getattr(m, "os", None) is windows["os"] for m in named)


def _hold_open_files() -> None:
    """Renaming, replacing and deleting a file that this process has open is refused from now on."""

    def refusing(function):  # type: ignore[no-untyped-def]
        def wrapped(path, *rest, **options):  # type: ignore[no-untyped-def]
            paths = [path, *rest[:1]] if function.__name__ in ("rename", "replace") else [path]
            if "dir_fd" not in options or options["dir_fd"] is None:
                for each in paths:
                    if os.path.realpath(each) in _open_files():
                        raise PermissionError(
                            13, "the process cannot access the file because it is being used", str(each)
                        )
            return function(path, *rest, **options)

        return wrapped

    for name in ("rename", "replace", "unlink", "remove"):
        setattr(os, name, refusing(getattr(os, name)))


def _open_files() -> set[str]:
    found = set()
    for each in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{each}"))
        except OSError:
            continue
    return found


def main() -> None:
    """Every command in its turn; the first that fails ends the program with its status."""
    folder = Path(sys.argv[1])
    _imported()
    _hold_open_files()
    from PIL import Image

    from sresnet.cli import main as sresnet

    for part in ("train", "test"):
        for label in ("dark", "light"):
            (folder / "pictures" / part / label).mkdir(parents=True)
            for number in range(6):
                picture = Image.new("RGB", (8, 8), (number + 200 * (label == "light"),) * 3)
                picture.save(folder / "pictures" / part / label / f"{number}.png")
    run, pictures, cache = folder / "run", f"--data-dir {folder / 'pictures'}", f"--cache-dir {folder / 'cache'}"
    small = "--model.base-filters 2 --model.num-steps 2 --train.epochs 2"
    commands = f"""
        list
        train digits {small} --out {run} --max-minutes 0
        train digits {small} --out {run} --report
        evaluate {run} --json
        analyse {run} --out {folder / "analysis"}
        report {run} --force
        predict {run} {folder / "pictures/test/dark/1.png"}
        data prepare folder {pictures} {cache}
        train folder {pictures} {cache} {small} --out {folder / "photos"}
        evaluate {folder / "photos"} {cache}
        train digits-dvs {cache} {small} --out {folder / "events"}
        evaluate {folder / "events"} {cache}
        data clean {cache}
        export {run} --to torch-export --out {folder / "network.pt2"}
        search digits {small} --search.leak 0.5:0.99 --trials 2 --out {folder / "search"}
        study table2 --runs {folder / "study"} --results {folder / "results"} --show
    """
    for command in filter(None, map(str.strip, commands.splitlines())):
        print(f"sresnet {command}", flush=True)
        if status := sresnet(command.split()):
            sys.exit(f"status {status}: sresnet {command}")


if __name__ == "__main__":
    main()
