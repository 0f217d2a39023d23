"""Training on clips of event frames that stay on disk."""

import dataclasses

import pytest
import torch

import sresnet
from sresnet import UserError
from sresnet.config import from_dict, to_dict
from sresnet.data import DataConfig, EventConfig, Splits
from sresnet.data.augmentation import augmented, training_batch
from sresnet.data.events.changes import ChangeConfig
from sresnet.data.events.clips import FrameSet
from sresnet.data.events.frames import FrameConfig
from sresnet.data.fingerprint import fingerprint
from sresnet.data.scaling import Counts, make_scaling, scaling_from_plain
from sresnet.data.stored import SampleFile
from sresnet.files import read_json
from sresnet.models import SResNetConfig
from sresnet.processes import Part
from sresnet.train import record
from sresnet.train.evaluate import evaluate
from sresnet.train.loop import train
from sresnet.train.recipe import Recipe, TrainConfig
from sresnet.train.recipes import RECIPES
from tests.train.test_loop import final

CPU = torch.device("cpu")
STEPS = 3

TINY = Recipe(
    model=SResNetConfig(
        depth=8, base_filters=2, num_steps=STEPS, in_channels=2, num_classes=4, surrogate_height=1.0, neuron="plif"
    ),
    data=EventConfig(name="event-folder", split="random90", flip=True, shift=1, cutout=0.3),
    train=TrainConfig(epochs=3, batch_size=16, learning_rate=0.1, schedule="cosine", ema=0.9),
)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Classes told apart by which quarter of the frames the events are in."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (143,), generator=generator)
    clips = torch.zeros(143, STEPS, 2, 8, 8, dtype=torch.uint8)
    for clip, label in zip(clips, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        clip[:, label % 2, 4 * row + 1 : 4 * row + 3, 4 * column + 1 : 4 * column + 3] = 3
        clip += torch.randint(0, 2, clip.shape, generator=generator).to(torch.uint8)
    path = tmp_path_factory.mktemp("frames") / "tiny.frames"
    path.write_bytes(clips.numpy().tobytes())
    whole = FrameSet(
        file=SampleFile(path, 143, (STEPS, 2, 8, 8)),
        numbers=torch.arange(143),
        labels=labels,
        class_names=("a", "b", "c", "d"),
    )
    parts = [whole.subset(torch.arange(*ends)) for ends in ((0, 90), (90, 110), (110, 143))]
    return Splits(train=parts[0], validation=parts[1], test=parts[2], about={"name": "random90", "simulated": False})


def changed(recipe=TINY, **train_fields):
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, **train_fields))


def test_a_run_from_start_to_end(tmp_path, splits):
    outcome = train(TINY, splits, tmp_path, device=CPU)
    assert outcome.state == "finished"
    assert outcome.result["split"] == {
        "train": 90, "validation": 20, "test": 33, "name": "random90", "simulated": False,
    }  # fmt: skip
    assert record.read_recipe(tmp_path) == TINY
    about = read_json(tmp_path / "data.json")
    assert about.pop("fingerprint") == fingerprint(splits)
    assert about == {"class_names": ["a", "b", "c", "d"], "image_size": [8, 8], "scale": 1.0}
    model = sresnet.load(tmp_path)
    again = evaluate(model, splits.test, scaling_from_plain(about), batch_size=7)
    assert again.top1 == outcome.result["test_top1"]
    early = evaluate(model, splits.test, scaling_from_plain(about), num_steps=1)
    assert early.loss != again.loss


def test_it_learns(tmp_path, splits):
    recipe = dataclasses.replace(
        changed(epochs=15, ema=0.0), data=dataclasses.replace(TINY.data, flip=False, shift=0, cutout=0.0)
    )
    assert train(recipe, splits, tmp_path, device=CPU).result["test_top1"] > 90


