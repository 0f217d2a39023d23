from sresnet.config import to_dict
from sresnet.studies.study import Result
from sresnet.train.recipes import RECIPES
from tests.scripts import script

ablation = script("experiments/ablation")
FAST = "the first eight, those of the fast recipes"


def made_up(seed, top1, train=50.0):
    return Result(
        key="",
        config=to_dict(ablation.BASE) | {"seed": seed},
        environment={"device": "abacus, 2 cores", "threads": 2, "torch": "2.0"},
        metrics=[{"train_top1": 1.0}, {"train_top1": train}],
        result={
            "test_top1": top1,
            "test_loss": 1.0,
            "steps": 3,
            "split": {"train": 10000, "test": 5000, "name": "x"},
        },
        by_steps=(20.0, top1),
    )


def test_table_of_made_up_runs():
    found = {
        "plain": [made_up(seed, top1) for seed, top1 in enumerate((40.0, 42.0, 44.0))],
        "TrivialAugment": [made_up(seed, top1, 30.0) for seed, top1 in enumerate((41.0, 44.0, 47.0))],
        "all of them": [made_up(1, 41.5)],
    }
    lines = ablation.table({row: list(map(ablation.held_out, group)) for row, group in found.items()})
    assert "| plain | 3 | 42.00 ± 2.00 |  | 20.00 ± 0.00 | 50.00 |" in lines
    assert "| TrivialAugment | 3 | 44.00 ± 3.00 | +2.00 ± 1.00 | 20.00 ± 0.00 | 30.00 |" in lines
    assert "| all of them | 1 | 41.50 | -0.50 | 20.00 | 50.00 |" in lines  # with the plain run of seed 1
    assert "S-ResNet8, 8 filters, T = 4, 10,000 training images of CIFAR-10, epochs: 5." in lines
    assert lines[-1] == "abacus, 2 cores, 2 threads, torch 2.0."
    assert max(map(len, lines)) <= 120


def test_a_result_does_not_call_held_out_images_test_images():
    assert ablation.held_out(made_up(0, 40.0)).result == {
        "held_out_top1": 40.0,
        "held_out_loss": 1.0,
        "held_out_top1_first_step": 20.0,
        "steps": 3,
        "split": {"train": 10000, "held_out": 5000},
    }


def test_each_addition_stands_alone_and_all_together_in_the_last():
    recipes = ablation.rows(ablation.BASE)
    assert list(recipes) == ["plain", *ablation.ADDITIONS, "all of them", FAST, *ablation.OTHERS]
    plain = to_dict(recipes["plain"])

    def changed(name):
        values = to_dict(recipes[name])
        return {
            (part, key)
            for part in ("model", "data", "train")
            for key in values[part]
            if values[part][key] != plain[part].get(key)
        }

    alone = [changed(name) for name in (*ablation.ADDITIONS, *ablation.OTHERS)]
    longer = [{("train", "epochs"), ("train", name)} for name in ("progressive_epochs", "low_res_epochs")]
    assert [each for each in alone if len(each) > 1] == longer
    assert changed("all of them") == set.union(*map(changed, ablation.ADDITIONS))
    assert changed(FAST) == set.union(*map(changed, ablation.FAST))
    fast = to_dict(RECIPES["fast-cifar10-small"][1])
    others = {
        "learning_rate",
        "ema",
        "epochs",
        "progressive_epochs",
        "low_res_epochs",
    }  # for other batches and other lengths
    for part, key in changed(FAST):
        assert key in others or fast[part][key] == to_dict(recipes[FAST])[part][key]
    # As long in all: an epoch of small images costs 9/16, so whole epochs come near, not to, the plain one's 20.
    work = {name: sum(map(recipe.work_in, range(recipe.train.epochs))) for name, recipe in recipes.items()}
    nearly = {name: work.pop(name) for name in ("smaller images in 5 of 7 epochs, as long in all", "all of them", FAST)}
    assert list(nearly.values()) == [4 * (5 * 9 / 16 + 2), 10 * 9 / 16 + 2 + 4 * 3, 10 * 9 / 16 + 2 + 4 * 3]
    assert set(work.values()) == {20}
    assert len({recipe.fingerprint() for recipe in recipes.values()}) == len(recipes)


def test_no_test_image_is_used(monkeypatch):
    import torch

    from sresnet.data import ImageSet, Splits

    def images(value, count):
        return ImageSet(
            images=torch.full((count, 3, 2, 2), value, dtype=torch.uint8),
            labels=torch.arange(count) % 10,
            class_names=tuple("abcdefghij"),
        )

    whole = Splits(train=images(1, 450), validation=images(2, 50), test=images(3, 100))
    monkeypatch.setattr(ablation, "open_data", lambda *arguments, **options: whole)
    found = ablation.split("", 100)
    assert (len(found.train), len(found.test)) == (100, 50)
    assert found.train.labels.bincount().tolist() == [10] * 10
    assert found.train.images.unique().tolist() == [1]
    assert found.test.images.unique().tolist() == [2]
    assert found.validation is None
