"""Networks that the paper compares with, number by number against what their own code gives, in float64."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import sresnet
from sresnet.nn import ForwardState, Recorder, SharedDropout
from sresnet.nn.norm import BatchNorm
from sresnet.train.loop import loss_of
from sresnet.train.recipe import TrainConfig
from tests.golden.zoo.reduce import NETWORKS, read, reduce

SMALL = Path(__file__).parents[1] / "golden" / "zoo"
FULL = Path(os.environ.get("SRESNET_SHARED", Path(__file__).parents[3] / "shared")) / "zoo" / "golden"


def kim(info, arrays):
    """VGG9 or VGG11: weights under their names, the gammas of all steps in one row each."""
    depth, classes = (9, 10) if len(info["params"]) == 41 else (11, 100)
    # Their Poisson spikes are given as frames.
    fields = {"num_steps": info["T"], "leak": info["leak"], "encoder": "direct", "num_classes": classes}
    names = {}
    for name, *_ in info["params"]:
        layer, _, rest = name.partition(".")
        ours = "hidden" if layer in ("fc1", "bntt_fc") else re.sub("bntt", "conv", layer)
        step = re.fullmatch(r"(\d+)\.weight", rest)
        part = ("layers", ours, "norm.weight" if step else "conv.weight")
        names[name] = ".".join(part) if layer != "fc2" else "readout.linear.weight", int(step[1]) if step else None
    return sresnet.create_model(f"kim-vgg{depth}", **fields), names


def fang(info, arrays):
    """The networks of PLIF neurons: layers in the order of theirs."""
    events = arrays["input"].ndim == 5
    fields = {"num_steps": info["T"]} | ({"width": info["kwargs"]["channels"] / 128} if events else {})
    model = sresnet.create_model("fang-dvs" if events else "fang-cifar", **fields)
    convolutions = [name for name in model.layers if name.startswith("conv")]
    ours = {
        4: [f"layers.{name}.conv.weight" for name in convolutions],
        1: [f"layers.{name}.norm.{part}" for name in convolutions for part in ("weight", "bias")],
        0: [*(f"layers.{name}.neuron.leak_logit" for name in [*convolutions, "hidden"]), "readout.neuron.leak_logit"],
        2: ["layers.hidden.conv.weight", "readout.linear.weight"],
    }
    return model, {name: (ours[len(shape)].pop(0), None) for name, shape, *_ in info["params"]}


def wide_7b(info, arrays):
    """Seven SEW blocks behind two 1x1 convolutions."""
    model = sresnet.create_model("fang-wide-7b", num_steps=info["T"], width=1 / 8)
    places = {0: "conv1", 9: "conv2"} | {place: f"block{k}" for k, place in enumerate((1, 3, 5, 7, 10, 12, 14), 1)}
    parts = {"0.module.0": "conv", "0.module.1": "norm", "1": "neuron"}
    names = {}
    for name, *_ in info["params"]:
        if name.startswith("out."):
            names[name] = name.replace("out", "readout.linear"), None
            continue
        place, inner, part, what = re.fullmatch(
            r"conv\.(\d+)\.(?:conv\.(\d)\.)?(0\.module\.\d|1)\.(\w+)", name
        ).groups()
        number = "" if inner is None else str(int(inner) + 1)
        what = "leak_logit" if what == "w" else what
        names[name] = f"layers.{places[int(place)]}.{parts[part]}{number}.{what}", None
    return model, names


def zheng(info, arrays):
    """ResNet-19 with a stem of 64 filters."""
    tdbn = any(name == "layer1.1.downsample.weight" for name, *_ in info["params"])
    model = sresnet.create_model("zheng-resnet19-64" + ("-tdbn" if tdbn else ""), num_steps=info["T"])
    names = {}
    for name, *_ in info["params"]:
        ours = re.sub(r"^layer(\d)\.(\d)", lambda found: f"layers.stage{found[1]}_block{int(found[2]) + 1}", name)
        ours = ours.replace("downsample.layer", "skip.conv").replace("downsample.bn", "skip.norm")
        ours = ours.replace("downsample", "skip.norm").replace(".bn", ".norm")
        for theirs, here in {
            "conv1": "layers.stem.conv",
            "bn1": "layers.stem.norm",
            "fc1": "layers.hidden.conv",
        }.items():
            ours = re.sub(rf"^{theirs}\.", f"{here}.", ours)
        names[name] = re.sub(r"^fc2\.", "readout.linear.", ours), None
    return model, names


def lee(info, arrays):
    """ResNet-11; their Poisson spikes are given as frames."""
    model = sresnet.create_model("lee-resnet11", num_steps=info["T"], leak=info["leak"], encoder="direct")
    names = {"cnn11.weight": "layers.stem.conv.weight"}
    for block in range(1, 5):
        for number in (1, 2):
            names[f"cnn{block + 1}{number}.weight"] = f"layers.block{block}.conv{number}.weight"
        names[f"shortcut{block}.0.weight"] = f"layers.block{block}.skip.conv.weight"
    names |= {"fc0.weight": "layers.hidden.conv.weight", "fc1.weight": "readout.linear.weight"}
    return model, {name: (names[name], None) for name, *_ in info["params"]}


BUILDERS = {"kim": kim, "fang": fang, "zheng": zheng, "lee": lee}


def built(name, info, arrays):
    """The network with their weights, in float64, and for each of their parameters ours and its row."""
    make = wide_7b if name == "fang_wide7b_small" else BUILDERS[name.partition("_")[0]]
    torch.manual_seed(0)
    model, names = make(info, arrays)
    model = model.double()
    ours = dict(model.named_parameters())
    filled = dict.fromkeys(ours, 0)
    leaks = iter(info.get("w", ()))
    with torch.no_grad():
        for index, (theirs, shape, kind, mean, std) in enumerate(info["params"]):
            target, row = names[theirs]
            place = ours[target] if row is None else ours[target][row]
            if kind == "kept":  # their w is minus ours
                place.fill_(-next(leaks))
            else:
                values = mean + std * np.random.RandomState(info["seed"] + index).standard_normal(shape)
                place.copy_(torch.from_numpy(values).reshape(place.shape))
            filled[target] += place.numel()
    assert filled == {name: parameter.numel() for name, parameter in ours.items()}
    return model, names


def masks_of(model, info, batch):
    """The masks of their dropout layers, drawn from a frozen stream in the order of use."""
    if "mask_order" in info:
        stream = np.random.RandomState(11)
        sizes = [(64, 32), (128, 16), (128, 16), (256, 16), (256, 8), (512, 8), (512, 8), (512, 8), (512, 4), (1024, 1)]
        drops = [module for module in model.modules() if isinstance(module, SharedDropout)]
        draws = [stream.random_sample((batch, channels, size, size)) >= 0.25 for channels, size in sizes]
        return {drop: torch.from_numpy(draw / 0.75) for drop, draw in zip(drops, draws, strict=True)}
    stream, masks = np.random.RandomState(19), {}
    for name, module in model.layers.items():
        if isinstance(module, SharedDropout):
            behind = [*model.layers][[*model.layers].index(name) + 1 :]
            layer = model.layers["hidden"].conv
            shape = (batch, layer.in_channels if "hidden" in behind else layer.out_channels)
            assert module.p == info["dropout"]
            masks[module] = torch.from_numpy((stream.random_sample(shape) >= 0.5) * 2.0)[..., None, None]
    return masks


def run(model, x, masks):
    """Scores [N, classes], and the spikes of every layer and step, all images together."""
    recorder = Recorder([neurons for _, neurons in model.named_neurons()])
    state = ForwardState(v=None, recorder=recorder, masks=dict(masks))
    scores = model.forward_steps(x, state=state).mean(0).detach()
    records = [recorder.records[neurons] for _, neurons in model.named_neurons()]
    return scores, torch.stack([record.spikes.detach().flatten(1).sum(1) for record in records])


def close(ours, theirs, tolerance):
    assert float(np.abs(np.asarray(ours.detach()) - theirs).max()) <= tolerance


@pytest.mark.parametrize("name", NETWORKS)
def test_numbers_are_those_of_their_code(name):
    arrays = read(SMALL / f"{name}.npz")
    info = json.loads(str(arrays["info"]))
    model, names = built(name, info, arrays)
    x = torch.from_numpy(arrays["input"].astype(np.float64))
    x = x.transpose(0, 1) if arrays["input"].dtype == np.int8 else x
    labels, masks = torch.tensor(info["labels"]), masks_of(model, info, len(info["labels"]))

    model.train()
    scores = model.forward_steps(x, state=ForwardState(v=None, masks=dict(masks))).mean(0)
    kind = {"mse": "mse", "sum": "sse"}.get(info["loss"][:3], "mean")
    loss = loss_of(scores[None], labels, TrainConfig(loss=kind))
    loss.backward()
    close(scores, arrays["logits_train"], 1e-9)
    close(loss, arrays["loss"], 1e-9)
    check_gradients(model, names, info, arrays)
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    for number, which in enumerate(("first", "second")):
        if f"mean_{which}" in arrays:
            ours = [norms[number].running_mean, norms[number].running_var]
            ours = ours if ours[0].ndim == 1 else [rows[0] for rows in ours]
            close(ours[0], arrays[f"mean_{which}"], 1e-9)
            close(ours[1], arrays[f"var_{which}"], 1e-9)

    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        scores, spikes = run(model, x, masks)
        close(scores, arrays["logits_train"], 1e-9)
        np.testing.assert_array_equal(spikes.long(), arrays["spikes_train"])
        scores, spikes = run(model.eval(), x, {})
    close(scores, arrays["logits_eval"], 1e-9)
    np.testing.assert_array_equal(spikes.long(), arrays["spikes_eval"])


def check_gradients(model, names, info, arrays):
    """Length, sum and first eight numbers of every gradient, relative to its length."""
    ours = dict(model.named_parameters())
    numbers = zip(info["params"], arrays["gradnorm"], arrays["gradsum"], arrays["gradhead"], strict=True)
    for (theirs, *_), length, total, head in numbers:
        target, row = names[theirs]
        gradient = ours[target].grad if row is None else ours[target].grad[row]
        gradient = gradient.flatten() * (-1 if target.endswith("leak_logit") else 1)
        allowed = 1e-8 * max(float(length), 1e-12)
        close(gradient.norm(), length, allowed)
        close(gradient.sum(), total, allowed * len(gradient) ** 0.5)
        close(gradient[:8], head[: len(gradient)], allowed)


def test_files_are_there():
    assert {path.stem for path in SMALL.glob("*.npz")} >= set(NETWORKS)
    assert all(path.stat().st_size < 100_000 for path in SMALL.glob("*.npz"))


@pytest.mark.skipif(not FULL.is_dir(), reason="the full files are not there")
@pytest.mark.parametrize("name", NETWORKS)
def test_the_small_files_hold_what_the_full_ones_do(name):
    small, expected = read(SMALL / f"{name}.npz"), reduce(read(FULL / f"{name}.npz"))
    assert set(small) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(small[key], value)
