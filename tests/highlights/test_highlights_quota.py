"""The limits of the highlight app's plans: exact, however many requests and streams come at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import uvicorn
from running import forget
from sqlalchemy.orm import Session

from highlights import keys
from highlights.api import create_app
from highlights.database import create_tables, engine, transaction
from highlights.failures import StreamFailure
from highlights.models import Stream, now
from highlights.principal import Principal
from highlights.problems import QuotaExceeded
from highlights.quota import check_quota, check_rate, reserve_minutes, usage
from highlights.redis_client import redis_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STREAM = {"url": "http://127.0.0.1:9/film.mp4", "title": "Film"}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, app_environment: pytest.MonkeyPatch) -> str:
    """A database of the test's own, with its tables."""
    if request.param == "postgresql":
        server, name = request.getfixturevalue("postgres_url"), f"highlights_{uuid4().hex}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        path = httpx.URL(server).copy_with(scheme="postgresql+psycopg", path=f"/{name}")
        app_environment.setenv("DATABASE_URL", str(path))
        forget()
    create_tables()
    return request.param


@pytest.fixture
def organization(database: str) -> Callable[[str], tuple[str, dict[str, str]]]:
    """Make an organization on a plan: its id, and the header with a key of its own."""

    def make(plan: str) -> tuple[str, dict[str, str]]:
        with transaction() as session:
            made = keys.create_organization(session, "Acme", plan)
            _, text = keys.create_key(session, made.id, "test", keys.SCOPES)
        return made.id, {"Authorization": f"Bearer {text}"}

    return make


@pytest.fixture
def api(database: str) -> Iterator[str]:
    """The API on a real server, whose requests run side by side."""
    server = uvicorn.Server(uvicorn.Config(create_app(), port=0, log_level="error"))
    thread = Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def at_once(count: int, call: Callable[[], Any]) -> list[Any]:
    """What `call` returns or raises in `count` threads that begin together."""
    barrier = Barrier(count)

    def run(_: int) -> Any:
        barrier.wait(10)
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def stream_of(organization_id: str, **values: Any) -> Any:
    """A row of a stream, on its way to the database."""
    usual = {"url": "http://example.com/", "title": "x", "platform": "custom", "type": "recording"}
    return Stream(organization_id=organization_id, **{**usual, **values})


def save(*rows: Any) -> None:
    with transaction() as session:
        session.add_all(rows)


def test_ten_requests_at_once_start_as_many_streams_as_the_plan_has_room_for(
    api: str, organization: Callable[[str], tuple[str, dict[str, str]]]
):
    """Of ten POSTs at the same moment, with room for three, exactly three pass and seven are told the limit."""
    organization_id, header = organization("pro")
    save(*(stream_of(organization_id, status=status) for status in ("pending", "processing", "completed", "failed")))
    with httpx.Client(base_url=api, headers=header, timeout=40) as client:
        answers = at_once(10, lambda: client.post("/api/v1/streams", json=STREAM))
        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 7
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["content-type"] == "application/problem+json"
        problem = refused.json()
        assert (problem["code"], problem["quota"]) == ("quota_exceeded", "concurrent_streams")
        assert (problem["used"], problem["limit"]) == (5, 5)
        usage = client.get("/api/v1/usage").json()
        assert usage["concurrent_streams"] == {"used": 5, "limit": 5}
        assert usage["streams"] == 7

        started = next(answer.json()["id"] for answer in answers if answer.status_code == 201)
        assert client.post(f"/api/v1/streams/{started}/stop").status_code == 200
        assert client.post("/api/v1/streams", json=STREAM).status_code == 201
        assert client.post("/api/v1/streams", json=STREAM).status_code == 429


def test_checks_of_one_organization_stand_in_line_and_of_two_do_not_mix(
    organization: Callable[[str], tuple[str, dict[str, str]]],
):
    """A stream that is begun is counted by the next check; another organization's room stays its own."""
    ids = [organization("free")[0], organization("pro")[0]] * 8
    left = iter(ids)

    def begin() -> str:
        organization_id = next(left)
        with transaction() as session:
            check_quota(session, organization_id, "free" if organization_id == ids[0] else "pro")
            time.sleep(0.005)  # in which others would count what isn't there yet
            session.add(stream_of(organization_id))
        return organization_id

    outcomes = at_once(len(ids), begin)
    assert sorted(each for each in outcomes if isinstance(each, str)) == sorted([ids[0], *[ids[1]] * 5])
    assert sum(isinstance(each, QuotaExceeded) for each in outcomes) == len(ids) - 6


def test_a_check_that_comes_to_nothing_takes_no_room(organization: Callable[[str], tuple[str, dict[str, str]]]):
    """A request that fails after its check leaves the room to the next one."""
    organization_id, _ = organization("free")
    with Session(engine()) as session:
        check_quota(session, organization_id, "free")
        session.add(stream_of(organization_id))
        session.flush()
        session.rollback()
    with transaction() as session:
        check_quota(session, organization_id, "free")


