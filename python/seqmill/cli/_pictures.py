"""Pictures for the HTML report: plain SVG that takes its colours from the page around it.

matplotlib draws with stand-in colours; they are then replaced by the page's CSS variables, so
that one picture is right on a light and on a dark page.
"""

import io
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

from seqmill._units import format_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["compact", "draw_bars", "draw_histogram", "draw_line", "share"]

# Stand-in colours and the CSS variables of the page's style sheet that replace them.
_INK: Final = "#010101"
_MUTED: Final = "#010102"
_GRID: Final = "#010103"
_SERIES: Final = ("#010104", "#010105")
_WARN: Final = "#010106"
_VARIABLES: Final = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--line)",
    _SERIES[0]: "var(--series-1)",
    _SERIES[1]: "var(--series-2)",
    _WARN: "var(--warn)",
}
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "seqmill",
    "font.family": ["sans-serif"],
    "font.size": 10,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}
_WIDTH: Final = 6.0
_HEIGHT: Final = 2.9
_BAR_HEIGHT: Final = 0.235
_LONGEST_LABEL: Final = 26
_LOG_FROM: Final = 200
_FEW_DECADES: Final = 1000
_SVG: Final = "{http://www.w3.org/2000/svg}"
_REFERENCE: Final = re.compile(r"#([A-Za-z_][\w.-]*)")
_NUMBER: Final = re.compile(r"(\d+\.\d{2})\d+")
_THOUSAND: Final = 1000


def compact(number: float, _: object = None) -> str:
    """Write a count in few characters.

    Examples
    --------
    >>> [compact(n) for n in (0, 950, 1500, 2_000_000, 0.5)]
    ['0', '950', '1.5k', '2M', '0.5']
    """
    for unit in ("", "k", "M", "G"):
        if abs(number) < _THOUSAND or unit == "G":
            return f"{number:.3g}{unit}"
        number /= _THOUSAND
    raise AssertionError


def share(part: float, whole: float) -> str:
    """Write a share in percent.

    Examples
    --------
    >>> share(1, 3), share(1, 100_000), share(0, 5), share(1, 0)
    ('33.3 %', '<0.1 %', '0 %', '')
    """
    if not whole:
        return ""
    percent = part / whole * 100
    if part in (0, whole):
        return f"{percent:.0f} %"
    return "<0.1 %" if percent < 0.1 else f"{percent:.1f} %"  # noqa: PLR2004


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Any, "Axes"]]:
    import matplotlib as mpl  # noqa: PLC0415 - an extra, and slow to load
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A letter that matplotlib's own font lacks is drawn by the browser's.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def _to_svg(figure: Any, label: str) -> str:
    """Turn a figure into SVG for the inside of an HTML page."""
    raw = io.BytesIO()
    # No date: the same figures give the same page.
    figure.savefig(raw, format="svg", transparent=True, metadata={"Date": None})
    root = ET.fromstring(raw.getvalue())  # noqa: S314 - just written by matplotlib
    used = set(_REFERENCE.findall(raw.getvalue().decode()))
    for parent in list(root.iter()):
        for child in list(parent):
            # The style element would apply to the whole page; ours has its rule.
            if child.tag.endswith("}metadata") or child.tag == f"{_SVG}style":
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        for name in list(element.attrib):
            value = element.attrib.pop(name)
            if name != "id" or value in used:
                element.attrib[re.sub(r"\{.*\}", "", name)] = _restyle(name, value)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": label}
    return ET.tostring(root, encoding="unicode")


def _restyle(name: str, value: str) -> str:
    if name == "style":
        for color, variable in _VARIABLES.items():
            value = value.replace(color, variable)
        # The page's font, not the one that matplotlib measured with.
        return re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)
    return _NUMBER.sub(r"\1", value) if name in {"d", "points"} else value


def _printable(text: str) -> str:
    """Leave out control characters and shorten what is too long for a label."""
    clean = "".join(
        "\ufffd" if unicodedata.category(letter).startswith("C") else letter for letter in text
    )
    if len(clean) <= _LONGEST_LABEL:
        return clean
    half = _LONGEST_LABEL // 2
    return f"{clean[:half]}…{clean[-half + 1 :]}"


