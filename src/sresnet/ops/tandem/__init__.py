"""The gradient of a tandem layer: forward the counts of spikes, backward the gradient of the ANN's units."""

from sresnet.ops.tandem.reference import tandem

__all__ = ["tandem"]
