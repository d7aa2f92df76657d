"""The style sheet, generated from the tokens. Pure text without Qt, any thread.

Widgets choose a look by dynamic properties, never by colours of their own:
`variant` on buttons (primary, danger, quiet, buy, sell) and progress bars (thin), `role` on labels (title, heading,
number, figures, figures-good, figures-bad, muted, small, warning, danger, success, up, down), `card` on frames,
`invalid` on line edits, `mode` on the mode badge and the frame around the window (practice, paper, live;
replay on the badge of past bars).
"""

from __future__ import annotations

from app.tokens import (
    CONTROL_HEIGHT,
    FONT_SIZE_L,
    FONT_SIZE_S,
    FONT_SIZE_XL,
    GRID,
    RADIUS,
    ROW_HEIGHT,
    SPACE_L,
    SPACE_M,
    SPACE_S,
    SPACE_XL,
    SPACE_XS,
    Palette,
)

_FILLED = ("practice", "paper", "live", "danger", "warning", "up", "down")  # colours that carry text

_CELL_MARGIN = 3  # px that Qt adds to the padding of a table's cells, but not to that of its headers

_BASE = """
QMainWindow, QDialog, QWizard, QWizardPage {{ background: {background}; color: {text}; }}
QWidget {{ color: {text}; }}
QToolTip {{ background: {raised}; color: {text}; border: 1px solid {line}; padding: {xs}px {s}px; }}
QBalloonTip {{ background: {raised}; color: {text}; }}
QMainWindow::separator {{ background: {background}; width: {xs}px; height: {xs}px; }}
QMainWindow::separator:hover {{ background: {accent}; }}
QSplitter::handle {{ background: {background}; }}
QSplitter::handle:hover {{ background: {accent}; }}
QDockWidget {{ color: {muted}; }}
QDockWidget::title {{ background: {surface}; padding: {s}px {m}px; border-bottom: 1px solid {line}; text-align: left; }}
QDockWidget > QWidget {{ background: {surface}; }}
QFrame[card="true"] {{ background: {surface}; border: 1px solid {line}; border-radius: {radius}px; }}
QFrame[mode="live"] {{ border: 2px solid {live}; }}
QStatusBar {{ background: {surface}; border-top: 1px solid {line}; color: {muted}; }}
QStatusBar::item {{ border: none; }}
QToolBar {{ background: {surface}; border: none; border-bottom: 1px solid {line}; spacing: {s}px;
    padding: {xs}px {s}px; }}
QMenuBar {{ background: {surface}; border-bottom: 1px solid {line}; }}
QMenuBar::item {{ background: transparent; padding: {xs}px {s}px; border-radius: {xs}px; }}
QMenuBar::item:selected {{ background: {raised}; }}
QMenu {{ background: {raised}; border: 1px solid {line}; padding: {xs}px; }}
QMenu::item {{ padding: {xs}px {xl}px {xs}px {l}px; border-radius: {xs}px; }}
QMenu::item:selected {{ background: {accent}; color: {on_accent}; }}
QMenu::item:disabled {{ color: {muted}; }}
QMenu::separator {{ height: 1px; background: {line}; margin: {xs}px {s}px; }}
"""

_TEXT = """
QLabel {{ background: transparent; }}
QLabel[role="title"] {{ font-size: {size_xl}px; font-weight: 600; }}
QLabel[role="heading"] {{ font-size: {size_l}px; font-weight: 600; }}
QLabel[role="number"] {{ font-size: {size_l}px; font-weight: 600; }}
QLabel[role="strong"] {{ font-weight: 600; }}
QLabel[role="halted"] {{ background: {danger}; color: {on_danger}; border-radius: {xs}px; padding: 2px {s}px;
    font-weight: 600; }}
QLabel[role="manual"] {{ color: {warning}; border: 1px solid {warning}; border-radius: {xs}px; padding: 0 {s}px;
    font-weight: 600; }}
QLabel[role="muted"] {{ color: {muted}; }}
QLabel[role="small"] {{ color: {muted}; font-size: {size_s}px; }}
QLabel[role="figures"] {{ font-size: {size_s}px; }}
QLabel[role="figures-good"] {{ font-size: {size_s}px; color: {success}; }}
QLabel[role="figures-bad"] {{ font-size: {size_s}px; color: {danger}; font-weight: 600; }}
QLabel[role="warning"] {{ color: {warning}; }}
QLabel[role="danger"] {{ color: {danger}; }}
QLabel[role="success"] {{ color: {success}; }}
QLabel[role="up"] {{ color: {up}; }}
QLabel[role="down"] {{ color: {down}; }}
QLabel[mode] {{ border-radius: {xs}px; padding: 2px {s}px; font-weight: 600; }}
QLabel[mode="practice"] {{ background: {practice}; color: {on_practice}; }}
QLabel[mode="paper"] {{ background: {paper}; color: {on_paper}; }}
QLabel[mode="live"] {{ background: {live}; color: {on_live}; }}
QLabel[mode="replay"] {{ background: {warning}; color: {on_warning}; }}
QLabel:disabled {{ color: {muted}; }}
"""

