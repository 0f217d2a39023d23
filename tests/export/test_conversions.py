"""Networks of every conversion method in every target, or a line that says why not."""

import importlib.util
import io
import shutil
from dataclasses import replace

import pytest
import torch

from sresnet import UserError, create_model
from sresnet.convert import METHODS, FewSpikesConfig, WhetstoneConfig, rewired, tandem_coded, to_spiking
from sresnet.export import to_c, to_torch_export
from sresnet.export.run_c import CProgram
from sresnet.models.saved import load, save_model
from sresnet.nn import Sharpened
from tests.convert.anns import ANNS, trained

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)).double()
IMAGES *= torch.tensor([0.3, 1.0, 3.0]).double()[:, None, None, None]


def converted(method):
    """A small network by a method, in float64."""
    if method == "whetstone":
        fields = {"base_filters": 4, "neuron": "sharpened", "num_steps": 1, "downsample": "avg", "connection": "s2m"}
        ann = create_model("resnet8", **fields).double().eval()
        for module in ann.modules():
            if isinstance(module, Sharpened):
                module.sharpness.fill_(1)
        return to_spiking(ann, IMAGES, WhetstoneConfig())
    if method == "tandem":
        ann = create_model("wu-vgg11", width=0.03, image_size=16, dropout=0.0).double().eval()
        names = [step.name for step in rewired(ann).config.steps if step.kind == "neurons"]
        return tandem_coded(ann, dict.fromkeys(names, 0.05), 12)
    ann = trained(ANNS["resnet"])
    config = (
        FewSpikesConfig(internal_steps=6, largest="calibrated")
        if method == "few-spikes"
        else replace(METHODS[method], num_steps=12)
    )
    return to_spiking(ann, IMAGES, config)


CONVERSIONS = [*METHODS, "tandem"]
TARGETS = ["onnx", "c", "nir", "torch-export"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", CONVERSIONS)
def test_every_method_in_every_target(method, target, tmp_path):
    """Saved, loaded, written as a file and run there; drawn spikes, which no file draws, are given as frames."""
    needed = {"onnx": "onnxruntime", "nir": "nir"}.get(target)
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"the extra {target} is not installed")
    if target == "c" and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler")
    save_model(converted(method).float(), tmp_path / "weights.safetensors")
    network = load(tmp_path / "weights.safetensors").double().eval()
    if target == "nir" and method == "few-spikes":
        from sresnet.export import to_nir

        with pytest.raises(
            UserError, match="does not spike over time, and NIR is of spiking networks: convert the ANN by"
        ):
            to_nir(network, IMAGES)
        return
    with torch.no_grad():
        frames = network.encode(IMAGES, None).transpose(0, 1)
        network.config = replace(network.config, encoder="direct")  # the frames are encoded already
        steps = torch.arange(1, frames.shape[1] + 1).view(-1, 1, 1)
        expected = (network.forward_steps(frames).cumsum(0) / steps).transpose(0, 1)
        found = scores_of(network, frames, target)
    assert expected.std(0).sum() > 0, "all images have the same scores"
    near = 1e-9 if target in ("nir", "torch-export") else 1e-4
    torch.testing.assert_close(found.double(), expected, rtol=near, atol=near)


def scores_of(network, frames, target):
    """Scores after every step of a file that takes frames [N, T, C, H, W] as the encoder gives them."""
    if target == "torch-export":
        buffer = io.BytesIO()
        torch.export.save(to_torch_export(network, frames), buffer)
        buffer.seek(0)
        return torch.export.load(buffer).module()(frames)
    if target == "c":
        return CProgram(to_c(network, frames).text).scores(frames)
    if target == "nir":
        from sresnet.export import to_nir
        from sresnet.export.run_nir import NirProgram

        return NirProgram(to_nir(network, frames, dtype=torch.float64), "graph").scores(frames)
    import onnxruntime

    from sresnet.export import to_onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    file = onnxruntime.InferenceSession(to_onnx(network, frames).SerializeToString(), options)
    (taken,) = file.get_inputs()
    return torch.from_numpy(file.run(["scores"], {taken.name: frames.float().numpy()})[0])