def test_stopped_anywhere_ends_the_same(tmp_path, splits):
    whole = train(TINY, splits, tmp_path / "whole", device=CPU)
    outcome, stops = None, 0
    while outcome is None or outcome.state == "stopped":
        steps = []
        torch.manual_seed(stops)
        outcome = train(
            TINY,
            splits,
            tmp_path / "pieces",
            device=CPU,
            watch=steps.append,
            should_stop=lambda steps=steps: len(steps) == 2,
        )
        stops += 1
    assert stops == 5
    assert final(whole.folder) == final(tmp_path / "pieces")


MIXED = dataclasses.replace(
    TINY,
    data=dataclasses.replace(
        TINY.data,
        changes=ChangeConfig(
            polarity=0.5, reverse=0.5, crop=0.6, nda=True, drop="any", space_jitter=0.7, time_jitter=0.5, mix="eventmix"
        ),
    ),
)
MIXUP = dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, changes=ChangeConfig(mix="mixup", mix_alpha=0.4)))


@pytest.mark.parametrize("recipe", [MIXED, MIXUP], ids=["all changes and eventmix", "mixup"])
def test_changed_and_mixed_clips_are_the_same_after_a_stop(tmp_path, splits, recipe):
    whole = train(recipe, splits, tmp_path / "whole", device=CPU)
    outcome = None
    while outcome is None or outcome.state == "stopped":
        steps = []
        torch.manual_seed(0)
        stop = {"watch": steps.append, "should_stop": lambda steps=steps: len(steps) == 4}
        outcome = train(recipe, splits, tmp_path / "pieces", device=CPU, **stop)
    assert final(whole.folder) == final(tmp_path / "pieces")
    plain = train(TINY, splits, tmp_path / "plain", device=CPU)
    assert final(whole.folder) != final(plain.folder)


@pytest.mark.parametrize("recipe", [MIXED, MIXUP], ids=["all changes and eventmix", "mixup"])
def test_parts_of_a_mixed_batch_are_what_they_are_of_the_whole(splits, recipe):
    """Also where the other clip is in another part, or another process."""
    indices = torch.randperm(90, generator=torch.Generator().manual_seed(3))[:16]
    given = splits.train.batch, splits.train.labels, indices, recipe.data, 4, 1, 7
    x, target = training_batch(*given)
    assert target.shape == (16, 4)
    torch.testing.assert_close(target.sum(1), torch.ones(16))
    assert ((target > 0) & (target < 1)).any()
    assert not torch.equal(training_batch(*given[:-1], 8)[1], target)
    for ends in ((0, 5), (5, 6), (6, 16)):
        part_x, part_target = training_batch(*given, part=Part(*ends, 16))
        assert torch.equal(part_x, x[slice(*ends)])
        assert torch.equal(part_target, target[slice(*ends)])


def test_mixed_clips_train_in_parts_of_a_batch(tmp_path, splits):
    recipe = dataclasses.replace(changed(MIXED, accumulate=4, epochs=1))
    result = train(recipe, splits, tmp_path, device=CPU).result
    assert 0 <= result["test_top1"] <= 100
    assert record.read_metrics(tmp_path)[0]["train_loss"] > 0


def test_network_must_fit_the_clips(tmp_path, splits):
    for field, words in (
        ({"num_steps": 4}, "num_steps 4: the clips have 3 frames"),
        ({"in_channels": 3}, "in_channels 3: event-folder .* have 2"),
        ({"num_classes": 5}, "num_classes 5: event-folder has 4"),
    ):
        recipe = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, **field))
        with pytest.raises(UserError, match=words):
            train(recipe, splits, tmp_path, device=CPU)


def test_fine_tuning_from_images_to_events(tmp_path, splits):
    from tests.train.test_loop import SPLITS
    from tests.train.test_loop import TINY as IMAGES

    model = dataclasses.replace(IMAGES.model, num_steps=STEPS, neuron="lif")
    source = train(dataclasses.replace(changed(IMAGES, ema=0.0), model=model), SPLITS, tmp_path / "images", device=CPU)
    recipe = dataclasses.replace(
        changed(learning_rate=0.0, ema=0.0, epochs=1),
        model=dataclasses.replace(TINY.model, neuron="lif"),
        pretrained=str(source.folder),
    )
    tuned = sresnet.load(train(recipe, splits, tmp_path / "tuned", device=CPU).folder).state_dict()
    old = sresnet.load(source.folder).state_dict()
    assert tuned["layers.stem.conv.weight"].shape[1] == 2
    assert torch.equal(tuned["layers.stage1_block1.conv1.weight"], old["layers.stage1_block1.conv1.weight"])


