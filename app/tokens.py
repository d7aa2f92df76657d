"""Design tokens: every colour and size on screen. Plain values without Qt, any thread.

A widget holds no literal of its own; it imports these names from `app.theme`, Qt-free code (reports) from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ThemeName(StrEnum):
    """Brightness of the interface."""

    DARK = "dark"
    LIGHT = "light"


class ThemeChoice(StrEnum):
    """What the user chose; SYSTEM follows the desktop live."""

    SYSTEM = "system"
    DARK = "dark"
    LIGHT = "light"


class UpDown(StrEnum):
    """Colour convention for rising and falling prices; ▲▼ or fill always says the same."""

    WESTERN = "western"
    KOREAN = "korean"
    COLOUR_BLIND = "colour_blind"


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one theme as #RRGGBB.

    `short` and `long` are the ends of a diverging scale whose middle is `surface`: purple and green differ in lightness
    and blue as well, so that the colour-blind tell them apart, and neither is a colour of prices or modes.
    """

    background: str
    surface: str
    raised: str
    line: str
    text: str
    muted: str
    accent: str
    on_accent: str
    warning: str
    danger: str
    success: str
    practice: str
    paper: str
    live: str
    short: str
    long: str
    up: str
    down: str


# 4-px grid
GRID = 4
SPACE_XS, SPACE_S, SPACE_M, SPACE_L, SPACE_XL = GRID, 2 * GRID, 3 * GRID, 4 * GRID, 6 * GRID
RADIUS = 6
ROW_HEIGHT = 24
CONTROL_HEIGHT = 28
ICON_SIZE_S, ICON_SIZE_M, ICON_SIZE_L = 14, 16, 24  # px
FONT_FAMILY = "Maru Sans"  # a subset of Pretendard under its own name, see resources/fonts/README.md
FONT_SIZE_S, FONT_SIZE_M, FONT_SIZE_L, FONT_SIZE_XL = 11, 13, 16, 22  # px

_BASE: dict[ThemeName, dict[str, str]] = {
    ThemeName.DARK: {
        "background": "#0E1116",
        "surface": "#151A21",
        "raised": "#1C232C",
        "line": "#2A333F",
        "text": "#E6EAF0",
        "muted": "#8B96A5",
        "accent": "#4C9AFF",
        "on_accent": "#0E1116",
        "warning": "#F5A524",
        "danger": "#F6465D",
        "success": "#2EBD85",
        "practice": "#2DD4BF",
        "paper": "#A78BFA",
        "live": "#F6465D",
        "short": "#C77DFF",
        "long": "#52C77A",
    },
    ThemeName.LIGHT: {
        "background": "#F6F8FA",
        "surface": "#FFFFFF",
        "raised": "#FFFFFF",
        "line": "#D8DEE6",
        "text": "#17202B",
        "muted": "#5B6675",
        "accent": "#1F6FEB",
        "on_accent": "#FFFFFF",
        "warning": "#B7791F",
        "danger": "#D92D43",
        "success": "#0F8A5F",
        "practice": "#0F766E",
        "paper": "#6D4AFF",
        "live": "#D92D43",
        "short": "#7B2D9E",
        "long": "#1B7837",
    },
}

_UP_DOWN: dict[UpDown, tuple[str, str]] = {
    UpDown.WESTERN: ("#2EBD85", "#F6465D"),
    UpDown.KOREAN: ("#E5484D", "#3E7BFA"),
    UpDown.COLOUR_BLIND: ("#F0A202", "#3B82F6"),
}


def palette(theme: ThemeName, up_down: UpDown = UpDown.WESTERN) -> Palette:
    """Return the colours of a theme with an up/down convention."""
    up, down = _UP_DOWN[up_down]
    return Palette(**_BASE[theme], up=up, down=down)
