"""What looks at a trained network sees the same whatever torch's global settings are."""

import pytest
import torch

from sresnet import create_model
from sresnet.analysis import analyse, batches_of, early_exit
from sresnet.analysis.exits import run_early_exit
from sresnet.analysis.prediction import _probabilities_by_step
from sresnet.data import DataConfig, ImageSet
from sresnet.data.scaling import make_scaling
from sresnet.train.evaluate import evaluate, spike_rates
from tests.ops.test_settings import SETTINGS

DATA = ImageSet(
    images=torch.randint(0, 255, (12, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8),
    labels=torch.arange(12) % 3,
    class_names=("a", "b", "c"),
)


def looks(model):
    pixels = make_scaling(DataConfig(name="folder"), DATA)
    yield evaluate(model, DATA, pixels)
    ((x, labels),) = batches_of(DATA, pixels, batch_size=12)
    yield spike_rates(model, x)
    yield _probabilities_by_step(model, x).tolist()
    curve = early_exit(model, [(x, labels)], calibration=[(x, labels)])
    yield curve
    yield [each.tolist() for each in run_early_exit(model, x, threshold=0.5, temperatures=curve.temperatures)]


@pytest.mark.parametrize("setting", ["default float64", "default float16", "default device", "deterministic"])
def test_looking(setting):
    model = create_model("sresnet8", base_filters=4, num_steps=3, num_classes=3, neuron="plif").eval()
    expected = list(looks(model))
    with SETTINGS[setting]():
        found = list(looks(model))
    assert found == expected


@pytest.mark.parametrize("setting", ["default float64", "default float16", "deterministic"])
def test_analysis(setting):
    model = create_model("sresnet8", base_filters=4, num_steps=3, num_classes=3).eval()
    pixels = make_scaling(DataConfig(name="folder"), DATA)
    expected = str(analyse(model, batches_of(DATA, pixels)))
    with SETTINGS[setting]():
        assert str(analyse(model, batches_of(DATA, pixels))) == expected
