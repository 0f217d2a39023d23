"""Train, study and deploy residual spiking neural networks.

import sresnet
model = sresnet.create_model("sresnet20", num_classes=10, num_steps=4)
logits = model(images)
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Threads that wait must sleep. By default OpenMP's spin, and two processes on the same cores slow each other down ten
# times instead of twice. It is read when torch is loaded, hence before everything else; a value that is set is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Large tensors in large pages, which cost fewer page faults. Read at torch's first allocation on the CPU.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = "0.2.0"

__all__ = [
    "SResNetConfig",
    "SpikingNetwork",
    "StreamState",
    "UserError",
    "VGGConfig",
    "build",
    "create_model",
    "list_models",
    "list_pretrained",
    "load",
    "load_pretrained",
    "load_released",
    "num_parameters",
    "save_model",
    "stream",
]

if TYPE_CHECKING:
    from sresnet import analysis, convert, data, export, models, nn, ops, train  # noqa: F401 - folders that `__getattr__` imports
    from sresnet.errors import UserError
    from sresnet.models import (
        SpikingNetwork,
        SResNetConfig,
        StreamState,
        VGGConfig,
        build,
        create_model,
        list_models,
        list_pretrained,
        load_pretrained,
        num_parameters,
    )
    from sresnet.models.released import load_released
    from sresnet.models.saved import load, save_model
    from sresnet.streams import stream

_ELSEWHERE = {
    "UserError": "errors",
    "load": "models.saved",
    "load_released": "models.released",
    "save_model": "models.saved",
    "stream": "streams",
}
"""Names that are not in `sresnet.models`."""
_FOLDERS = ("analysis", "convert", "data", "export", "models", "nn", "ops", "train")


if not TYPE_CHECKING:  # where types are checked, a name that is not there is an error

    def __getattr__(name: str) -> Any:
        """A public name or a folder of the package, imported when first asked for: torch takes seconds (PEP 562)."""
        if name in _FOLDERS:
            return import_module(f"sresnet.{name}")
        if name not in __all__:
            raise AttributeError(f"module 'sresnet' has no attribute {name!r}")
        value = getattr(import_module(f"sresnet.{_ELSEWHERE.get(name, 'models')}"), name)
        globals()[name] = value  # the next time it is there
        return value


def __dir__() -> list[str]:
    """What is public, and not what this file uses."""
    return sorted({*__all__, *_FOLDERS, *(name for name in globals() if name.startswith("__"))})
