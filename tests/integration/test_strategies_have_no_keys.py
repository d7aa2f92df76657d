"""What a running strategy can reach from itself holds no key, and no gateway that has one."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.runtime import open_trading_session, prepare_data
from core.execution.api.ccxt_client import CcxtClient, Credentials
from core.execution.api.ccxt_gateway import CcxtGateway
from core.execution.executor import Executor
from core.secrets.book import KeyBook
from core.secrets.keys import KeyPair
from core.strategies.spec import StrategySpec
from tests.integration.practice_clients import raw_client
from tests.trained_model import Trained

HOLDERS = (Credentials, KeyPair, KeyBook, CcxtClient, CcxtGateway, Executor)
# Whose references lead to the whole program: a module is reached by every function through its globals.
ENDS = (types.ModuleType, type, types.CodeType, types.BuiltinFunctionType, str, bytes, int, float, Decimal)


def parts(value: Any) -> Iterator[Any]:
    """What an object is made of: what code that was handed it can get by attributes and items."""
    if isinstance(value, dict):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, types.FunctionType):
        yield from (cell.cell_contents for cell in value.__closure__ or ())
        yield value.__defaults__
    elif isinstance(value, types.MethodType):
        yield value.__self__
        yield value.__func__
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    else:
        yield from getattr(value, "__dict__", {}).values()
        for kind in type(value).__mro__:
            for slot in vars(kind).values():
                if isinstance(slot, types.MemberDescriptorType):
                    with suppress(AttributeError):  # never set
                        yield slot.__get__(value)


def reachable(start: Any) -> list[Any]:
    seen: dict[int, Any] = {}
    pending = [start]
    while pending:
        value = pending.pop()
        if id(value) not in seen:
            seen[id(value)] = value
            if not isinstance(value, ENDS):
                pending += list(parts(value))
    return list(seen.values())


async def test_a_running_strategy_reaches_no_key(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "models").symlink_to(trained.models_dir)
    data = trained.spec.data
    spec = StrategySpec("s1", "One", data.symbol, data.timeframe, trained.result.model_id, Decimal(100))
    async with raw_client(tmp_path / "exchange") as client:
        paths = prepare_data(tmp_path / "data")
        session = await open_trading_session(paths, client.endpoints, lambda event: None)
        try:
            await session.executor.start()
            await session.executor.add_strategy(spec)
            await session.executor.start_strategy("s1")
            strategy = session.executor._runner._entries["s1"].strategy
            assert strategy is not None
            found = reachable(strategy)
            assert any(type(value).__name__ == "StrategySpec" for value in found), "the walk sees what it holds"
            assert len(found) > 20
            assert [value for value in found if isinstance(value, HOLDERS)] == []
            secrets = {client.endpoints.api_key, client.endpoints.api_secret, client.endpoints.token}
            assert [value for value in found if isinstance(value, str) and value in secrets] == []
            # Else the walk would find nothing anywhere.
            assert any(isinstance(value, Credentials) for value in reachable(session.executor))
        finally:
            await session.close()
