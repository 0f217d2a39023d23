"""Numbers of filters and pixels of networks that come in several widths."""

from sresnet.errors import UserError


def check_width(width: float) -> None:
    """Raise UserError for a factor on numbers of filters that is no such factor."""
    if not 0 < width <= 16:
        raise UserError(f"width {width} is outside (0, 16]: it multiplies the filters, 1 is the published network")


def check_image_size(image_size: int) -> None:
    """Raise UserError for no height and width of an image."""
    if image_size < 1:
        raise UserError(f"image_size {image_size} is less than 1: it is the height and width of an image, such as 32")


def scaled(filters: int, width: float) -> int:
    """A number of filters times a width, at least 1."""
    return max(1, round(filters * width))


def size_behind(image_size: int, halvings: int) -> int:
    """Pixels along an axis behind so many pools; UserError where none would be left or one would be uneven."""
    if image_size < 1 or image_size % 2**halvings:
        nearest = max(1, round(image_size / 2**halvings)) * 2**halvings
        raise UserError(
            f"image_size {image_size} is not halved {halvings} times before the fully connected layer: use {nearest}"
        )
    return image_size // 2**halvings
