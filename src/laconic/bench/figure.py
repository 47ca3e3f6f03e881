"""Plots for pages: inline SVG from matplotlib, in colours that the page's style sheet decides."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# matplotlib wants real colours; each of these is replaced by a CSS variable in the SVG.
_VARIABLES = {
    "#010101": "ink", "#020202": "muted", "#030303": "line", "#040404": "bad",
    "#111111": "baseline", "#222222": "laconic", "#333333": "speculation", "#444444": "control",
    "#555555": "transformers",
}  # fmt: skip
COLOUR = {name: colour for colour, name in _VARIABLES.items()}
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "laconic", "text.parse_math": False, "font.size": 12,
    "axes.edgecolor": COLOUR["line"],
    "axes.labelcolor": COLOUR["muted"], "text.color": COLOUR["ink"], "xtick.color": COLOUR["muted"],
    "ytick.color": COLOUR["ink"], "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "axes.grid": True, "grid.color": COLOUR["line"], "grid.linewidth": 0.6, "axes.axisbelow": True,
    "xtick.major.size": 0, "ytick.major.size": 0, "legend.frameon": False,
}  # fmt: skip


def svg(draw: Callable[[Axes], None], label: str, height: float = 3.4) -> str:
    """Draw on fresh axes; the result scales to its container and holds nothing but itself."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(6.2, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = re.sub(r"^.*?(?=<svg)", "", file.getvalue(), flags=re.DOTALL)
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawn, count=1)
    drawn = re.sub(r'(<svg[^>]*?) height="[^"]*"', rf'\1 role="img" aria-label="{label}"', drawn, count=1)
    # Ids are unique within one plot only, and a page holds several.
    prefix = re.sub(r"\W+", "-", label.lower())
    drawn = re.sub(r'(?<=\bid=")|(?<=href="#)|(?<=url\(#)', f"{prefix}-", drawn)
    for colour, name in _VARIABLES.items():
        drawn = drawn.replace(colour, f"var(--{name})")
    return drawn


def legend(axes: Axes, columns: int = 2) -> None:
    """Above the plot, where it hides nothing."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, handlelength=1.2, columnspacing=1.2)
