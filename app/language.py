"""Live language switch of the window. GUI thread only."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication, QLibraryInfo, QLocale, QObject, QTranslator, Signal

from app import i18n
from app.i18n import Language


def system_language() -> Language:
    """Return Korean where the system speaks Korean, else English."""
    korean = QLocale.system().language() == QLocale.Language.Korean
    return Language.KOREAN if korean else Language.ENGLISH


class LanguageManager(QObject):
    """Switches the language of the running program.

    Widgets connect `changed` to a slot that calls their `retranslate()`.

    Signals:
        changed: the language changed; every visible text is to be set again.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._qt_texts: QTranslator | None = None
        # Numbers are formatted by app.i18n alone; the C locale keeps Qt's own widgets from inventing separators.
        QLocale.setDefault(QLocale.c())

    @property
    def language(self) -> Language:
        """The current language."""
        return i18n.current_language()

    def set_language(self, language: Language) -> None:
        """Switch to `language`; a no-op where it is current already and Qt's own texts match."""
        if language is i18n.current_language() and (language is Language.ENGLISH) == (self._qt_texts is None):
            return
        i18n.set_language(language)
        self._load_qt_texts(language)
        self.changed.emit()

    def _load_qt_texts(self, language: Language) -> None:
        """Load the texts of Qt's own buttons and menus where Qt ships them for the language."""
        application = QCoreApplication.instance()
        if application is None:
            return
        if self._qt_texts is not None:
            application.removeTranslator(self._qt_texts)
            self._qt_texts = None
        if language is Language.ENGLISH:
            return
        texts = QTranslator(self)
        folder = QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath)
        if texts.load(f"qtbase_{language.value}", folder):
            application.installTranslator(texts)
        self._qt_texts = texts
