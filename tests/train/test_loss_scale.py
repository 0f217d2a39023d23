"""Training in float16: what the loss is multiplied by, which steps are left out, and that a stopped run goes on.

On the CPU, by the reference, where torch has float16 convolutions that nobody should train with.
"""

import copy

import pytest
import torch

from sresnet.cli import main
from sresnet.models import inference
from sresnet.models.tensors import read_tensors
from sresnet.train import loop, loss_scale
from sresnet.train.loop import DivergedError, Run, train
from sresnet.train.loss_scale import LossScale
from sresnet.train.optimiser import make_optimiser
from sresnet.train.recipe import TrainConfig
from sresnet.train.record import CHECKPOINT
from tests.train.test_loop import CPU, SPLITS, changed, final
from tests.train.test_passes import StandIn, graphed

HALF = changed(precision="fp16")


@pytest.fixture
def _allowed(monkeypatch):
    monkeypatch.setattr(inference, "check_precision", lambda precision, device: None)
    monkeypatch.setattr(loop, "check_precision", lambda precision, device: None)
    rate = loop.learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda *given, **more: torch.tensor(rate(*given, **more)).item())


def test_it_follows_overflows_as_that_of_torch_does(monkeypatch):
    monkeypatch.setattr(loss_scale, "INTERVAL", 3)
    scale = LossScale(CPU)
    theirs, steps = torch.full((), 2.0**16), torch.zeros((), dtype=torch.int32)
    seen = []
    for overflowed in (0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0):
        scale.follow(torch.tensor(float(overflowed)))
        torch._amp_update_scale_(theirs, steps, torch.tensor([float(overflowed)]), 2.0, 0.5, 3)
        seen.append((scale.factor.item(), scale.steps.item()))
        assert seen[-1] == (theirs.item(), steps.item())
    assert {factor for factor, _ in seen} >= {2.0**15, 2.0**16, 2.0**17}


@pytest.mark.parametrize("odd", [None, torch.inf, -torch.inf, torch.nan])
def test_gradients_are_divided_and_looked_at(odd):
    scale, gradients = LossScale(CPU), [torch.tensor([3.0, 2.0]), torch.full((2, 2), 2.0**16)]
    if odd is not None:
        gradients[1][0, 1] = odd
    assert scale.unscale(gradients).item() == (odd is not None)
    assert gradients[0].tolist() == [3 / 2**16, 2 / 2**16]
    assert gradients[1][1].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("fields", [{}, {"optimiser": "adam"}, {"muon_lr": 0.02}, {"momentum": 0.0}])
@pytest.mark.parametrize("steps", [0, 2])
def test_a_step_that_overflows_changes_nothing(fields, steps):
    """Not even if it is the first of all; and the next one is as if it had not been."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.Conv2d(3, 3, 3))
    gradients = [[torch.randn_like(each) for each in layers.parameters()] for _ in range(4)]
    results = []
    for overflows in (False, True):
        model = copy.deepcopy(layers)
        optimiser = make_optimiser(model, TrainConfig(**fields), fused=True)
        for number in range(4):
            for overflowed in (1.0, 0.0) if overflows and number == steps else (0.0,):
                optimiser.found_inf = torch.tensor(overflowed)
                for parameter, gradient in zip(model.parameters(), gradients[number], strict=True):
                    parameter.grad = gradient / (1 - overflowed) if overflowed else gradient.clone()
                optimiser.step()
        results.append([*model.parameters(), *(t for each in optimiser.state.values() for t in each.values())])
    assert all(map(torch.equal, *results))
    assert not torch.equal(results[0][0], next(layers.parameters()))


@pytest.mark.usefixtures("_allowed")
@pytest.mark.parametrize("fields", [{}, {"muon_lr": 0.02, "clip_norm": 1.0, "ema": 0.0}])
def test_a_run_that_overflows_at_first_and_is_stopped_ends_as_one_that_is_not(tmp_path, monkeypatch, fields):
    """And one whose steps are replayed by a graph."""
    recipe = changed(HALF, **fields)
    monkeypatch.setattr(loss_scale, "FIRST", 2.0**27)
    monkeypatch.setattr(loss_scale, "INTERVAL", 4)
    train(recipe, SPLITS, tmp_path / "whole", device=CPU)
    tensors, _ = read_tensors(tmp_path / "whole" / CHECKPOINT, ("position",))
    assert 2.0 < tensors["loss-scale/factor"] < 2.0**26
    for stop in (3, 9, 100):
        seen = []
        train(
            recipe, SPLITS, tmp_path / "parts", device=CPU, watch=seen.append,
            should_stop=lambda stop=stop, seen=seen: len(seen) + 1 >= stop,
        )  # fmt: skip
    assert final(tmp_path / "parts") == final(tmp_path / "whole")
    stand_in = StandIn()
    monkeypatch.setattr(loop, "Run", graphed(Run, stand_in))
    train(recipe, SPLITS, tmp_path / "graphs", device=CPU)
    assert stand_in.replayed == 14
    assert final(tmp_path / "graphs") == final(tmp_path / "whole")


@pytest.mark.usefixtures("_allowed")
def test_the_weights_are_those_of_float32_but_for_rounding(tmp_path):
    weights = []
    for precision in ("fp32", "fp16"):
        run = Run(changed(precision=precision, ema=0.0), SPLITS, tmp_path, CPU)
        run.model.train()
        run.step(torch.arange(16))
        weights.append(torch.cat([each.detach().flatten() for each in run.model.parameters()]))
    torch.testing.assert_close(*weights, rtol=0.02, atol=5e-3)
    assert not torch.equal(*weights)


@pytest.mark.usefixtures("_allowed")
def test_what_overflows_at_any_scale_is_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_scale, "FIRST", 4.0)
    monkeypatch.setattr(LossScale, "unscale", lambda self, gradients: torch.ones(()))
    with pytest.raises(DivergedError, match="overflow float16 whatever the loss scale is at step 3 "):
        train(HALF, SPLITS, tmp_path, device=CPU)


def test_it_is_refused_on_a_processor(tmp_path, capsys):
    words = ["train", "digits", "--train.precision", "fp16", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said == "sresnet: precision 'fp16' is for a GPU, and this network is on a CPU: choose bf16 or fp32\n"
    assert not (tmp_path / "run").exists()
