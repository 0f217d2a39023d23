import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch

from sresnet import UserError, create_model
from sresnet.cli import VERBS, main
from sresnet.ops.dispatch import low_memory_chosen
from tests.golden.reduce import read
from tests.models.test_golden import SMALL, released_checkpoint

TINY = "--model.base-filters 2 --model.num-steps 2 --train.epochs 1".split()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run folder."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", "digits", *TINY, "--data.validation", "0.1", "--out", str(folder)]) == 0
    return folder


def test_train_prints_accuracy_and_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", *TINY]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^test accuracy: \d+\.\d\d %$", out, re.M)
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"run folder: runs/{folder.name}" in out
    assert re.fullmatch(r"digits-[0-9a-f]{8}", folder.name)
    # The same command finds the same run, finished; another field is another run.
    assert main(["train", "digits", *TINY]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == out.splitlines()[-2:]
    assert main(["train", "digits", *TINY, "--seed", "1"]) == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_max_minutes_stops_and_says_how_to_go_on(tmp_path, capsys):
    command = ["train", "digits", *TINY, "--out", str(tmp_path / "run")]
    assert main([*command, "--max-minutes", "0"]) == 0
    assert "stopped at step 1 (0 minutes are over): run the same command again to resume" in capsys.readouterr().out
    assert main(command) == 0
    assert "test accuracy" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--max-minutes", "--checkpoint-seconds", "--model.surrogate-center"])
def test_what_is_no_number(tmp_path, capsys, flag):
    assert main(["train", "digits", *TINY, "--out", str(tmp_path / "run"), flag, "nan"]) == 2
    words = capsys.readouterr().err
    assert "nan" in words
    assert "nan, not nan" not in words
    assert not (tmp_path / "run").exists()


def test_tensorboard_events(tmp_path):
    pytest.importorskip("tensorboard")
    assert main(["train", "digits", *TINY, "--out", str(tmp_path / "run"), "--tensorboard"]) == 0
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    for tag in (b"spike_rate/stem.neuron", b"sent/stem.neuron", b"spikes_per_neuron_and_step"):
        assert tag in events.read_bytes()


def test_the_bar_of_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["train", "digits", *TINY, "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "\x1b[" in out
    assert "epoch 1/1" in out
    assert "images/s" in out


def test_engines_agree(run, capsys):
    found = []
    for words in ([], ["--engine", "low-memory"], ["--engine", "reference"]):
        assert main(["evaluate", str(run), *words]) == 0
        found.append(float(capsys.readouterr().out.split()[2]))
    assert found[1] == found[0]
    assert found[2] == pytest.approx(found[0], abs=1)  # rounding may decide a spike, and the spike an image


@pytest.mark.parametrize(
    ("verb", "work"),
    [("evaluate", "evaluate"), ("analyse", "analyse"), ("report", "inspect_network"), ("train", "train")],
)
def test_every_verb_with_the_flag_uses_the_engine(run, verb, work, monkeypatch, tmp_path, capsys):
    seen = []

    def stop(*_, **__):
        seen.append(low_memory_chosen())
        raise UserError("seen enough")

    monkeypatch.setattr(f"sresnet.cli.{verb}.{work}", stop)
    words = ["digits", *TINY] if verb == "train" else [str(run)]
    out = [] if verb == "evaluate" else ["--out", str(tmp_path / "out")]
    assert main([verb, *words, *out, "--engine", "low-memory"]) == 2
    assert seen == [True]


def test_evaluate_with_weights_of_eight_bits(run, capsys):
    assert main(["evaluate", str(run)]) == 0
    exact = float(capsys.readouterr().out.split()[2])
    assert main(["evaluate", str(run), "--precision", "int8"]) == 0
    assert float(capsys.readouterr().out.split()[2]) == pytest.approx(exact, abs=5)


def test_evaluate(run, capsys):
    result = json.loads((run / "result.json").read_text())
    assert main(["evaluate", str(run)]) == 0
    out = capsys.readouterr().out
    assert f"test accuracy: {result['test_top1']:.2f} %" in out
    assert "359 images, 2 of 2 time steps" in out
    assert main(["evaluate", str(run), "--num-steps", "1", "--part", "validation", "--precision", "bf16"]) == 0
    assert "1 of 2 time steps" in capsys.readouterr().out


def test_a_run_is_evaluated_in_the_precision_it_was_trained_in(run, tmp_path, monkeypatch, capsys):
    """A network of the package in float32, in which its card was measured."""
    seen = []

    def stop(*_, precision, **__):
        seen.append(precision)
        raise UserError("seen enough")

    config = json.loads((run / "config.json").read_text())
    half, sixteen = tmp_path / "bf16", tmp_path / "fp16"
    for copy in (half, sixteen):
        shutil.copytree(run, copy)
        (copy / "config.json").write_text(json.dumps(config | {"train": config["train"] | {"precision": copy.name}}))
    assert main(["evaluate", str(half)]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("images/s, bf16")
    monkeypatch.setattr("sresnet.cli.evaluate.evaluate", stop)
    for source, words in ((half, []), (sixteen, []), (half, ["--precision", "fp32"]), (run, []), ("digits-t4", [])):
        assert main(["evaluate", str(source), *words]) == 2
    assert seen == ["bf16", "fp32", "fp32", "fp32", "fp32"]


def test_finetune(run, tmp_path, capsys):
    command = ["finetune", str(run), "--data", "digits", "--train.epochs", "1", "--out", str(tmp_path / "tuned")]
    assert main(command) == 0
    assert "test accuracy" in capsys.readouterr().out
    config = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert config["pretrained"] == str(run)
    assert config["model"]["num_steps"] == 2


def test_predict(run, tmp_path, capsys):
    from PIL import Image
    from sklearn.datasets import load_digits

    path = tmp_path / "three.png"
    Image.fromarray((load_digits().images[3] * 255 / 16).round().astype("uint8")).save(path)
    assert main(["predict", str(run), str(path)]) == 0
    assert re.search(r"three\.png: (\d \d+\.\d %(, )?){3}$", capsys.readouterr().out.strip())


def test_train_and_predict_on_a_folder_of_pictures(tmp_path, capsys):
    from PIL import Image

    for index in range(24):
        colour = ("red", "lime", "blue")[index % 3]
        folder = tmp_path / "pictures" / colour
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 14 + index), colour).save(folder / f"{index}.png")
    command = ["train", "folder", "--data-dir", str(tmp_path / "pictures"), "--out", str(tmp_path / "run")]
    small = (
        "--model.depth 8 --model.base-filters 4 --data.image-size 8 --data.validation 0 --train.batch-size 6".split()
    )
    assert main([*command, *small, "--train.epochs", "15", "--train.learning-rate", "0.05"]) == 0
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "pictures" / "red" / "0.png")]) == 0
    out = capsys.readouterr().out
    assert "lime" in out.splitlines()[-1]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["num_classes"] == 3
    assert main(["evaluate", str(tmp_path / "run")]) == 0  # remembers where the pictures are


