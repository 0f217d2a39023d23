import types

from sresnet.cli import display
from sresnet.cli.display import _bar, _line_of, _log_lines
from sresnet.train.loop import Progress

METRICS = {
    "spikes_per_neuron_and_step": 0.25,
    "images_per_second": 1234.5,
    "spike_rate": {"stem": 0.125},
    "sent": {"stem": -0.5},
}
STEP = "step 7/20  loss 0.500  train 75.00 %  2,000 images/s  1:15 left"
EPOCH = "epoch 2/4  loss 0.500  train 75.00 %  firing rate 0.250  1,234 images/s"


def progress(step=7, metrics=None):
    numbers = {"loss": 0.5, "accuracy": 75.0, "images_per_second": 2000.0, "seconds_left": 75.2}
    return Progress(epoch=2, epochs=4, step=step, steps=20, metrics=metrics, **numbers)


def test_a_line_of_a_step_and_of_an_epoch():
    assert _line_of(progress()) == STEP
    assert _line_of(progress(metrics=METRICS)) == EPOCH
    assert "  validation 50.00 %  T = 2  3/4 size  " in _line_of(
        progress(metrics=METRICS | {"validation_top1": 50.0, "num_steps": 2, "small_images": True})
    )


def test_lines_come_at_every_epoch_and_every_half_minute(monkeypatch, capsys):
    clock = [1000.0]
    monkeypatch.setattr(display, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    watch = _log_lines()
    for seconds, metrics, expected in (
        (30.0, None, ""),
        (0.5, None, STEP),
        (30.0, None, ""),
        (0.1, METRICS, EPOCH),
        (29.9, None, ""),
        (0.2, None, STEP),
    ):
        clock[0] += seconds
        watch(progress(metrics=metrics))
        assert capsys.readouterr().out.strip() == expected


def test_the_bar_ends_each_epoch_with_its_line(monkeypatch, capsys):
    with _bar() as watch:
        watch(progress())
        assert "firing rate" not in capsys.readouterr().out
        watch(progress(metrics=METRICS))
    assert EPOCH in capsys.readouterr().out
