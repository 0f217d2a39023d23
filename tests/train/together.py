"""Trainings and layers that several processes compute together, and one process alone, for `test_together.py`.

A function of `CASES` gives named tensors that do not depend on the processes.
"""

import contextlib
import dataclasses
import datetime
import multiprocessing
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch

from sresnet.cli import main
from sresnet.data import DataConfig, ImageSet, Splits
from sresnet.errors import UserError
from sresnet.models import SResNetConfig, build, model_config
from sresnet.models.saved import save_model, tensors_of
from sresnet.ops.conv_bntt_lif import Convolution, conv_batch_norm, conv_bntt_lif
from sresnet.ops.dispatch import implementation
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.norm import NormState, Together
from sresnet.ops.surrogate import Triangle
from sresnet.processes import Processes
from sresnet.train.evaluate import evaluate
from sresnet.train.loop import Run, train
from sresnet.train.optimiser import make_optimiser
from sresnet.train.recipe import Recipe, TrainConfig

CPU = torch.device("cpu")


def images(count, seed):
    """Classes told apart by how bright the picture is."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    pixels = torch.randint(0, 60, (count, 1, 8, 8), generator=generator) + 50 * labels[:, None, None, None]
    return ImageSet(images=pixels.to(torch.uint8), labels=labels, class_names=("a", "b", "c", "d"))


SPLITS = Splits(train=images(48, 1), validation=images(20, 2), test=images(33, 3))
TINY = SResNetConfig(depth=8, base_filters=2, num_steps=2, in_channels=1, num_classes=4, surrogate_height=1.0)
SHORT = TrainConfig(epochs=2, batch_size=16, learning_rate=0.1, milestones=(0.99,), progressive_epochs=())


def recipe_of(model=None, data=None, family="sresnet8", **train):
    """A recipe of tiny shapes with these fields."""
    config = TINY if family == "sresnet8" else model_config(family, num_steps=2, in_channels=1, num_classes=4)
    return Recipe(
        model=dataclasses.replace(config, **(model or {})),
        data=DataConfig(**({"name": "digits", "flip": True, "crop_padding": 1, "erase": 0.3} | (data or {}))),
        train=dataclasses.replace(SHORT, **train),
    )


class DoubleRun(Run):
    """A run in float64, which the reference computes."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.model.double()
        self.optimiser = make_optimiser(self.model, self.config)
        self.average = {name: tensor.double() for name, tensor in self.average.items()}

    def batch(self, *arguments):
        x, target = super().batch(*arguments)
        return x.double(), target


POISSON = {"encoder": "poisson"}
RECIPES = {
    **{norm: recipe_of({"norm": norm}) for norm in ("bntt", "per-step", "time-averaged", "tdbn", "none")},
    **{connection: recipe_of({"connection": connection}) for connection in ("s2m", "v2v", "none")},
    "v2v, one norm": recipe_of({"connection": "v2v", "norm": "time-averaged"}),
    "poisson": recipe_of(POISSON, {"pixels": "intensity"}),
    "signed poisson in segments": recipe_of({"encoder": "poisson-signed", "num_steps": 4}, time_segments=(2,)),
    "trivial augment": recipe_of(data={"policy": "trivial"}),
    "dropout": recipe_of(
        {"width": 1 / 32, "image_size": 8, "dropout": 0.5, "encoder": "direct"}, family="lee-resnet11"
    ),
    "learned leaks and boosting": recipe_of({"neuron": "plif", "boosting": True}),
    "clipped, smoothed, averaged": recipe_of(clip_norm=0.1, label_smoothing=0.1, ema=0.9),
    "muon": recipe_of(muon_lr=0.02),
    "adam": recipe_of(optimiser="adam", learning_rate=0.01),
    "loss of each step": recipe_of(loss="per-step"),
    "squared error": recipe_of(loss="mse"),
    "sum of squared errors": recipe_of(loss="sse", learning_rate=0.002),
    "in three parts": recipe_of(batch_size=12, accumulate=3),
    "progressive, small images": recipe_of({"num_steps": 4}, progressive_epochs=(1,), low_res_epochs=1),
}


def trained(recipe, processes, kind=DoubleRun):
    """Losses, hits, weights, running averages and the weight average after each epoch's steps."""
    with tempfile.TemporaryDirectory() as folder:
        run = kind(recipe, SPLITS, Path(folder), CPU, 1.0, processes)
        run.model.train()
        found = {}
        for step in range(4 if recipe.train.progressive_epochs else 2):  # 3 are an epoch
            indices = torch.arange(step * run.batch_size, (step + 1) * run.batch_size) % 48
            run.step(indices)
            run.read()
            found[f"loss {step}"] = torch.tensor(run.position.loss_sum, dtype=torch.float64)
            found[f"hits {step}"] = torch.tensor(run.position.hits)
        found |= {name: tensor.detach().clone() for name, tensor in tensors_of(run.model).items()}
        found |= {f"average {name}": tensor.clone() for name, tensor in run.average.items()}
    return found


