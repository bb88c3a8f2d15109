"""Steps over time as SVG: one panel above the other, with a common axis of seconds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 640, 150, 60, 40, 34


@dataclass(frozen=True, slots=True)
class Curve:
    """A value that holds until the next one: (seconds, value), in order."""

    name: str
    colour: str
    points: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    unit: str
    curves: list[Curve]

    @property
    def most(self) -> float:
        return max(1.0, *(value for curve in self.curves for _, value in curve.points))


def svg(title: str, panels: list[Panel]) -> str:
    """The picture, as the text of a file."""
    end_s = max(seconds for panel in panels for curve in panel.curves for seconds, _ in curve.points)
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + _LEFT + 130}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="white"/><text x="{_LEFT}" y="24" font-size="15">{title}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, _TOP + number * (_HEIGHT + _GAP), end_s)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, top: float, end_s: float) -> list[str]:
    bottom, right = top + _HEIGHT, _LEFT + _WIDTH
    parts = [
        f'<path d="M{_LEFT} {top} V{bottom} H{right}" fill="none" stroke="black"/>',
        f'<text x="{_LEFT - 6}" y="{top + 10}" text-anchor="end">{panel.most:g}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{_LEFT - 6}" y="{(top + bottom) / 2}" text-anchor="end">{panel.unit}</text>',
        f'<text x="{_LEFT}" y="{bottom + 16}">0 s</text><text x="{right}" y="{bottom + 16}" text-anchor="end">{end_s:g} s</text>',
    ]
    for number, curve in enumerate(panel.curves):
        scaled = [(_LEFT + seconds / end_s * _WIDTH, bottom - value / panel.most * _HEIGHT) for seconds, value in curve.points]
        steps = "".join(f" H{x:.1f} V{y:.1f}" for _, (x, y) in pairwise(scaled))
        path = f"M{scaled[0][0]:.1f} {scaled[0][1]:.1f}{steps}"
        parts.append(f'<path d="{path}" fill="none" stroke="{curve.colour}" stroke-width="2"/>')
        parts.append(f'<text x="{right + 10}" y="{top + 14 + 18 * number}" fill="{curve.colour}">{curve.name}</text>')
    return parts
