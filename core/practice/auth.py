"""Keys of the practice account and the venue's request signing. Pure functions and one small file, any thread."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from core.errors import UserError
from core.practice.orders import Rejection
from core.practice.rules import integer, missing, required

_DEFAULT_WINDOW_MS: Final = 5_000
_MAX_WINDOW_MS: Final = 60_000
_AHEAD_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """A key pair; the secret never shows in a representation."""

    api_key: str
    api_secret: str = field(repr=False)


def load_or_make_keys(path: Path) -> ApiKeys:
    """Return the stored keys, made at the first start in an owner-only file.

    Raises:
        UserError: the file is damaged or cannot be written.
    """
    try:
        if path.exists():
            stored = json.loads(path.read_text("utf-8"))
            return ApiKeys(str(stored["api_key"]), str(stored["api_secret"]))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _make_keys(path)
    except (ValueError, KeyError, TypeError) as exc:
        raise UserError(f"The key file {path} is damaged.", "Delete it; new keys are made at the next start.") from exc
    except OSError as exc:
        raise _not_written(path, exc) from exc


def replace_keys(path: Path) -> ApiKeys:
    """Make new keys in place of the stored ones, which open nothing any more.

    Raises:
        UserError: the file cannot be written; the old keys stay.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        keys = _make_keys(fresh)
        os.replace(fresh, path)
    except OSError as exc:
        raise _not_written(path, exc) from exc
    return keys


def created_ms(path: Path) -> int:
    """Return when the stored keys were made, ms UTC."""
    return path.stat().st_mtime_ns // 1_000_000


def _make_keys(path: Path) -> ApiKeys:
    keys = ApiKeys(secrets.token_hex(32), secrets.token_hex(32))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"api_key": keys.api_key, "api_secret": keys.api_secret}, file)
    return keys


def _not_written(path: Path, error: OSError) -> UserError:
    return UserError(
        f"The key file {path} cannot be written: {error.strerror or error}.",
        "Free some space or choose another folder with --data-dir.",
    )


def sign(secret: str, payload: str) -> str:
    """Return the HMAC-SHA256 of `payload` as hexadecimal."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def query_payload(query: str, body: str) -> str:
    """Return what a REST request signs: query string and body as sent, without the signature itself."""
    return _unsigned(query) + _unsigned(body)


def _unsigned(text: str) -> str:
    return "&".join(part for part in text.split("&") if part and not part.startswith("signature="))


def message_payload(params: Mapping[str, str]) -> str:
    """Return what a WebSocket API request signs: its parameters sorted by name."""
    return "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")


def check_key(keys: ApiKeys, api_key: str) -> None:
    """Check the key.

    Raises:
        Rejection: -2014 where it cannot be a key, -2015 where it is not ours.
    """
    if len(api_key) != len(keys.api_key) or not api_key.isalnum():
        raise Rejection(-2014, "API-key format invalid.", 401)
    if not hmac.compare_digest(api_key, keys.api_key):
        raise Rejection(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def check_signed(keys: ApiKeys, api_key: str, params: Mapping[str, str], payload: str, server_ms: int) -> None:
    """Check key, timestamp and signature of a request.

    Raises:
        Rejection: with the venue's code for whatever is wrong.
    """
    check_key(keys, api_key)
    signature = required(params, "signature")
    timestamp = integer(params, "timestamp")
    if timestamp is None:
        raise missing("timestamp")
    window = integer(params, "recvWindow", _DEFAULT_WINDOW_MS)
    if window is None or window > _MAX_WINDOW_MS:
        raise Rejection(-1131, "recvWindow must be less than 60000.")
    if timestamp >= server_ms + _AHEAD_MS:
        raise Rejection(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if server_ms - timestamp > window:
        raise Rejection(-1021, "Timestamp for this request is outside of the recvWindow.")
    if not hmac.compare_digest(sign(keys.api_secret, payload), signature):
        raise Rejection(-1022, "Signature for this request is not valid.")
