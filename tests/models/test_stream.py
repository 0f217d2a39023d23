"""What can be continued, and what is refused; that streams give the scores of one call is in test_segments.py."""

import itertools

import pytest
import torch
import torch.nn.functional as F

import sresnet
from sresnet import StreamState, UserError
from sresnet.nn import register_neuron
from sresnet.ops.dispatch import implementation

FRAMES = torch.rand(3, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(**fields):
    torch.manual_seed(0)
    return sresnet.create_model("sresnet8", **({"base_filters": 2, "num_steps": 6, "num_classes": 4} | fields))


def state_of(**fields):
    """After two steps of `FRAMES`."""
    with torch.no_grad():
        return network(**fields)(FRAMES[:, :2], state=StreamState())[1]


def changed(state, change):
    return state._replace(v=tuple(change(each) for each in state.v))


STATE = state_of()

WRONG = {
    "a tuple": (tuple(STATE), "state is of type tuple: give StreamState"),
    "nothing in it": ((), "state is of type tuple"),
    "a text": ("", "state is of type str"),
    "a number": (0, "state is of type int"),
    "a tensor": (torch.zeros(3), "state is of type Tensor"),
    "steps below 0": (STATE._replace(steps=-1), r"state has steps -1.*give what the call before returned"),
    "steps that are no number": (STATE._replace(steps=None), "state has steps None"),
    "steps of another type": (STATE._replace(steps=2.0), r"state has steps 2\.0"),
    "too many steps": (STATE._replace(steps=10**20), "state has steps 1000"),
    "steps beyond the norms": (STATE._replace(steps=5), "time step 7 has no norm"),
    "no tuple": (STATE._replace(v=torch.zeros(7)), "state has v of type Tensor"),
    "too few": (STATE._replace(v=STATE.v[:1]), "potentials of 1 layers of neurons, and this network has 7"),
    "of another network": (state_of(base_filters=3), r"v has shape \(3, 3, 8, 8\).*what the call before left"),
    "numbers": (changed(STATE, lambda v: 0.0), r"stem\.neuron a potential of type float"),
    "another batch": (STATE.of(torch.tensor([0])), r"stem\.neuron .* of shape \(1, 2, 8, 8\).*needs \(3, \.\.\."),
    "another shape": (changed(STATE, lambda v: v[..., :-1]), r"v has shape \(3, 2, 8, 7\): expected \(3, 2, 8, 8\)"),
    "no batch": (changed(STATE, torch.sum), r"stem\.neuron a potential of shape \(\)"),
    "whole numbers": (changed(STATE, torch.Tensor.int), r"of torch\.int32, and it is a real number"),
    "twice as wide": (changed(STATE, torch.Tensor.double), r"of torch\.float64, and this network keeps"),
    "half as wide": (changed(STATE, torch.Tensor.bfloat16), r"of torch\.bfloat16, and this network keeps"),
    "elsewhere": (changed(STATE, lambda v: v.to("meta")), r"stem\.neuron a potential on meta, and x is on cpu"),
    "a readout that is a text": (STATE._replace(potential="x"), "readout a potential of type str"),
    "a readout of other classes": (STATE._replace(potential=torch.zeros(3, 5)), r"needs \(3, 4\)"),
    "a readout of another batch": (STATE._replace(potential=torch.zeros(1, 4)), r"of shape \(1, 4\)"),
    "a readout of other numbers": (STATE._replace(potential=torch.zeros(3, 4).double()), r"computes in torch\.float32"),
    "a readout of whole numbers": (STATE._replace(potential=torch.zeros(3, 4).int()), r"of torch\.int32"),
}


@pytest.mark.parametrize("call", ["forward", "step"])
@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_state_of_this_stream_is_refused(case, call):
    given, words = WRONG[case]
    if case == "steps beyond the norms" and call == "step":
        given, words = STATE._replace(steps=6), "time step 7 has no norm"
    model = network().eval()
    with pytest.raises(UserError, match=words) as error, torch.no_grad():
        model(FRAMES[:, 2:], state=given) if call == "forward" else model.step(FRAMES[:, 2], given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("samples", [5, "x", torch.tensor([7]), torch.tensor([True]), torch.tensor([0.5])])
def test_samples_that_are_not_in_the_batch(samples):
    with pytest.raises(UserError, match="samples of a state: .*: give a tensor of indices, or a mask"):
        STATE.of(samples)


def test_a_state_of_inference_mode_can_be_trained_on_once_detached():
    model = network()
    with torch.no_grad():
        _, expected = model(FRAMES[:, :2], state=StreamState())
    model = network()
    with torch.inference_mode():
        _, state = model(FRAMES[:, :2], state=StreamState())
    with pytest.raises(UserError, match=r"made under torch\.inference_mode.*give state\.detach\(\)"):
        model(FRAMES[:, 2:], state=state)
    with torch.no_grad():
        model(FRAMES[:, 2:], state=state)
    gradients = []
    for each in (state, expected):
        scores, _ = model(FRAMES[:, 2:], state=each.detach())
        gradients.append(torch.autograd.grad(F.cross_entropy(scores, torch.tensor([0, 1, 2])), model.parameters()))
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted)
    model.requires_grad_(False)
    model(FRAMES[:, 2:], state=state)  # nothing learns


@pytest.mark.parametrize("neuron", ["lif", "relu", "own"])
@pytest.mark.parametrize(
    ("engine", "dtype", "bf16"),
    [
        ("fastest", torch.float32, False),
        ("fastest", torch.float32, True),
        ("low-memory", torch.float32, True),
        ("reference", torch.float32, True),
        ("reference", torch.float64, False),
        ("reference", torch.bfloat16, False),
        ("reference", torch.float16, False),
    ],
)
def test_what_a_call_returns_is_taken_by_the_next(neuron, engine, dtype, bf16):
    def own(config):
        return lambda current, v: (torch.sigmoid(current + (0 if v is None else v[:, 0])), current[-1:].transpose(0, 1))

    register_neuron("own", own)
    model, state = network(neuron=neuron).to(dtype), StreamState()
    with implementation(engine), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for first, last in itertools.pairwise((0, 2, 3, 4)):
            _, state = model(FRAMES[:, first:last].to(dtype), state=state)
            state = state.detach() if first else state
    assert state.steps == 4
