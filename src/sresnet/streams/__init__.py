"""A trained network on a stream of events: a class after each time step, from slices as they come or from a file."""

from sresnet.streams.live import Answer, Stream, stream

__all__ = ["Answer", "Stream", "stream"]