def test_used_minutes_refuse_further_streams_until_the_month_ends(
    telemetry: Any, organization: Callable[[str], tuple[str, dict[str, str]]]
):
    """All minutes of this month are used, deleted streams' too: 429; last month's are forgotten."""
    organization_id, _ = organization("free")
    last_month = now().replace(day=1) - timedelta(days=1)
    ended = {"status": "completed", "deleted_at": now()}
    save(
        stream_of(organization_id, billed_seconds=3600.0, created_at=last_month, cost_usd=1.0, **ended),
        stream_of(organization_id, billed_seconds=3599.0, cost_usd=0.25, **ended),
    )
    with transaction() as session:
        check_quota(session, organization_id, "free")
        session.add(stream_of(organization_id, billed_seconds=1.0, **ended))
    with pytest.raises(QuotaExceeded) as refused, transaction() as session:
        check_quota(session, organization_id, "free")
    assert (refused.value.quota, refused.value.more["limit"]) == ("minutes_per_month", 60)
    with transaction() as session:
        found = usage(session, organization_id, "free")
    assert (found.streams, found.cost_usd, found.minutes_per_month) == (2, 0.25, (60, 60))

    own = {"tldr.organization.id": organization_id}
    assert telemetry.total("tldr.quota.checked", {**own, "tldr.quota": "minutes_per_month"}) == 2
    assert telemetry.total("tldr.quota.exceeded", own) == 1
    assert telemetry.total("tldr.quota.used", {**own, "tldr.quota": "minutes_per_month"}) == 60
    assert telemetry.total("tldr.quota.limit", {**own, "tldr.quota": "concurrent_streams"}) == 1


def test_minutes_are_reserved_exactly_however_many_streams_ask_at_once(
    organization: Callable[[str], tuple[str, dict[str, str]]],
):
    """Ten recordings of a quarter of an hour each, and an hour left: four are read, six fail for want of minutes."""
    organization_id, _ = organization("free")
    streams = [stream_of(organization_id) for _ in range(10)]
    save(*streams)
    left = iter([each.id for each in streams])

    def reserve() -> float:
        with transaction() as session:
            reserved = reserve_minutes(session, session.get(Stream, next(left)), 900.0)
            time.sleep(0.005)  # in which others would reserve the same minutes
            return reserved

    outcomes = at_once(10, reserve)
    assert [each for each in outcomes if isinstance(each, float)] == [900.0] * 4
    failures = [each for each in outcomes if isinstance(each, StreamFailure)]
    assert [each.code for each in failures] == ["minutes_exceeded"] * 6
    assert "0.0 minutes left" in failures[0].reason
    with transaction() as session:
        assert usage(session, organization_id, "free").minutes_per_month == (60, 60)


def test_a_recording_is_read_in_whole_or_not_at_all_and_a_live_stream_gets_what_is_left(
    organization: Callable[[str], tuple[str, dict[str, str]]],
):
    """What is reserved: all of a recording, of a live stream what is left, never more than is wanted."""
    organization_id, _ = organization("free")
    recording, live, short, none = (stream_of(organization_id, max_seconds=most) for most in (None, None, 60.0, None))
    save(recording, live, short, none)

    def reserve(stream: Any, seconds: float | None) -> float:
        with transaction() as session:
            return reserve_minutes(session, session.get(Stream, stream.id), seconds)

    with pytest.raises(StreamFailure, match=r"has 60\.0 minutes left this month\. The recording takes 60\.2\."):
        reserve(recording, 3610.0)
    assert reserve(recording, 3000.0) == 3000
    assert reserve(recording, 3000.0) == 3000  # redelivered: the same minutes, not twice as many
    assert reserve(short, 5000.0) == 60
    assert reserve(live, None) == 540
    assert reserve(short, None) == 60
    with pytest.raises(StreamFailure, match="minutes_exceeded"):
        reserve(none, None)
    with transaction() as session:
        assert session.get(Stream, live.id).billed_seconds == 540
        assert session.get(Stream, none.id).billed_seconds == 0


def test_thirty_threads_get_exactly_the_requests_of_a_minute(
    app_environment: pytest.MonkeyPatch, telemetry: Any, monkeypatch: pytest.MonkeyPatch
):
    """Of 120 calls by thirty threads in one minute 60 pass, whichever key they use; the next minute begins anew."""
    moment = 1_800_000_030.0
    monkeypatch.setattr(time, "time", lambda: moment)
    organization_id = str(uuid4())
    callers = iter([Principal(organization_id, f"key-{n % 2}", "free", frozenset()) for n in range(30)])

    def call() -> list[int | None]:
        principal = next(callers)
        refusals: list[int | None] = []
        for _ in range(4):
            try:
                check_rate(redis_client(), principal, "/api/v1/streams")
            except QuotaExceeded as refused:
                refusals.append(refused.retry_after)
        return refusals

    refusals = [each for some in at_once(30, call) for each in some]
    assert refusals == [30] * 60
    assert telemetry.total("tldr.api.rate_limit.exceeded", {"tldr.organization.id": organization_id}) == 60
    other = Principal(str(uuid4()), "other", "free", frozenset())
    check_rate(redis_client(), other, "/api/v1/streams")
    moment += 30
    check_rate(redis_client(), Principal(organization_id, "key-0", "free", frozenset()), "/api/v1/streams")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_too_many_requests_are_told_when_to_come_back(
    api: str, organization: Callable[[str], tuple[str, dict[str, str]]]
):
    """The 61st call of a minute answers 429 with Retry-After; health and readiness are never counted."""
    _, header = organization("free")
    if time.time() % 60 > 50:
        time.sleep(60 - time.time() % 60)  # all calls within one minute
    with httpx.Client(base_url=api, timeout=40) as client:
        answers = [client.get("/api/v1/usage", headers=header) for _ in range(61)]
        assert [answer.status_code for answer in answers] == [200] * 60 + [429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
        assert (answers[-1].json()["quota"], answers[-1].json()["limit"]) == ("requests_per_minute", 60)
        assert client.get("/health", headers=header).status_code == 200


def test_without_redis_nobody_is_refused(app_environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """The limit of requests is not worth an outage: without Redis all calls pass, and the log says so."""
    app_environment.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    forget()
    began = time.monotonic()
    check_rate(redis_client(), Principal("o", "k", "free", frozenset()), "/")
    assert time.monotonic() - began < 5
    assert "Redis is away" in caplog.text