def draw_histogram(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    label: str,
    x_label: str,
    y_label: str = "records",
    log_x: bool = False,
    log_y: bool = False,
    format_x: Callable[[float, object], str] = compact,
) -> str:
    """Draw a histogram as SVG.

    Parameters
    ----------
    edges
        Edges of the bins, one more than `counts`.
    counts
        Counts of the bins.
    label
        What the picture shows, for those who cannot see it.
    x_label, y_label
        Labels of the axes.
    log_x, log_y
        Whether an axis is logarithmic; the upright one only where counts differ by orders of
        magnitude.
    format_x
        How numbers below the axis are written.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415 - an extra

    with _figure(_WIDTH, _HEIGHT) as (figure, axes):
        axes.stairs(counts, edges, fill=True, color=_SERIES[0], alpha=0.35, linewidth=0)
        axes.stairs(counts, edges, color=_SERIES[0], linewidth=1.3)
        filled = [count for count in counts if count > 0]
        if log_y and filled and max(filled) > _LOG_FROM * min(filled):
            axes.set_yscale("log")
            axes.set_ylim(bottom=0.7)
            y_label += ", log scale"
        if log_x:
            axes.set_xscale("log")
            few = edges[-1] < _FEW_DECADES * edges[0]
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
        axes.xaxis.set_major_formatter(FuncFormatter(format_x))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(compact))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.margins(x=0.01)
        return _to_svg(figure, label)


def draw_bars(
    names: Sequence[str],
    panels: Sequence[tuple[str, Sequence[float], Sequence[str]]],
    *,
    label: str,
    wide: bool = False,
) -> str:
    """Draw horizontal bars as SVG, the first name at the top.

    Parameters
    ----------
    names
        Names of the bars.
    panels
        For each panel, side by side: heading, values, and the texts behind the bars.
    label
        What the picture shows, for those who cannot see it.
    wide
        Draw for the whole width of the page.
    """
    import matplotlib as mpl  # noqa: PLC0415 - an extra, and slow to load
    from matplotlib.figure import Figure  # noqa: PLC0415

    height = 0.55 + _BAR_HEIGHT * len(names)
    places = list(range(len(names)))
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure = Figure(figsize=(_WIDTH * (1 + wide), height), layout="constrained")
        columns = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for number, (axes, (title, values, texts)) in enumerate(zip(columns, panels, strict=True)):
            axes.barh(places, values, height=0.64, color=_SERIES[number % 2], alpha=0.8)
            largest = max([*values, 0]) or 1
            axes.set_xlim(0, largest * (1.34 if len(panels) == 1 or wide else 1.62))
            for place, value, text in zip(places, values, texts, strict=True):
                at = (value + largest * 0.015, place)
                axes.text(*at, text, va="center", fontsize=9, color=_MUTED, parse_math=False)
            axes.set_title(title, fontsize=10, color=_MUTED, loc="left", parse_math=False)
            axes.set_xticks([])
            axes.spines["bottom"].set_visible(False)
            axes.grid(visible=False)
            axes.tick_params(axis="y", labelcolor=_INK)
        columns[0].set_yticks(places, [_printable(name) for name in names], parse_math=False)
        columns[0].set_ylim(len(names) - 0.4, -0.6)
        return _to_svg(figure, label)


def draw_line(
    times: Sequence[float],
    values: Sequence[float],
    *,
    label: str,
    y_label: str,
    x_label: str = "seconds",
    limit: float | None = None,
    limit_text: str = "",
) -> str:
    """Draw something over time, or over another number, as SVG, with a line for its limit."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415 - an extra

    with _figure(_WIDTH * 2, _HEIGHT * 0.9) as (figure, axes):
        axes.fill_between(times, values, color=_SERIES[0], alpha=0.25, linewidth=0)
        axes.plot(times, values, color=_SERIES[0], linewidth=1.5)
        if limit is not None:
            axes.axhline(limit, color=_WARN, linewidth=1.2, linestyle=(0, (4, 3)))
            at = (times[0] if times else 0, limit)
            axes.annotate(
                limit_text,
                at,
                xytext=(4, -4),
                textcoords="offset points",
                va="top",
                color=_WARN,
                fontsize=9,
            )
        axes.set_ylim(0, max([*values, limit or 0, 1]) * 1.08)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(compact))
        axes.xaxis.set_major_formatter(FuncFormatter(compact))
        axes.grid(visible=False, axis="x")
        axes.margins(x=0.01)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return _to_svg(figure, label)


def count_texts(values: Sequence[float], whole: float) -> list[str]:
    """Write counts with their shares of a whole."""
    return [f"{format_count(value)}  ({share(value, whole)})" for value in values]