def test_import_a_released_checkpoint(tmp_path, capsys, monkeypatch):
    path = released_checkpoint(read(SMALL / "plain.safetensors.xz"), tmp_path / "best.pth.tar")
    monkeypatch.chdir(tmp_path)
    assert main(["import", str(path), "--leak", "0.874"]) == 0
    assert "run folder: runs/best" in capsys.readouterr().out
    assert main(["info", "runs/best"]) == 0
    assert "sresnet8, 8 filters, T = 3" in capsys.readouterr().out
    assert main(["import", str(path), "--leak", "0.874"]) == 0
    assert main(["import", str(path), "--leak", "0.5"]) == 2
    assert "runs/best holds a run with model.leak 0.874, not 0.5: choose another --out" in capsys.readouterr().err
    assert main(["evaluate", "runs/best"]) == 2
    assert "--data-dir" in capsys.readouterr().err


def test_info(capsys):
    assert main(["info", "sresnet38"]) == 0
    out = capsys.readouterr().out
    assert "parameters: 634,000" in out
    assert "stage1_block1.conv1" in out
    assert main(["info", "sresnet38", "--base-filters", "32", "--boosting", "--num-classes", "100"]) == 0
    assert "parameters: 2,514,976" in capsys.readouterr().out
    assert main(["info", "vgg11", "--image-size=48", "--hidden", "10"]) == 0
    assert "3x48x48" in capsys.readouterr().out


def test_compat_sets_model_and_training(tmp_path, capsys):
    command = ["train", "digits", *TINY, "--compat", "released-code", "--train.learning-rate", "0.05"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    assert "best test epoch" in capsys.readouterr().out
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["norm_bias"]
    assert config["train"]["learning_rate"] == 0.05  # flags go before it
    assert main(["info", "sresnet38", "--compat", "released-code"]) == 0
    assert "parameters: 706,800" in capsys.readouterr().out
    assert main(["info", "sresnet38", "--compat", "both"]) == 2
    assert main(["train", "digits", "--compat", "both"]) == 2
    assert capsys.readouterr().err.count("compat 'both' is unknown: choose from paper, released-code") == 2


def test_poisson_runs_evaluate_and_predict_the_same_twice(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "digits", *TINY, "--model.encoder", "poisson-signed", "--out", str(run)]) == 0
    accuracy = capsys.readouterr().out.splitlines()[-2]
    assert main(["evaluate", str(run), "--batch-size", "128"]) == 0  # the batches of `train`, so the same draws
    assert capsys.readouterr().out.splitlines()[0] == accuracy


def test_list(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("sresnet38", "paper-cifar10", "cifar100", "vgg11", "digits"))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert "usage: " in out or verb == "list"
    assert "\\n" not in out  # a line for each line


@pytest.mark.parametrize("words", ["predict run --help", "predict --model digits-t4 -h", "finetune run --help"])
def test_help_is_shown_wherever_it_is_asked_for(words, capsys):
    assert main(words.split()) == 0
    assert capsys.readouterr().out.startswith("usage: sresnet")


