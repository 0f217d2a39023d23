"""What somebody who is new does in the first hour, from an installed wheel: `python -I first_hour.py SITE FOLDER`.

SITE is where the wheel was installed, FOLDER an empty folder to work in. Each function is a task; they run in their
order, in one process, as a person would run them one after the other. Networks are tiny and learn little; the tasks are
about what is said, made and kept.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, sys.argv[1])
HERE = Path(sys.argv[2])
TINY = "--model.base-filters 4 --model.num-steps 2 --train.epochs 2"
TASKS: list[Callable[[], None]] = []


def task(function: Callable[[], None]) -> Callable[[], None]:
    """Add a function to the tasks."""
    TASKS.append(function)
    return function


def sresnet(line: str, status: int = 0) -> tuple[str, str]:
    """What a command writes to its output and its error output, after a check of its status."""
    from sresnet.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = main(line.split())
    assert found == status, f"status {found}, not {status}, of sresnet {line}:\n{out.getvalue()}{err.getvalue()}"
    return out.getvalue(), err.getvalue()


@task
def is_the_installed_one_and_says_its_version() -> None:
    """Not the checkout's, and as a program of its own."""
    import sresnet as package

    assert Path(package.__file__).is_relative_to(sys.argv[1])
    environment = {**os.environ, "PYTHONPATH": sys.argv[1]}
    done = subprocess.run(
        [sys.executable, "-m", "sresnet", "--version"], env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.stdout.strip() == package.__version__, done


@task
def looks_at_what_there_is() -> None:
    """Models, recipes, data sets and trained networks; the layers of one."""
    out, _ = sresnet("list")
    assert all(word in out for word in ("sresnet38", "fast-cifar10", "dvs-cifar10", "cifar10-t4"))
    out, _ = sresnet("info sresnet38 --base-filters 32")
    assert "stage3_block6" in out
    assert "parameters" in out


@task
def trains_and_looks_at_the_page() -> None:
    """The demo's command, smaller."""
    out, err = sresnet(f"train digits {TINY} --out first --report")
    assert "test accuracy" in out + err
    page = Path("first/report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


@task
def stops_a_training_and_goes_on() -> None:
    """The weights are those of a training that was not stopped."""
    sresnet(f"train digits {TINY} --out stopped --max-minutes 0")
    assert not Path("stopped/weights.safetensors").exists()
    sresnet(f"train digits {TINY} --out stopped")
    import sresnet as package

    ours, theirs = (package.load(run).state_dict() for run in ("first", "stopped"))
    assert all((ours[name] == theirs[name]).all() for name in ours)


@task
def changes_a_choice_and_compares() -> None:
    """Another connection and another neuron; the page says in what the runs differ."""
    sresnet(f"train digits {TINY} --model.connection v2v --model.neuron plif --out second")
    sresnet("report first second -o both.html")
    page = Path("both.html").read_text(encoding="utf-8")
    assert "plif" in page
    assert "v2v" in page


@task
def evaluates_into_a_file() -> None:
    """As JSON, with fewer time steps, and with early exit."""
    full = json.loads(sresnet("evaluate first --json")[0])
    kept = json.loads(Path("first/result.json").read_text(encoding="utf-8"))
    assert full["top1"] == kept["test_top1"]
    assert json.loads(sresnet("evaluate first --num-steps 1 --json")[0])["num_steps"] == 1
    assert "steps" in sresnet("evaluate first --exit-confidence 0.9")[0]


@task
def analyses_activity_and_energy() -> None:
    """Firing rates, operations, hardware needs."""
    out, _ = sresnet("analyse first")
    assert "energy" in out
    assert Path("first/analysis/analysis.json").exists()


@task
def asks_a_trained_network_in_python() -> None:
    """Names and probabilities of a picture, from a path too."""
    from PIL import Image

    import sresnet as package

    network = package.create_model("cifar10-t4", pretrained=True)
    Image.new("RGB", (48, 40), (90, 140, 220)).save("sky.png")
    found = network.predict("sky.png", top=3)
    assert len(found) == 3
    assert all(name in network.trained.class_names and 0 <= share <= 1 for name, share in found)
    out, _ = sresnet("predict --model cifar10-t4 sky.png")
    assert found[0][0] in out


@task
def takes_features() -> None:
    """Pooled ones and the maps of each stage, as timm gives them."""
    import torch

    import sresnet as package

    images = torch.randn(2, 3, 32, 32)
    pooled = package.create_model("cifar10-t4", pretrained=True, num_classes=0)
    assert pooled(images).shape == (2, pooled.num_features)
    stages = package.create_model("cifar10-t4", pretrained=True, features_only=True)
    assert [maps.shape[1] for maps in stages(images)] == [info.channels for info in stages.feature_info]


@task
def fine_tunes_on_own_pictures() -> None:
    """A folder for each class, from a network that comes with the package, some layers frozen."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    for part, count in (("train", 16), ("test", 8)):
        for place, name in enumerate(("blue", "red")):
            folder = Path("photos", part, name)
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 120, (40, 48, 3), dtype=np.uint8)
                pixels[..., 2 - 2 * place] += 120
                Image.fromarray(pixels).save(folder / f"{number}.png")
    sresnet("finetune cifar10-t4 --data folder --data-dir photos --freeze stem,stage1 --train.epochs 3 --out tuned")
    import sresnet as package

    before, after = package.create_model("cifar10-t4", pretrained=True), package.load("tuned")
    frozen = before.layers["stem"].state_dict()
    assert all((frozen[name] == value).all() for name, value in after.layers["stem"].state_dict().items())
    out, _ = sresnet("predict tuned photos/test/red/1.png")
    assert "red" in out
    assert "blue" in out


@task
def looks_at_own_pictures() -> None:
    """How many there are of each class, and which are the same in training and test."""
    import shutil

    shutil.copy("photos/train/red/3.png", "photos/test/red/again.png")
    out, err = sresnet("data info photos")
    assert "red" in out
    assert "again.png" in out + err
    Path("photos/test/red/again.png").unlink()


@task
def keeps_a_recipe_in_a_file() -> None:
    """The same numbers come from the file."""
    out, _ = sresnet(f"train digits {TINY} --toml")
    Path("mine.toml").write_text(out, encoding="utf-8")
    assert tomllib.loads(out)["model"]["base_filters"] == 4
    sresnet("train mine.toml --out from-file")
    run, first = (Path(name, "result.json").read_text(encoding="utf-8") for name in ("from-file", "first"))
    assert json.loads(run)["test_top1"] == json.loads(first)["test_top1"]


@task
def exports_for_other_programs() -> None:
    """ONNX and C beside the network, NIR after the norms have become one, and what a chip says."""
    sresnet("export first --to onnx --out first.onnx")
    import numpy as np
    import onnxruntime
    import torch

    import sresnet as package

    network = package.load("first")
    session = onnxruntime.InferenceSession("first.onnx")
    images = np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32)
    (scores,) = session.run(None, {session.get_inputs()[0].name: images})  # after every step
    with torch.no_grad():
        torch.testing.assert_close(
            torch.from_numpy(scores[:, -1]), network(torch.from_numpy(images)), atol=1e-4, rtol=0
        )
    sresnet("export first --to c --out first.c")
    sresnet("finetune first --model.norm time-averaged --calibrate --out averaged")
    sresnet("export averaged --to nir --out first.nir")
    sresnet("export first --check loihi2", status=3)


@task
def converts_an_ann() -> None:
    """An ANN of the same layers, and what conversion makes of it."""
    sresnet(f"train digits {TINY.replace('num-steps 2', 'num-steps 1')} --model.neuron relu --out ann")
    sresnet("convert ann --method deng --num-steps 8 --out converted")
    assert "test accuracy" in "".join(sresnet("evaluate converted"))


@task
def opens_an_event_recording() -> None:
    """A file of the format of N-MNIST, written by hand."""
    events = [(10 * n, n % 34, (2 * n) % 34, n % 2) for n in range(400)]
    packed = b"".join(bytes([x, y]) + (on << 23 | t).to_bytes(3, "big") for t, x, y, on in events)
    Path("recording.bin").write_bytes(packed)
    out, _ = sresnet("data info recording.bin")
    assert "400" in out
    sresnet("data view recording.bin --out recording.png")
    assert Path("recording.png").stat().st_size > 1000


@task
def trains_on_events() -> None:
    """Digits before a simulated event camera."""
    sresnet(f"train digits-dvs {TINY} --cache-dir frames --out events")
    assert "clips" in sresnet("evaluate events --cache-dir frames")[0]


@task
def writes_a_loop_of_their_own() -> None:
    """Plain PyTorch: the loss falls, and the network is saved and loaded."""
    import torch

    import sresnet as package

    torch.manual_seed(0)
    model = package.create_model("sresnet8", base_filters=4, num_steps=2, in_channels=1)
    optimiser = torch.optim.AdamW(model.parameters(), 0.01)
    images, labels = torch.randn(32, 1, 8, 8), torch.arange(32) % 10
    losses = []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], losses
    package.save_model(model, "mine.safetensors")
    again = package.load("mine.safetensors")
    assert torch.equal(again(images), model.eval()(images))


@task
def registers_a_neuron_of_their_own() -> None:
    """A function; it trains, streams and is chosen by its name."""
    import torch

    import sresnet as package
    from sresnet.nn import register_neuron, spike

    def leaky_reset(config):  # type: ignore[no-untyped-def]
        def steps(current, v):  # type: ignore[no-untyped-def]
            v, spikes = torch.zeros_like(current[0]) if v is None else v, []
            for x in current:
                u = config.leak * v + x
                spikes.append(spike(u, config.threshold, config.surrogate, config.fires_at_threshold))
                v = 0.5 * u * (1 - spikes[-1].detach())
            return torch.stack(spikes), v

        return steps

    register_neuron("first-hour", leaky_reset)
    model = package.create_model("sresnet8", base_filters=4, num_steps=3, neuron="first-hour")
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@task
def searches_for_a_leak() -> None:
    """Two short trainings, and the better one's recipe as a file."""
    sresnet(f"search digits {TINY} --search.leak 0.5:0.999 --trials 2 --out search")
    out, _ = sresnet("search search --best")
    assert 0.5 <= tomllib.loads(out)["model"]["leak"] <= 0.999


@task
def looks_at_a_table_of_the_paper() -> None:
    """What it needs, before anything is trained."""
    out, _ = sresnet("study table5 --show")
    assert "BN time averaged" in out
    assert "not run" in out


@task
def makes_mistakes() -> None:
    """One line each, with the cure; nothing is overwritten."""
    for line, words in (
        ("train digts", "digits"),
        ("train digits --model.conection s2s", "--model.connection"),
        ("evaluate no-such-run", "no-such-run"),
        ("predict first photos", "photos"),
        ("report first -o mine.toml", "--force"),
        ("finetune cifar10-t5 --data folder --data-dir photos", "sresnet list"),
        ("push first me/digits extra", "extra"),
    ):
        before = Path("mine.toml").read_bytes()
        out, err = sresnet(line, status=2)
        assert words in err, (line, err)
        assert "Traceback" not in err, line
        assert not out, line
        assert Path("mine.toml").read_bytes() == before
    import sresnet as package

    refusal = ""
    try:
        package.create_model("sresnet9")
    except package.UserError as error:
        refusal = str(error)
    assert "6n + 2" in refusal or "sresnet8" in refusal


def main() -> None:
    """Run the tasks in their order."""
    os.chdir(HERE)
    for each in TASKS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            each()
        print(each.__name__, flush=True)


if __name__ == "__main__":
    main()
