"""The documents say what is true: names exist, lists are complete, commands have the options written down."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import typer

from app.benchmarks.catalogue import CATALOGUE
from app.commands.root import COMMANDS, LazyGroup
from app.i18n import Language, load_table
from core.execution.order_flow import HABIT
from core.signals.risk.rules import SLIP_SHARE, USUAL_ORDERS
from core.signals.risk_management import ReasonCode, RiskSettings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "Docs"
PHASE4 = DOCS / "Plan" / "Phase4"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("README*.md")])
PACKAGES = ("app", "core", "ml")
FOLDERS = (*PACKAGES, "Docs", "build", "resources", "tests", "tools")
QUOTED = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def quoted(path: Path) -> list[str]:
    """Return what a page sets in code type, outside of code blocks."""
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return QUOTED.findall(text)


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def names_in(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Return what a module or class body defines, by name."""
    found: dict[str, ast.stmt] = {}
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found[name] = statement
            case ast.Assign(targets=targets):
                found |= {target.id: statement for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = statement
            case _:
                pass
    return found


def exists(dotted: str) -> bool:
    """Tell whether a dotted name is a package, a module, or something defined in one; nothing is imported."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        place, rest = ROOT.joinpath(*parts[:length]), parts[length:]
        if place.is_dir() and not rest:
            return True
        if place.with_suffix(".py").is_file():
            body = parsed(place.with_suffix(".py")).body
            for name in rest:
                found = names_in(body).get(name)
                if found is None:
                    return False
                body = found.body if isinstance(found, ast.ClassDef) else []
            return True
    return False


def test_the_check_of_names_can_fail() -> None:
    assert exists("core.execution.order_manager.OrderManager.apply_report")
    assert exists("ml.api")
    assert exists("core.execution")
    assert not exists("core.execution.order_manager.OrderManager.no_such_method")
    assert not exists("core.no_such_module")
    assert not exists("ml.api.no_such_function")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_paths_and_names_exist(page: Path) -> None:
    missing = []
    for text in quoted(page):
        if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*", text) and not (ROOT / text).exists():
            missing.append(text)
        if re.fullmatch(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+", text) and not exists(text):
            missing.append(text)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_path_of_a_developer_machine(page: Path) -> None:
    assert re.findall(r"/(?:work|root|tmp|home)/\S*", page.read_text("utf-8")) == []


# --- the founding plan ------------------------------------------------------------------------------------------


def plan_rows() -> Iterator[tuple[str, str, str]]:
    """Yield name, place and state of each row of the founding plan's tables."""
    for page in sorted(PHASE4.glob("*.md")):
        for line in page.read_text("utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if line.startswith("| ") and len(cells) == 3 and cells[2] != "state":
                yield cells[0].strip("`"), cells[1], cells[2]


@functools.cache
def defined_names() -> frozenset[str]:
    """Return the names of all modules and of all functions on module level."""
    names: set[str] = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            names.add(path.parent.name if path.stem == "__init__" else path.stem)
            names |= {n.name for n in parsed(path).body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    return frozenset(names)


def test_every_name_of_the_founding_plan_is_mapped() -> None:
    plan = {
        "collector",
        "real_time_collector",
        "onchain_collector",
        "preprocessor",
        "data_storage",
        "lstm_trainer",
        "rl_trainer",
        "auto_update",
        "evaluators",
        "model_storage",
        "generator",
        "filters",
        "risk_management",
        "optimizer",
        "order_manager",
        "position_tracker",
        "arbitrage_executor",
        "error_handler",
        "trade_analyzer",
        "gpu_utils",
        "telegram_alerts",
        "dashboard",
        "strategy_manager_dashboard",
        "api_connector",
        "charts",
        "layouts",
        "train_rl_model",
        "train_lstm_model",
        "configure_gpu_memory_growth",
        "log_training_progress",
        "execute_arbitrage_opportunity",
        "analyze_trades",
        "update_dashboard",
        "generate_chart",
        "collect_realtime_data",
        "preprocess_data",
    }
    assert plan - {name for name, _, _ in plan_rows()} == set()


@pytest.mark.parametrize(("name", "place", "state"), sorted(set(plan_rows())))
def test_rows_of_the_founding_plan_are_true(name: str, place: str, state: str) -> None:
    if state == "**planned**":
        assert place == ""
        assert name not in defined_names(), f"{name} is there now: say where"
    else:
        assert state in ("here", "other name")
        assert QUOTED.search(place), "say where it is"
        if state == "here" and re.fullmatch(r"\w+", name):
            assert name in defined_names()


# --- lists that must be complete --------------------------------------------------------------------------------


def test_reason_codes_are_listed_in_order() -> None:
    text = (DOCS / "risk_reasons.md").read_text("utf-8")
    assert re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE) == [code.value for code in ReasonCode]


def test_every_reason_says_what_happened_and_what_helps() -> None:
    rows = re.findall(r"^\| `[A-Z_]+` \| (.*) \| (.*) \|$", (DOCS / "risk_reasons.md").read_text("utf-8"), re.MULTILINE)
    assert len(rows) == len(ReasonCode)
    assert all(text.strip().endswith(".") for row in rows for text in row)


def test_reasons_name_the_limits_in_force() -> None:
    limits = RiskSettings()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", (DOCS / "risk_reasons.md").read_text("utf-8"), re.MULTILINE))
    assert f"({limits.max_order_value:,} in quote currency)" in rows["MAX_ORDER_VALUE"]
    assert f"({limits.max_position_value:,} over all owners)" in rows["MAX_POSITION"]
    assert f"({limits.max_daily_loss:,})" in rows["DAILY_LOSS"]
    assert f"({limits.max_open_orders} over all markets)" in rows["MAX_OPEN_ORDERS"]
    assert f"({limits.max_drawdown:,})" in rows["DRAWDOWN"]
    assert f"more than {limits.max_order_share * Decimal(100):.0f} % of the account" in rows["FAT_FINGER"]
    assert f"at least {limits.max_quantity_multiple} times the median" in rows["FAT_FINGER"]
    assert f"(of {USUAL_ORDERS} to {HABIT} orders)" in rows["FAT_FINGER"]
    assert SLIP_SHARE * 20 == 1, "a twentieth"
    assert f"second ({limits.max_orders_per_second}) or minute ({limits.max_orders_per_minute})" in rows["ORDER_RATE"]
    assert f"within the last minute ({limits.max_cancels_per_minute})" in rows["ORDER_RATE"]
    assert f"older than {limits.max_price_age_s} seconds" in rows["STALE_PRICE"]
    assert f"more than {limits.max_clock_skew_ms:,} ms" in rows["CLOCK_SKEW"]
    assert f"more than {limits.max_slippage * Decimal(100):.0f} % worse" in rows["SLIPPAGE"]
    assert rows["PRICE_COLLAR"].count(f"{limits.price_collar * Decimal(100):.0f} %") == 2
    assert f"{limits.duplicate_window_s} seconds" in rows["DUPLICATE_INTENT"]


def test_benchmark_table_names_real_figures() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \(", (DOCS / "benchmarks.md").read_text("utf-8"), re.MULTILINE)
    assert rows
    assert set(rows) <= {figure.name for figure in CATALOGUE.figures}


# --- the user guide ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", Language)
def test_user_guide_names_what_stands_on_the_screen(language: Language) -> None:
    table = load_table(Language.KOREAN)
    shown = table.values() if language is Language.KOREAN else table.keys()
    labels = [re.sub(r"\(&.\)|&", "", text) for text in shown]
    text = (DOCS / f"user_guide.{language.value}.md").read_text("utf-8")
    mark = r"‘([^’\n]+)’" if language is Language.KOREAN else r"(?<![*\w])\*([^*\n\[]+)\*(?![*\w])"
    named = re.findall(mark, text)
    parts = {part for name in named for part in name.split(" → ")}
    assert len(parts) > 8
    assert {part for part in parts if not any(label.startswith(part) for label in labels)} == set()


# --- the command line -------------------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    """Return the sections of cli.md by their heading."""
    parts = re.split(r"^## (.+)$", (DOCS / "cli.md").read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def leaf_commands(name: str) -> dict[str, set[str]]:
    """Return the commands below one of main.py's, each with its visible options but --help."""
    group = LazyGroup(name="maru")
    command = group.get_command(typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None))), name)
    leaves = {f"{name} {sub}": leaf for sub, leaf in command.commands.items()} if hasattr(command, "commands") else {}
    return {
        title: {
            option
            for parameter in leaf.params
            if parameter.param_type_name == "option" and not parameter.hidden
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        - {"--help", "--install-completion", "--show-completion"}
        for title, leaf in (leaves or {name: command}).items()
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_described(name: str) -> None:
    described = sections()
    for title, options in leaf_commands(name).items():
        assert f"`{title}`" in described, f"cli.md has no section `{title}`"
        written = set(re.findall(r"`(--[a-z][a-z-]*)", described[f"`{title}`"]))
        assert options == written, title


def test_readme_lists_every_command() -> None:
    for page in ("README.md", "README.ko.md"):
        rows = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / page).read_text("utf-8"), re.MULTILINE)
        assert rows == list(COMMANDS), page
