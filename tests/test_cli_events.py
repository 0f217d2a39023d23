"""The command line on event recordings, from files to classes."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sresnet
from sresnet.analysis.prediction import predict_file
from sresnet.cli import main
from sresnet.cli.runs import trained
from sresnet.data import open_data
from sresnet.data.events.frames import FrameConfig, to_frames
from sresnet.data.events.read import read_recording
from sresnet.train.record import recipe_of
from tests.golden.reduce import read
from tests.models.test_golden import SMALL, released_checkpoint

sys.path.insert(0, str(Path(__file__).parent / "data" / "events"))
import made_up_sets as made_up

TINY = "--model.base-filters 2 --model.num-steps 2 --model.depth 8 --train.epochs 1".split()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    torch.set_num_threads(1)


@pytest.fixture
def sessions(tmp_path):
    """Two groups of three classes, one more class in the second."""
    for seed, name in enumerate(("a/cup", "a/pen", "a/box", "b/cup", "b/pen", "b/box", "b/cube")):
        content = made_up.aedat2(count=2000, seed=seed, duration=1_000_000)
        made_up.put(tmp_path / "sessions" / f"{name}.aedat", content)
    return tmp_path / "sessions"


BY_GROUP = "--data.split by-group --data.test-group b --data.window-seconds 0.2".split()


@pytest.mark.slow
def test_an_ann_of_events_is_converted(sessions, tmp_path, capsys, monkeypatch):
    """It was trained on one frame of all events; rates take that at every step, or the events as they come."""
    monkeypatch.chdir(tmp_path)
    ann = "--model.base-filters 2 --model.depth 8 --model.connection s2m --model.neuron relu --model.num-steps 1"
    flags = [*BY_GROUP, "--model.downsample", "avg", "--data.frames.size", "16", "--train.epochs", "2"]
    flags += ["--data-dir", str(sessions), "--out", "ann"]
    assert main(["train", "event-folder", *ann.split(), *flags]) == 0

    def converted(folder, *words):
        assert main(["convert", "ann", *words, "--out", folder]) == 0
        assert main(["evaluate", folder]) == 0  # where the recordings are is known from the ANN
        said = capsys.readouterr().out
        result = json.loads((tmp_path / folder / "result.json").read_text())
        assert f"test accuracy: {result['test_top1']:.2f} %\n" in said
        return said, json.loads((tmp_path / folder / "config.json").read_text())

    capsys.readouterr()
    said, config = converted("whole", "--num-steps", "5", "--no-spiking-output")
    assert "12 clips, 5 of 5 time steps" in said
    assert config["data"]["frames"]["by"] == "whole"
    _, config = converted("steps", "--num-steps", "5", "--no-spiking-output", "--event-frames", "steps")
    assert config["data"]["frames"]["by"] == "time"
    assert json.loads((tmp_path / "steps" / "conversion.json").read_text())["event_frames"] == "steps"
    steps, whole = (sresnet.load(run).layers["wiring"].steps["stem_conv"].weight for run in ("steps", "whole"))
    torch.testing.assert_close(steps, 5 * whole)
    said, config = converted("few", "--method", "few-spikes", "--internal-steps", "16", "--largest", "calibrated")
    after, before = re.search(r"accuracy: (\S+) % after 1 time step, the ANN (\S+) %", said).groups()
    assert after == before
    words = ["--compare", "few-spikes", "--internal-steps", "4", "8", "--beside", "steps", "--out", "c"]
    assert main(["convert", "ann", *words]) == 0
    points = json.loads((tmp_path / "c" / "conversions.json").read_text())["points"]
    assert [point["num_steps"] for point in points] == [4, 8, 5]
    capsys.readouterr()
    assert main(["convert", "ann", "--method", "rmp"]) == 2
    assert "whose frames are taken as they are: add --encoder direct" in capsys.readouterr().err
    converted("rmp", "--method", "rmp", "--encoder", "direct", "--num-steps", "4")
    assert main(["convert", "ann", "--method", "tandem"]) == 2
    assert "tandem learning gives all of an input at the first time step: choose a method of" in capsys.readouterr().err
    assert main(["convert", "ann", "--num-steps", "5", "--out", "steps", "--event-frames", "steps"]) == 2
    assert "holds a conversion with other fields" in capsys.readouterr().err


def test_train_evaluate_and_predict_a_folder_of_recordings(sessions, tmp_path, capsys):
    run = str(tmp_path / "run")
    command = ["train", "event-folder", *TINY, *BY_GROUP, "--data-dir", str(sessions), "--out", run]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "12 training clips" in out
    assert "event-folder, split by-group (tested on b): recordings 3 train, 3 test; clips 12 train, 12 test" in out
    assert "note: 1 test recordings of classes that are not trained on are left out: cube" in out
    accuracy = re.search(r"^test accuracy: (\d+\.\d\d) %$", out, re.M)[0]
    split = json.loads((tmp_path / "run" / "result.json").read_text())["split"]
    assert (split["name"], split["test_group"], split["classes_left_out"]) == ("by-group", "b", {"cube": 1})
    assert main(["evaluate", run]) == 0  # remembers where the recordings are
    out = capsys.readouterr().out
    assert accuracy in out
    assert "12 clips, 2 of 2 time steps" in out
    assert main(["evaluate", run, "--num-steps", "1", "--part", "train"]) == 0
    assert "1 of 2 time steps" in capsys.readouterr().out
    files = [str(sessions / "b" / f"{name}.aedat") for name in ("cup", "cube")]
    assert main(["predict", run, *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(re.search(r"\.aedat: (\w+ \d+\.\d %(, )?){3}$", line) for line in lines)
    pytest.importorskip("matplotlib")
    assert main(["predict", run, *files, "--out", str(tmp_path / "drawn.svg")]) == 0
    assert "drawn into" in capsys.readouterr().out
    drawn = (tmp_path / "drawn.svg").read_text()
    assert all(word in drawn for word in ("cup.aedat", "cube.aedat", "probability so far"))


@pytest.mark.parametrize(
    "flags",
    [
        ["--data.frames.representation", "binary"],
        ["--data.frames.representation", "log", "--data.frames.resize", "mean"],
        ["--data.frames.representation", "voxel", "--data.changes.reverse", "0.5"],
        ["--data.frames.representation", "surface", "--data.frames.surface-ms", "100"],
    ],
    ids=lambda flags: flags[1],
)
def test_representations_are_trained_stopped_evaluated_and_predicted(sessions, tmp_path, capsys, flags):
    kept = str(tmp_path / "cache")
    words = [*TINY, *BY_GROUP, "--train.batch-size", "4", "--data.frames.size", "16", *flags, "--cache-dir", kept]
    words += ["--data-dir", str(sessions)]
    run, whole = str(tmp_path / "run"), str(tmp_path / "whole")
    assert main(["train", "event-folder", *words, "--out", whole]) == 0
    assert main(["train", "event-folder", *words, "--out", run, "--max-minutes", "0.00001"]) == 0
    assert "stopped at step 1" in capsys.readouterr().out
    assert main(["train", "event-folder", *words, "--out", run]) == 0
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]
    accuracy = re.search(r"^test accuracy: (\d+\.\d\d) %$", capsys.readouterr().out, re.M)[0]
    assert main(["evaluate", run]) == 0
    assert accuracy in capsys.readouterr().out
    recipe = recipe_of(run)
    splits = open_data(recipe.data, str(sessions), seed=0, num_steps=2, cache_dir=kept)
    model, scaling, about = trained(run, torch.device("cpu"), 1, splits.test)
    found = predict_file(model, sessions / "b" / "box.aedat", recipe.data, scaling, about)
    clips = scaling(splits.test.batch(torch.tensor([0, 1, 2, 3])))
    assert torch.equal(found.picture, clips.sum(0))
    counts = to_frames(read_recording(sessions / "b" / "box.aedat"), FrameConfig(size=16), 2)[0]
    assert not torch.equal(found.picture, torch.from_numpy(counts).float())


def largest_shown(run, path):
    """The largest count of what a run is shown of a recording."""
    model, scaling, about = trained(str(run), torch.device("cpu"), 1)
    found = predict_file(model, Path(path), recipe_of(str(run)).data, scaling, about)
    return int(found.picture.max())


def test_counts_beyond_a_byte(sessions, tmp_path, capsys):
    """All are kept, unless asked for; a run of before there were exact counts stays what it was."""
    words = [*TINY, *BY_GROUP, "--data-dir", str(sessions), "--data.frames.size", "1", "--model.num-steps", "1"]
    command = ["train", "event-folder", *words[:-4], "--data.window-seconds", "0", *words[-4:]]
    cup = str(sessions / "b" / "cup.aedat")

    def said(*words):
        assert main(list(words)) == 0
        return capsys.readouterr().out

    def split_of(run):
        return json.loads((tmp_path / run / "result.json").read_text())["split"]

    out = said(*command, "--out", str(tmp_path / "exact"))
    largest = split_of("exact")["largest_count"]
    assert 1000 <= largest < 1100  # of 2,000 events at one pixel, ON and OFF
    assert f"counts: up to {largest:,} events at a pixel and step, all of them kept\n" in out
    assert split_of("exact") | {"counts": "exact", "events": 14_000, "saturated_events": 0} == split_of("exact")

    out = said(*command, "--data.frames.counts", "saturate", "--out", str(tmp_path / "lost"))
    lost = 14_000 - 7 * 2 * 255
    assert f"warning: {lost:,} of 14,000 events (74 %) are lost, beyond 255 at a pixel and step: train anew with" in out
    assert split_of("lost") | {"counts": "saturate", "events": 14_000, "saturated_events": lost} == split_of("lost")
    for name, badges in (("exact", 0), ("lost", 1)):
        said("report", str(tmp_path / name))
        page = (tmp_path / name / "report.html").read_text()
        assert page.count("EVENTS LOST") == page.count(f"{lost:,} of 14,000 events (74 %) are lost") == badges
    assert largest_shown(tmp_path / "exact", cup) > 900
    assert largest_shown(tmp_path / "lost", cup) == 255

    # As it was written by an earlier version: nothing is said of counts, and they saturated.
    old = tmp_path / "lost"
    config, about = (json.loads((old / f"{name}.json").read_text()) for name in ("config", "data"))
    assert config["data"]["frames"].pop("counts") == about.pop("counts") == "saturate"
    (old / "config.json").write_text(json.dumps(config))
    (old / "data.json").write_text(json.dumps(about))
    assert largest_shown(old, cup) == 255
    out = said("evaluate", str(old))
    assert f"warning: {lost:,} of 14,000 events" in out
    assert "not the data of the run" not in out
    (old / "result.json").unlink()  # as if it had been stopped before its last line
    shutil.rmtree(os.environ["XDG_CACHE_HOME"])
    out = said(*command, "--out", str(old))
    assert f"warning: {lost:,} of 14,000 events" in out
    assert out.count("are made in") == 1  # and not those that a run of now would have
    assert split_of("lost")["saturated_events"] == lost
    assert json.loads((old / "data.json").read_text())["counts"] == "saturate"
    assert largest_shown(old, cup) == 255


def test_simulated_recordings_are_called_simulated(tmp_path, capsys):
    pytest.importorskip("sklearn")
    run = str(tmp_path / "run")
    assert main(["train", "digits-dvs", *TINY, "--data.simulation.loops", "1", "--out", run]) == 0
    captured = capsys.readouterr()
    assert "digits-dvs, SIMULATED recordings, split images: recordings 1,438 train, 359 test" in captured.out
    assert re.search(r"^test accuracy on simulated recordings: \d+\.\d\d %$", captured.out, re.M)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["split"]["simulated"]
    assert main(["evaluate", run]) == 0
    assert "test accuracy on simulated recordings" in capsys.readouterr().out
    assert main(["predict", run, str(made_up.put(tmp_path / "other.bin", made_up.nmnist()))]) == 2
    complaint = "16x16 pixels: give recordings of such a camera, or name the camera with --chip, of predict and train,"
    assert complaint in capsys.readouterr().err


def test_finetune_from_images(tmp_path, capsys):
    pytest.importorskip("sklearn")
    data = made_up.small_nmnist(tmp_path / "data")
    assert main(["train", "digits", *TINY, "--out", str(tmp_path / "source")]) == 0
    once = ["--train.epochs", "1"]
    command = ["finetune", str(tmp_path / "source"), "--data", "nmnist", "--data-dir", str(data), *once]
    assert main([*command, "--train.batch-size", "8", "--data.shift", "1", "--out", str(tmp_path / "tuned")]) == 0
    assert "nmnist, split official: recordings 20 train, 10 test" in capsys.readouterr().out
    config = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert config["pretrained"] == str(tmp_path / "source")
    assert (config["model"]["in_channels"], config["model"]["num_steps"], config["model"]["num_classes"]) == (2, 2, 10)
    assert (config["data"]["family"], config["data"]["name"], config["data"]["shift"]) == ("events", "nmnist", 1)
    back = ["finetune", str(tmp_path / "tuned"), "--data", "digits", "--data.train-images", "60", *once]
    assert main([*back, "--out", str(tmp_path / "back")]) == 0
    assert "family" not in json.loads((tmp_path / "back" / "config.json").read_text())["data"]


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")
@pytest.mark.parametrize("bits", ["32", "8", "4"])
def test_frames_of_nmnist_in_c(bits, tmp_path, capsys):
    data, run = made_up.small_nmnist(tmp_path / "data"), str(tmp_path / "run")
    assert main(["train", "nmnist", *TINY, "--train.batch-size", "8", "--data-dir", str(data), "--out", run]) == 0
    capsys.readouterr()
    assert main(["export", run, "--to", "c", "--weight-bits", bits]) == 0
    out = capsys.readouterr().out
    same = int(re.search(r"^scores after every step are equal on (\d+) of \1 clips", out, re.M)[1])
    near, of = map(int, re.search(r"^and on (\d+) of (\d+) with a potential", out, re.M).groups())
    assert same + of == 10
    assert near == of
    assert main(["evaluate", f"{run}.c", "--data-dir", str(data)]) == 0


def test_norms_become_one_and_the_network_goes_to_nir(tmp_path, capsys):
    pytest.importorskip("nir", reason="the extra nir is not installed")
    data, run, one = made_up.small_nmnist(tmp_path / "data"), str(tmp_path / "run"), tmp_path / "one"
    more = ["--train.batch-size", "8", "--model.downsample", "stride", "--data-dir", str(data)]
    assert main(["train", "nmnist", *TINY, *more, "--out", run]) == 0
    assert main(["export", run, "--to", "nir"]) == 2
    capsys.readouterr()
    # Where the recordings are, the run has noted.
    assert main(["finetune", run, "--model.norm", "time-averaged", "--calibrate", "--out", str(one)]) == 0
    assert json.loads((one / "environment.json").read_text())["data_dir"] == str(data)
    assert "nmnist, split official: recordings 20 train, 10 test" in capsys.readouterr().out
    assert main(["export", str(one), "--to", "nir"]) == 0
    assert re.search(r"^scores after every step are equal on (\d+) of \1 clips", capsys.readouterr().out, re.M)
    assert main(["evaluate", f"{one}.nir", "--data-dir", str(data)]) == 0


def test_import_a_released_event_network(tmp_path, capsys, monkeypatch):
    path = released_checkpoint(read(SMALL / "event.safetensors.xz"), tmp_path / "events.pth.tar")
    monkeypatch.chdir(tmp_path)
    assert main(["import", str(path), "--leak", "0.874"]) == 0
    out = capsys.readouterr().out
    assert "trained on dvs-cifar10" in out
    assert "run folder: runs/events" in out
    config = json.loads((tmp_path / "runs" / "events" / "config.json").read_text())["data"]
    assert (config["name"], config["split"]) == ("dvs-cifar10", "first900-by-name")
    assert config["frames"] == {"by": "count", "size": 64, "resize": "mean", "orientation": "spikingjelly"}
    made_up.dvs_cifar10(tmp_path / "data", per_class=10, count=3000)
    assert main(["evaluate", "runs/events", "--data-dir", "data"]) == 0
    assert "split first900-by-name: recordings 90 train, 10 test" in capsys.readouterr().out
    assert main(["predict", "runs/events", "data/cat/cifar10_cat_0.aedat"]) == 0
    shown = dict(re.findall(r"(\w+) (\d+\.\d) %", capsys.readouterr().out))
    # What the released code feeds the same network: SpikingJelly's frames, then the mean over 2x2 pixels.
    model = sresnet.load(tmp_path / "runs" / "events")
    steps = model.config.num_steps
    ours = read_recording(tmp_path / "data" / "cat" / "cifar10_cat_0.aedat")
    frames = np.zeros((steps, 2, 128, 128), dtype=np.float32)
    step = np.minimum(np.arange(len(ours)) // (len(ours) // steps), steps - 1)
    np.add.at(frames, (step, ours.on.astype(int), ours.x.astype(int), ours.y.astype(int)), 1)  # rows are x
    x = torch.nn.functional.avg_pool2d(torch.from_numpy(frames), 2)
    with torch.inference_mode():
        probabilities = 100 * model(x[None]).softmax(1)[0]
    names = json.loads((tmp_path / "runs" / "events" / "data.json").read_text())["class_names"]
    assert len(shown) == 3
    for name, percent in shown.items():
        assert float(percent) == pytest.approx(float(probabilities[names.index(name)]), abs=0.051)


def test_an_image_network_is_not_imported_as_one_for_events(tmp_path, capsys):
    path = released_checkpoint(read(SMALL / "plain.safetensors.xz"), tmp_path / "best.pth.tar")
    assert main(["import", str(path), "--data", "dvs-cifar10", "--leak", "0.874"]) == 2
    assert "holds a network for images: choose --data cifar10 or cifar100" in capsys.readouterr().err


def test_data_prepare(tmp_path, capsys):
    data = made_up.small_nmnist(tmp_path / "data")
    command = ["data", "prepare", "nmnist", "--data-dir", str(data), "--cache-dir", str(tmp_path / "cache")]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert re.search(r"^30 clips of 8 frames, 17x17 pixels, of 30 recordings, 1,200 events: 0.1 MB, made in", out, re.M)
    assert "nmnist, split official: recordings 20 train, 10 test" in out
    (path,) = re.findall(r"^cache: (.+)$", out, re.M)
    assert Path(path).stat().st_size == 30 * 8 * 2 * 17 * 17
    assert main(command) == 0
    assert "were there already" in capsys.readouterr().out
    assert main([*command, "--num-steps", "4", "--data.frames.size", "34"]) == 0
    assert "30 clips of 4 frames, 34x34 pixels" in capsys.readouterr().out


def test_prepared_frames_are_those_that_training_uses(tmp_path, capsys):
    data = made_up.small_nmnist(tmp_path / "data")
    place = ["--data-dir", str(data), "--cache-dir", str(tmp_path / "cache")]
    assert main(["data", "prepare", "nmnist", *place]) == 0
    small = ["--model.base-filters", "2", "--train.epochs", "1"]
    assert main(["train", "nmnist", *small, *place, "--out", str(tmp_path / "run")]) == 0
    assert len(list((tmp_path / "cache").glob("*.frames"))) == 1


def test_counts_are_scaled_as_the_sensor_they_are_of_asks(sessions, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "event-folder", *TINY, *BY_GROUP, "--data-dir", str(sessions), "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 0
    loss = re.search(r"loss \d+\.\d+", capsys.readouterr().out)[0]
    about = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(about | {"scale": 64.0}))  # as if it had learned of another sensor
    assert main(["evaluate", str(run)]) == 0
    assert loss in capsys.readouterr().out
    (run / "data.json").write_text(json.dumps(about | {"image_size": [32, 43]}))
    assert main(["evaluate", str(run)]) == 2
    assert "the data are of 32x32 pixels, and " in capsys.readouterr().err


def test_a_run_remembers_where_its_frames_are(tmp_path, capsys):
    data = made_up.small_nmnist(tmp_path / "data")
    cache, run = tmp_path / "cache", str(tmp_path / "run")
    small = ["--model.base-filters", "2", "--train.epochs", "1", "--data-dir", str(data), "--out", run]
    assert main(["train", "nmnist", *small, "--cache-dir", str(cache)]) == 0
    for verb in ("evaluate", "analyse"):
        assert main([verb, run]) == 0
    assert not (Path(os.environ["XDG_CACHE_HOME"]) / "sresnet" / "frames").exists()
    elsewhere = tmp_path / "elsewhere"
    assert main(["evaluate", run, "--cache-dir", str(elsewhere)]) == 0  # what is said goes before what is remembered
    assert elsewhere.exists()
    assert "not the data" not in capsys.readouterr().out
    path = data / "7.bs2"
    before = path.stat()
    path.write_bytes(made_up.nmnist(seed=999))  # of the same size, and as if at the same time
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert main(["evaluate", run]) == 0
    assert "note: these are not the data of the run (20 train samples, now as many others)" in capsys.readouterr().out
    assert main(["train", "nmnist", *small, "--cache-dir", str(cache)]) == 2
    assert "run on other data" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["data prepare event-folder", "train event-folder"])
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--data.split by-group", "the group to test on is missing: add --data.test-group NAME, one of a, b"),
        ("--data.split by-group --data.test-group c", "test_group 'c' is not there"),
        ("--data.split random90", "class 'a' has 3 recordings, too few to test on a tenth of them"),
    ],
)
def test_a_split_that_cannot_be_is_said_before_frames_are_made(sessions, tmp_path, capsys, command, words, complaint):
    cache = tmp_path / "cache"
    place = ["--data-dir", str(sessions), "--cache-dir", str(cache)]
    assert main([*command.split(), *words.split(), *place]) == 2
    assert complaint in capsys.readouterr().err
    assert not cache.exists()


def test_the_bar_of_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    data = made_up.small_nmnist(tmp_path / "data")
    assert main(["data", "prepare", "nmnist", "--data-dir", str(data)]) == 0
    assert "frames of recordings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("data prepare", "name is missing: choose from digits-dvs"),
        ("data prepare nmist", "name 'nmist' is unknown: did you mean 'nmnist'?"),
        ("data prepare nmnist", "add --data-dir DIR"),
        ("data prepare nmnist --num-steps 0 --data-dir .", "num_steps 0"),
        ("data prepare nmnist --data.split random90", "split 'random90' is not one of nmnist's"),
        ("train nmnist --data-dir nowhere", "nowhere does not exist: give the folder that holds nmnist"),
        ("train dvs-cifar10 --data-dir .", "neither class folders nor zip files of DVS-CIFAR10"),
        ("train nmnist --model.encoder poisson", "encoder 'poisson' encodes images"),
        ("train event-folder --data-dir . --data.split by-group", "has 0 folders"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(words, complaint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
