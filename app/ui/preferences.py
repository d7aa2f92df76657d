"""Language, theme and price colours chosen in the menu: applied live and remembered. GUI thread only."""

from __future__ import annotations

from app.i18n import Language
from app.language import LanguageManager
from app.settings import LANGUAGE, THEME, UP_DOWN, LanguageChoice, Settings
from app.theme import ThemeChoice, ThemeManager, UpDown
from app.ui.actions import ActionId, ActionRegistry

_LANGUAGES = {
    ActionId.LANGUAGE_EN: (Language.ENGLISH, LanguageChoice.ENGLISH),
    ActionId.LANGUAGE_KO: (Language.KOREAN, LanguageChoice.KOREAN),
}
_THEMES = {
    ActionId.THEME_SYSTEM: ThemeChoice.SYSTEM,
    ActionId.THEME_DARK: ThemeChoice.DARK,
    ActionId.THEME_LIGHT: ThemeChoice.LIGHT,
}
_COLOURS = {
    ActionId.COLOURS_WESTERN: UpDown.WESTERN,
    ActionId.COLOURS_KOREAN: UpDown.KOREAN,
    ActionId.COLOURS_BLIND: UpDown.COLOUR_BLIND,
}


class Preferences:
    """Carries out the actions of the Settings menu."""

    def __init__(
        self, theme: ThemeManager, language: LanguageManager, settings: Settings, actions: ActionRegistry
    ) -> None:
        self._theme = theme
        self._language = language
        self._settings = settings
        self._actions = actions
        self.show_choices()

    def show_choices(self) -> None:
        """Check the actions of what is chosen now."""
        chosen = {
            **{action: value is self._language.language for action, (value, _) in _LANGUAGES.items()},
            **{action: value is self._theme.choice for action, value in _THEMES.items()},
            **{action: value is self._theme.up_down for action, value in _COLOURS.items()},
        }
        for action, checked in chosen.items():
            if checked:
                self._actions.check(action)

    def carry_out(self, action: ActionId) -> bool:
        """Apply and remember a choice; False where the action is not one of these."""
        if action in _LANGUAGES:
            language, choice = _LANGUAGES[action]
            self._settings.set(LANGUAGE, choice)
            self._language.set_language(language)
        elif action in _THEMES:
            self._settings.set(THEME, _THEMES[action])
            self._theme.set_theme(_THEMES[action], self._theme.up_down)
        elif action in _COLOURS:
            self._settings.set(UP_DOWN, _COLOURS[action])
            self._theme.set_theme(self._theme.choice, _COLOURS[action])
        else:
            return False
        return True
