"""Trained ANNs, of this package or of anybody's, as spiking networks."""

from torch import Tensor, nn

from sresnet.convert.drawing import check_images
from sresnet.convert.few_spikes import FewSpikesConfig, few_spikes_coded
from sresnet.convert.fit import fit_few_spikes
from sresnet.convert.ours import rewired
from sresnet.convert.rate import RATE_METHODS, RateConfig, ann_input, rate_coded
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


def to_spiking(ann: nn.Module, images: Tensor, config: Method, *, input_scale: float = 1.0) -> SpikingNetwork:
    """The spiking network whose firing rates, few spikes or single spikes are the activations of a trained ANN.

    Args:
        ann: a network of this package with rectifiers and one time step (`rewired`), or any module that `traced` can
            read. It stays as it is.
        images: some of its training images, [N, C, H, W], as it takes them: thresholds are taken from them. Or event
            frames, [N, T, C, H, W], a frame for each time step, of which the ANN takes the mean over time.
        config: the method, such as `METHODS["deng"]`, or one with fields of your own.
        input_scale: of event frames, what they are multiplied by: T where the ANN takes their sum.

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
    seen = ann_input(images, input_scale)
    read = rewired(ann) if isinstance(ann, SpikingNetwork) else traced(ann, seen[:1])
    if isinstance(config, RateConfig):
        return rate_coded(read, images, config, input_scale=input_scale)
    if images.ndim == 5 and images.shape[1] != 1:
        raise UserError(
            f"the clips have {images.shape[1]} frames, and this method has one time step: give clips of one, of all "
            "events, or choose a method of rates"
        )
    return few_spikes_coded(read, seen, config) if isinstance(config, FewSpikesConfig) else with_steps(read)
