from dataclasses import replace

from sresnet.config import to_dict
from sresnet.studies.study import Result
from tests.scripts import script

experiment = script("experiments/event_tables")


def made_up(training, seed, top1):
    return Result(
        key="",
        config=to_dict(replace(training.recipe, seed=seed)),
        environment={"device": "abacus, 2 cores", "threads": 1, "torch": "2.0"},
        metrics=[],
        result={"test_top1": top1, "split": {"train": 1000, "validation": 0, "test": 2000}},
        by_steps=(top1,),
    )


def test_rows_differ_from_the_papers_in_size_alone():
    for row, training in (experiment.TABLE11 | experiment.TABLE13).items():
        model, data = training.recipe.model, training.recipe.data
        assert (training.start is None) == ("no pre-training" in row)
        assert training.recipe.train.milestones == (0.5, 0.7, 0.9)
        assert (model.depth, model.num_steps, model.in_channels, model.num_classes) == (8, 4, 2, 10)
        assert (data.validation, data.flip, data.shift, data.cutout) == (0, False, 0, 0)
        if training.start:  # what is handed on has to fit
            for field in ("depth", "base_filters", "num_steps", "boosting", "downsample", "connection", "norm"):
                assert getattr(training.start.recipe.model, field) == getattr(model, field)
    sizes = {training.recipe.data.frames.size: training.recipe.model.stem for training in experiment.TABLE13.values()}
    assert sizes == {64: "c3s2", 128: "c5s2-pool"}


def test_table_of_made_up_runs_decides_by_noise():
    narrow, wide = list(experiment.TABLE11)[:2], list(experiment.TABLE11)[2:]
    tops = dict(zip([*narrow, *wide], (40.0, 50.0, 45.0, 45.5), strict=True))
    rows = experiment.TABLE11
    found = {row: [made_up(rows[row], seed, top1 + seed) for seed in range(3)] for row, top1 in tops.items()}
    lines = experiment.table(found)
    assert f"| {narrow[1]} | 3 | 51.00 ± 1.00 | 1,000 / 2,000 |" in lines
    verdicts = [line for line in lines if line.startswith("- Pre-training helps")]
    assert ["**holds**" in line for line in verdicts] == [True, False]
    assert "**within noise**" in verdicts[1]
    assert not any("64x64 are better" in line for line in lines)
    assert lines[-1] == "abacus, 2 cores, 1 thread, torch 2.0."
