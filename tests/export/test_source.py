"""What files are written from."""

import pytest
import torch

from sresnet.errors import UserError
from sresnet.export.source import program_for
from tests.models.test_program import trained


@pytest.mark.parametrize(("name", "value"), [("write_out", "bin"), ("weight_bits", 5), ("num_steps", 1.5)])
def test_options_that_are_none(name, value):
    """They would be taken for others: weights of five bits for those of four, in C."""
    model = trained("sresnet8", base_filters=2, num_steps=2)
    with pytest.raises(UserError, match=f"{name} is {value!r}: expected "):
        program_for(model, torch.zeros(1, 3, 8, 8, dtype=torch.float64), **{name: value})
