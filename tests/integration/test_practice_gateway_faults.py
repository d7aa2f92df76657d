"""What our own gateway makes of every fault of a placement, and whether the order is there: no doubt may be lost."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from core.domain.orders import OrderState, OrderType, Side
from core.execution.api.ccxt_gateway import CcxtGateway
from core.execution.api.gateway import (
    AmbiguousOutcome,
    DefinitiveReject,
    FatalGatewayError,
    GatewayError,
    NoAnswer,
    OrderReport,
    OrderRequest,
    OrderUnknown,
    RetryableError,
)
from tests.integration.practice_clients import RawClient, raw_client
from tests.integration.test_gateway_practice import BTC, connected

# Fault -> what the gateway raises, and whether the order was placed. Where it may have been, the error must say so.
# The ban outlasts the second for which the refusal before it makes the gateway wait.
PLACEMENTS: dict[str, tuple[type[GatewayError], bool]] = {
    "lost:order": (AmbiguousOutcome, False),
    "lost-ack:order": (AmbiguousOutcome, True),
    "error:order,code=-1000": (AmbiguousOutcome, False),
    "error:order,code=-1000,when=after": (AmbiguousOutcome, True),
    "error:order,code=-1001": (AmbiguousOutcome, False),
    "error:order,code=-1006,when=after": (AmbiguousOutcome, True),
    "error:order,code=-1007,when=after": (AmbiguousOutcome, True),
    "error:order,status=503": (AmbiguousOutcome, False),
    "error:order,status=503,when=after": (AmbiguousOutcome, True),
    "error:order,status=502,when=after": (AmbiguousOutcome, True),
    "maintenance": (AmbiguousOutcome, False),
    "error:order,code=-1008": (RetryableError, False),
    "error:order,code=-1021": (RetryableError, False),
    "error:order,status=403": (RetryableError, False),
    "error:order,code=-2010": (DefinitiveReject, False),
    "error:order,code=-2015": (FatalGatewayError, False),
    "error:order,code=-1003,retry=1s": (RetryableError, False),
    "error:order,code=-1015,retry=1s": (RetryableError, False),
    "ban,for=2s": (RetryableError, False),
}
CANCELS: dict[str, tuple[type[GatewayError], str]] = {
    "lost:cancel,next=2": (NoAnswer, "NEW"),
    "lost-ack:cancel,next=1": (OrderUnknown, "CANCELED"),  # aiohttp repeated the DELETE, and nothing was left to cancel
    "error:cancel,code=-2011": (OrderUnknown, "NEW"),
    "error:cancel,code=-1007,when=after": (RetryableError, "CANCELED"),
}


async def state_of(client: RawClient, client_id: str) -> str | None:
    """Return the venue's state of an order, None where it has none."""
    reply = await client.signed("GET", "order", symbol="BTCUSDT", origClientOrderId=client_id)
    found = reply.body.get("status")
    assert found is not None or reply.body["code"] == -2013
    return None if found is None else str(found)


async def place(gateway: CcxtGateway, client_id: str, price: Decimal) -> OrderReport:
    order = OrderRequest(client_id, BTC, Side.BUY, OrderType.LIMIT, Decimal("0.001"), price)
    return await gateway.submit_order(order)


async def test_the_gateway_takes_every_fault_for_what_it_is(tmp_path: Path) -> None:
    async with raw_client(tmp_path, balance="1000000") as client, connected(client.endpoints) as (gateway, _):
        last = (await client.request("GET", "ticker/price", symbol="BTCUSDT")).body["price"]
        price = gateway.instruments[BTC].floor_price(Decimal(last) * Decimal("0.8"))
        for number, (spec, (kind, there)) in enumerate(PLACEMENTS.items()):
            await client.control.arm_faults(spec)
            with pytest.raises(GatewayError) as caught:
                await place(gateway, f"p-{number}", price)
            await client.control.clear_faults()
            assert type(caught.value) is kind, spec
            assert (await state_of(client, f"p-{number}") is not None) is there, spec
        for number, (spec, (kind, state)) in enumerate(CANCELS.items()):
            assert (await place(gateway, f"c-{number}", price)).state is OrderState.ACCEPTED
            await client.control.arm_faults(spec)
            with pytest.raises(GatewayError) as caught:
                await gateway.cancel_order(BTC, f"c-{number}")
            await client.control.clear_faults()
            assert type(caught.value) is kind, spec
            assert await state_of(client, f"c-{number}") == state, spec
        await client.control.arm_faults("lag:query,ms=60000")
        assert (await place(gateway, "lag", price)).state is OrderState.ACCEPTED
        with pytest.raises(OrderUnknown):
            await gateway.fetch_order(BTC, "lag")
        await client.control.clear_faults()
        assert (await gateway.fetch_order(BTC, "lag")).state is OrderState.ACCEPTED
