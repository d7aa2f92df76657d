"""The language of faults: what is read, what is refused and with which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.practice.fault_rules import KINDS, LAGGING, VENUE_ERRORS, Aim, FaultRule, faults_from_json, parse_faults
from core.practice.operations import OPERATION_NAMES

COMMA = {"rules": [{"kind": "error", "status": 500, "msg": "first, second"}]}


def one(text: str) -> FaultRule:
    (rule,) = parse_faults(text).rules
    return rule


def test_a_specification_is_read() -> None:
    spec = parse_faults(" seed=7; lost-ack:order+cancel,next=2,skip=1,how=silent ;drop:user,p=0.25,in=500ms,for=10s;\n")
    assert spec.seed == 7
    assert spec.rules == (
        FaultRule("lost-ack", ("order", "cancel"), times=2, skip=1, silent=True),
        FaultRule("drop", ("user",), probability=0.25, starts_ms=500, lasts_ms=10_000),
    )
    assert parse_faults(spec.text()) == spec


def test_times_are_read_with_and_without_a_unit() -> None:
    for text, ms in {"ban,for=2m": 120_000, "ban,for=1.5s": 1_500, "ban,for=3": 3_000, "ban,for=250ms": 250}.items():
        assert one(text).lasts_ms == ms
    assert one("skew,ms=-3000").ms == -3_000
    assert one("error,code=-1003,retry=1500ms").retry_s == 2  # the venue tells whole seconds


def test_an_error_known_by_its_code_brings_status_and_words() -> None:
    for code, (status, words) in VENUE_ERRORS.items():
        rule = one(f"error:order,code={code}")
        assert (rule.status, rule.message, rule.after) == (status, words, False)
        assert rule.text() == f"error:order,code={code}"
    bare = one("error:order,status=502,when=after")
    assert (bare.status, bare.code, bare.message, bare.after) == (502, 0, "", True)
    assert one("error,code=-9000,status=400,msg=Odd.").message == "Odd."


def test_a_delay_holds_back_the_answer_unless_told_otherwise() -> None:
    assert one("delay:order,ms=300").after
    assert not one("delay:order,ms=300,when=before").after
    assert one("delay:order,ms=300").text() == "delay:order,ms=300"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no fault"),
        ("seed=3", "no fault"),
        ("explode:order", "no fault named 'explode'"),
        ("drop:user,lots=3", "no option 'lots'"),
        ("drop:user,p", "not understood"),
        ("drop:user,p=0.1,p=0.2", "not understood"),
        ("drop:user,p=0", "no probability"),
        ("drop:user,p=1.5", "no probability"),
        ("drop:user,p=nan", "no probability"),
        ("drop:user,next=0", "whole number"),
        ("drop:user,next=2.5", "whole number"),
        ("drop:user,for=soon", "no duration"),
        ("ban,for=0s", "no duration"),
        ("drop:a b", "target"),
        ("late:user", "needs ms"),
        ("late:user,ms=0", "above 0"),
        ("delay:order,ms=-5", "above 0"),
        ("slow:user", "needs size"),
        ("partial", "needs lots"),
        ("ban", "needs for"),
        ("lost:kline", "cannot strike 'kline'"),
        ("lag:account,ms=5", "cannot strike 'account'"),
        ("refuse:btcusdt@trade", "cannot strike"),
        ("maintenance:order", "cannot strike"),
        ("error:order", "code that is known, or a status"),
        ("error:order,code=-9999", "code that is known, or a status"),
        ("error:order,status=200", "code that is known, or a status"),
        ("lost:order,how=loudly", "not known"),
        ("delay:order,ms=5,when=never", "not known"),
        ("seed=x;ban,for=1s", "whole number"),
    ],
)
def test_what_is_not_understood_is_told_in_one_sentence(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        parse_faults(text)
    assert caught.value.remedy
    assert "\n" not in caught.value.message


def test_the_json_form_says_the_same() -> None:
    rules = [{"kind": "drop", "targets": ["user"], "p": 0.5, "for": "3s"}, {"kind": "partial", "lots": 4}]
    assert faults_from_json({"rules": rules, "seed": 9}) == parse_faults("seed=9;drop:user,p=0.5,for=3s;partial,lots=4")
    assert faults_from_json({"spec": "ban,for=5s"}) == parse_faults("ban,for=5s")
    for body in (
        {},
        {"rules": []},
        {"rules": "ban"},
        {"rules": [{"kind": "drop", "targets": "user"}]},
        {"spec": 3},
        COMMA,
    ):
        with pytest.raises(UserError):
            faults_from_json(body)


@st.composite
def rules(draw: st.DrawFn) -> FaultRule:
    kind = draw(st.sampled_from(sorted(KINDS)))
    options = KINDS[kind].options
    wanted: dict[str, str] = {}
    values = {
        "p": st.sampled_from(["0.1", "0.5", "0.999"]),
        "next": st.integers(1, 50).map(str),
        "skip": st.integers(1, 50).map(str),
        "in": st.sampled_from(["5s", "700ms"]),
        "for": st.sampled_from(["5s", "700ms", "2m"]),
        "ms": st.integers(1, 9_999).map(str),
        "size": st.integers(1, 99).map(str),
        "lots": st.integers(1, 99).map(str),
        "code": st.sampled_from(sorted(map(str, VENUE_ERRORS))),
        "retry": st.sampled_from(["1s", "30s"]),
        "when": st.sampled_from(["before", "after"]),
        "how": st.sampled_from(["cut", "silent"]),
    }
    for name in options:
        needed = name in KINDS[kind].needs or (kind == "error" and name == "code")
        if name in values and (needed or draw(st.booleans())):
            wanted[name] = draw(values[name])
    named = {
        Aim.FRAMES: ["market", "user", "*@trade", "btcusdt@kline_1m"],
        Aim.SOCKETS: ["market", "user"],
        Aim.REQUESTS: list(OPERATION_NAMES),
        Aim.QUERIES: list(LAGGING),
        Aim.MARKETS: ["BTCUSDT", "ETHUSDT"],
    }.get(KINDS[kind].aim)
    targets = draw(st.lists(st.sampled_from(named), unique=True, max_size=2)) if named else []
    text = kind + (":" + "+".join(targets) if targets else "") + "".join(f",{n}={v}" for n, v in wanted.items())
    return one(text)


@given(st.lists(rules(), min_size=1, max_size=4), st.integers(0, 10**6))
def test_text_and_json_lose_nothing(chosen: list[FaultRule], seed: int) -> None:
    text = ";".join([f"seed={seed}", *(rule.text() for rule in chosen)])
    assert parse_faults(text).rules == tuple(chosen)
    assert faults_from_json({"rules": [rule.to_json() for rule in chosen], "seed": seed}) == parse_faults(text)
