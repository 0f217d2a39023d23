"""The handwritten digits of scikit-learn, which need no download."""

import torch

from sresnet.data.images import ImageSet
from sresnet.data.split import stratified_split
from sresnet.errors import optional

_TEST_FRACTION = 0.2
_SPLIT_SEED = 0


def load_digits() -> tuple[ImageSet, ImageSet]:
    """The 1,797 digits of scikit-learn as (train, test), uint8 [N, 1, 8, 8]: 1,438 and 359 images.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part). Its pixels
    run from 0 to 16; here round(x * 255 / 16). There is no official split: a fixed fifth of each class is held out.
    UserError where scikit-learn is not installed.
    """
    with optional("the digits need", "scikit-learn", "demo"):
        from sklearn import datasets
    bunch = datasets.load_digits()
    images = (torch.from_numpy(bunch.images) * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    everything = ImageSet(images=images, labels=labels, class_names=tuple("0123456789"))
    train, test = stratified_split(labels, _TEST_FRACTION, _SPLIT_SEED)
    return everything.subset(train), everything.subset(test)
