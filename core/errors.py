"""Errors that a person can act on. Runs on any thread.

Everything that is not a `UserError` is a bug: it reaches the crash handler with its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """A failure the user can repair; shown as one sentence plus a remedy, never with a traceback.

    Attributes:
        message: one clear sentence saying what went wrong.
        remedy: one sentence saying what to do about it; may be empty.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class RiskRefused(UserError):
    """What was asked for would be denied by the risk gate; nothing was done.

    Attributes:
        reason_code: why, for machines; see Docs/risk_reasons.md.
    """

    def __init__(self, message: str, remedy: str, reason_code: str) -> None:
        super().__init__(message, remedy)
        self.reason_code = reason_code
