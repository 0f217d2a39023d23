import pytest
import torch
from torch import nn

from sresnet import create_model
from sresnet.analysis import gradient_norms, gradients_by_connection
from sresnet.models import model_config
from tests.analysis.networks import batch, trained


def by_name(blocks):
    return {block.name: block for block in blocks}


@pytest.mark.parametrize("connection", ["s2s", "v2v"])
def test_with_the_learned_paths_cut_a_stage_passes_the_gradient_on_unchanged(connection):
    """Eqs. 11, 15: the skip's derivative is 1, so all blocks of a stage see one norm."""
    model = create_model("sresnet20", base_filters=3, num_steps=3, connection=connection)
    for name, module in model.named_modules():
        if name.endswith("conv1"):
            nn.init.zeros_(module.weight)
    x, labels = torch.randn(4, 3, 8, 8), torch.randint(0, 10, (4,))
    found = by_name(gradient_norms(model, x, labels))
    assert list(found) == list(model.layers)
    names = [f"stage1_block{block}" for block in (1, 2, 3)]
    if connection == "s2s":
        norms = [found[name].spikes for name in ["stem", *names]]
        assert norms[0] > 0
        assert norms == pytest.approx([norms[0]] * 4)
        assert all(block.current == 0 for block in found.values())
    else:  # the currents of stage 1 reach the loss through one sum alone
        norms = [found[name].current for name in ["stem", *names]]
        assert norms[0] > 0
        assert norms == pytest.approx([norms[0]] * 4)
        # Nothing but the readout looks at the spikes of a block whose successor's first layer is cut.
        assert found["stage1_block1"].spikes == 0
        assert found["stage3_block3"].spikes > 0
        assert found["stage3_block3"].norm == pytest.approx(found["stage3_block3"].spikes)


def test_equals_the_derivative_of_the_loss():
    """The last block's gradient, by autograd from its output on; and finite numbers for every connection."""
    model = trained()
    x, labels = batch(model, images=4)
    found = by_name(gradient_norms(model, x, labels))
    features = model.train().forward_features(x).detach().requires_grad_()
    nn.functional.cross_entropy(model.forward_head(features), labels).backward()
    assert found["stage3_block1"].spikes == pytest.approx(float(features.grad.norm()), rel=1e-4)


def test_the_model_is_left_alone():
    model = trained()
    model.freeze_backbone()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert gradient_norms(model, *batch(model))[0].norm > 0
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.layers["stem"].training


def test_s2s_keeps_the_gradient_through_depth_and_s2m_does_not():
    """Section 3.2.1 after Eqs. 9, 11, 17: the surrogate scales S2M's skip at each block, V2V's once, S2S's never."""
    config = model_config("sresnet26", base_filters=4, num_steps=3)
    x, labels = torch.randn(6, 3, 16, 16), torch.randint(0, 10, (6,))
    found = gradients_by_connection(config, x, labels)
    assert list(found) == ["s2s", "s2m", "v2v", "none"]
    kept = {connection: blocks[0].norm / blocks[-1].norm for connection, blocks in found.items()}
    assert kept["s2s"] > 0.3
    assert kept["s2s"] > 3 * kept["v2v"] > 1e3 * kept["s2m"] > 1e4 * kept["none"]
    # The last block's own output is the same place in all four.
    last = [blocks[-1].norm for blocks in found.values()]
    assert max(last) < 3 * min(last)
