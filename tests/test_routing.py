"""Which rule answers a call: the order of rules, every kind of condition, and the nearest rule where none matches."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_bridge.call import Call, CallerId
from agi_bridge.dialplan import SipUri
from agi_bridge.numbers import Numbers, Pattern
from agi_bridge.routing import (
    ANSWERED_BY_MACHINE,
    BLOCKED_CALLER,
    NO_RULE,
    Agent,
    NearestRule,
    Rule,
    RuleBook,
    choose_route,
)

US = Numbers("US")
FALLBACK = "reception,s,1"


def patterns(*texts):
    return tuple(map(Pattern.compile, texts))


def rule(name, *did, **conditions):
    return Rule(name, f"{name},s,1", did=patterns(*did), **conditions)


def call_to(did="+15551230001", caller="+12125550100", numbers=US, **fields):
    withheld = caller is None
    return Call(
        bridge_call_id="b1",
        did=numbers.normalise(did) or did,
        did_received=did,
        caller=CallerId(caller and (numbers.normalise(caller) or caller), None, withheld, caller),
        rdnis=None,
        channel=fields.get("channel", "PJSIP/trunk-0000001a"),
        uniqueid="1.1",
        context=fields.get("context", "from-trunk"),
        language="en",
        arguments=fields.get("arguments", {}),
    )


def chosen(rules, call, numbers=US):
    return choose_route(RuleBook(rules, numbers, FALLBACK), call).rule_name


def test_first_rule_that_matches_wins():
    """Of two rules that match, the one that stands first answers, however exact the other is."""
    general, exact = rule("general", "_+1XXXXXXXXXX"), rule("exact", "+15551230001")

    assert chosen([general, exact], call_to()) == "general"
    assert chosen([exact, general], call_to()) == "exact"


def test_rule_without_conditions_takes_every_call():
    """A rule that names nothing is a catch-all, even for a call without a number."""
    rules = [rule("sales", "+15559999999"), rule("rest")]

    assert chosen(rules, call_to()) == "rest"
    assert chosen(rules, call_to(did="", caller=None)) == "rest"


def test_all_conditions_of_a_rule_must_hold():
    """A rule whose number matches but whose caller does not leaves the call to the next."""
    rules = [rule("vip", "+15551230001", caller=patterns("+12125550199")), rule("sales", "+15551230001")]

    assert chosen(rules, call_to(caller="+12125550199")) == "vip"
    assert chosen(rules, call_to(caller="+12125550100")) == "sales"


@pytest.mark.parametrize(
    ("written", "dialled", "country"),
    [
        pytest.param("+15551230001", "15551230001", "US", id="the trunk leaves out the plus sign"),
        pytest.param("+15551230001", "5551230001", "US", id="the trunk sends national digits"),
        pytest.param("15551230001", "+15551230001", "US", id="the rule leaves out the plus sign"),
        pytest.param("15551230001", "+15551230001", None, id="the rule leaves it out, and there is no country"),
        pytest.param("(555) 123-0001", "+15551230001", "US", id="the rule writes brackets"),
        pytest.param("030 1234567", "+49301234567", "DE", id="the rule is in national format, the call in E.164"),
        pytest.param("030 1234567", "49301234567", "DE", id="the rule is national, the call without plus sign"),
        pytest.param("030 1234567", "0301234567", "DE", id="both are in national format"),
        pytest.param("030 1234567", "0301234567", None, id="both are national, and there is no country"),
        pytest.param("+49 30 1234567", "0049301234567", "DE", id="the trunk sends an international prefix"),
        pytest.param("100", "100", "US", id="an extension is matched as it is"),
        pytest.param("s", "s", "US", id="the extension s is matched as it is"),
        pytest.param("_1NXXNXXXXXX", "+12125550100", "US", id="a pattern without plus sign meets E.164"),
        pytest.param("_+1NXXNXXXXXX", "2125550100", "US", id="a pattern in E.164 meets national digits"),
        pytest.param("_NXXNXXXXXX", "2125550100", "US", id="a pattern of what the trunk sends"),
        pytest.param("_+49[2-9].", "030 1234567", "DE", id="a set in the pattern, blanks in the number"),
        pytest.param("_X.", "+1-555-123-0001", "US", id="a pattern that begins with a class"),
        pytest.param("_.", "anything", "US", id="a pattern that takes anything"),
        pytest.param("_!", "", "US", id="a pattern that takes even nothing"),
    ],
)
def test_called_number_meets_a_rule_however_both_are_written(written, dialled, country):
    """An exact number of a rule is compared as a number, a pattern with every spelling of the called one."""
    numbers = Numbers(country)

    assert chosen([rule("sales", written)], call_to(dialled, numbers=numbers), numbers) == "sales"


@pytest.mark.parametrize(
    ("written", "dialled", "country"),
    [
        pytest.param("+15551230001", "15551230001", None, id="only a country tells that a plus sign is missing"),
        pytest.param("+15551230001", "15551230001", "DE", id="in Germany the digits are another number"),
        pytest.param("+15551230001", "+15551230002", "US", id="another number"),
        pytest.param("_1NXXNXXXXXX", "2125550100x", "US", id="no number at all"),
        pytest.param("_X.", "", "US", id="no called number"),
        pytest.param("1555123000X", "15551230001", "US", id="a pattern that lacks its underscore"),
    ],
)
def test_called_number_that_differs_does_not_meet_a_rule(written, dialled, country):
    """What is another number in the default country, or none, is not taken for the rule's."""
    numbers = Numbers(country)

    assert chosen([rule("sales", written)], call_to(dialled, numbers=numbers), numbers) == ""


