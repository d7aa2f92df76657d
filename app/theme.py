"""Colours, fonts and icons as Qt sees them. GUI thread only.

The values stand in `app.tokens`; this module turns them into a palette, a style sheet, fonts and icons and tells the
widgets when they change.
"""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from PySide6.QtCore import QByteArray, QObject, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QFont, QFontDatabase, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication

from app.stylesheet import build_style_sheet, mix, readable_on
from app.tokens import (
    CONTROL_HEIGHT,
    FONT_FAMILY,
    FONT_SIZE_L,
    FONT_SIZE_M,
    FONT_SIZE_S,
    FONT_SIZE_XL,
    GRID,
    ICON_SIZE_L,
    ICON_SIZE_M,
    ICON_SIZE_S,
    RADIUS,
    ROW_HEIGHT,
    SPACE_L,
    SPACE_M,
    SPACE_S,
    SPACE_XL,
    SPACE_XS,
    Palette,
    ThemeChoice,
    ThemeName,
    UpDown,
    palette,
)

__all__ = [
    "CONTROL_HEIGHT",
    "FONT_FAMILY",
    "FONT_SIZE_L",
    "FONT_SIZE_M",
    "FONT_SIZE_S",
    "FONT_SIZE_XL",
    "GRID",
    "ICON_SIZE_L",
    "ICON_SIZE_M",
    "ICON_SIZE_S",
    "RADIUS",
    "ROW_HEIGHT",
    "SPACE_L",
    "SPACE_M",
    "SPACE_S",
    "SPACE_XL",
    "SPACE_XS",
    "Palette",
    "ThemeChoice",
    "ThemeManager",
    "ThemeName",
    "UpDown",
    "apply_theme",
    "icon",
    "icon_names",
    "load_fonts",
    "mix",
    "number_font",
    "palette",
    "pixmap",
    "readable_on",
    "set_look",
]

RESOURCES = Path(__file__).resolve().parent.parent / "resources"


def load_fonts() -> list[str]:
    """Register the bundled fonts and return their families.

    Raises:
        RuntimeError: a bundled font is missing or damaged (a broken installation).
    """
    families: list[str] = []
    for path in sorted((RESOURCES / "fonts").glob("*.otf")):
        number = QFontDatabase.addApplicationFont(str(path))
        if number < 0:
            raise RuntimeError(f"the bundled font {path.name} cannot be loaded")
        families += QFontDatabase.applicationFontFamilies(number)
    if FONT_FAMILY not in families:
        raise RuntimeError("the bundled fonts are missing")
    return families


def number_font(size_px: int = FONT_SIZE_M, *, bold: bool = False) -> QFont:
    """Return the interface font with tabular digits, so that columns of numbers do not jitter."""
    font = QFont(FONT_FAMILY)
    font.setPixelSize(size_px)
    font.setWeight(QFont.Weight.DemiBold if bold else QFont.Weight.Normal)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


def icon_names() -> list[str]:
    """Return the names `icon` accepts."""
    return sorted(path.stem for path in (RESOURCES / "icons").glob("*.svg"))


def _coloured_svg(name: str, colour: str) -> bytes:
    """Return the SVG of an icon with its strokes in `colour`.

    Raises:
        KeyError: there is no such icon.
    """
    path = RESOURCES / "icons" / f"{name}.svg"
    if not path.is_file():
        raise KeyError(f"no icon named {name!r}")
    return path.read_bytes().replace(b"currentColor", colour.encode())


def pixmap(name: str, colour: str, size: int) -> QPixmap:
    """Draw an icon.

    Args:
        name: file name without ending, see `icon_names`.
        colour: #RRGGBB, from a `Palette`.
        size: device pixels, square.

    Raises:
        KeyError: there is no such icon.
    """
    renderer = QSvgRenderer(QByteArray(_coloured_svg(name, colour)))
    picture = QPixmap(QSize(size, size))
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    renderer.render(painter, QRectF(0, 0, size, size))
    painter.end()
    return picture


@lru_cache(maxsize=1)
def _svg_folder() -> tempfile.TemporaryDirectory[str]:
    """Return the folder of coloured icons; it is removed when the program ends."""
    return tempfile.TemporaryDirectory(prefix="maru-icons-")


def _svg_file(name: str, colour: str) -> str:
    """Return the path of an icon in a colour, written on first use.

    Raises:
        KeyError: there is no such icon.
    """
    # The colour is part of the name: Qt caches pictures by address.
    path = Path(_svg_folder().name) / f"{name}-{colour[1:]}.svg"
    if not path.exists():
        path.write_bytes(_coloured_svg(name, colour))
    return path.as_posix()


def icon(name: str, colour: str, disabled_colour: str | None = None) -> QIcon:
    """Return an icon in `colour`; `ThemeManager.icon` is the cached form that follows the theme.

    Raises:
        KeyError: there is no such icon.
    """
    # From files, which Qt draws when and in the size it needs them; drawing all sizes ahead costs a fifth of the start.
    result = QIcon()
    result.addFile(_svg_file(name, colour))
    if disabled_colour is not None:
        result.addFile(_svg_file(name, disabled_colour), QSize(), QIcon.Mode.Disabled)
    return result


