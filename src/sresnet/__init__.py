"""Train, study and deploy residual spiking neural networks.

import sresnet
model = sresnet.create_model("sresnet20", num_classes=10, num_steps=4)
logits = model(images)
"""

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
