"""API keys of the highlight app: told once, kept as hashes, good for their scopes until revoked or expired."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from highlights import keys
from highlights.api import create_app
from highlights.database import transaction
from highlights.models import Organization, now
from highlights.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEYS = "/api/v1/keys"
ENDPOINTS = {
    "streams:read": ("GET", "/api/v1/streams"),
    "streams:write": ("POST", "/api/v1/streams/6a1f2c8e-0000-4000-8000-000000000000/stop"),
    "highlights:read": ("GET", "/api/v1/streams/6a1f2c8e-0000-4000-8000-000000000000/highlights"),
    "webhooks": ("GET", "/api/v1/webhooks"),
    "usage:read": ("GET", "/api/v1/usage"),
    "admin": ("GET", KEYS),
}


@pytest.fixture
def client(app_environment: Any) -> Iterator[TestClient]:
    """The API, in this process."""
    with TestClient(create_app(), raise_server_exceptions=False) as served:
        yield served


@pytest.fixture
def bearer(client: TestClient) -> Callable[..., dict[str, str]]:
    """Make an organization and a key, and the header that holds it."""

    def make(*scopes: str, **more: Any) -> dict[str, str]:
        with transaction() as session:
            organization = keys.create_organization(session, "Acme", plan="pro")
            _, text = keys.create_key(session, organization.id, "test", scopes or keys.SCOPES, **more)
        return {"Authorization": f"Bearer {text}"}

    return make


def test_a_key_is_told_once_and_works_until_it_is_revoked(client: TestClient, bearer: Callable[..., dict[str, str]]):
    """A program uses the key that an administrator made, and gets 401 from the moment it is revoked."""
    admin = bearer()
    made = client.post(KEYS, headers=admin, json={"name": "reader", "scopes": ["streams:read"]})
    assert made.status_code == 201
    assert made.headers["location"] == f"{KEYS}/{made.json()['id']}"
    assert made.headers["cache-control"] == "no-store"
    text = made.json()["key"]
    assert text.startswith("hl_")
    assert len(text) >= 40
    for told in (client.get(KEYS, headers=admin), client.get(made.headers["location"], headers=admin)):
        assert told.status_code == 200
        assert text not in told.text
    reader = {"Authorization": f"Bearer {text}"}
    assert client.get("/api/v1/streams", headers=reader).status_code == 200
    assert client.delete(made.headers["location"], headers=admin).status_code == 204
    refused = client.get("/api/v1/streams", headers=reader)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    revoked_at = client.get(made.headers["location"], headers=admin).json()["revoked_at"]
    assert revoked_at
    assert client.delete(made.headers["location"], headers=admin).status_code == 204
    assert client.get(made.headers["location"], headers=admin).json()["revoked_at"] == revoked_at


def test_the_database_holds_no_key(client: TestClient, bearer: Callable[..., dict[str, str]], tmp_path: Path):
    """Whoever steals the database file has no key of anybody."""
    admin = bearer()
    text = client.post(KEYS, headers=admin, json={"name": "reader", "scopes": ["admin"]}).json()["key"]
    files = b"".join(path.read_bytes() for path in tmp_path.glob("highlights.db*"))
    assert b"reader" in files
    for each in (text, admin["Authorization"].removeprefix("Bearer ")):
        assert each.encode() not in files
        assert each.removeprefix("hl_").encode() not in files


def test_a_new_pepper_revokes_all_keys(
    client: TestClient, bearer: Callable[..., dict[str, str]], app_environment: pytest.MonkeyPatch
):
    """The hashes are good for nothing without the secret that the operator keeps elsewhere."""
    admin = bearer()
    assert client.get(KEYS, headers=admin).status_code == 200
    app_environment.setenv("HIGHLIGHTS_SECRET_PEPPER", "another")
    settings.cache_clear()
    assert client.get(KEYS, headers=admin).status_code == 401


@pytest.mark.parametrize("scope", ENDPOINTS)
def test_a_key_is_good_for_its_scopes_alone(client: TestClient, bearer: Callable[..., dict[str, str]], scope: str):
    """Each scope opens its own endpoints; the others answer 403 and name what is missing."""
    header = bearer(scope)
    for each, (method, path) in ENDPOINTS.items():
        answer = client.request(method, path, headers=header)
        if each == scope:
            assert answer.status_code in {200, 404}
        else:
            assert answer.status_code == 403
            assert (answer.json()["code"], answer.json()["scope"]) == ("missing_scope", each)


def test_an_expired_key_is_good_for_nothing(client: TestClient, bearer: Callable[..., dict[str, str]]):
    """A key works until the moment that it expires."""
    assert client.get(KEYS, headers=bearer(expires_at=now() + timedelta(minutes=1))).status_code == 200
    assert client.get(KEYS, headers=bearer(expires_at=now() - timedelta(milliseconds=1))).status_code == 401


def test_an_expiry_is_a_moment_in_the_future(client: TestClient, bearer: Callable[..., dict[str, str]]):
    """A time in the past, or of no zone, is refused instead of misunderstood."""
    admin = bearer()
    for expires_at, status in {
        "2020-01-01T00:00:00Z": 422,
        "2099-01-01T00:00:00": 422,
        "2099-01-01T00:00:00+02:00": 201,
    }.items():
        asked = {"name": "x", "scopes": ["admin"], "expires_at": expires_at}
        assert client.post(KEYS, headers=admin, json=asked).status_code == status, expires_at


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "hl_nobodys")],
        [("Authorization", "Basic {key}")],
        [("Authorization", "Bearer {key} x")],
        [("Authorization", "Bearer {key},Bearer {key}")],
        [("Authorization", "Bearer {key}"), ("Authorization", "Bearer {key}")],
        [("Authorization", "Bearer hl_nobodys")],
        [("Authorization", "Bearer " + "x" * 10_000)],
        [("X-API-Key", "{key}")],
    ],
    ids=lambda headers: " ".join(value[:20] for _, value in headers) or "none",
)
def test_whoever_sends_no_valid_key_gets_401(
    client: TestClient, bearer: Callable[..., dict[str, str]], headers: list[tuple[str, str]]
):
    """Only one well-formed header with a known key lets anybody in; all else is told which scheme to use."""
    key = bearer()["Authorization"].removeprefix("Bearer ")
    answer = client.get(KEYS, headers=[(name, value.format(key=key)) for name, value in headers])
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert key not in answer.text


def test_the_scheme_may_be_written_as_one_likes(client: TestClient, bearer: Callable[..., dict[str, str]]):
    """`bearer` is as good as `Bearer`, as HTTP says."""
    key = bearer()["Authorization"].removeprefix("Bearer ")
    assert client.get(KEYS, headers={"Authorization": f"bearer {key}"}).status_code == 200


def test_an_inactive_organization_is_refused(client: TestClient, bearer: Callable[..., dict[str, str]]):
    """The keys of an organization that is switched off are known, and good for nothing."""
    admin = bearer()
    with transaction() as session:
        session.query(Organization).update({"active": False})
    answer = client.get(KEYS, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (403, "organization_inactive")


def test_keys_of_another_organization_are_not_there(client: TestClient, bearer: Callable[..., dict[str, str]]):
    """Nobody sees or revokes another organization's keys."""
    mine, theirs = bearer(), bearer()
    (own,) = client.get(KEYS, headers=mine).json()["keys"]
    assert client.get(f"{KEYS}/{own['id']}", headers=theirs).status_code == 404
    assert client.delete(f"{KEYS}/{own['id']}", headers=theirs).status_code == 404
    assert client.get(KEYS, headers=mine).status_code == 200
    assert own["id"] not in client.get(KEYS, headers=theirs).text