@pytest.mark.parametrize(
    ("conditions", "call", "matches"),
    [
        pytest.param({"caller": patterns("+12125550100")}, {}, True, id="the caller's number"),
        pytest.param({"caller": patterns("212-555-0100")}, {}, True, id="the caller's number in national format"),
        pytest.param({"caller": patterns("_1212.")}, {}, True, id="a pattern for the caller"),
        pytest.param({"caller": patterns("_1213.")}, {}, False, id="a pattern for other callers"),
        pytest.param({"caller": patterns("alice")}, {"caller": "alice"}, True, id="a caller who is no number"),
        pytest.param({"caller": patterns("_.")}, {"caller": None}, False, id="a withheld caller meets no pattern"),
        pytest.param({"withheld": True}, {"caller": None}, True, id="withheld callers"),
        pytest.param({"withheld": True}, {}, False, id="withheld callers only"),
        pytest.param(
            {"withheld": True, "caller": patterns("_1212.")}, {"caller": None}, True, id="withheld callers among others"
        ),
        pytest.param({"withheld": True, "caller": patterns("_1212.")}, {}, True, id="others beside withheld callers"),
        pytest.param({"context": patterns("from-trunk")}, {}, True, id="the context"),
        pytest.param({"context": patterns("from-trunk")}, {"context": "from-office"}, False, id="another context"),
        pytest.param({"context": patterns("_from-tr.")}, {}, True, id="a pattern for the context"),
        pytest.param({"channel": patterns("PJSIP/trunk")}, {}, True, id="the endpoint of the channel"),
        pytest.param({"channel": patterns("PJSIP/trunk-0000001a")}, {}, True, id="the channel in full"),
        pytest.param({"channel": patterns("PJSIP/tru")}, {}, False, id="the beginning of an endpoint is not enough"),
        pytest.param({"channel": patterns("_PJSIP/.")}, {}, True, id="a pattern for the channel"),
        pytest.param(
            {"channel": patterns("PJSIP/my-trunk")},
            {"channel": "PJSIP/my-trunk-00000007"},
            True,
            id="an endpoint with a hyphen",
        ),
        pytest.param(
            {"arguments": {"queue": patterns("sales")}}, {"arguments": {"queue": "sales"}}, True, id="an AGI argument"
        ),
        pytest.param(
            {"arguments": {"queue": patterns("sales")}}, {"arguments": {"queue": "care"}}, False, id="another argument"
        ),
        pytest.param({"arguments": {"queue": patterns("sales")}}, {}, False, id="an argument that is not given"),
        pytest.param({"arguments": {"queue": patterns("_!")}}, {}, True, id="a pattern that a missing argument meets"),
        pytest.param(
            {"arguments": {"queue": patterns("sales"), "tier": patterns("gold", "silver")}},
            {"arguments": {"queue": "sales", "tier": "silver"}},
            True,
            id="two arguments, one with alternatives",
        ),
        pytest.param(
            {"arguments": {"queue": patterns("sales"), "tier": patterns("gold")}},
            {"arguments": {"queue": "sales", "tier": "silver"}},
            False,
            id="two arguments, of which one differs",
        ),
    ],
)
def test_condition(conditions, call, matches):
    """A condition holds for what its patterns name, and for nothing else."""
    assert chosen([rule("only", **conditions)], call_to(**call)) == ("only" if matches else "")


