from sresnet.config import to_dict
from sresnet.studies.study import Result
from tests.scripts import script

experiment = script("experiments/event_changes")


def made_up(row, seed, top1, loss=0.5, *, choice=True):
    recipe = (experiment.choices() | experiment.longer() if choice else {row: experiment.biolab()})[row]
    split = {"train": 165, "validation": 85 if choice else 0, "test": 85 if choice else 406, "name": "by-group"}
    return Result(
        key="",
        config=to_dict(recipe) | {"seed": seed},
        environment={"device": "abacus, 2 cores", "threads": 1, "torch": "2.0"},
        metrics=[{"train_top1": 1.0}, {"train_top1": 97.5}],
        result={
            "test_top1": top1,
            "validation_top1": top1,
            "validation_loss": loss,
            "split": split | ({"tested_on": "the held-out part"} if choice else {}),
        },
        by_steps=(top1,),
    )


def test_table_of_made_up_runs():
    longer = "BioLab, 30 epochs, NDA"
    plain, filtered, other = "BioLab, as the recipe", "BioLab, background filter, 20 ms", "N-MNIST, NDA"
    found = {
        plain: [made_up(plain, seed, top1, loss) for seed, top1, loss in ((0, 90.0, 0.25), (1, 92.0, 0.35))],
        longer: [made_up(longer, 0, 96.0, 0.0625)],
        filtered: [made_up(filtered, 0, 95.0, 0.125)],
        other: [made_up(other, 0, 80.0, 0.75)],
        "BioLab, tested": [made_up("BioLab, tested", seed, 70.0 + seed, choice=False) for seed in range(3)],
    }
    lines = experiment.table(found)
    best = lines.index("| background filter, 20 ms | 1 | 0.125 | 95.00 | 97.5 |")
    assert lines[best + 1] == "| as the recipe | 2 | 0.300 ± 0.071 | 91.00 ± 1.41 | 97.5 |"
    assert "| NDA | 1 | 0.750 | 80.00 | 97.5 |" in lines
    assert "| BioLab, tested | S-ResNet14, 16 filters, T = 8 | 3 | 71.00 ± 1.00 | 165 / 406 | 30 |" in lines
    later = lines.index("## BioLab: what is chosen by, after more epochs")
    assert "| NDA | 1 | 0.062 | 96.00 | 97.5 |" in lines[later:]
    assert any("BioLab, background filter, 5 ms, 1 of 1;" in line for line in lines)
    assert not any("BioLab, background filter, 20 ms, 1 of 1" in line for line in lines)
    assert lines[-1] == "abacus, 2 cores, 1 thread, torch 2.0."


def test_each_row_is_one_addition_and_opens_no_test_recordings():
    recipes = experiment.choices()
    for name in ("BioLab", "N-MNIST"):
        plain = to_dict(recipes[f"{name}, {experiment.PLAIN}"].data)
        rows = [to_dict(recipe.data) for row, recipe in recipes.items() if row.startswith(f"{name}, ")]
        assert len({str(each) for each in rows}) == len(rows)
        for each in rows[1:]:
            assert len([field for field in each if each[field] != plain.get(field)]) == 1
    assert all(recipe.data.validation for recipe in (recipes | experiment.longer()).values())


def test_what_is_tested_differs_from_the_choice_in_what_is_held_out_alone(monkeypatch):
    monkeypatch.setattr(experiment, "CHOSEN", {"BioLab": "NDA", "N-MNIST": "NDA"})
    tested, others = (experiment.tested(chosen=chosen) for chosen in (True, False))
    assert len(tested) == 4
    assert len(others) == len(experiment.longer()) - 4
    for row, recipe in (tested | others).items():
        chosen = to_dict(experiment.longer()[row.replace("tested", "30 epochs")])
        found = to_dict(recipe)
        assert found["data"].pop("validation") == 0.0
        assert chosen["data"].pop("validation") > 0
        assert chosen["data"].pop("held_out", "last") == "last"
        assert found == chosen
