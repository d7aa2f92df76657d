"""What the practice exchange itself says of the account, asked directly. Blocking; for reports and tests.

It shares no code with the gateway or the order manager, so that a mistake there cannot hide itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from core.practice.control import PracticeEndpoints

_TIMEOUT_S: Final = 10.0
_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """One order as the exchange lists it."""

    client_order_id: str
    order_id: int
    status: str
    executed_quantity: Decimal


def list_orders(endpoints: PracticeEndpoints, venue_symbol: str) -> list[VenueOrder]:
    """Return every order of the account in one market, oldest first.

    Raises:
        OSError: the exchange does not answer or refuses.
    """
    found: list[VenueOrder] = []
    next_id = 0
    while True:
        page = _get(endpoints, "allOrders", symbol=venue_symbol, orderId=next_id, limit=_PAGE)
        found += [
            VenueOrder(str(row["clientOrderId"]), int(row["orderId"]), str(row["status"]), Decimal(row["executedQty"]))
            for row in page
        ]
        if len(page) < _PAGE:
            return found
        next_id = found[-1].order_id + 1


def _get(endpoints: PracticeEndpoints, path: str, **parameters: object) -> Any:
    query = urllib.parse.urlencode({**parameters, "timestamp": time.time_ns() // 1_000_000})
    signature = hmac.new(endpoints.api_secret.encode(), query.encode(), hashlib.sha256).hexdigest()
    request = urllib.request.Request(
        f"{endpoints.rest}/api/v3/{path}?{query}&signature={signature}", headers={"X-MBX-APIKEY": endpoints.api_key}
    )
    # No proxy: the exchange is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_TIMEOUT_S) as response:
        return json.load(response)