def test_an_agreed_key_and_unknown_words(client: TestClient, bearer: Callable[..., dict[str, str]]):
    """A demonstration may choose its key's text; a scope or plan that doesn't exist is an error at once."""
    assert client.get(KEYS, headers=bearer(key="test-key")).status_code == 200
    assert client.get(KEYS, headers={"Authorization": "Bearer test-key"}).status_code == 200
    with pytest.raises(ValueError, match=r"scopes: expected some of .*, got everything"):
        bearer("everything")
    with (
        pytest.raises(ValueError, match="plan: expected one of free, pro, business, got 'gold'"),
        transaction() as session,
    ):
        keys.create_organization(session, "Acme", plan="gold")


def test_calls_are_counted_by_key_and_telemetry_holds_no_key(
    telemetry: Any, client: TestClient, bearer: Callable[..., dict[str, str]]
):
    """The business sees which key calls what and how it is answered, and the key itself goes nowhere."""
    admin = bearer()
    (own,) = client.get(KEYS, headers=admin).json()["keys"]
    client.get(f"{KEYS}/{own['id']}", headers=admin)
    made = client.post(KEYS, headers=admin, json={"name": "x", "scopes": ["admin"]}).json()
    client.get(KEYS, headers={"Authorization": "Bearer nobody"})
    assert telemetry.total("tldr.api.key.usage") == 3
    used = {"tldr.api_key.id": own["id"], "tldr.endpoint": KEYS + "/{key_id}"}
    assert telemetry.total("tldr.api.key.usage", used) == 1
    assert telemetry.total("tldr.api.calls", {"http.response.status_code": 200}) == 2
    assert telemetry.total("tldr.api.calls", {"http.response.status_code": 201, "tldr.endpoint": KEYS}) == 1
    assert [log.event_name for log in telemetry.logs if log.event_name] == ["key.created"]
    exported = repr((telemetry.spans, telemetry.logs, telemetry.metrics))
    assert made["key"] not in exported
    assert admin["Authorization"].removeprefix("Bearer ") not in exported
