"""What a trained network knows of its input: predictions, scaling, and where it is kept."""

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sresnet
from sresnet import UserError
from sresnet.data import DataConfig, open_data
from sresnet.data.images import ImageSet
from sresnet.data.scaling import Counts, Pixels
from sresnet.models import FeatureNetwork
from sresnet.models.saved import model_bytes
from sresnet.models.trained import Trained, checked_about, trained_from_plain
from sresnet.train.evaluate import evaluate


def digits():
    """Test images of the digits, uint8 [N, 1, 8, 8], and their labels."""
    test = open_data(DataConfig(name="digits"), "", seed=0, num_steps=1).test
    return test.batch(torch.arange(len(test))), test.labels


@pytest.fixture(scope="module")
def model():
    return sresnet.create_model("digits-t4", pretrained=True)


def test_a_picture_is_predicted_as_the_network_was_trained(model, tmp_path):
    """The same from a file, a PIL image, an array and a tensor, of bytes and of numbers from 0 to 1."""
    images, labels = digits()
    scores = model(model.trained.scaling(images))
    assert (scores.argmax(1) == labels).float().mean() > 0.97
    for image, expected in zip(images[:5], scores.softmax(1), strict=False):
        grey = image[0].numpy()
        Image.fromarray(grey).save(tmp_path / "digit.png")
        kinds = [image, image / 255, grey, grey[..., None], grey / 255, Image.fromarray(grey), tmp_path / "digit.png"]
        for kind in [*kinds, str(tmp_path / "digit.png")]:
            found = model.predict(kind, top=2)
            best = expected.topk(2)
            assert [name for name, _ in found] == [str(index) for index in best.indices.tolist()]
            torch.testing.assert_close(torch.tensor([each for _, each in found]), best.values, atol=1e-5, rtol=1e-4)
    assert sum(each for _, each in model.predict(images[0], top=99)) == pytest.approx(1, abs=1e-5)


def test_pictures_of_other_sizes_and_channels(model):
    image = digits()[0][0]
    large = image.repeat_interleave(4, 1).repeat_interleave(4, 2)
    colour = large.expand(3, -1, -1)
    best = model.predict(image)[0][0]
    assert {model.predict(each)[0][0] for each in (large, colour, colour.permute(1, 2, 0).numpy())} == {best}
    transparent = torch.cat([colour, torch.full_like(large, 255)])
    assert model.predict(transparent) == model.predict(colour)
    wide = sresnet.load_pretrained("cifar10-wide-t2")
    grey = torch.randint(0, 256, (1, 32, 32), dtype=torch.uint8)
    assert wide.predict(grey) == wide.predict(grey.expand(3, -1, -1))


