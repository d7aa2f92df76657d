"""A session asks the practice exchange what its key may do before it uses it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.runtime import open_practice_link, open_trading_session, prepare_data
from app.workers.retry import needs_person
from core.errors import UserError
from core.execution.api.gateway import FatalGatewayError
from core.execution.api.key_permissions import Allowed, KeyRefused, SessionGuard
from tests.integration.practice_clients import raw_client


async def test_a_practice_session_begins_with_a_key_that_only_reads_and_trades(tmp_path: Path) -> None:
    async with raw_client(tmp_path / "exchange") as client:
        guard = SessionGuard()
        link = await open_practice_link(client.endpoints, link="orders", with_keys=True, key_guard=guard)
        try:
            await link.gateway.connect()
            assert isinstance(guard.verdict, Allowed)
            assert "any address" in guard.verdict.warnings[0]
        finally:
            await link.close()


async def test_a_key_that_can_withdraw_opens_no_session_and_is_not_asked_for_balances(tmp_path: Path) -> None:
    async with raw_client(tmp_path / "exchange") as client:
        await client.control.permissions(withdrawals=True)
        session = await open_trading_session(prepare_data(tmp_path / "data"), client.endpoints, lambda event: None)
        try:
            with pytest.raises(UserError, match="binance cannot be used: this key can withdraw money") as caught:
                await session.executor.start()
            assert isinstance(caught.value.__cause__, KeyRefused)
        finally:
            await session.close()
        # The next session asks anew: what a person repaired on the venue's page counts.
        await client.control.permissions(withdrawals=False)
        session = await open_trading_session(prepare_data(tmp_path / "data"), client.endpoints, lambda event: None)
        try:
            await session.executor.start()
        finally:
            await session.close()


async def test_a_revoked_key_is_fatal(tmp_path: Path) -> None:
    async with raw_client(tmp_path / "exchange") as client:
        await client.control.permissions(revoked=True)
        session = await open_trading_session(prepare_data(tmp_path / "data"), client.endpoints, lambda event: None)
        try:
            with pytest.raises(UserError, match="-2015") as caught:
                await session.executor.start()
            assert isinstance(caught.value.__cause__, FatalGatewayError)
        finally:
            await session.close()


async def test_a_key_revoked_while_trading_ends_the_session_with_one_sentence(tmp_path: Path) -> None:
    async with raw_client(tmp_path / "exchange") as client:
        session = await open_trading_session(prepare_data(tmp_path / "data"), client.endpoints, lambda event: None)
        try:
            await session.executor.start()
            running = asyncio.create_task(session.executor.run())
            await asyncio.sleep(1.0)  # the account stream holds
            assert not running.done()
            await client.control.permissions(revoked=True)
            with pytest.raises(UserError, match="binance cannot be used") as caught:
                await asyncio.wait_for(running, 30)
            assert needs_person(caught.value)
        finally:
            await session.close()