def test_route_of_a_matching_rule_names_its_fallback():
    """The route carries the rule that answers, and that rule's own fallback."""
    route = choose_route(RuleBook([rule("sales")], US, FALLBACK), call_to())

    assert (route.rule_name, route.answering, route.fallback) == ("sales", route.rule, "sales,s,1")
    assert (route.refusal, route.nearest) == (None, None)


def test_no_rule_is_a_route_too():
    """A call that no rule matches has an outcome, the default fallback and the nearest rule."""
    route = choose_route(RuleBook([rule("sales", "+15551239999")], US, FALLBACK), call_to())

    assert (route.rule, route.answering, route.rule_name, route.fallback) == (None, None, "", FALLBACK)
    assert (route.refusal, route.nearest) == (NO_RULE, NearestRule("sales", "+15551239999"))


def test_rule_may_refuse_its_caller():
    """A rule that rejects is an answer of its own, apart from no rule at all."""
    blocked = rule("blocked", withheld=True, reject=True)
    route = choose_route(RuleBook([blocked, rule("sales")], US, FALLBACK), call_to(caller=None))

    assert (route.rule, route.answering, route.refusal) == (blocked, None, BLOCKED_CALLER)


@pytest.mark.parametrize(
    ("dialled", "nearest"),
    [
        pytest.param("+15551230009", ("sales", "+1-555-123-0001"), id="the last digit differs"),
        pytest.param("5551230009", ("sales", "+1-555-123-0001"), id="and it came in national format"),
        pytest.param("+15551239999", ("care", "_+155512399[0-4]X"), id="a pattern's beginning is nearer"),
        pytest.param("+4930", ("berlin", "030 1234567"), id="a number that the rule writes in national format"),
        pytest.param("15551239999x", ("care", "_+155512399[0-4]X"), id="a plus sign does not count"),
        pytest.param("+998", None, id="nothing begins alike"),
        pytest.param("s", None, id="the extension s"),
        pytest.param("", None, id="no number"),
    ],
)
def test_nearest_rule_shares_the_longest_beginning(dialled, nearest):
    """Where no rule matches, the nearest is named with its number as the rule writes it, if one begins alike."""
    numbers = Numbers("DE") if dialled.startswith("+49") else US
    rules = [
        rule("sales", "+1-555-123-0001"),
        rule("care", "_+155512399[0-4]X", "_[45]XX"),
        rule("berlin", "030 1234567"),
        rule("withheld", withheld=True),
    ]
    route = choose_route(RuleBook(rules, numbers, FALLBACK), call_to(dialled, numbers=numbers))

    assert route.refusal is NO_RULE
    assert route.nearest == (nearest and NearestRule(*nearest))


def test_first_of_equally_near_rules_is_named():
    """Of two rules with the same number, the nearest is the one that stands first."""
    rules = [rule(name, "+15551230001", context=patterns(name)) for name in ("day", "night")]
    route = choose_route(RuleBook(rules, US, FALLBACK), call_to())

    assert route.nearest == NearestRule("day", "+15551230001")


def first_match(rules, call, numbers):
    """Choose as the documentation says it, rule by rule, without an index."""
    called = numbers.spellings(call.did_received)
    caller = numbers.spellings(call.caller.received) if call.caller.received else ()

    def same(pattern, spellings):
        if any(pattern.matches(text) for text in spellings):
            return True
        e164 = numbers.normalise(pattern.literal) if pattern.is_exact else None
        return e164 is not None and e164 in spellings

    def answers(rule):
        if rule.did and not any(same(pattern, called) for pattern in rule.did):
            return False
        if caller and (rule.caller or rule.withheld):
            return any(same(pattern, caller) for pattern in rule.caller)
        return rule.withheld or not rule.caller

    return next((rule.name for rule in rules if answers(rule)), "")


def test_a_thousand_rules_and_ten_thousand_numbers_are_told_apart():
    """Each of 10,000 numbers, in any spelling, finds its own among 1,000 rules, as a walk through the list would."""
    rules = [rule(f"r{n}", *(f"+1555{n:03d}{line:04d}" for line in range(10))) for n in range(999)]
    rules.append(rule("r999", "_1555999000X"))
    book = RuleBook(rules, US, FALLBACK)
    for n in range(1000):
        for line in range(10):
            digits = f"555{n:03d}{line:04d}"
            spelling = (digits, f"1{digits}", f"+1{digits}")[line % 3]
            assert choose_route(book, call_to(spelling)).rule_name == f"r{n}"
    for dialled in random.Random(1).choices(
        [f"+1555{n:03d}{line:04d}" for n in range(1000) for line in range(12)], k=30
    ):
        call = call_to(dialled)
        assert choose_route(book, call).rule_name == first_match(rules, call, US)


