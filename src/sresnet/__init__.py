"""Train, study and deploy residual spiking neural networks.

import sresnet
model = sresnet.create_model("sresnet20", num_classes=10, num_steps=4)
logits = model(images)
"""

import os

# Threads that wait must sleep. By default OpenMP's spin, and two processes on the same cores slow each other down ten
# times instead of twice. It is read when torch is loaded, hence before everything else; a value that is set is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Large tensors in large pages, which cost fewer page faults. Read at torch's first allocation on the CPU.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from sresnet.errors import UserError
from sresnet.models import (
    SpikingNetwork,
    SResNetConfig,
    StreamState,
    VGGConfig,
    build,
    create_model,
    list_models,
    num_parameters,
)
from sresnet.models.released import load_released
from sresnet.models.saved import load, save_model

__version__ = "0.1.0"

__all__ = [
    "SResNetConfig",
    "SpikingNetwork",
    "StreamState",
    "UserError",
    "VGGConfig",
    "build",
    "create_model",
    "list_models",
    "load",
    "load_released",
    "num_parameters",
    "save_model",
]
