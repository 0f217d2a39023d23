"""Colours and markers of every chart, on screens and on paper."""

COLOURS: dict[str, tuple[str, str]] = {
    "bg": ("#ffffff", "#12161c"),
    "panel": ("#f6f7f9", "#1a2029"),
    "fg": ("#15191f", "#e9edf2"),
    "soft": ("#55606e", "#a3afbd"),
    "line": ("#d5dae1", "#333d4a"),
    "s1": ("#0072b2", "#56b4e9"),
    "s2": ("#c4500a", "#f0904a"),
    "s3": ("#00795a", "#3cc79d"),
    "s4": ("#a34a80", "#e39cc6"),
    "s5": ("#7a6200", "#e2cf4c"),
    "s6": ("#4a4a4a", "#c6c6c6"),
}
"""name -> (on light, on dark). The series are Okabe and Ito's hues, which people who see colours differently tell
apart, made darker or lighter until each has a contrast of 4.5 to its background."""
SERIES = 6
MARKERS = ("circle", "square", "triangle", "diamond", "down", "plus")
DASHES: tuple[tuple[float, ...], ...] = ((), (7, 3), (2, 2), (9, 3, 2, 3), (1, 4))
MAPS = {
    "viridis": (
        *("#440154", "#482878", "#3e4989", "#31688e", "#26828e"),
        *("#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"),
    ),
    "cividis": (
        *("#00224e", "#123570", "#3b496c", "#575d6d", "#707173"),
        *("#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"),
    ),
}
"""Colour maps of matplotlib (van der Walt and Smith; Nunez, Anderton and Renslow 2018) at ten places."""


def colour_of(style: int) -> str:
    """Name of the colour of a line, bar or point."""
    return f"s{style % SERIES + 1}"


def marker_of(style: int) -> str:
    """What tells lines apart without their colour; colour and form together differ for 36 of them."""
    return MARKERS[(style + style // SERIES) % len(MARKERS)]


def dash_of(style: int) -> tuple[float, ...]:
    """Lengths of dashes and gaps of a line, () for none; with colour and marker they differ for 180 lines."""
    return DASHES[style // SERIES % len(DASHES)]


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of #rrggbb."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue
