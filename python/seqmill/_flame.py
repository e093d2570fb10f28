"""Flame graphs: stacks of samples, counted and drawn as one SVG without script."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import escape, quoteattr

__all__ = ["Frame", "draw_flame", "fold_perf", "parse_folded"]

Stacks = Counter[tuple[str, ...]]

_WIDTH: Final = 1200
_ROW: Final = 18
_HEAD: Final = 48
_LETTER: Final = 6.6
# Narrower frames could not be seen.
_NARROWEST: Final = 0.3
_FRAME_LINE: Final = re.compile(r"^\s+[0-9a-f]+ (?P<symbol>.*?)(?:\+0x[0-9a-f]+)?$")
_HASH: Final = re.compile(r"::h[0-9a-f]{16}$")
_UNKNOWN: Final = "[unknown]"
_STYLE: Final = (
    "svg{background:#fff;font:12px ui-monospace,Menlo,Consolas,monospace}text{fill:#17212b}"
    "rect{stroke:#fff;stroke-width:.6}.native{fill:#93b8dd}.python{fill:#dfa565}.kernel{fill:#c9ced4}"
    "@media(prefers-color-scheme:dark){svg{background:#10161c}.head{fill:#e6edf3}rect{stroke:#10161c}}"
)


@dataclass(slots=True)
class Frame:
    """A function below the same callers.

    Attributes
    ----------
    count
        Samples in it and in what it called.
    below
        What it called, by name.
    """

    count: float = 0
    below: "dict[str, Frame]" = field(default_factory=dict)

    def depth(self) -> int:
        """Tell how many frames lie on top of each other."""
        return 1 + max((one.depth() for one in self.below.values()), default=0)


def fold_perf(lines: Iterable[str]) -> Stacks:
    r"""Count the stacks that `perf script -F comm,tid,ip,sym` prints, innermost frame first.

    Examples
    --------
    >>> fold_perf(["main  7 ", "\t  1a inner", "\t  2b outer", ""])
    Counter({('main', 'outer', 'inner'): 1})
    """
    stacks: Stacks = Counter()
    name, frames = "", list[str]()
    for line in [*lines, ""]:
        found = _FRAME_LINE.match(line.rstrip("\n"))
        if found:
            symbol = _HASH.sub("", found["symbol"].strip())
            # Frames without a name say nothing, however many lie on top of each other.
            if not frames or symbol != _UNKNOWN or frames[-1] != _UNKNOWN:
                frames.append(symbol)
        elif line.strip():
            name = line.split()[0]
        elif name:
            stacks[name, *reversed(frames)] += 1
            name, frames = "", []
    return stacks


def parse_folded(lines: Iterable[str]) -> Stacks:
    """Read folded stacks: frames joined by semicolons, a blank, how many samples.

    Examples
    --------
    >>> parse_folded(["main;run;read 3"])
    Counter({('main', 'run', 'read'): 3})
    """
    stacks: Stacks = Counter()
    for line in lines:
        stack, _, count = line.rstrip("\n").rpartition(" ")
        if stack:
            stacks[tuple(stack.split(";"))] += int(count)
    return stacks


def draw_flame(stacks: Stacks, *, title: str, unit: str = "samples") -> str:
    """Draw stacks as SVG, the callers below, widths by count; the same stacks, the same text.

    Parameters
    ----------
    stacks
        How often each stack was seen, outermost frame first.
    title
        What was run.
    unit
        What is counted.

    Returns
    -------
    str
        The picture; pointing at a frame shows its whole name and share.
    """
    root = Frame()
    for stack, count in stacks.items():
        root.count += count
        frame = root
        for name in stack:
            frame = frame.below.setdefault(name, Frame())
            frame.count += count
    height = _HEAD + _ROW * root.depth() + 8
    head = f"{title}: {root.count:,.4g} {unit}"
    box = f'viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label={quoteattr(head)}>',
        f"<style>{_STYLE}</style>",
        f'<text class="head" x="8" y="24" font-size="16">{escape(head)}</text>',
        *_frames("all", root, root.count or 1, (0.0, height - 8 - _ROW)),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _frames(name: str, frame: Frame, total: float, place: tuple[float, float]) -> Iterator[str]:
    x, y = place
    width = _WIDTH * frame.count / total
    if width < _NARROWEST:
        return
    tip = f"{name} ({frame.count:,.4g}, {100 * frame.count / total:.1f} %)"
    room = int((width - 6) / _LETTER)
    text = name if len(name) <= room else f"{name[: room - 1]}…" if room > 2 else ""  # noqa: PLR2004
    box = f'x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_ROW}"'
    yield (
        f"<g><title>{escape(tip)}</title>"
        f'<rect class="{_kind(name)}" {box} rx="2"/>'
        + (f'<text x="{x + 3:.2f}" y="{y + 13}">{escape(text)}</text>' if text else "")
        + "</g>"
    )
    for below in sorted(frame.below):
        child = frame.below[below]
        yield from _frames(below, child, total, (x, y - _ROW))
        x += _WIDTH * child.count / total


def _kind(name: str) -> str:
    """Tell functions of Python, of the kernel and others apart, for their colour."""
    if ".py" in name or name.startswith(("_Py", "Py")):
        return "python"
    return (
        "kernel" if name.startswith(("[k", "entry_", "do_syscall", "asm_", "__x64_")) else "native"
    )
