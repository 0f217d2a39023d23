"""Data sets: from files on disk to labelled uint8 images in memory, or clips of event frames on disk."""

from sresnet.data.config import CLASSES, DATA_SETS, AnyData, DataConfig, usual_data
from sresnet.data.dataset import from_dataset
from sresnet.data.events.sets import EVENT_SETS, EventConfig
from sresnet.data.images import ImageSet
from sresnet.data.opening import open_data
from sresnet.data.samples import Samples, Splits

__all__ = [
    "CLASSES",
    "DATA_SETS",
    "EVENT_SETS",
    "AnyData",
    "DataConfig",
    "EventConfig",
    "ImageSet",
    "Samples",
    "Splits",
    "from_dataset",
    "open_data",
    "usual_data",
]
