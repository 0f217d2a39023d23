"""Charts of every kind, for what holds of each."""

from sresnet.report.charts import Axis, Bars, ConfusionMatrix, HeatMap, Line, LineChart

WORDS = ("sweet_pepper", "chrysanthemum", "Räder links")
LONG_NAMES = tuple(f"{word} {number}" for number in range(3) for word in WORDS)
DEEP = tuple(f"stage {stage}, block {block}, second" for stage in (1, 2, 3) for block in range(1, 13))
UNIT = "neurons that fire (%)"


def every_chart():
    """Of each kind one or more, with long names, deep networks and all that a line can have."""
    nine = range(9)
    counts = tuple(tuple(int(row == column) for column in nine) for row in nine)
    lines = tuple(Line(name=name, x=[1, 2, 3], y=[1e6 * place, 2e6, 3.5e6]) for place, name in enumerate(LONG_NAMES))
    forms = tuple(
        Line(name=form, x=[2e3, 5e4], y=[0.01, 10], form=form, x_deviation=[1e3, 3e4], y_deviation=[0.02, 1])
        for form in ("line", "dashes", "dots", "points")
    )
    steps = tuple(0.1 * step for step in range(50))
    x, y = Axis(label="epoch"), Axis(label="y")
    named = Axis(label="in the output of", names=tuple(f"{name[6]}.{name[15:-8]}" for name in DEEP), told=DEEP)
    log = Axis(label="y", logarithmic=True)
    own = Line(name="own", x=[3e4], y=[1.0], form="points", hollow=True, own=True)
    by_name = Line(name="", x=range(len(DEEP)), y=range(1, len(DEEP) + 1))
    deep = {"row_names": DEEP, "parts": (("spikes", tuple(range(len(DEEP)))),)}
    two = (("one", tuple(nine)), ("two", tuple(nine)))
    few = {"row_names": LONG_NAMES, "x_label": "x"}
    return (
        ConfusionMatrix(title="A", counts=counts, class_names=LONG_NAMES),
        LineChart(title="B", lines=lines, x=x, y=y),
        LineChart(title="G", lines=(*forms, own), x=Axis(label="parameters", logarithmic=True), y=log),
        LineChart(title="H", lines=(by_name,), x=named, y=log, note=("here", 20, 20)),
        HeatMap(title="C", rows=(steps,) * len(DEEP), row_names=DEEP, x_label="time step", unit=UNIT, limits=(0, 5)),
        Bars(title="D", x_label="spikes", **deep),
        HeatMap(title="E", rows=(steps,) * 9, row_names=LONG_NAMES, x_label="time step", unit=UNIT, limits=(0, 5)),
        Bars(title="F", **few, parts=two, marks=("m", tuple(nine))),
        Bars(
            title="J",
            **few,
            parts=two[:1],
            row_styles=tuple(nine),
            samples=tuple((place, place + 2.0) for place in nine),
        ),
    )
