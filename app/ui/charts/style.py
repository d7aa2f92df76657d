"""Colours and fonts of charts, derived once per theme from the palette. GUI thread."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QPen

from app.stylesheet import readable_on
from app.theme import FONT_SIZE_M, FONT_SIZE_S, Palette, mix, number_font

_GRID_SHARE = 0.55
_VOLUME_SHARE = 0.45


@dataclass(frozen=True, slots=True)
class ChartStyle:
    """What chart items paint with.

    Attributes:
        background: the plot area; grid: faint lines on it; line: axis borders.
        up / down: price colours; up_volume / down_volume: the same, quieter.
        overlays: colours of indicator lines, in order.
        small / bold / normal: fonts with tabular digits.
        palette: where all of it comes from.
    """

    background: QColor
    raised: QColor
    grid: QColor
    line: QColor
    text: QColor
    muted: QColor
    accent: QColor
    warning: QColor
    up: QColor
    down: QColor
    up_volume: QColor
    down_volume: QColor
    overlays: tuple[QColor, ...]
    small: QFont
    bold: QFont
    normal: QFont
    palette: Palette

    @classmethod
    def from_palette(cls, palette: Palette) -> ChartStyle:
        """Derive the style of a theme."""
        return cls(
            background=QColor(palette.surface),
            raised=QColor(palette.raised),
            grid=QColor(mix(palette.surface, palette.line, _GRID_SHARE)),
            line=QColor(palette.line),
            text=QColor(palette.text),
            muted=QColor(palette.muted),
            accent=QColor(palette.accent),
            warning=QColor(palette.warning),
            up=QColor(palette.up),
            down=QColor(palette.down),
            up_volume=QColor(mix(palette.surface, palette.up, _VOLUME_SHARE)),
            down_volume=QColor(mix(palette.surface, palette.down, _VOLUME_SHARE)),
            overlays=(QColor(palette.warning), QColor(palette.accent), QColor(palette.paper)),
            small=number_font(FONT_SIZE_S),
            bold=number_font(FONT_SIZE_S, bold=True),
            normal=number_font(FONT_SIZE_M),
            palette=palette,
        )

    def price_colour(self, rising: bool) -> QColor:
        """Return the colour of a rising or falling price."""
        return self.up if rising else self.down

    def ink(self, fill: QColor) -> QColor:
        """Return the text colour that reads best on a filled label."""
        return QColor(readable_on(fill.name(), self.palette))


def hairline(colour: QColor, style: Qt.PenStyle = Qt.PenStyle.SolidLine) -> QPen:
    """Return a pen that is one device pixel wide at any zoom; wider pens cost ten times the frame."""
    pen = QPen(colour, 1, style)
    pen.setCosmetic(True)
    return pen
