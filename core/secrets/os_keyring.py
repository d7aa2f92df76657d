"""The operating system's keyring. Calls block, and a locked keyring can hang for ever: each has a time limit.

Backends that keep nothing, or keep it in the clear, are refused: a key would seem safe and be in a plain file. Any
thread but the window's.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from core.errors import UserError
from core.secrets.keys import KeyPair, StoreKind
from core.secrets.stores import pair_from_text, pair_to_text

SERVICE = "maru-trader"
LIMIT_S = 60.0  # its person may have to type a password first
# Below it the library itself does not recommend a backend.
_RECOMMENDED = 1.0
_USELESS = ("keyring.backends.fail", "keyring.backends.null")
_CHAIN = "keyring.backends.chainer"
_ELSE = (
    "Unlock or install one (GNOME Keyring, KWallet, macOS Keychain, Windows Credential Manager), or keep the key in "
    "the encrypted file."
)

T = TypeVar("T")


class KeyringUnusable(UserError):
    """There is no keyring, it protects nothing, or it does not answer."""

    def __init__(self, message: str) -> None:
        super().__init__(message, _ELSE)


class KeyringBackend(Protocol):
    """What is used of a backend of the library `keyring`."""

    def get_password(self, service: str, username: str) -> str | None:
        """Return a text."""
        ...

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep a text."""
        ...

    def delete_password(self, service: str, username: str) -> None:
        """Forget a text."""
        ...


class KeyringStore:
    """Keys in the operating system's keyring.

    Args:
        find: returns the backend; the library's own choice where None.
        limit_s: longest wait for one call.
    """

    kind = StoreKind.KEYRING

    def __init__(self, find: Callable[[], Any] | None = None, limit_s: float = LIMIT_S) -> None:
        self._find = find or _installed_backend
        self._limit_s = limit_s
        self._hanging: threading.Thread | None = None

    def get(self, entry: str) -> KeyPair | None:
        """See `SecretStore.get`."""
        text = self._call(lambda: usable_backend(self._find()).get_password(SERVICE, entry))
        return None if text is None else pair_from_text(text)

    def put(self, entry: str, pair: KeyPair) -> None:
        """See `SecretStore.put`. What was kept is read again: a backend that forgets would be noticed too late."""
        text = pair_to_text(pair)

        def keep() -> bool:
            backend = usable_backend(self._find())
            backend.set_password(SERVICE, entry, text)
            return backend.get_password(SERVICE, entry) == text

        if not self._call(keep):
            raise KeyringUnusable("The keyring did not keep the key.")

    def remove(self, entry: str) -> None:
        """See `SecretStore.remove`."""

        def forget() -> None:
            backend = usable_backend(self._find())
            if backend.get_password(SERVICE, entry) is not None:
                backend.delete_password(SERVICE, entry)

        self._call(forget)

    def _call(self, work: Callable[[], T]) -> T:
        """Do it on a thread of its own, so that a keyring that waits for somebody holds up nobody.

        Raises:
            UserError: no answer in time, an earlier call still hangs, or the keyring refuses.
        """
        if self._hanging is not None and self._hanging.is_alive():
            raise KeyringUnusable("The keyring still does not answer.")
        answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                answers.put((work(), None))
            except BaseException as exc:  # noqa: BLE001 - handed to the caller, whatever it is
                answers.put((None, exc))

        thread = threading.Thread(target=run, name="keyring", daemon=True)
        thread.start()
        try:
            value, error = answers.get(timeout=self._limit_s)
        except queue.Empty:
            self._hanging = thread
            raise KeyringUnusable(f"The keyring did not answer within {self._limit_s:.0f} seconds.") from None
        thread.join()
        if error is not None:
            raise _as_user_error(error)
        return value  # type: ignore[return-value]


def usable_backend(backend: Any) -> KeyringBackend:
    """Return the backend to use: itself, or the best of a chain.

    Raises:
        UserError: it protects nothing.
    """
    if type(backend).__module__ == _CHAIN:
        members = [member for member in backend.backends if not _weakness(member)]
        if not members:
            raise KeyringUnusable("No keyring here protects a key: the chain holds none that does.")
        # Not the chain itself: it would hand on what the best one refuses to the next.
        return members[0]  # type: ignore[no-any-return]
    if weakness := _weakness(backend):
        raise KeyringUnusable(weakness)
    return backend  # type: ignore[no-any-return]


def _weakness(backend: Any) -> str:
    """Say in one sentence why a backend is no place for a key; "" where it is one."""
    kind = type(backend)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__ in _USELESS:
        return "This system has no keyring."
    if "plaintext" in name.lower():
        return f"The keyring {name} keeps keys in the clear."
    if kind.__module__.startswith("keyrings.alt") or float(backend.priority) < _RECOMMENDED:
        return f"The keyring {name} does not protect a key well enough."
    return ""


def _installed_backend() -> Any:
    import keyring  # 0.1 s, and only where a key is needed

    return keyring.get_keyring()


def _as_user_error(error: BaseException) -> BaseException:
    """Turn whatever a backend raises into a sentence: it is foreign code over a bus that can break at any moment."""
    if isinstance(error, UserError) or not isinstance(error, Exception):
        return error
    why = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    refusal = KeyringUnusable(f"The keyring refused: {why}.")
    refusal.__cause__ = error
    return refusal