def test_help_explains_every_field(capsys):
    assert main(["train", "digits", "--help"]) == 0
    out = capsys.readouterr().out
    for flag in ("--model.num-steps", "--model.connection", "--train.epochs", "--data-dir", "--max-minutes", "--seed"):
        assert flag in out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("trian", "verb 'trian' is unknown: did you mean 'train'?"),
        ("train", "recipe is missing: choose from digits"),
        ("train digit", "recipe 'digit' is unknown: did you mean 'digits'?"),
        (
            "train digits --model.num-stepz 4",
            "Unrecognized options: --model.num-stepz, 4: did you mean --model.num-steps?",
        ),
        ("train digits --model.num-steps four", "--model.num-steps"),
        (
            "train digits --data.flip False",
            "--data.flip takes no value, and has False: give --data.flip or --data.no-flip alone",
        ),
        ("train digits --data.no-flip=1", "--data.no-flip takes no value, and has 1: give --data.flip or"),
        ("train digits --every-group yes", "--every-group takes no value, and has yes: give --every-group or"),
        ("train digits --model.num-steps 0", "num_steps 0 is less than 1"),
        ("train digits --model.connection s2x", "--model.connection"),
        ("train digits --model.depth 21", "depth 21 is not 6n + 2"),
        ("train digits --model.num-classes 7", "num_classes 7: digits has 10 classes"),
        ("train digits --train.epochs 0", "epochs 0 is less than 1"),
        ("train digits --train.time-segments auto --train.step-memory 1e-9", "in the smallest time segments"),
        ("train digits --device cuda:7", "device 'cuda:7' is not available here"),
        ("train digits --device toaster", "device 'toaster' is not available here"),
        ("train cifar10", "add --data-dir DIR"),
        ("train cifar10 --data-dir nowhere", "nowhere"),
        ("train folder --data-dir nowhere", "nowhere"),
        ("info sresnet21", "depth 21 is not 6n + 2"),
        ("info sresnetx", "model 'sresnetx' is unknown"),
        ("info sresnet20 --image-size 0", "image-size '0'"),
        ("info", "model is missing"),
        ("list models", "argument 'models' is one too many"),
        ("evaluate nowhere", "run 'nowhere' does not exist"),
        ("finetune nowhere --data digits", "run 'nowhere' does not exist"),
        ("import nowhere", "nowhere does not exist"),
        ("import .", ". is a folder: give the checkpoint file"),
        ("import /dev/null", "/dev/null is a device: give the checkpoint file"),
        ("evaluate /dev/null", "run '/dev/null' is a device: give the folder"),
        ("report /dev/null", "run '/dev/null' is a device: give the folder"),
        ("train cifar10 --data-dir /dev/null", "data folder /dev/null is a device"),
        ("train folder --data-dir /dev/null", "data folder /dev/null is a device"),
        ("train nmnist --data-dir /dev/null", "data folder /dev/null is a device"),
        ("import nowhere --data mnist", "data 'mnist' is unknown"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(words, complaint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.err.startswith("sresnet: ")
    assert captured.err.count("\n") == 1
    assert "run folder" not in captured.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("evaluate RUN --num-steps 3", "time step 3 has no norm"),
        ("evaluate RUN --num-steps -1", "num_steps -1"),
        ("evaluate RUN --part holdout", "part 'holdout'"),
        ("evaluate RUN --precision int4", "'int4' for argument '--precision'"),
        ("evaluate RUN --engine warp", "'warp' for argument '--engine'"),
        ("predict RUN RUN/config.json", "config.json"),
        ("predict RUN nothing.png", "nothing.png"),
        ("finetune RUN --data mnist", "--data 'mnist' is not a known data set"),
        ("train digits --out RUN", "holds a run with"),
    ],
)
def test_mistakes_with_a_run(words, complaint, capsys, run):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in run.iterdir() if path.name != ".lock")
    assert main(words.replace("RUN", str(run)).split()) == 2
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.err.count("\n") == 1
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in run.iterdir() if path.name != ".lock")


def test_our_mistakes_exit_with_1(capsys, monkeypatch):
    monkeypatch.setitem(VERBS, "list", lambda words: 1 / 0)
    assert main(["list"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        main(["list", "--debug"])


def test_a_reader_that_stops_early(tmp_path):
    command = f"{sys.executable} -m sresnet list | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout == "models:\n"
    assert done.stderr == ""


def test_interrupted_by_ctrl_c_saves_and_says_so(tmp_path):
    """A real process, a real signal."""
    import signal

    command = [sys.executable, "-u", "-m", "sresnet", "train", "digits", "--train.epochs", "200", "--out", "run"]
    # One thread: two that wait for each other on busy cores take ten times as long.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            process.send_signal(signal.SIGTERM)
            break
    out, err = process.communicate()
    assert process.returncode == 143, err
    assert "(SIGTERM): run the same command again to resume" in out
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_version_and_bare_call(capsys):
    assert main([]) == 0
    assert "usage: sresnet VERB" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "0.2.0\n"
    assert create_model("sresnet8").config.depth == 8