def evaluated(processes):
    """What is said of a network whose encoder draws, in batches of which the last is small."""
    recipe = recipe_of(POISSON, {"pixels": "intensity"})
    with tempfile.TemporaryDirectory() as folder:
        run = Run(recipe, SPLITS, Path(folder), CPU, 1.0, processes)
        found = evaluate(run.model, SPLITS.test, run.scaling, batch_size=5, seed=7, processes=processes)
    return {name: torch.tensor(float(value), dtype=torch.float64) for name, value in vars(found).items()}


# Layers, by the engine


def layer(
    processes,
    *,
    divided=False,
    per_step,
    dtype=torch.float32,
    engine="fastest",
    one_step=False,
    bias=True,
    neurons=True,
):
    """Outputs and gradients of one layer, its batch divided, and put together again.

    Args:
        divided: at the statistics, also where there is one process.
    """
    draw = torch.Generator().manual_seed(1)
    steps, batch, inputs, channels, size = 3, 7, 3, 5, 6
    x = torch.randn(1 if one_step else steps, batch, inputs, size, size, generator=draw).to(dtype)
    weight = torch.randn(channels, inputs, 3, 3, generator=draw)
    rows = (steps, channels) if per_step else (channels,)
    gamma, beta = torch.rand(rows, generator=draw) + 0.5, torch.rand(rows, generator=draw) - 0.5
    residual = torch.rand(steps, batch, channels, size, size, generator=draw).to(dtype)
    leak = torch.tensor(0.8)
    downstream = torch.randn(steps, batch, channels, size, size, generator=draw).to(dtype)
    part = processes.part(batch)
    here = slice(part.first, part.last)
    x, residual = x[:, here].clone().requires_grad_(), residual[:, here].clone().requires_grad_()
    for parameter in (weight, gamma, beta, leak):
        parameter.requires_grad_()
    norm = NormState(
        gamma=gamma,
        beta=beta if bias else None,
        running_mean=torch.zeros(rows),
        running_var=torch.ones(rows),
        momentum=0.3,
        together=Together(processes, batch) if divided or processes.several else None,
    )
    convolution = Convolution(weight, (1, 1), (1, 1))
    with implementation(engine):
        if neurons:
            neuron = LIFConstants(leak=leak, surrogate=Triangle(height=1.0))
            given = x if not one_step else x.expand(steps, *x.shape[1:])
            found = conv_bntt_lif(given, convolution, norm, neuron, residual_current=residual, return_current=True)
            output, current = found.output, found.current
            (output * downstream[:, here] + current * downstream[:, here] / 3).sum().backward()
        else:
            output = current = conv_batch_norm(x, convolution, norm)
            (output * downstream[:, here]).sum().backward()
            residual.grad, leak.grad = torch.zeros_like(residual), torch.zeros(())
    of_images = {"output": output, "current": current, "dx": x.grad, "dresidual": residual.grad}
    of_all = {"dweight": weight.grad, "dgamma": gamma.grad, "dleak": leak.grad}
    if bias:
        of_all["dbeta"] = beta.grad
    gathered = {}
    for name, tensor in of_images.items():
        parts = processes.gathered(tensor.detach())
        gathered[name] = torch.cat(parts, 1)
    summed = {name: processes.add_up(tensor.detach().clone().contiguous()) for name, tensor in of_all.items()}
    return gathered | summed | {"mean": norm.running_mean, "var": norm.running_var}


LAYERS = {
    "per step": {"per_step": True},
    "per step, without beta": {"per_step": True, "bias": False},
    "over time": {"per_step": False},
    "over time, without beta": {"per_step": False, "bias": False},
    "one step": {"per_step": True, "one_step": True},
    "one step over time": {"per_step": False, "one_step": True},
    "norm alone": {"per_step": True, "neurons": False},
    "low memory": {"per_step": True, "engine": "low-memory"},
    "reference": {"per_step": True, "engine": "reference"},
    "bfloat16": {"per_step": True, "dtype": torch.bfloat16},
}


def frozen(processes, statistics="synchronised"):
    """A training from a trained network, whose stem and first stage stay as they are."""
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        source = build(recipe_of({"neuron": "plif"}).model)
        for buffer in source.buffers():
            buffer.copy_(torch.rand(buffer.shape) + 0.1)
        save_model(source, Path(folder) / "source.safetensors")
        start = {"pretrained": f"{folder}/source.safetensors", "pretrained_layers": "all"}
        recipe = recipe_of({"neuron": "plif"}, statistics=statistics, ema=0.9, weight_decay=0.1)
        found = trained(dataclasses.replace(recipe, **start, freeze=("stem", "stage1")), processes)
    if statistics == "local":  # all others depend on the processes
        found = {name: tensor for name, tensor in found.items() if "stem" in name or "stage1" in name}
    return found


