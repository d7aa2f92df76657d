"""What the key of the practice account may do. Pure values, any thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from typing import Any

from core.errors import UserError
from core.practice.orders import Rejection


class Right(Enum):
    """What a request needs."""

    NONE = "none"
    SIGNED = "signed"
    READING = "reading"
    TRADING = "trading"


@dataclass(frozen=True, slots=True)
class KeyRights:
    """Rights of the account's key, as a person sets them on the venue's page.

    Attributes:
        revoked: the key was deleted there; nothing accepts it any more.
    """

    reading: bool = True
    trading: bool = True
    withdrawals: bool = False
    ip_restrict: bool = False
    revoked: bool = False

    def changed(self, wanted: Mapping[str, Any]) -> KeyRights:
        """Return these rights with some of them set anew.

        Raises:
            UserError: a name is unknown or a value is neither true nor false.
        """
        names = [field.name for field in fields(self)]
        for name, value in wanted.items():
            if name not in names:
                raise UserError(f"{name!r} is no right of a key.", f"There are: {', '.join(names)}.")
            if not isinstance(value, bool):
                raise UserError(f"The right {name!r} must be true or false.", "Give it as a JSON truth value.")
        return replace(self, **wanted)

    def check(self, needed: Right) -> None:
        """Refuse what the key may not do.

        Raises:
            Rejection: -2015.
        """
        denied = (needed is Right.READING and not self.reading) or (needed is Right.TRADING and not self.trading)
        if needed is not Right.NONE and (self.revoked or denied):
            raise Rejection(-2015, "Invalid API-key, IP, or permissions for action.", 401)

    def to_json(self) -> dict[str, bool]:
        """Return the rights by name."""
        return asdict(self)

    def restrictions(self, created_ms: int) -> dict[str, Any]:
        """Return `/sapi/v1/account/apiRestrictions`."""
        return {
            "ipRestrict": self.ip_restrict,
            "createTime": created_ms,
            "enableReading": self.reading,
            "enableWithdrawals": self.withdrawals,
            "enableInternalTransfer": False,
            "enableMargin": False,
            "enableFutures": False,
            "permitsUniversalTransfer": False,
            "enableVanillaOptions": False,
            "enableFixApiTrade": False,
            "enableFixReadOnly": False,
            "enableSpotAndMarginTrading": self.trading,
            "enablePortfolioMarginTrading": False,
        }
