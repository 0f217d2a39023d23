import pytest
import torch

from sresnet import UserError, create_model
from sresnet.convert import METHODS, rewired, to_spiking
from sresnet.models import model_config
from sresnet.models.network import num_parameters
from sresnet.models.saved import load, save_model
from sresnet.models.size import sketch

NAMES = ("deng-vgg16", "deng-resnet20", "sengupta-vgg16", "wu-vgg11", "stoeckl-resnet50")


@pytest.mark.parametrize(
    ("name", "num_classes", "count"),
    [
        ("deng-vgg16", 10, 35_211_082),
        ("deng-vgg16", 100, 35_579_812),
        ("deng-resnet20", 10, 11_253_440),
        ("deng-resnet20", 100, 11_437_760),
        ("sengupta-vgg16", 10, 39_917_248),
        ("sengupta-vgg16", 100, 40_285_888),
        ("wu-vgg11", 10, 34_457_354),
        ("stoeckl-resnet50", 10, 758_842),
    ],
)
def test_parameters_are_those_of_the_published_networks(name, num_classes, count):
    assert num_parameters(sketch(model_config(name, num_classes=num_classes))) == count


def tiny(name):
    return create_model(name, width=0.03 if "vgg" in name else 0.1)


@pytest.mark.parametrize("name", NAMES)
def test_train_save_convert(name, tmp_path):
    """Gradients reach every weight; the file loads; the converted network, norms folded, computes the same at first."""
    ann, images = tiny(name).train(), torch.randn(4, 3, 32, 32)
    ann(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ann.parameters())
    save_model(ann, tmp_path / "weights.safetensors")
    ann = load(tmp_path / "weights.safetensors").double()
    images = images.double()
    with torch.no_grad():
        wanted = ann(images)
        torch.testing.assert_close(rewired(ann)(images), wanted, rtol=1e-9, atol=1e-12)
        assert to_spiking(ann, images, METHODS["deng"])(images).isfinite().all()


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"neuron": "lif"}, "this ANN has rectifiers"),
        ({"num_steps": 4}, "this ANN has rectifiers"),
        ({"dropout": 1.0}, "dropout less than 1"),
        ({"limit": -1.0}, "at least 0"),
        ({"width": 0.0}, "width"),
        ({"image_size": 30}, "image_size 30"),
    ],
)
def test_fields_that_it_cannot_have(fields, fault):
    with pytest.raises(UserError, match=fault):
        create_model("deng-vgg16", **fields)


@torch.no_grad()
def test_dropout_and_limit_reach_the_units():
    network = create_model("sengupta-vgg16", width=0.03, dropout=0.5).train()
    images = torch.randn(2, 3, 32, 32)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))
    _, records = (limited := create_model("deng-resnet20", width=0.1, limit=0.01))(images, record=limited.neuron_names)
    assert max(float(record.output.max()) for record in records.values()) <= 0.01 + 1e-9
