"""Colours and fonts of charts, derived once per theme from the palette. GUI thread."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QPen

from app.theme import FONT_SIZE_M, FONT_SIZE_S, FONT_SIZE_XL, Palette, mix, number_font

_GRID_SHARE = 0.55
_VOLUME_SHARE = 0.45
_FADED_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class ChartStyle:
    """What chart items paint with.

    Attributes:
        background: the plot area; grid: faint lines on it; line: axis borders.
        up / down: price colours; up_volume / down_volume: the same, quieter.
        overlays: colours of indicator lines, in order.
        small / bold / normal / banner: fonts with tabular digits.
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
    on_price: QColor
    on_accent: QColor
    overlays: tuple[QColor, ...]
    small: QFont
    bold: QFont
    normal: QFont
    banner: QFont

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
            on_price=QColor(palette.background),
            on_accent=QColor(palette.on_accent),
            overlays=(QColor(palette.warning), QColor(palette.accent), QColor(palette.paper)),
            small=number_font(FONT_SIZE_S),
            bold=number_font(FONT_SIZE_S, bold=True),
            normal=number_font(FONT_SIZE_M),
            banner=number_font(FONT_SIZE_XL, bold=True),
        )

    def price_colour(self, rising: bool) -> QColor:
        """Return the colour of a rising or falling price."""
        return self.up if rising else self.down


def faded(colour: QColor) -> QColor:
    """Return a translucent form of a colour, for what stands behind."""
    result = QColor(colour)
    result.setAlphaF(_FADED_SHARE)
    return result


def hairline(colour: QColor, style: Qt.PenStyle = Qt.PenStyle.SolidLine) -> QPen:
    """Return a pen that is one device pixel wide at any zoom; wider pens cost ten times the frame."""
    pen = QPen(colour, 1, style)
    pen.setCosmetic(True)
    return pen