CASES = {
    "evaluation of frozen layers, local": lambda processes: frozen(processes, "local"),
    "training of other layers": frozen,
    **{
        f"training {name}": lambda processes, recipe=recipe: trained(recipe, processes)
        for name, recipe in RECIPES.items()
    },
    **{f"layer {name}": lambda processes, given=given: layer(processes, **given) for name, given in LAYERS.items()},
    "float32": lambda processes: trained(recipe_of(), processes, Run),
    "evaluation": evaluated,
}


UNEVEN = ("bntt", "tdbn", "poisson", "dropout", "sum of squared errors", "in three parts")
"""Trainings that three processes do as well, whose parts are not equal."""


def cases_for(count):
    """Names of the cases for so many processes."""
    few = {f"training {name}" for name in UNEVEN}
    return [name for name in CASES if count < 3 or not name.startswith("training") or name in few]


def compute(count, folder, target="work"):
    """`work`, or another function of this file, in `count` processes; returns their exit statuses."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.train.together"])
    given = [(rank, count, str(folder)) for rank in range(count)]
    workers = [context.Process(target=globals()[target], args=each) for each in given]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [worker.exitcode for worker in workers]


@contextlib.contextmanager
def met(rank, count, folder):
    """The processes, met over a file."""
    torch.set_num_threads(1)
    soon = datetime.timedelta(minutes=2)  # where one fails and others wait for it
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count, timeout=soon
    )
    yield Processes(rank=rank, local_rank=rank, count=count, group=torch.distributed.group.WORLD)
    torch.distributed.destroy_process_group()


def work(rank, count, folder):
    """The cases in one of `count` processes; the first writes what all found."""
    with met(rank, count, folder) as processes:
        work_in(processes, Path(folder))


def work_in(processes, folder):
    """The same."""
    count = processes.count
    for name in cases_for(count):
        found: dict[str, Any]
        try:
            found = CASES[name](processes)
        except Exception:
            found = {"error": traceback.format_exc()}
        all_found = processes.gathered(found)
        if processes.first:
            torch.save(all_found, folder / f"{name}.pt")


# Runs


LONG = recipe_of(epochs=2, batch_size=15, ema=0.5)
"""Six steps in all."""


def run_in_parts(processes, folder, stop_after=0):
    """A run of `LONG`, stopped after so many steps and resumed."""
    steps = []
    given = {"device": CPU, "processes": processes, "watch": steps.append, "checkpoint_seconds": 0.0}
    if stop_after:
        # Each process is asked at another moment, and all stop where the first of them does.
        late = stop_after + (not processes.first)
        outcome = train(LONG, SPLITS, folder, should_stop=lambda: len(steps) + 1 >= late, **given)
        assert (outcome.state, outcome.step) == ("stopped", stop_after)
        steps.clear()
    return train(LONG, SPLITS, folder, **given)


def runs(rank, count, folder):
    """A run without a stop, one with, and one that is left where it was stopped, for one process to go on."""
    with met(rank, count, folder) as processes:
        whole = run_in_parts(processes, Path(folder) / "whole")
        parts = run_in_parts(processes, Path(folder) / "parts", stop_after=4)
        assert parts.result == whole.result
        once = processes.first
        stopped = train(LONG, SPLITS, Path(folder) / "left", device=CPU, processes=processes, should_stop=lambda: once)
        assert stopped.step == 1
        local = dataclasses.replace(LONG, train=dataclasses.replace(LONG.train, statistics="local"))
        train(local, SPLITS, Path(folder) / "local", device=CPU, processes=processes)
        run = Run(local, SPLITS, Path(folder), CPU, 1.0, processes)
        run.step(torch.arange(15))
        first, second = processes.gathered(tensors_of(run.model))
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())  # running averages too


def commands(rank, count, folder):
    """`sresnet train` as torchrun starts it, where one process alone runs into a mistake of the user's."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "localhost"}
    os.environ["MASTER_PORT"] = (Path(folder) / "port").read_text()
    torch.set_num_threads(1)
    step = Run.step

    def failing(run, indices):
        if rank == 1 and run.position.step == 1:
            raise UserError("a picture cannot be read: put it back")
        step(run, indices)

    Run.step = failing
    words = ["train", "digits", "--model.num-steps", "1", "--model.base-filters", "2", "--out", f"{folder}/run"]
    with (
        open(f"{folder}/out{rank}", "w", encoding="utf-8") as out,
        open(f"{folder}/err{rank}", "w", encoding="utf-8") as err,
    ):
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(words)
    sys.exit(status)
