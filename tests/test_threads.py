"""What the package changes for the whole process is put back, whatever other threads do at the same time."""

import dataclasses
import signal
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import sresnet
from sresnet import randomness
from sresnet.cli import main
from sresnet.cli.terminal import stop_asked
from sresnet.models.summary import summarise
from sresnet.printing import unwarned
from sresnet.randomness import seeded
from sresnet.report import plots
from sresnet.train import record
from sresnet.train.loop import train
from tests.test_cli import TINY
from tests.train import test_loop


@pytest.fixture
def at_once():
    """Call a function for each of some arguments, each in a thread, all at once, switching between them often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def call(function, arguments):
        start = threading.Barrier(len(arguments))
        with ThreadPoolExecutor(len(arguments)) as pool:
            return list(pool.map(lambda argument: (start.wait(), function(argument))[1], arguments))

    yield call
    sys.setswitchinterval(before)


def test_a_command_in_a_thread(tmp_path, capsys):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    words = ["train", "digits", *TINY, "--out", str(tmp_path / "run"), "--max-minutes", "0"]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(main, words).result() == 0
    assert "stopped at step 1 (0 minutes are over)" in capsys.readouterr().out
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_signals_of_another_language_are_let_go(monkeypatch):
    """Python calls a handler that it does not know None, and cannot put it back."""
    before = signal.getsignal(signal.SIGTERM)
    put = signal.signal
    monkeypatch.setattr(signal, "signal", lambda number, handler: (put(number, handler), None)[1])
    try:
        with stop_asked(1) as asked:
            assert not asked()
    finally:
        put(signal.SIGTERM, before)
        put(signal.SIGINT, signal.default_int_handler)


def test_mistakes_in_several_threads(at_once, capsys):
    stream = sys.stderr
    words = [["train", "digits", f"--wrong-{number}"] for number in range(6)]
    assert at_once(main, words) == [2] * 6
    assert sys.stderr is stream
    said = capsys.readouterr().err
    assert [said.count(f"--wrong-{number}") for number in range(6)] == [1] * 6


def test_trainings_in_several_threads(at_once, tmp_path):
    """Each draws its weights, and the spikes of its encoder, as it would alone."""
    model = dataclasses.replace(test_loop.TINY.model, encoder="poisson-signed")
    recipes = [dataclasses.replace(test_loop.TINY, model=model, seed=seed) for seed in (1, 2)]

    def losses(recipe, folder):
        train(recipe, test_loop.SPLITS, folder, device=torch.device("cpu"))
        return [line["train_loss"] for line in record.read_metrics(folder)]

    alone = [losses(recipe, tmp_path / f"alone-{recipe.seed}") for recipe in recipes]
    together = at_once(lambda recipe: losses(recipe, tmp_path / f"together-{recipe.seed}"), recipes)
    assert together == alone
    assert alone[0] != pytest.approx(alone[1], rel=1e-3)


@pytest.mark.parametrize("time_segments", [(), (2,)])
def test_a_training_leaves_the_generator_to_others(tmp_path, monkeypatch, time_segments):
    """Not for a moment does it draw, or turn the generator back, while another thread may be drawing from it."""
    fork_rng = torch.random.fork_rng

    def forked(*arguments, **named):
        assert randomness._drawing._is_owned()
        return fork_rng(*arguments, **named)

    monkeypatch.setattr(torch.random, "fork_rng", forked)
    model = dataclasses.replace(test_loop.TINY.model, encoder="poisson-signed")
    recipe = dataclasses.replace(test_loop.changed(epochs=1, time_segments=time_segments), model=model)
    state = torch.get_rng_state()
    train(recipe, test_loop.SPLITS, tmp_path / "run", device=torch.device("cpu"))
    sresnet.load(tmp_path / "run")
    summarise(model, image_size=(8, 8))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_generator_is_put_back(at_once):
    def draw(seed):
        drawn = []
        for _ in range(50):
            with seeded(seed, torch.device("cpu")):
                drawn.append(torch.rand(3))
        return drawn

    state = torch.get_rng_state()
    for seed, drawn in enumerate(at_once(draw, range(4))):
        assert all(torch.equal(one, torch.rand(3, generator=torch.Generator().manual_seed(seed))) for one in drawn)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_thread_at_a_time_changes_what_is_the_process_s(at_once):
    """Two that meet inside would each put back what the other had changed."""
    inside = threading.Barrier(2)

    def meet(*_, **__):
        try:
            inside.wait(0.3)
        except threading.BrokenBarrierError:
            return
        raise AssertionError("two threads are inside")

    def met(context):
        with context:
            meet()

    for change in (
        lambda _: met(unwarned()),
        lambda _: met(seeded(0, torch.device("cpu"))),
        lambda _: plots._styled(meet)(),
    ):
        inside.reset()
        at_once(change, range(2))


def test_filters_of_warnings_are_put_back():
    before = list(warnings.filters)
    with unwarned(UserWarning, "nothing"):
        warnings.warn("nothing of importance", stacklevel=1)
        with pytest.warns(UserWarning, match="more"):
            warnings.warn("more", stacklevel=1)
        with pytest.warns(DeprecationWarning, match="nothing new"):
            warnings.warn("nothing new", DeprecationWarning, stacklevel=1)
    assert warnings.filters == before