_CONTROLS = """
QPushButton, QToolButton {{ background: {raised}; border: 1px solid {line}; border-radius: {radius}px;
    padding: 0 {m}px; min-height: {control}px; color: {text}; }}
QToolButton {{ padding: 0 {s}px; }}
QPushButton:hover, QToolButton:hover {{ border-color: {accent}; }}
QPushButton:focus, QToolButton:focus {{ border-color: {accent}; }}
QPushButton:pressed, QToolButton:pressed {{ background: {line}; }}
QPushButton:checked, QToolButton:checked {{ background: {accent}; color: {on_accent}; border-color: {accent}; }}
QPushButton:disabled, QToolButton:disabled {{ color: {muted}; background: {surface}; border-color: {line}; }}
QPushButton[variant="primary"] {{ background: {accent}; color: {on_accent}; border-color: {accent}; font-weight: 600; }}
QPushButton[variant="danger"] {{ background: {danger}; color: {on_danger}; border-color: {danger}; font-weight: 600; }}
QPushButton[variant="buy"] {{ background: {up}; color: {on_up}; border-color: {up}; font-weight: 600; }}
QPushButton[variant="sell"] {{ background: {down}; color: {on_down}; border-color: {down}; font-weight: 600; }}
QPushButton[variant="primary"]:focus, QPushButton[variant="danger"]:focus, QPushButton[variant="buy"]:focus,
QPushButton[variant="sell"]:focus {{ border: 2px solid {text}; }}
QPushButton[variant="primary"]:disabled, QPushButton[variant="danger"]:disabled, QPushButton[variant="buy"]:disabled,
QPushButton[variant="sell"]:disabled {{ background: {surface}; color: {muted}; border-color: {line}; }}
QPushButton[variant="quiet"] {{ background: transparent; padding: 0 {s}px; }}
QToolButton[variant="quiet"] {{ background: transparent; border-color: transparent; }}
QPushButton[variant="quiet"]:disabled {{ background: transparent; }}
QPushButton[variant="quiet"]:hover, QToolButton[variant="quiet"]:hover {{ background: {raised}; }}
QPushButton[variant="quiet"]:focus, QToolButton[variant="quiet"]:focus {{ border-color: {accent}; }}
QPushButton[variant="quiet"]:checked, QToolButton[variant="quiet"]:checked {{ background: {raised}; color: {accent};
    border-color: {line}; }}
QPushButton[variant="buy"]:checked:disabled {{ color: {up}; border-color: {up}; }}
QPushButton[variant="sell"]:checked:disabled {{ color: {down}; border-color: {down}; }}
QPushButton[variant="compact"] {{ padding: 0 {xs}px; min-width: 0; }}
QLineEdit, QPlainTextEdit, QTextEdit, QComboBox, QSpinBox, QDateEdit, QDateTimeEdit {{ background: {background};
    border: 1px solid {line}; border-radius: {radius}px; padding: 0 {s}px; selection-background-color: {accent};
    selection-color: {on_accent}; color: {text}; }}
QLineEdit, QComboBox, QSpinBox, QDateEdit, QDateTimeEdit {{ min-height: {control}px; }}
QPlainTextEdit, QTextEdit {{ padding: {xs}px; }}
QLineEdit:focus, QPlainTextEdit:focus, QTextEdit:focus, QComboBox:focus, QSpinBox:focus, QDateEdit:focus,
QDateTimeEdit:focus {{ border-color: {accent}; }}
QLineEdit[invalid="true"] {{ border-color: {danger}; }}
QLineEdit:disabled, QComboBox:disabled, QSpinBox:disabled, QDateEdit:disabled {{ color: {muted};
    background: {surface}; }}
QComboBox::drop-down, QDateTimeEdit::drop-down {{ border: none; width: {l}px; padding-right: {xs}px; }}
QComboBox::down-arrow {{ image: url("{chevron_down}"); width: {m}px; height: {m}px; }}
QComboBox QAbstractItemView {{ background: {raised}; border: 1px solid {line}; selection-background-color: {accent};
    selection-color: {on_accent}; outline: none; }}
QSpinBox::up-button, QDateEdit::up-button, QDateTimeEdit::up-button {{ border: none; width: {l}px; }}
QSpinBox::down-button, QDateEdit::down-button, QDateTimeEdit::down-button {{ border: none; width: {l}px; }}
QSpinBox::up-arrow, QDateEdit::up-arrow, QDateTimeEdit::up-arrow {{ image: url("{chevron_up}"); width: {m}px;
    height: {m}px; }}
QSpinBox::down-arrow, QDateEdit::down-arrow, QDateTimeEdit::down-arrow {{ image: url("{chevron_down}"); width: {m}px;
    height: {m}px; }}
QCheckBox, QRadioButton {{ spacing: {s}px; background: transparent; }}
QCheckBox::indicator, QRadioButton::indicator, QListView::indicator {{ width: {l}px; height: {l}px;
    border: 1px solid {muted}; background: {background}; }}
QCheckBox::indicator, QListView::indicator {{ border-radius: {xs}px; }}
QRadioButton::indicator {{ border-radius: {half_control}px; }}
QCheckBox::indicator:checked, QListView::indicator:checked {{ background: {accent}; border-color: {accent};
    image: url("{check}"); }}
QRadioButton::indicator:checked {{ background: {accent}; border-color: {accent}; image: url("{dot}"); }}
QCheckBox::indicator:focus, QRadioButton::indicator:focus, QCheckBox:focus::indicator,
QRadioButton:focus::indicator {{ border-color: {accent}; }}
QGroupBox {{ border: 1px solid {line}; border-radius: {radius}px; margin-top: {l}px; padding: {s}px; }}
QGroupBox::title {{ subcontrol-origin: margin; left: {s}px; padding: 0 {xs}px; color: {muted}; }}
QSlider::groove:horizontal {{ height: {xs}px; background: {line}; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ background: {accent}; border-radius: 2px; }}
QSlider::handle:horizontal {{ width: {l}px; margin: -6px 0; border-radius: {s}px; background: {text}; }}
QProgressBar {{ background: {background}; border: 1px solid {line}; border-radius: {xs}px; text-align: center;
    min-height: {l}px; }}
QProgressBar[variant="thin"] {{ min-height: {s}px; max-height: {s}px; }}
QProgressBar::chunk {{ background: {accent}; border-radius: {xs}px; }}
"""