def set_look(widget: QObject, name: str, value: str | bool) -> None:
    """Set a dynamic property the style sheet selects on (`variant`, `role`, `mode`, `invalid` …) and redraw.

    Args:
        widget: a QWidget.
        name / value: see `app.stylesheet`.
    """
    text = "true" if value is True else "false" if value is False else value
    if widget.property(name) == text:
        return
    widget.setProperty(name, text)
    style = widget.style()  # type: ignore[attr-defined]
    style.unpolish(widget)
    style.polish(widget)


def _qt_palette(colours: Palette) -> QPalette:
    roles = {
        QPalette.ColorRole.Window: colours.background,
        QPalette.ColorRole.WindowText: colours.text,
        QPalette.ColorRole.Base: colours.surface,
        QPalette.ColorRole.AlternateBase: colours.raised,
        QPalette.ColorRole.Text: colours.text,
        QPalette.ColorRole.PlaceholderText: colours.muted,
        QPalette.ColorRole.Button: colours.raised,
        QPalette.ColorRole.ButtonText: colours.text,
        QPalette.ColorRole.ToolTipBase: colours.raised,
        QPalette.ColorRole.ToolTipText: colours.text,
        QPalette.ColorRole.Highlight: colours.accent,
        QPalette.ColorRole.HighlightedText: colours.on_accent,
        QPalette.ColorRole.Link: colours.accent,
        QPalette.ColorRole.Mid: colours.line,
        QPalette.ColorRole.Dark: colours.line,
        QPalette.ColorRole.Light: colours.raised,
    }
    result = QPalette()
    for role, colour in roles.items():
        result.setColor(role, QColor(colour))
    for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Text, QPalette.ColorRole.ButtonText):
        result.setColor(QPalette.ColorGroup.Disabled, role, QColor(colours.muted))
    return result


def apply_theme(app: QApplication, theme: ThemeName, up_down: UpDown, images: dict[str, str]) -> Palette:
    """Give the whole application the colours of a theme and the bundled font (see `load_fonts`); return the colours.

    Args:
        app: the application; its style becomes Fusion, the one style that draws the same on every system.
        theme / up_down: what to show.
        images: addresses of the small pictures in the style sheet, see `build_style_sheet`.
    """
    colours = palette(theme, up_down)
    if app.style() is None or app.style().name().lower() != "fusion":
        app.setStyle("Fusion")
    if app.font() != number_font():  # setting it makes every widget lay itself out again
        app.setFont(number_font())
    app.setPalette(_qt_palette(colours))
    app.setStyleSheet(build_style_sheet(colours, images))
    return colours


class ThemeManager(QObject):
    """Holds the current look and tells everyone when it changes.

    Signals:
        changed: colours or up/down set changed; repaint from `palette`, set icons again.
    """

    changed = Signal()

    def __init__(self, app: QApplication, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._app = app
        self._choice = ThemeChoice.DARK
        self._up_down = UpDown.WESTERN
        self._palette = palette(ThemeName.DARK, UpDown.WESTERN)
        self._icons: dict[tuple[str, str], QIcon] = {}
        app.styleHints().colorSchemeChanged.connect(self._on_system_scheme_changed)

    @property
    def palette(self) -> Palette:
        """The current colours."""
        return self._palette

    @property
    def choice(self) -> ThemeChoice:
        """What the user chose."""
        return self._choice

    @property
    def up_down(self) -> UpDown:
        """The colour convention for prices."""
        return self._up_down

    @property
    def theme(self) -> ThemeName:
        """The brightness shown; where the system is followed, the system's (dark if it does not say)."""
        if self._choice is ThemeChoice.SYSTEM:
            light = self._app.styleHints().colorScheme() == Qt.ColorScheme.Light
            return ThemeName.LIGHT if light else ThemeName.DARK
        return ThemeName(self._choice.value)

    def set_theme(self, choice: ThemeChoice, up_down: UpDown) -> None:
        """Show a theme with an up/down convention."""
        self._choice, self._up_down = choice, up_down
        hints = self._app.styleHints()
        if choice is ThemeChoice.SYSTEM:
            hints.unsetColorScheme()
        else:  # native frames and dialogs follow as well
            hints.setColorScheme(Qt.ColorScheme.Light if choice is ThemeChoice.LIGHT else Qt.ColorScheme.Dark)
        self._apply()

    def icon(self, name: str, colour: str | None = None) -> QIcon:
        """Return an icon in `colour` (#RRGGBB, default the text colour); set it again on `changed`.

        Raises:
            KeyError: there is no such icon.
        """
        shade = colour or self._palette.text
        key = (name, shade)
        if key not in self._icons:
            self._icons[key] = icon(name, shade, self._palette.muted)
        return self._icons[key]

    def _apply(self) -> None:
        self._icons.clear()
        theme = self.theme
        self._palette = apply_theme(self._app, theme, self._up_down, self._images(palette(theme, self._up_down)))
        self.changed.emit()

    def _images(self, colours: Palette) -> dict[str, str]:
        """Return the addresses of the style sheet's pictures: it takes no other kind, and cannot colour them."""
        wanted = {
            "chevron_down": ("chevron-down", colours.muted),
            "chevron_up": ("chevron-up", colours.muted),
            "check": ("check", colours.on_accent),
            "dot": ("circle", colours.on_accent),
        }
        return {key: _svg_file(name, colour) for key, (name, colour) in wanted.items()}

    @Slot(Qt.ColorScheme)
    def _on_system_scheme_changed(self, _scheme: Qt.ColorScheme) -> None:
        if self._choice is ThemeChoice.SYSTEM:
            self._apply()
