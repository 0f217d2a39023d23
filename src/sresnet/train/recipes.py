"""Named recipes. `sresnet train NAME` runs one, and every field of it is a flag."""

from sresnet.data import DataConfig
from sresnet.models import SResNetConfig
from sresnet.train.recipe import Recipe, TrainConfig

DIGITS = Recipe(
    model=SResNetConfig(depth=8, base_filters=16, in_channels=1, num_steps=4, surrogate_height=1.0),
    data=DataConfig(name="digits", flip=False, crop_padding=1),
    train=TrainConfig(epochs=15, batch_size=64, learning_rate=0.1, schedule="cosine", warmup_epochs=1),
)

RECIPES: dict[str, tuple[str, Recipe]] = {
    "digits": ("S-ResNet8, T = 4, on scikit-learn's digits: a minute on a laptop", DIGITS),
}
"""name -> (one line, recipe)."""