def pattern_of(number, kept, sign):
    """Make a pattern that keeps the beginning of a number, and has *sign* for each digit of the rest, or for all of it."""
    plain = "".join(filter("+0123456789s".__contains__, number))
    return f"_{plain[:kept]}{sign if sign in '.!' else sign * len(plain[kept:])}"


# The same few numbers in many spellings, so that rules and calls often meet.
DIALLED = st.sampled_from(
    [
        *("+12125550101", "12125550101", "2125550101", "212-555-0101", "(212) 555 0101", "0012125550101"),
        *("+12125550102", "2125550102", "+49301231234", "49301231234", "0301231234", "030 123-1234", "030/1231234"),
        *("100", "s", ""),
    ]
)
NUMBER = DIALLED.filter(bool)
WRITTEN = NUMBER | st.builds(
    pattern_of, NUMBER, st.integers(0, 12), st.sampled_from(["X", "Z", "N", "[0-5]", ".", "!"])
).filter(lambda text: text != "_")
PATTERNS = st.lists(WRITTEN.map(Pattern.compile), max_size=3).map(tuple)
RULES = st.lists(st.tuples(PATTERNS, PATTERNS, st.booleans()), max_size=8).map(
    lambda rules: [
        Rule(f"r{place}", FALLBACK, did=did, caller=caller, withheld=withheld)
        for place, (did, caller, withheld) in enumerate(rules)
    ]
)


@settings(max_examples=400)
@given(RULES, DIALLED, st.none() | NUMBER, st.sampled_from([None, "US", "DE"]))
def test_index_chooses_as_a_walk_through_the_list_would(rules, dialled, caller, country):
    """The rules' index is only faster: what it chooses is always the first rule that matches."""
    numbers = Numbers(country)
    call = call_to(dialled, caller, numbers)

    assert chosen(rules, call, numbers) == first_match(rules, call, numbers)


OUTBOUND = {"direction": "outbound", "rule": "reminder"}


def test_call_that_we_make_takes_the_rule_that_it_was_made_for():
    """Neither the order nor the number counts, only the name; an inbound rule cannot be named so."""
    rules = [rule("rest"), rule("reminder", is_outbound=True)]

    assert chosen(rules, call_to(arguments=OUTBOUND)) == "reminder"
    assert chosen(rules, call_to(arguments=OUTBOUND | {"rule": "rest"})) == ""


def test_outbound_rule_answers_no_call_that_comes_in():
    """It has no conditions, and is no catch-all for that."""
    rules = [rule("reminder", is_outbound=True), rule("rest")]

    assert chosen(rules, call_to()) == "rest"
    assert chosen(rules[:1], call_to(arguments={"rule": "reminder"})) == ""


@pytest.mark.parametrize(
    ("answered_by", "on_machine", "refusal"),
    [
        ("machine", "hang-up", ANSWERED_BY_MACHINE),
        ("machine", "connect", None),
        ("human", "hang-up", None),
        ("unsure", "hang-up", None),
        ("", "hang-up", None),
    ],
)
def test_machine_is_refused_where_that_is_wanted(answered_by, on_machine, refusal):
    """Whoever may be a person is never hung up on."""
    call = call_to(arguments=OUTBOUND | {"answered_by": answered_by, "on_machine": on_machine})
    route = choose_route(RuleBook([rule("reminder", is_outbound=True)], US, FALLBACK), call)
    assert route.refusal == refusal


def test_agent_that_was_asked_for_speaks_if_the_rule_allows_it():
    """Its standby URI is that of the rule's own agent, and is left out; other agents are not heard of."""
    uri = SipUri("sip:a@b", "b")
    outbound = rule("reminder", is_outbound=True, agents=("-Nother",), agent=Agent("-Nown", standby_uri=uri))

    assert outbound.agent_for(call_to(arguments=OUTBOUND | {"agent": "-Nother"})) == Agent("-Nother")
    assert outbound.agent_for(call_to(arguments=OUTBOUND | {"agent": "-Nstranger"})) == outbound.agent
    assert outbound.agent_for(call_to(arguments={"agent": "-Nother"})) == outbound.agent