WAYS = {
    "forward": lambda model, x: model(x),
    "num_steps": lambda model, x: model(x, num_steps=2),
    "time_segments": lambda model, x: model(x, time_segments=2),
    "record": lambda model, x: model(x, record=["stem.neuron"]),
    "stream": lambda model, x: model(x, state=sresnet.StreamState()),
    "step": lambda model, x: model.step(model.step(x)[1] and x),
    "steps": lambda model, x: model.forward_steps(x),
    "features": lambda model, x: model.forward_features(x),
    "pooled": lambda model, x: FeatureNetwork(model)(x),
    "stages": lambda model, x: FeatureNetwork(model, stages=True)(x),
    "without gradients": lambda model, x: torch.no_grad()(model)(x),
    "frames": lambda model, x: model(x[:, None].expand(-1, 4, -1, -1, -1)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["0 to 1", "0 to 255", "resized"])
def test_raw_pixels_are_warned_of_once_whichever_way_they_come(way, kind):
    images = digits()[0][:2].float()
    filled = images / images.max() * 0.96
    raw = {"0 to 1": images / 255, "0 to 255": images, "resized": filled + 0.0131}[kind]
    words = "pixels run from 0 " if kind == "0 to 255" else "all pixels lie between 0 and 1"
    model = sresnet.load_pretrained("digits-t4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WAYS[way](model, model.trained.scaling(digits()[0][:2]))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            WAYS[way](model, raw)
    assert [str(each.message).startswith(words) for each in said] == [True]
    assert "give model.predict(image), or model.trained.scaling(uint8 images)" in str(said[0].message)
    assert said[0].filename == __file__


def test_what_is_scaled_is_not_warned_of(model, tmp_path):
    """Pictures of little contrast too; nor what the package scales itself, nor what trains."""
    images, labels = digits()
    scaling = model.trained.scaling
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(scaling(images))
        for shift in range(0, 160, 10):  # grey on grey: all between 0 and 1 for some of them
            model(scaling((images[:1] // 3 + shift).to(torch.uint8)))
        model(torch.full((1, 1, 8, 8), 0.5))
        model(images[:2].float() / 255 - 0.5)
        torch.func.vmap(lambda x: model(x[None]))(images[:2] / 255)  # where nobody can look
        black_and_white = torch.where(images > 100, scaling_inverse(scaling, 1.0), scaling_inverse(scaling, 0.0))
        model.predict(black_and_white[0])
        test = ImageSet(images=black_and_white, labels=labels, class_names=tuple("0123456789"))
        assert 0 <= scaling(test.images).min() < scaling(test.images).max() <= 1
        evaluate(model, test, scaling)
        fresh = sresnet.create_model("digits-t4")
        fresh.eval()(images[:2] / 255)
        sresnet.load_pretrained("digits-t4").train()(images[:2] / 255)


def scaling_inverse(scaling, value):
    """The nearest byte of an input, from above."""
    byte = torch.ceil((value * scaling.std + scaling.mean) * 255) - (1 if value else 0)
    return byte.to(torch.uint8)


def test_intensities_are_from_0_to_1(model):
    """A network that was trained on these is told of bytes alone."""
    images = digits()[0][:2]
    other = sresnet.load_pretrained("digits-t4")
    other.trained = dataclasses.replace(other.trained, scaling=Pixels())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other(images / 255)
    with pytest.warns(UserWarning, match="pixels run from 0 to 255, as before the scaling"):
        other(images.float() / images.max() * 255)


def test_export_and_compilation_do_not_look():
    model, x = sresnet.load_pretrained("digits-t4"), digits()[0][:2] / 255
    exported = torch.export.export(model, (x,)).module()
    with pytest.warns(UserWarning, match="all pixels"):
        expected = model(x)
    torch.testing.assert_close(exported(x), expected)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (3, "the image is of type int: give a PIL image"),
        (None, "the image is of type NoneType: give a PIL image"),
        ([], "the image is of type list: give a PIL image"),
        ([[0.5] * 8] * 8, "the image is of type list: give a PIL image"),
        (torch.zeros(1, 8, 8, device="meta"), "the image is a tensor without plain numbers"),
        (torch.zeros(1, 8, 8).to_sparse(), "the image is a tensor without plain numbers"),
        (np.ones((8, 8), dtype=bool), "the image is of bool: give uint8, or float from 0 to 1"),
        (torch.ones(1, 8, 8, dtype=torch.bool), "the image is of torch.bool: give uint8, or float from 0 to 1"),
        (np.ones((8, 8), dtype=np.uint16), "the image is of torch.uint16: give uint8, or float from 0 to 1"),
        (np.ones((8, 8), dtype=">u2"), "the image is of torch.uint16: give uint8, or float from 0 to 1"),
        (np.array([None]), "the image is of object: give uint8"),
        (np.full((8, 8), np.nan), "runs from nan to nan"),
        (np.zeros((0, 0)), r"the image has shape \(0, 0\)"),
        (np.array(3), r"the image has shape \(\)"),
        (Image.new("F", (8, 8)), "its pixels are of Pillow's mode F, not of 8 or 16 bits"),
        (Image.new("RGB", (0, 0)), "the image has shape"),
        (b"digit.png", "the image is of type bytes"),
        ("a\0b", "embedded null byte"),
        (np.zeros((8, 8), dtype=complex), "the image is of complex128"),
        (torch.zeros(2, 1, 8, 8), r"the image has shape \(2, 1, 8, 8\)"),
        (torch.randn(1, 8, 8), "before any normalisation"),
        (torch.zeros(2, 8, 8), "the image has 2 channels, and this network takes 1"),
        (torch.zeros(2, 9, 9), "the image is 9x9 in 2 channels, and this network takes 8x8: scale it first"),
        ("none.png", "none.png does not exist"),
    ],
)
def test_what_is_no_picture(model, image, words):
    with pytest.raises(UserError, match=words):
        model.predict(image)


def test_pictures_of_every_kind_are_the_same_picture(model):
    """Kinds of numbers and of colours that say the same get the same answer."""
    grey = digits()[0][0, 0].numpy()
    expected = model.predict(grey)
    part = grey / 255
    kinds = [part.astype(kind) for kind in ("f4", ">f4", "f8", ">f8", np.longdouble)]
    kinds += [np.ma.masked_array(part), grey[::-1][::-1], torch.tensor(part, requires_grad=True)]
    image = Image.fromarray(grey)
    kinds += [image.convert(mode) for mode in ("RGB", "RGBA", "LA", "CMYK", "RGBX")]
    palette = Image.fromarray(grey)
    palette.putpalette([value for value in range(256) for _ in range(3)])
    kinds += [palette, Image.fromarray(grey.astype(np.uint16) * 257)]
    for kind in kinds:
        assert model.predict(kind) == expected
    rough = [torch.tensor(part).to(kind) for kind in (torch.float16, torch.bfloat16, torch.float8_e4m3fn)]
    assert {model.predict(each)[0][0] for each in rough} == {expected[0][0]}
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    wide = sresnet.load_pretrained("cifar10-wide-t2")
    found = wide.predict(red)
    assert found == wide.predict(Image.fromarray(red)) == wide.predict(Image.fromarray(red).quantize(2))
    assert found != wide.predict(red[..., ::-1])


def test_networks_that_cannot_predict(model):
    image = torch.zeros(1, 8, 8, dtype=torch.uint8)
    fresh = sresnet.create_model("sresnet8", num_steps=2, in_channels=1)
    with pytest.raises(UserError, match="does not know what it was trained on"):
        fresh.eval().predict(image)
    other = sresnet.create_model("digits-t4", pretrained=True, num_classes=3)
    with pytest.raises(UserError, match="or its classifier is new"):
        other.predict(image)
    with pytest.raises(UserError, match="is in training mode"):
        sresnet.load_pretrained("digits-t4").train().predict(image)
    for top in (0, -1, None, 2.5, "3", True):
        with pytest.raises(UserError, match=f"top {top!r} is not 1 or more"):
            model.predict(image, top=top)
    fresh.trained = Trained(class_names=("a", "b"), image_size=(8, 8), scaling=Counts())
    with pytest.raises(UserError, match="takes event frames"):
        fresh.predict(image)


def test_names_of_trained_networks():
    assert list(sresnet.list_pretrained()) == ["cifar10-t4", "cifar10-wide-t2", "cifar100-t2", "digits-t4"]
    one = sresnet.create_model("cifar10-t4", pretrained=True)
    other = sresnet.create_model("sresnet20", pretrained="cifar10-t4")
    assert model_bytes(one) == model_bytes(other) == model_bytes(sresnet.load_pretrained("cifar10-t4"))
    fresh = sresnet.create_model("cifar10-t4", leak=0.7)
    assert fresh.trained is None
    assert fresh.config.depth == 20
    assert fresh.config.leak == 0.7
    with pytest.raises(UserError, match="of this model that come with the package: cifar10-t4, cifar100-t2"):
        sresnet.create_model("sresnet20", pretrained=True)
    with pytest.raises(UserError, match="digits-t4 is a sresnet8, not a cifar10-t4"):
        sresnet.create_model("cifar10-t4", pretrained="digits-t4")
    with pytest.raises(UserError, match="cifar10-t4 has no field 'leek': did you mean 'leak'"):
        sresnet.create_model("cifar10-t4", leek=0.7)
    with pytest.raises(UserError, match="'cifar10-t5' is not shipped: did you mean 'cifar10-t4'"):
        sresnet.load_pretrained("cifar10-t5")
    for fields in ({}, {"pretrained": True}, {"pretrained": False}, {"features_only": True}, {"num_classes": 0}):
        with pytest.raises(UserError, match="'cifar10-t5' is unknown: did you mean 'cifar10-t4'"):
            sresnet.create_model("cifar10-t5", **fields)
    for odd in (1, Path("cifar10-t4"), ["cifar10-t4"]):
        with pytest.raises(UserError, match="is neither True nor a name"):
            sresnet.create_model("cifar10-t4", pretrained=odd)


@pytest.mark.parametrize("classes", [-1, True, False, 2.5, "3", None])
def test_a_number_of_classes_beside_pretrained(classes):
    """Refused as in a fresh network."""
    for fields in ({}, {"pretrained": True}):
        with pytest.raises(UserError, match="num_classes"):
            sresnet.create_model("digits-t4", num_classes=classes, **fields)


def test_what_a_network_was_trained_on_stays_with_it(model, tmp_path):
    sresnet.save_model(model, tmp_path / "kept.safetensors")
    kept = sresnet.load(tmp_path / "kept.safetensors")
    assert kept.trained.plain() == model.trained.plain()
    image = digits()[0][0]
    assert kept.predict(image) == model.predict(image)
    sresnet.save_model(sresnet.create_model("digits-t4"), tmp_path / "fresh.safetensors")
    assert sresnet.load(tmp_path / "fresh.safetensors").trained is None


def test_weights_of_a_run_folder_know_it_by_its_description(model, tmp_path):
    """By the names that runs give to weights; a file of another name may be of another network."""
    bare = sresnet.load_pretrained("digits-t4")
    bare.trained = None
    (tmp_path / "data.json").write_text(json.dumps(model.trained.plain()))
    for name, knows in (("weights", True), ("weights-best-test-epoch", True), ("other", False)):
        sresnet.save_model(bare, tmp_path / f"{name}.safetensors")
        assert (sresnet.load(tmp_path / f"{name}.safetensors").trained is not None) == knows
    assert sresnet.load(tmp_path).trained.plain() == model.trained.plain()


@pytest.mark.parametrize("damage", ["", "{", '{"class_names": ["0"], "image_size": [8, 8], "mean": null, "std": null}'])
def test_a_run_folder_without_its_description_still_loads(model, tmp_path, damage):
    """One that is missing, damaged, or of another network; predict says that it is not there."""
    model_of_run = sresnet.load_pretrained("digits-t4")
    model_of_run.trained = None
    sresnet.save_model(model_of_run, tmp_path / "weights.safetensors")
    if damage:
        (tmp_path / "data.json").write_text(damage)
    assert sresnet.load(tmp_path).trained is None


def test_the_names_that_timm_knows(model):
    cfg = model.pretrained_cfg
    assert cfg["input_size"] == (1, 8, 8)
    assert cfg["num_classes"] == 10
    assert cfg["label_names"] == tuple("0123456789")
    images = digits()[0][:3]
    by_hand = (images / 255 - torch.tensor(cfg["mean"])[:, None, None]) / torch.tensor(cfg["std"])[:, None, None]
    torch.testing.assert_close(by_hand, model.trained.scaling(images))
    assert isinstance(model.get_submodule(cfg["first_conv"]), torch.nn.Conv2d)
    assert model.get_submodule(cfg["classifier"]) is model.get_classifier()
    assert sresnet.create_model("sresnet8").pretrained_cfg == {}


def test_plain_and_back(model):
    plain = model.trained.plain()
    assert trained_from_plain(checked_about(plain, "here")).plain() == plain
    for field, value, words in (
        ("image_size", [8], "image_size is"),
        ("std", [0.0], "std is"),
        ("mean", None, "it has no scaling"),
        ("class_names", [1], "class_names"),
    ):
        with pytest.raises(UserError, match=words):
            checked_about(plain | {field: value}, "here")
