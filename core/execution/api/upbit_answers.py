"""What Upbit answers: its error codes and its account of the requests left. Pure, any thread.

An error's code is a word, not a number, and there is no expiry of requests: what was not surely refused stays unknown
until the venue shows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.execution.error_handler import ErrorTable, Outcome

UPBIT_ERRORS = ErrorTable(
    venue="upbit",
    codes={
        **dict.fromkeys(
            (
                *("create_ask_error", "create_bid_error", "validation_error", "invalid_parameter"),
                *("insufficient_funds", "insufficient_funds_ask", "insufficient_funds_bid"),
                *("under_min_total_ask", "under_min_total_bid", "over_max_total_ask", "over_max_total_bid"),
                *("under_price_limit_ask", "under_price_limit_bid", "invalid_price", "invalid_price_ask"),
                *("invalid_price_bid", "invalid_funds", "volume_too_large", "market_offline", "market_not_found"),
                "notfoundmarket",
            ),
            Outcome.REFUSED,
        ),
        **dict.fromkeys(
            (
                *("invalid_query_payload", "jwt_verification", "invalid_access_key", "expired_access_key"),
                *("no_authorization_ip", "no_authorization_i_p", "no_authorization_token", "out_of_scope"),
                *("thirdparty_agreement_required", "blocked_member_id"),
            ),
            Outcome.FATAL,
        ),
        "order_not_found": Outcome.ORDER_UNKNOWN,
        "too_many_requests": Outcome.NOT_PROCESSED,
        "order_not_ready": Outcome.UNDECIDED,  # taken, not processed yet
        "nonce_used": Outcome.UNDECIDED,  # a request with this very nonce did arrive
    },
    # An id that is taken proves that an order of that id is there.
    phrases={"identifier": Outcome.UNDECIDED},
    code_key="name",
    message_key="message",
)

_PART = re.compile(r"\s*([\w-]+)\s*=\s*([\w-]+)\s*")


@dataclass(frozen=True, slots=True)
class RemainingRequests:
    """What `Remaining-Req` says of one group of calls, which share a budget of so many per second.

    Attributes:
        group: e.g. "order", "default", "candles".
        left: requests left in the running second; 0 where the next one has to wait.
    """

    group: str
    left: int


def remaining_requests(header: str | None) -> RemainingRequests | None:
    """Read e.g. `group=default; min=1800; sec=29`; `min` is fixed nowadays and means nothing.

    Returns:
        None where the header is missing or not understood: then our own count alone rules.
    """
    found = map(_PART.fullmatch, (header or "").split(";"))
    parts: dict[str, str] = {part.group(1): part.group(2) for part in found if part is not None}
    group, left = parts.get("group", ""), parts.get("sec", "")
    return RemainingRequests(group, int(left)) if group and left.isdecimal() else None
