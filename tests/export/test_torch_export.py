"""What torch.export's graph computes is what the network computes."""

import pytest
import torch

from sresnet.export.torch_export import to_torch_export
from tests.models.test_program import trained


@pytest.mark.parametrize("encoder", ["direct", "latency"])
def test_an_image_that_is_not_finite_has_no_answer(encoder):
    """Neurons that receive NaN stay silent, so that scores would be numbers; other images keep theirs."""
    model = trained("sresnet8", encoder=encoder, base_filters=2, num_steps=2)
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    images[1, 2, 3, 4] = torch.inf
    with torch.no_grad():
        found, expected = to_torch_export(model, images).module()(images)[:, -1], model(images)
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert found.isnan().any(1).tolist() == [False, True]
