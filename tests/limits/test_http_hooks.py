"""The hooks for httpx and requests, over real sockets: they ask before a call, and hear what its response says."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from redis import Redis

from http_hooks import FAULTS, HOOKS, Hook
from http_stage import Answer, Stage, usage_answer
from support import free_port
from turgor.examples.demo.service import Service
from turgor.limits import CostTooLarge, HierarchicalLimiter, RateLimited, Regulator, UnknownService
from turgor.limits.keys import Keys
from turgor.limits.response_usage import anthropic_tokens, openai_tokens

LIMITS: dict[str, Any] = {
    "services": {
        "api": {"requests_per_minute": 100, "max_in_flight": 4, "token_limits": {"per_minute": 10_000}},
        "small": {"requests_per_minute": 2},
        "brief": {"windows": [{"limit": 1, "per": "300ms"}]},
    },
    "loops": {"*": {"requests_per_minute": 50}},
}
ANSWERS = {
    "/429": Answer(429, {"Retry-After": "30"}),
    "/403": Answer(403),
    "/500": Answer(500),
    "/hangs-up": Answer(0),
    "/spent": Answer(200, {"RateLimit": '"default";r=0;t=20'}),
    "/two-parts": Answer(body=(b"one", b"two")),
    "/redirect": Answer(302, {"Location": "/ok"}),
    "/openai": usage_answer({"prompt_tokens": 100, "completion_tokens": 23, "total_tokens": 123}),
    "/openai-zipped": usage_answer({"total_tokens": 123}, zipped=True),
    "/anthropic": usage_answer({"input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 3}),
}

Make = Callable[..., Hook]


class Realm:
    """The limits behind the hooks."""

    def __init__(self, client: Redis, realm: str) -> None:
        self.limiter = HierarchicalLimiter(client, LIMITS, realm=realm)
        self.limiter.refresh()
        self.regulator = Regulator(client, Keys(realm))

    def left(self, scope: str = "service:api") -> dict[str, int]:
        return {usage.limit.id: usage.remaining for usage in self.limiter.usage(scope)}

    @property
    def slots(self) -> int:
        return self.left()["in_flight"]

    @property
    def tokens(self) -> int:
        return self.left()["tokens/1m"]

    @property
    def closed_for_s(self) -> float:
        return self.regulator.state("service:api").closed_for_s


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage(ANSWERS) as stage:
        yield stage


@pytest.fixture
def behind(redis_client: Redis, realm: str) -> Realm:
    return Realm(redis_client, realm)


@pytest.fixture(params=HOOKS)
def make(request: pytest.FixtureRequest, server_url: str, realm: str, stage: Stage, behind: Realm) -> Iterator[Make]:
    """Make a client of the stage (or of another service) with the hook and its options."""
    made: list[Hook] = []

    def make(url: str = "", **options: Any) -> Hook:
        made.append(HOOKS[request.param](url or stage.url, realm, options, server_url))
        return made[-1]

    yield make
    for hook in made:
        hook.close()


def test_a_call_is_charged_before_it_is_made_and_its_slot_is_free_after(make: Make, behind: Realm) -> None:
    assert make().get("/ok") == (200, b"{}")

    assert behind.left() == {"requests/1m": 99, "tokens/1m": 10_000, "in_flight": 4}


def test_a_refused_call_does_not_reach_its_service(make: Make, stage: Stage) -> None:
    hook = make(service="small")
    for _ in range(2):
        hook.get("/ok")

    with pytest.raises(RateLimited, match="service:small requests/1m"):
        hook.get("/ok")

    assert stage.calls["/ok"] == 2


def test_a_429_closes_the_service_for_everybody_and_costs_no_tokens(make: Make, behind: Realm, stage: Stage) -> None:
    assert make(tokens=500).get("/429").status == 429

    assert 29 < behind.closed_for_s <= 30
    with pytest.raises(RateLimited):
        make().get("/ok")
    with pytest.raises(RateLimited):
        behind.limiter.acquire(service="api")
    assert stage.calls == {"/429": 1}
    behind.regulator.resume("service:api")
    assert (behind.slots, behind.tokens) == (4, 10_000)


def test_a_service_that_has_nothing_left_is_not_called_until_its_reset(make: Make, stage: Stage) -> None:
    hook = make()
    assert hook.get("/spent").status == 200

    with pytest.raises(RateLimited) as refused:
        hook.get("/ok")

    assert 19 < refused.value.decision.retry_after <= 20.1
    assert stage.calls == {"/spent": 1}


def test_a_plain_403_is_an_answer(make: Make, behind: Realm) -> None:
    assert make(tokens=500).get("/403").status == 403

    assert (behind.slots, behind.closed_for_s) == (4, 0.0)


@pytest.mark.parametrize("path", ["/500", "/hangs-up"])
def test_a_call_that_may_have_reached_its_service_keeps_its_tokens(make: Make, behind: Realm, path: str) -> None:
    try:
        assert make(tokens=500).get(path).status == 500
    except FAULTS:
        assert path == "/hangs-up"

    assert (behind.slots, behind.tokens) == (4, 9_500)


def test_a_call_that_surely_did_not_reach_its_service_gets_its_tokens_back(make: Make, behind: Realm) -> None:
    with pytest.raises(FAULTS):
        make(f"http://127.0.0.1:{free_port()}", tokens=500).get("/ok")

    assert (behind.slots, behind.tokens) == (4, 10_000)


@pytest.mark.parametrize(
    ("path", "tokens_of"), [("/openai", openai_tokens), ("/openai-zipped", openai_tokens), ("/anthropic", anthropic_tokens)]
)
def test_the_tokens_are_settled_from_the_response(make: Make, behind: Realm, path: str, tokens_of: Any) -> None:
    reply = make(tokens=500, tokens_of=tokens_of).get(path)

    assert b"usage" in reply.body
    assert (behind.slots, behind.tokens) == (4, 10_000 - 123)


def fails(response: Any) -> int:
    raise ZeroDivisionError


def does_not_know(response: Any) -> None:
    return None


def from_method(request: Any) -> str:
    return f"from-{request.method}"


def forty(request: Any) -> int:
    return 40


def only_what_is_limited(request: Any) -> str | None:
    return None if "free" in str(request.url) else "api"


@pytest.mark.parametrize("tokens_of", [openai_tokens, anthropic_tokens, does_not_know, fails])
def test_a_response_without_usage_keeps_the_estimate(make: Make, behind: Realm, tokens_of: Any) -> None:
    assert make(tokens=500, tokens_of=tokens_of).get("/ok").status == 200

    assert (behind.slots, behind.tokens) == (4, 9_500)


def test_a_slot_is_held_until_the_body_is_read(make: Make, behind: Realm, stage: Stage) -> None:
    opened = make().open("/two-parts")
    assert behind.slots == 3

    stage.go_on.set()
    assert opened.read() == b"onetwo"

    assert behind.slots == 4


def test_a_slot_is_held_until_a_body_is_closed_that_nobody_read(make: Make, behind: Realm) -> None:
    opened = make(tokens=500, tokens_of=openai_tokens).open("/two-parts")
    assert behind.slots == 3

    opened.close()
    opened.close()

    assert (behind.slots, behind.tokens) == (4, 9_500)


def test_each_hop_of_a_redirect_is_a_call(make: Make, behind: Realm, stage: Stage) -> None:
    hook = make()
    reply = hook.get("/redirect")
    if reply.status == 302:  # httpx does not follow by itself
        assert hook.get("/ok").status == 200

    assert stage.calls == {"/redirect": 1, "/ok": 1}
    assert behind.left()["requests/1m"] == 98


def test_names_and_costs_may_come_from_the_request(make: Make, behind: Realm) -> None:
    make(loop=from_method, tokens=forty).get("/ok")

    assert behind.left("loop:from-GET") == {"requests/1m": 49}
    assert behind.tokens == 9_960


def test_a_request_of_no_service_is_not_limited(make: Make, behind: Realm) -> None:
    hook = make(service=only_what_is_limited)
    hook.get("/free")
    hook.get("/ok")

    assert behind.left()["requests/1m"] == 99


def test_mistakes_are_raised_before_the_call(make: Make, stage: Stage) -> None:
    with pytest.raises(UnknownService, match="unknown service 'apy'"):
        make(service="apy").get("/ok")
    with pytest.raises(CostTooLarge):
        make(tokens=10_001).get("/ok")
    assert not stage.calls


@pytest.mark.skipif(
    "timeout" not in inspect.signature(HierarchicalLimiter.acquire).parameters, reason="needs limiters that can wait"
)
def test_a_call_waits_for_its_limits_up_to_the_timeout(make: Make, redis_client: Redis, stage: Stage) -> None:
    hook = make(service="small", timeout=0.2)
    for _ in range(2):
        hook.get("/ok")

    with pytest.raises(RateLimited):
        hook.get("/ok")
    assert stage.calls["/ok"] == 2

    patient = make(service="brief", timeout=5)
    assert [patient.get("/brief").status for _ in range(3)] == [200] * 3


def test_many_calls_at_once_that_are_refused_close_the_service_once(make: Make, behind: Realm, stage: Stage) -> None:
    hooks = [make() for _ in range(4)]
    opened = [hook.open("/two-parts") for hook in hooks]  # all admitted before the first refusal is heard
    stage.answers["/late"] = Answer(429, {"Retry-After": "30"})
    for each in opened:
        each.close()

    def call(hook: Hook) -> str:
        try:
            return str(hook.get("/late").status)
        except RateLimited:
            return "held"

    with ThreadPoolExecutor(4) as pool:
        heard = [*pool.map(call, hooks)]

    assert set(heard) <= {"429", "held"}
    assert "429" in heard
    assert 29 < behind.closed_for_s <= 30
    assert behind.regulator.states()[0].scope == "service:api"
    assert len(behind.regulator.states()) == 1


WINDOW_S = 1.0
PER_WINDOW = 10


@pytest.fixture
def judge() -> Iterator[Service]:
    with Service(windows={"judged": [(PER_WINDOW, WINDOW_S, "requests")]}, latency_s=0.0) as service:
        yield service


def hammer(call: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            call()
        except RateLimited as refused:
            time.sleep(min(refused.decision.retry_after, 0.05))


def test_a_service_that_judges_counts_no_call_too_many(
    redis_client: Redis, realm: str, judge: Service, request: pytest.FixtureRequest, server_url: str
) -> None:
    """Four clients of each kind hammer at once. The slack is for a machine that is slow between admission and arrival."""
    limits = {"services": {"judged": {"windows": [{"limit": PER_WINDOW, "per": f"{WINDOW_S * 1.5}s"}]}}}
    HierarchicalLimiter(redis_client, limits, realm=realm).refresh()
    hooks = [kind(judge.url, realm, {"service": "judged"}, server_url) for kind in (*HOOKS.values(),) * 2]

    with ThreadPoolExecutor(len(hooks)) as pool:
        for done in [pool.submit(hammer, lambda hook=hook: hook.post("/judged/a"), 3.0) for hook in hooks]:
            done.result()
    for hook in hooks:
        hook.close()

    report = judge.report()
    assert report["violations"] == 0
    assert isinstance(report["calls"], int)
    assert report["calls"] >= PER_WINDOW * 1.5


def test_the_judge_would_count_calls_without_a_hook(judge: Service) -> None:
    with httpx.Client() as client:
        for _ in range(PER_WINDOW + 5):
            client.post(f"{judge.url}/judged/a")

    assert judge.report()["violations"] == 5
