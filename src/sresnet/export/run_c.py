"""Files in C, compiled here and run."""

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sresnet.errors import UserError

FLAGS = ("-std=c99", "-O3", "-shared", "-fPIC", "-ffp-contract=off")


def _find_compiler() -> list[str]:
    """The words of $CC, or else cc, gcc or clang; UserError where none is there."""
    chosen = os.environ.get("CC", "")
    try:
        words = shlex.split(chosen)
    except ValueError:
        words = [chosen]
    if words:
        if shutil.which(words[0]) is None:
            raise UserError(f"CC is {chosen!r}, which is no program here: set it to a C compiler, or leave it out")
        return words
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if found is None:
        raise UserError("files in C are compiled to be tried, and no C compiler is here: install gcc or set CC")
    return [found]


class CProgram:
    """A network in C, compiled with the system's compiler ($CC, cc, gcc or clang) and loaded.

    Args:
        text: the file.
        flags: more of them for the compiler, such as "-Werror".

    Raises:
        UserError: there is no compiler, or it refuses the file.
    """

    def __init__(self, text: str, *flags: str) -> None:
        compiler = _find_compiler()
        size = "\nunsigned long sresnet_size(void) { return sizeof(sresnet_state); }\n"
        size += "int sresnet_classes(void) { return SRESNET_CLASSES; }\n"
        size += "#ifndef SRESNET_MOST_STEPS\n#define SRESNET_MOST_STEPS 0\n#endif\n"
        size += "int sresnet_most_steps(void) { return SRESNET_MOST_STEPS; }\n"
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder, "network.c"), Path(folder, "network.so")
            source.write_text(text + size, encoding="utf-8")
            done = subprocess.run(
                [*compiler, *FLAGS, *flags, str(source), "-o", str(library), "-lm"],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
            )
            if done.returncode or not library.is_file():
                reason = " ".join(done.stderr.split())[:300] or "it says nothing"
                raise UserError(
                    f"{compiler[0]} does not compile the file ({reason}): export it again, or set CC to a C compiler"
                )
            self.library = ctypes.CDLL(str(library))
        if not all(hasattr(self.library, name) for name in ("sresnet_start", "sresnet_step")):
            raise UserError("the file in C lacks sresnet_start or sresnet_step: it is damaged, export it again")
        self.library.sresnet_size.restype = ctypes.c_ulong
        self.state_bytes = int(self.library.sresnet_size())
        self.classes = int(self.library.sresnet_classes())
        self.most_steps = int(self.library.sresnet_most_steps())

    def scores(self, frames: Tensor) -> Tensor:
        """Scores after every step [N, T, classes] of frames [N, T, C, H, W]."""
        x = np.ascontiguousarray(frames.cpu().numpy(), dtype=np.float32)
        found = np.zeros((*x.shape[:2], self.classes), dtype=np.float32)
        state = ctypes.create_string_buffer(self.state_bytes)
        for image in range(len(x)):
            self.library.sresnet_start(state)
            for step in range(x.shape[1]):
                given, made = (array[image, step].ctypes.data_as(ctypes.c_void_p) for array in (x, found))
                self.library.sresnet_step(state, given, made)
        return torch.from_numpy(found)
