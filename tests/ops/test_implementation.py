"""The choice of an implementation is a thread's, and the backward pass follows the forward pass."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from sresnet import UserError, create_model
from sresnet.ops.conv_bntt_lif import operator
from sresnet.ops.dispatch import implementation, low_memory_chosen, reference_chosen
from sresnet.ops.lif import lif as typed_lif
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.scan import cpu as kernel
from sresnet.ops.surrogate import Triangle
from tests.ops.flat import conv_bntt_lif

NEURON = LIFConstants(leak=0.9, surrogate=Triangle())


def chosen():
    return "reference" if reference_chosen() else "low-memory" if low_memory_chosen() else "fastest"


def in_thread(function, *arguments):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def test_an_unknown_one():
    with pytest.raises(UserError, match="implementation 'referense' is unknown: did you mean"):
        implementation("referense").__enter__()


def test_is_put_back_also_after_an_error():
    with implementation("low-memory"):
        with contextlib.suppress(ZeroDivisionError), implementation("reference"):
            assert chosen() == "reference"
            raise ZeroDivisionError
        assert chosen() == "low-memory"
    assert chosen() == "fastest"


def test_other_threads_have_their_own():
    with implementation("reference"):
        assert in_thread(chosen) == "fastest"
    entered, left = threading.Event(), threading.Event()

    def stay():
        with implementation("low-memory"):
            entered.set()
            left.wait()
            return chosen()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(stay)
        entered.wait()
        assert chosen() == "fastest"
        left.set()
        assert other.result() == "low-memory"


def test_threads_that_record_leave_nothing_behind():
    """They enter and leave in the order in which each would put back what another had chosen."""
    model = create_model("sresnet8", base_filters=2, num_steps=2)
    images, steps = torch.randn(2, 3, 8, 8), [threading.Event() for _ in range(4)]

    def first():
        with implementation("reference"):
            steps[0].set()
            steps[1].wait()
        steps[2].set()

    def second():
        steps[0].wait()
        with implementation("reference"):
            steps[1].set()
            steps[2].wait()

    with ThreadPoolExecutor(5) as pool:
        work = [pool.submit(first), pool.submit(second)]
        work += [pool.submit(lambda: model(images, record=["stem.neuron"])) for _ in range(3)]
        assert [done.result() is None for done in work] == [True, True, False, False, False]
        assert {pool.submit(chosen).result() for _ in range(5)} == {"fastest"}
    assert chosen() == "fastest"


@pytest.mark.parametrize("place", ["inside reference", "another thread"])
@pytest.mark.parametrize("name", ["fastest", "low-memory", "reference"])
def test_the_backward_pass_is_that_of_the_forward_pass(name, place, monkeypatch):
    if not kernel.available():
        pytest.skip("no C++ compiler")
    again = []
    convolve = operator._convolve
    monkeypatch.setattr(operator, "_convolve", lambda *given: (again.append(1), convolve(*given))[1])
    x, weight = torch.randn(5, 2, 3, 4, 4), torch.randn(4, 3, 3, 3)

    def forward():
        given = [x.clone().requires_grad_(), weight.clone().requires_grad_(), torch.ones(5, 4).requires_grad_()]
        with implementation(name):
            rows = (given[2], None, torch.zeros(5, 4), torch.ones(5, 4))
            output = conv_bntt_lif(*given[:2], *rows, leak=0.8, padding=(1, 1)).output
        again.clear()
        return output.cumsum(0).sum(), given

    expected = torch.autograd.grad(*forward())
    loss, given = forward()
    if place == "another thread":
        found = in_thread(torch.autograd.grad, loss, given)
    else:
        with implementation("reference" if name == "low-memory" else "low-memory"):
            found = torch.autograd.grad(loss, given)
    assert len(again) == (name == "low-memory")
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch.compile, about torch
def test_compiled_code_follows_the_choice():
    if not kernel.available():
        pytest.skip("no C++ compiler")
    graphs = []

    def keep(graph, _):
        graphs.append(any("bntt_lif" in str(node.target) for node in graph.graph.nodes))
        return graph

    compiled = torch.compile(lambda x: typed_lif(x, NEURON).spikes, fullgraph=True, backend=keep)
    x = torch.randn(3, 4)
    compiled(x)
    with implementation("reference"):
        compiled(x)
    compiled(x)
    assert graphs == [True, False]