def test_frames_of_a_clip_are_changed_alike():
    clip = torch.randint(1, 50, (1, 1, 2, 8, 8), dtype=torch.uint8)
    clips = clip.expand(20, 5, 2, 8, 8)
    for fields in ({"flip": True}, {"shift": 3}, {"shift": 3, "shift_fill": "zero"}, {"cutout": 1.0}):
        config = EventConfig(**fields)
        out = augmented(clips, config, 0, 3)
        assert out.shape == clips.shape
        assert out.dtype == torch.uint8
        assert torch.equal(out, out[:, :1].expand_as(out))  # every frame as the first
        assert len(out.unique(dim=0)) > 1  # but clips differ
        assert torch.equal(out, augmented(clips, config, 0, 3))
        assert not torch.equal(out, augmented(clips, config, 0, 4))
    assert torch.equal(augmented(clips, EventConfig(), 0, 3), clips)
    rolled = augmented(clips, EventConfig(shift=3), 0, 3)
    assert (rolled.flatten(1).sum(1) == clips[0].sum()).all()  # no event lost
    assert (augmented(clips, EventConfig(cutout=1.0), 0, 3) == 0).any()


def test_raw_counts_are_the_input(splits):
    """Section 3.4: no normalisation."""
    frames = splits.train.batch(torch.arange(5))
    assert torch.equal(make_scaling(TINY.data, splits.train)(frames), frames.float())
    quarter = make_scaling(TINY.data, dataclasses.replace(splits.train, scale=0.25))
    assert torch.equal(quarter(frames), frames.float() / 4)
    assert scaling_from_plain(quarter.plain()) == Counts(0.25)


def test_images_are_meant_where_no_family_is_named():
    """As in the config.json of runs from before there were events, whose fingerprints stay."""
    plain = to_dict(Recipe())
    assert "family" not in plain["data"]
    assert isinstance(from_dict(Recipe, plain).data, DataConfig)
    events = to_dict(TINY)
    assert events["data"]["family"] == "events"
    assert from_dict(Recipe, events) == TINY
    with pytest.raises(UserError, match="Recipe.data.family is 'sound': choose from images, events"):
        from_dict(Recipe, plain | {"data": {"family": "sound"}})


def test_events_need_the_direct_encoder():
    with pytest.raises(UserError, match="encoder 'poisson' encodes images, not events: use 'direct' or 'delta'"):
        Recipe(model=SResNetConfig(encoder="poisson"), data=EventConfig())


@pytest.mark.parametrize(("size", "stem"), [(32, "c3"), (64, "c3s2"), (128, "c5s2-pool")])
def test_recipes_of_table_13(size, stem):
    """32 filters, 70 epochs, drops at 50, 70 and 90 % (Table 11), raw counts, no augmentation, equal time windows."""
    _, recipe = RECIPES[f"paper-dvs-cifar10-{size}"]
    assert (recipe.model.stem, recipe.model.base_filters, recipe.model.depth, recipe.model.num_steps) == (
        stem, 32, 38, 50,
    )  # fmt: skip
    assert recipe.data == EventConfig(frames=FrameConfig(by="time", size=size))
    assert (recipe.data.flip, recipe.data.shift, recipe.data.cutout) == (False, 0, 0)
    assert recipe.train == TrainConfig(milestones=(0.5, 0.7, 0.9))
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.train.learning_rate) == (70, 21, 0.0268)


def test_recipes_of_table_11():
    narrow, boosted = (RECIPES[f"paper-dvs-cifar10-{name}"][1].model for name in ("16f", "boosting"))
    assert (narrow.base_filters, narrow.boosting, narrow.stem) == (16, False, "c3")
    assert (boosted.base_filters, boosted.boosting, boosted.stem) == (32, True, "c3")
