"""A network's features in place of its scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, overload

import torch
from torch import Tensor, nn

from sresnet.errors import UserError
from sresnet.models.network import SpikingNetwork, zero_or_nan
from sresnet.nn.layer import Flatten, GlobalAveragePool, Pool, SpikingLinear, pooled
from sresnet.nn.signal import Signal
from sresnet.nn.wiring import Wiring
from sresnet.randomness import seeded

_USUAL_SIZE = 32
"""Height and width at which maps are looked at where a network does not say its own."""


@dataclass(frozen=True, kw_only=True)
class StageInfo:
    """What one stage of a network gives."""

    name: str
    """Of its last layer."""
    channels: int
    """C of its maps."""
    reduction: int
    """By how much height and width of its maps are smaller than those of the input."""
    index: int
    """Its number, from 0."""

    def __getitem__(self, key: str) -> int | str:
        """The same under timm's names: num_chs, reduction, module and index."""
        return self.under_timms_names()[key]

    def under_timms_names(self) -> dict[str, int | str]:
        """All of it, in which "module" is the name of the module within a `FeatureNetwork`."""
        module = f"network.layers.{self.name}"
        return {"num_chs": self.channels, "reduction": self.reduction, "module": module, "index": self.index}


class FeatureInfo(Sequence[StageInfo]):
    """The stages of a network, the first one first, and which of them are given, as timm's class of this name has it.

    Length and numbers in brackets are of all stages. What is asked for without numbers is of those that are given.
    """

    def __init__(self, stages: Sequence[StageInfo], out_indices: int | Sequence[int] | None = None) -> None:
        self.info = tuple(stages)
        """All stages."""
        self.out_indices = _checked_indices(out_indices, len(self.info))
        """Numbers of those that are given, in the order in which they are."""

    @overload
    def __getitem__(self, item: int) -> StageInfo: ...
    @overload
    def __getitem__(self, item: slice) -> tuple[StageInfo, ...]: ...
    def __getitem__(self, item: int | slice) -> StageInfo | tuple[StageInfo, ...]:
        return self.info[item]

    def __len__(self) -> int:
        return len(self.info)

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """ "num_chs", "reduction", "module" or "index" of the stages that are given, or of those numbered `idx`."""
        if isinstance(idx, int):
            return self.info[idx][key]
        return [self.info[index][key] for index in (self.out_indices if idx is None else idx)]

    def get_dicts(self, keys: Sequence[str] | None = None, idx: int | Sequence[int] | None = None) -> Any:
        """Several of these, all without `keys`, as a dictionary for each stage."""
        if isinstance(idx, int):
            whole = self.info[idx].under_timms_names()
            return {key: whole[key] for key in (whole if keys is None else keys)}
        return [self.get_dicts(keys, index) for index in (self.out_indices if idx is None else idx)]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """C of the maps of each stage that is given."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """By how much height and width of each are smaller than those of the input."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """The module that gives each, as `FeatureNetwork.get_submodule` takes it."""
        return self.get("module", idx)


def _checked_indices(out_indices: int | Sequence[int] | None, count: int) -> tuple[int, ...]:
    """Numbers of stages, from 0, of numbers that may count from the end, of how many of the last, or of None for all.

    UserError for others.
    """
    given: Sequence[int] = ()
    if out_indices is None:
        given = range(count)
    elif isinstance(out_indices, Sequence):
        given = out_indices
    elif type(out_indices) is int and 0 < out_indices <= count:
        given = range(count - out_indices, count)
    whole = all(type(each) is int and -count <= each < count for each in given)
    found = tuple(each % count for each in given) if whole else ()
    if count and (not found or len(set(found)) < len(found)):
        raise UserError(
            f"out_indices {out_indices!r} are not numbers of the network's {count} stages: give some of "
            f"{', '.join(map(str, range(count)))}, each once"
        )
    return found


class FeatureNetwork(nn.Module):
    """A network without its classifier: what its last layer sends, pooled, or what each of its stages sends.

    A stage ends with the last layer before height and width change. What is given is spikes of a time step (sums of
    spikes behind an S2S connection), or their mean over the time steps.

    Args:
        network: it is not copied.
        stages: give the maps of each stage in place of the pooled features of the last layer.
        out_indices: numbers of the stages whose maps are given, from 0, negative ones from the end, in any order; or
            how many of the last; None: all.

    Raises:
        UserError: `stages` of a network that is one list of steps, or numbers of none; in forward, as
            `SpikingNetwork.forward`.
    """

    def __init__(
        self, network: SpikingNetwork, *, stages: bool = False, out_indices: int | Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.stages = stages
        self.train(network.training)
        found = _stages_of(network)
        if stages and not found:
            raise UserError("this network is one list of steps, of which no stages are known: use num_classes=0")
        if out_indices is not None and not stages:
            raise UserError(f"out_indices {out_indices!r} is of maps of stages: add features_only=True")
        self.feature_info = FeatureInfo(found, out_indices)
        """The stages, the first one first, and which are given."""

    @property
    def num_features(self) -> int:
        """Numbers in the pooled features of an image."""
        return self.network.num_features

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """See `SpikingNetwork.pretrained_cfg`."""
        return self.network.pretrained_cfg

    def predict(self, *args: object, **fields: object) -> NoReturn:
        """Raise UserError: features are no classes, and a network has this method under the same name."""
        raise UserError(
            "predict gives classes, and this network gives features: call model(x) for these, or model.network.predict "
            "where the network was trained"
        )

    def forward(self, x: Tensor, *, num_steps: int | None = None, per_step: bool = False) -> Tensor | list[Tensor]:
        """Features of images [N, C, H, W] or event frames [N, T, C, H, W].

        Args:
            num_steps: time steps to run, the first of the network's; None: all.
            per_step: those of every time step, with T in front, in place of their mean.

        Returns:
            [N, num_features]; with `stages` a list of [N, channels, H / reduction, W / reduction].
        """
        if self.stages:
            wanted = [self.feature_info[index].name for index in self.feature_info.out_indices]
            mark = zero_or_nan(x, num_steps)
            found: dict[str, Tensor] = {}
            for name, _, sent in _maps(self.network, x, num_steps):
                if name in wanted:
                    found[name] = sent + mark.to(sent.dtype)
                if len(found) == len(wanted):
                    break
            return [found[name] if per_step else found[name].mean(0) for name in wanted]
        features = pooled(self.network.forward_features(x, num_steps=num_steps))
        return features if per_step else features.mean(0)


def _maps(network: SpikingNetwork, x: Tensor, num_steps: int | None) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """(name, layer, what it sends [T, N, C, H, W]) of every layer that sends maps, one after the other."""
    signal = Signal(network.encode(x, num_steps), None)
    for name, layer in network.layers.items():
        if isinstance(layer, Flatten | GlobalAveragePool | SpikingLinear | Wiring):
            return
        signal = layer(signal, None)
        yield name, layer, signal.spikes


def _stages_of(network: SpikingNetwork) -> tuple[StageInfo, ...]:
    """The stages, by running one time step of an empty image."""
    config, trained = network.config, network.trained
    own = getattr(config, "image_size", _USUAL_SIZE)
    size = trained.image_size if trained else (own, own)
    weight = next(network.parameters())
    found: list[StageInfo] = []
    training = network.training
    network.eval()
    with torch.no_grad(), seeded(0, weight.device):
        for name, layer, sent in _maps(network, weight.new_zeros(1, config.in_channels, *size), 1):
            reduction = round(size[0] / sent.shape[-2])
            if found and found[-1].reduction == reduction:
                found.pop()
            if not isinstance(layer, Pool):
                found.append(StageInfo(name=name, channels=sent.shape[2], reduction=reduction, index=len(found)))
    network.train(training)
    return tuple(found)
