"""Conversions of one trained ANN on real CIFAR-10: python experiments/conversions.py DATA_DIR [--minutes 60].

A ResNet-20 of rectifiers is trained once, on nine tenths of the training images; fields and epochs were fixed before.
A run that was stopped resumes, a finished one is not repeated.
"""

from dataclasses import replace

from experiment import carry_out, flags, images_in, study

from sresnet.models import SResNetConfig
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import FAST_CIFAR10

EPOCHS, LOW_RES_EPOCHS = 36, 22


def ann() -> Recipe:
    """ResNet-20, 16 filters, one time step: its units are rectifiers, its norms have shifts, its pools are averages."""
    model = SResNetConfig(
        depth=20, base_filters=16, neuron="relu", num_steps=1, connection="s2m", downsample="avg", norm_bias=True
    )
    train = replace(
        FAST_CIFAR10.train,
        epochs=EPOCHS,
        low_res_epochs=LOW_RES_EPOCHS,
        progressive_epochs=(),
        loss="mean",
        precision="bf16",
    )
    return replace(FAST_CIFAR10, model=model, train=train)


def main() -> None:
    """Train."""
    options = flags(__doc__, "runs/conversions", "data_dir").parse_args()
    carry_out([study("conversions", {"ann": ann()})], images_in(options.data_dir), options)


if __name__ == "__main__":
    main()
