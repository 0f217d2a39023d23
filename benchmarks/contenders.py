"""What is timed: steps of a network of ours with each engine, of its convolutions alone, and of other libraries'."""

from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from peers import PEERS
from torch import Tensor, nn

import sresnet
from sresnet.models.int8 import to_int8
from sresnet.models.network import SpikingNetwork
from sresnet.ops.dispatch import implementation

SETTINGS: dict[str, tuple[int, int, int, int]] = {
    "A": (38, 16, 10, 16),
    "B": (38, 32, 10, 16),
    "C": (8, 16, 50, 32),
    "D": (20, 16, 4, 64),
}
"""name -> depth, filters, T, batch; 32x32 images, S2S, BNTT, the paper's neurons."""
ENGINES = ("fastest", "low-memory", "reference")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def network(setting: tuple[int, int, int, int]) -> tuple[SpikingNetwork, Tensor, Tensor]:
    """The network, images and labels; the height of the surrogate is the one that other libraries have."""
    depth, filters, steps, batch = setting
    torch.manual_seed(0)
    model = sresnet.create_model(f"sresnet{depth}", base_filters=filters, num_steps=steps, surrogate_height=1.0)
    return model, torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))


def precise(precision: str, device: torch.device) -> torch.autocast:
    """Autocast for bf16 and fp16, nothing for fp32."""
    half = precision != "fp32"
    return torch.autocast(device.type, PRECISIONS[precision] if half else torch.bfloat16, enabled=half)


def train_step(
    model: Callable[..., Tensor], x: Tensor, labels: Tensor, precision: str, segments: tuple[int, ...] = ()
) -> Callable[[], None]:
    """Forward, loss, backward; `segments` are time segments of a network of ours."""
    more = {"time_segments": segments} if segments else {}
    parameters = [p for p in model.parameters() if p.requires_grad]  # type: ignore[attr-defined]

    def step() -> None:
        with precise(precision, x.device):
            loss = F.cross_entropy(model(x, **more).float(), labels)
        torch.autograd.grad(loss, parameters)

    return step


def inference(model: Callable[[Tensor], Tensor], x: Tensor, precision: str) -> Callable[[], None]:
    """Forward alone."""

    def step() -> None:
        with torch.inference_mode(), precise(precision, x.device):
            model(x)

    return step


def with_engine(name: str, step: Callable[[], None]) -> Callable[[], None]:
    """The same with one implementation of the ops."""

    def chosen() -> None:
        with implementation(name):  # type: ignore[arg-type]
            step()

    return chosen


def floor(model: SpikingNetwork, x: Tensor, precision: str, *, training: bool) -> Callable[[], None]:
    """The convolutions alone: the stem's once, the others for all steps; gradients of weights and of spikes."""
    dtype = PRECISIONS[precision]
    shapes: dict[str, torch.Size] = {}
    handles = [
        module.register_forward_pre_hook(lambda m, inputs, name=name: shapes.__setitem__(name, inputs[0].shape))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.inference_mode():
        model(x)
    for handle in handles:
        handle.remove()
    inputs: dict[torch.Size, Tensor] = {}
    outputs: dict[torch.Size, Tensor] = {}
    work = []
    for number, (name, shape) in enumerate(shapes.items()):
        module = model.get_submodule(name)
        assert isinstance(module, nn.Conv2d)
        if shape not in inputs:
            spikes = (torch.rand(shape) > 0.8).to(dtype).contiguous(memory_format=torch.channels_last)
            inputs[shape] = spikes.requires_grad_(training and number > 0)
        weight = module.weight.detach().to(dtype).requires_grad_(training)
        work.append((inputs[shape], weight, module.stride, module.padding))

    def step() -> None:
        for x, weight, stride, padding in work:
            y = F.conv2d(x, weight, None, stride, padding)
            if training:
                if y.shape not in outputs:
                    outputs[y.shape] = torch.randn_like(y)
                torch.autograd.grad(y, [t for t in (x, weight) if t.requires_grad], outputs[y.shape])

    if training:
        return step

    def without_gradients() -> None:
        with torch.inference_mode():
            step()

    return without_gradients


def is_emulated(precision: str) -> bool:
    """The processor has no convolutions of that type: ours are computed in float32, and so is the floor.

    Those of the other contenders would take torch's plain loop, about ten times as long; they are left out.
    """
    return precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def compared(name: str, precision: str, *, training: bool, left_out: Collection[str]) -> dict[str, Callable[[], None]]:
    """Everything that is compared at one setting."""
    model, x, labels = network(SETTINGS[name])
    computed_in = "fp32" if is_emulated(precision) else precision
    given: dict[str, Callable[[], None]] = {"floor": floor(model, x, computed_in, training=training)}
    if training:
        for engine in ENGINES[:2] if is_emulated(precision) else ENGINES:
            given[engine] = with_engine(engine, train_step(model.train(), x, labels, precision))
    else:
        for engine in ("fastest",) if is_emulated(precision) else ("fastest", "reference"):
            given[engine] = with_engine(engine, inference(model.eval(), x, precision))
        if precision == "fp32":
            given["int8"] = inference(to_int8(model), x, precision)
    for peer in () if is_emulated(precision) else PEERS:
        if peer not in left_out:
            other = PEERS[peer].build(model).train(training)
            given[peer] = train_step(other, x, labels, precision) if training else inference(other, x, precision)
    return given


def check_same(setting: tuple[int, int, int, int]) -> dict[str, float]:
    """The largest difference in scores and in the convolutions' gradients of each peer, relative to the largest value.

    SpikingJelly in float64 at T = 4. snnTorch writes float32 spikes and has a reset of its own: float32 at T = 1, where
    nothing is reset.

    Raises:
        ValueError: more than 1e-9 of the largest value in float64, or 1e-3 in float32: a different network.
    """
    found = {}
    for name, peer in PEERS.items():
        if peer.compiled:  # compared with the same network that is not compiled when it is tried
            continue
        exact = peer.library == "spikingjelly"
        ours, x, labels = network((*setting[:2], 4 if exact else 1, 2))
        theirs = peer.build(ours)
        dtype = torch.float64 if exact else torch.float32
        values = []
        for model in (ours, theirs):
            model.to(dtype).train()
            scores = model(x.to(dtype))
            weights = [p for p in model.parameters() if p.dim() == 4]
            values.append([scores.detach(), *torch.autograd.grad(F.cross_entropy(scores, labels), weights)])
        found[name] = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(*values, strict=True))
        if not found[name] <= (1e-9 if exact else 1e-3):
            raise ValueError(f"{name} at {setting} computes another network: its values differ by {found[name]:.1e}")
    return found
