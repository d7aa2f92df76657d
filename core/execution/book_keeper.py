"""Keeping the books equal to the account: the account stream, comparisons, balances. Executor's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable

from core.clock import Clock
from core.domain.positions import Balance
from core.errors import UserError
from core.events import BalancesChanged, EventSink, Notice, Severity
from core.execution.account import AccountBook
from core.execution.api.gateway import BalanceReport, ExchangeGateway, FatalGatewayError, GatewayError, UserEvent
from core.execution.backoff import Backoff
from core.execution.cash_check import CashCheck
from core.execution.executor_options import ExecutorOptions
from core.execution.journal import Journal
from core.execution.order_manager import OrderManager
from core.execution.position_tracker import holds
from core.execution.reconciliation import Event, describe
from core.execution.synchroniser import Synchroniser

ACCOUNT_STREAM, RECONCILIATION = "account-stream", "reconciliation"  # what may trouble the link

_log = logging.getLogger(__name__)


class BookKeeper:
    """What brings the venue's news into the books, and says whether they may be incomplete.

    Attributes:
        symbols: markets in which anything was ever sent or held; their trades are reconciled.
        in_doubt: the books may be incomplete until they have been compared with the venue; exposure may not grow.
    """

    def __init__(
        self,
        gateway: ExchangeGateway,
        journal: Journal,
        manager: OrderManager,
        account: AccountBook,
        sync: Synchroniser,
        sink: EventSink,
        wall: Clock,
        options: ExecutorOptions,
        jitter: random.Random,
        strategy_symbols: Callable[[], set[str]],
        bears: Callable[[UserError], bool],
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._manager = manager
        self._account = account
        self._sync = sync
        self._sink = sink
        self._wall = wall
        self._options = options
        self._strategy_symbols = strategy_symbols
        self._bears = bears
        self._jitter = jitter
        self._comparing = asyncio.Lock()
        self._reading = asyncio.Lock()  # of the balances
        self._wishes = self._served = 0
        self._doubts = 0  # how often something may have been missed: the account stream ended, a report is not booked
        self._turn = 0  # which quiet market is looked at next
        self._heard = 0.0  # when it last told something, loop time
        self._cash = CashCheck(gateway, journal, manager, sink, wall, account.first_balances)
        self.symbols: set[str] = set()
        self.in_doubt = True

    async def open(self) -> None:
        """Read the account at the start of a session; the first one also notes when the books began.

        Raises:
            GatewayError: the venue's clock could not be read.
        """
        begun = self._journal.meta("begun_ns")
        if begun is None:
            begun = str(await self._gateway.server_time_ns())
            self._journal.set_meta("begun_ns", begun)
        self._sync.adopt_from_ns = int(begun)
        await self.refresh_balances()
        self._account.remember_first_balances()
        traded = self._journal.traded_symbols() & set(self._gateway.instruments)
        self.symbols = self._busy() | traded

    async def compare(self) -> list[Event]:
        """Compare the books with the venue and repair them.

        Exposure may not grow from the moment on when they may be incomplete (a start, a lost account stream, a
        comparison that failed) until they have been compared. A routine comparison of complete books refuses nothing:
        an order sent meanwhile is one that it knows of.

        Raises:
            GatewayError: the venue could not be asked.
        """
        async with self._comparing:
            doubts = self._doubts
            try:
                events = await self._sync.reconcile(self._due())
            except BaseException:
                self.in_doubt = True
                raise
            # What was read before the stream was lost says nothing about what happened after.
            self.in_doubt = doubts != self._doubts
        for event in events:
            _log.info("reconciled: %s", describe(event))
        await self.refresh_balances()  # always: a lost balance frame leaves no other trace
        return events

    def doubt(self) -> None:
        """Note that something may be missing in the books; the next comparison that begins from here on ends it."""
        self._doubts += 1
        self.in_doubt = True

    def _busy(self) -> set[str]:
        rules = self._gateway.instruments
        # What is too little to be sold keeps no market busy: every one costs requests all the time.
        held = {p.symbol for p in self._manager.positions if p.symbol in rules and holds(p, rules[p.symbol])}
        return held | {record.intent.symbol for record in self._manager.unsettled} | self._strategy_symbols()

    def _due(self) -> set[str]:
        """Return the markets to look at now: all in doubt, else the busy ones and one of the quiet ones in turn.

        Trades of somebody else in a market where nothing of ours is going on may wait a little; reading dozens of
        markets every few seconds would use up what the venue allows.
        """
        busy = self._busy()
        quiet = sorted(self.symbols - busy)
        if self.in_doubt or not quiet:
            return busy | self.symbols
        self._turn += 1
        return busy | {quiet[self._turn % len(quiet)]}

    async def compare_round(self) -> None:
        """Compare, and tell the link how that went.

        Raises:
            UserError: the journal cannot be written while trading is allowed.
        """
        try:
            await self.compare()
        except UserError as exc:
            if not self._bears(exc):
                raise
        except GatewayError as exc:
            self._gateway.report_trouble(RECONCILIATION, exc.message)
        else:
            self._gateway.clear_trouble(RECONCILIATION)

    async def compare_regularly(self) -> None:
        """Compare for ever; twice as often while the account stream says nothing of orders that work."""
        while True:
            silent = asyncio.get_running_loop().time() - self._heard > self._options.reconcile_s
            hurry = self.in_doubt or (silent and bool(self._manager.working))
            await asyncio.sleep(self._options.reconcile_s / 2 if hurry else self._options.reconcile_s)
            await self.compare_round()

    async def explain_cash(self) -> None:
        """Look whether trading explains what the account holds; a question that is not answered says nothing."""
        try:
            balances = await self._gateway.fetch_balances()
        except GatewayError as exc:
            _log.warning("balances could not be read: %s", exc.message)
            return
        self._set_balances(balances, complete=True)
        self._cash.look(balances)

    async def follow_account(self) -> None:
        """Book what the account stream tells, for ever; whenever it ends, compare before going on.

        Raises:
            UserError: the venue refuses the key: asking on would only get the address banned, so the session ends; or
                the journal cannot be written while trading is allowed.
        """
        backoff = Backoff(self._jitter, first_s=self._options.backoff_s, most_s=self._options.backoff_max_s)
        while True:
            detail = "the account stream ended"
            try:
                async for event in self._gateway.watch_user():
                    backoff.reset()
                    self._gateway.clear_trouble(ACCOUNT_STREAM)
                    self._hear(event)
            except FatalGatewayError as exc:
                raise self._refused(exc) from exc
            except GatewayError as exc:
                detail = exc.message
            self.doubt()
            self._gateway.report_trouble(ACCOUNT_STREAM, detail)
            await asyncio.sleep(backoff.next_s())
            await self.compare_round()

    async def refresh_balances(self) -> None:
        """Read all balances; where the venue does not answer, the last ones stay.

        One reading at a time, shared by everybody who asked before it began: many orders at once must not use up the
        request limit. A reading that was under way already may not know of what the caller has just done.
        """
        self._wishes += 1
        wish = self._wishes
        async with self._reading:
            if wish <= self._served:
                return
            serves = self._wishes
            try:
                self._set_balances(await self._gateway.fetch_balances(), complete=True)
            except GatewayError as exc:
                _log.warning("balances could not be read: %s", exc.message)
            self._served = serves

    async def measure_clock(self) -> None:
        """Measure the venue's clock; the question alone makes the gateway notice a link that is gone."""
        started = self._wall.now_ns()
        with contextlib.suppress(GatewayError):  # told by the gateway; the last offset stays
            server = await self._gateway.server_time_ns()
            self._sync.clock_offset_ns = server - (started + self._wall.now_ns()) // 2

    def _refused(self, refusal: FatalGatewayError) -> UserError:
        self.in_doubt = True
        self._sink(Notice(Severity.ERROR, "The venue refuses this key", refusal.message))
        return UserError(
            f"{self._gateway.venue} cannot be used: {refusal.message.rstrip('.')}.",
            "Check the connection and the keys, then start again.",
        )

    def _hear(self, event: UserEvent) -> None:
        self._heard = asyncio.get_running_loop().time()
        if isinstance(event, BalanceReport):
            self._set_balances(event.balances, complete=False)
            return
        try:
            self._sync.apply(event)
        except UserError as exc:
            if not self._bears(exc):
                raise

    def _set_balances(self, balances: Iterable[Balance], *, complete: bool) -> None:
        if self._account.set_balances(balances, complete=complete):
            self._sink(BalancesChanged(self._account.balances))