_VIEWS = """
QAbstractItemView {{ background: {surface}; alternate-background-color: {raised}; border: none; outline: none;
    selection-background-color: {selection}; selection-color: {text}; gridline-color: {line}; }}
QTableView::item, QTreeView::item, QListView::item {{ min-height: {row}px; padding: 0 {s}px; }}
QTableView::item:focus {{ border: 1px solid {accent}; }}
QHeaderView {{ background: {surface}; }}
QHeaderView::section {{ background: {surface}; color: {muted}; border: none; border-bottom: 1px solid {line};
    padding: {xs}px {cell}px; }}
QHeaderView::section:hover {{ color: {text}; }}
QTableCornerButton::section {{ background: {surface}; border: none; }}
QTabWidget::pane {{ border: none; border-top: 1px solid {line}; background: {surface}; }}
QTabBar {{ background: {surface}; }}
QTabBar::tab {{ background: transparent; color: {muted}; padding: {s}px {m}px; border: none;
    border-bottom: 2px solid transparent; }}
QTabBar::tab:selected {{ color: {text}; border-bottom-color: {accent}; }}
QTabBar::tab:hover {{ color: {text}; }}
QTabBar::tab:focus {{ color: {accent}; }}
QScrollArea {{ background: transparent; border: none; }}
QScrollBar:vertical {{ background: transparent; width: {m}px; margin: 0; }}
QScrollBar:horizontal {{ background: transparent; height: {m}px; margin: 0; }}
QScrollBar::handle {{ background: {line}; border-radius: {xs}px; margin: 2px; }}
QScrollBar::handle:vertical {{ min-height: {row}px; }}
QScrollBar::handle:horizontal {{ min-width: {row}px; }}
QScrollBar::handle:hover {{ background: {muted}; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
"""


def contrast(first: str, second: str) -> float:
    """Return the WCAG contrast ratio of two #RRGGBB colours, 1 to 21."""
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def readable_on(colour: str, palette: Palette) -> str:
    """Return whichever of background and text reads better on a #RRGGBB area."""
    return max((palette.background, palette.text), key=lambda candidate: contrast(candidate, colour))


def mix(first: str, second: str, share: float) -> str:
    """Return `first` with `share` (0 to 1) of `second` mixed in, as #RRGGBB."""
    pairs = zip(_channels(first), _channels(second), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in pairs)


def build_style_sheet(palette: Palette, images: dict[str, str]) -> str:
    """Return the style sheet of a palette.

    Args:
        palette: colours.
        images: paths or Qt search-path addresses of `chevron_down`, `chevron_up`, `check` and `dot`.
    """
    values: dict[str, str | int] = {name: getattr(palette, name) for name in Palette.__slots__}
    values.update(images)
    values.update(
        xs=SPACE_XS,
        s=SPACE_S,
        m=SPACE_M,
        l=SPACE_L,
        xl=SPACE_XL,
        radius=RADIUS,
        control=CONTROL_HEIGHT - 2,  # the border comes on top
        half_control=SPACE_L // 2 + 1,
        row=ROW_HEIGHT - GRID // 2,
        cell=SPACE_S + _CELL_MARGIN,
        size_s=FONT_SIZE_S,
        size_l=FONT_SIZE_L,
        size_xl=FONT_SIZE_XL,
        selection=mix(palette.surface, palette.accent, 0.25),
        **{f"on_{name}": readable_on(getattr(palette, name), palette) for name in _FILLED},
    )
    return "".join(block.format_map(values) for block in (_BASE, _TEXT, _CONTROLS, _VIEWS))


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    def linear(channel: int) -> float:
        value = channel / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    red, green, blue = map(linear, _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
