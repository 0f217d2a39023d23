"""Trained ANNs, of this package or of anybody's, as spiking networks."""

from torch import Tensor, nn

from sresnet.convert.drawing import check_images
from sresnet.convert.few_spikes import FewSpikesConfig, few_spikes_coded
from sresnet.convert.fit import fit_few_spikes
from sresnet.convert.ours import rewired
from sresnet.convert.rate import RATE_METHODS, RateConfig, rate_coded
from sresnet.convert.tandem import tandem_coded
from sresnet.convert.trace import traced
from sresnet.convert.whetstone import WhetstoneConfig, with_steps
from sresnet.errors import UserError
from sresnet.models.network import SpikingNetwork

__all__ = [
    "METHODS",
    "FewSpikesConfig",
    "Method",
    "RateConfig",
    "WhetstoneConfig",
    "few_spikes_coded",
    "fit_few_spikes",
    "rate_coded",
    "rewired",
    "tandem_coded",
    "to_spiking",
    "traced",
    "with_steps",
]


Method = RateConfig | FewSpikesConfig | WhetstoneConfig
METHODS: dict[str, Method] = {**RATE_METHODS, "few-spikes": FewSpikesConfig(), "whetstone": WhetstoneConfig()}
"""Name -> method, as it is by default."""


def to_spiking(ann: nn.Module, images: Tensor, config: Method) -> SpikingNetwork:
    """The spiking network whose firing rates, few spikes or single spikes are the activations of a trained ANN.

    Args:
        ann: a network of this package with rectifiers and one time step (`rewired`), or any module that `traced` can
            read. It stays as it is.
        images: some of its training images, [N, C, H, W], as it takes them: thresholds are taken from them.
        config: the method, such as `METHODS["deng"]`, or one with fields of your own.

    Returns:
        A network in evaluation mode that is saved, loaded and evaluated like any other of this package.

    Raises:
        UserError: as `traced`, `rewired`, `rate_coded`, `few_spikes_coded` and `with_steps`.
    """
    if not isinstance(config, Method):
        raise UserError(
            f"method {config!r} is no method: give METHODS[NAME], of {', '.join(METHODS)}, or your own fields"
        )
    check_images(images)
    read = rewired(ann) if isinstance(ann, SpikingNetwork) else traced(ann, images[:1])
    if isinstance(config, FewSpikesConfig):
        return few_spikes_coded(read, images, config)
    if isinstance(config, WhetstoneConfig):
        return with_steps(read)
    return rate_coded(read, images, config)
