import pytest
import torch

from sresnet.data.scaling import Counts, Pixels, scaling_from_plain


@pytest.mark.parametrize(
    "scaling", [Pixels(), Pixels(torch.tensor([0.5, 0.25]), torch.tensor([0.5, 2.0])), Counts(), Counts(0.25)], ids=str
)
def test_scalings_go_through_json(scaling):
    x = torch.randint(1, 256, (8, 2, 8, 8), dtype=torch.uint8)
    again = scaling_from_plain(scaling.plain())
    assert torch.equal(again(x), scaling(x))
    assert again(x).dtype == torch.float32


def test_what_scalings_compute():
    x = torch.full((1, 2, 1, 1), 51, dtype=torch.uint8)
    assert Counts(0.5)(x).flatten().tolist() == [25.5, 25.5]
    assert Counts()(x).flatten().tolist() == [51, 51]
    assert Pixels()(x).flatten().tolist() == pytest.approx([0.2, 0.2])
    mean, std = torch.tensor([0.1, 0.4]), torch.tensor([0.5, 0.25])
    assert Pixels(mean, std)(x).flatten().tolist() == pytest.approx([0.2, -0.8])
