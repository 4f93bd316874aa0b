"""What must be there before anybody can ask for anything: tables, a bucket, an organization and its key."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import ValidationError
from redis.exceptions import RedisError
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from highlights.database import create_tables, transaction
from highlights.keys import SCOPES, authenticate, create_key, create_organization
from highlights.launch.stack import StackError
from highlights.problems import Unauthorized
from highlights.redis_client import redis_client
from highlights.settings import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TEST_KEY", "check_queue", "customer", "make_bucket", "prepare_database", "test_key"]

TEST_KEY = "test-key"
"""For curl, in an embedded database only."""


def prepare_database(environment: Mapping[str, str]) -> None:
    """Work in the services' environment from now on, and make the tables; raises StackError for what is wrong in it."""
    os.environ.update(environment)
    settings.cache_clear()
    try:
        settings()
    except ValidationError as error:
        told = (f"{_variable(str(each['loc'][0]))}: {each['msg']}" for each in error.errors(include_url=False))
        raise StackError("\n".join(told)) from None
    try:
        create_tables()
    except (SQLAlchemyError, ImportError) as error:
        raise StackError(f"The database of DATABASE_URL can't be used: {getattr(error, 'orig', error)}") from error


def check_queue() -> None:
    """Raise StackError unless the Redis of the environment answers."""
    try:
        redis_client().ping()
    except (RedisError, ValueError) as error:
        raise StackError(f"The Redis of REDIS_URL can't be used: {error}") from error


def make_bucket() -> None:
    """Make the bucket, unless it is there; raises StackError where that can't be done."""
    from botocore.exceptions import BotoCoreError, ClientError

    from highlights.storage import storage  # loads boto3, which only this needs

    try:
        storage().ensure()
    except (BotoCoreError, ClientError, ValueError) as error:
        raise StackError(f"The storage of S3_ENDPOINT_URL can't be used: {error}") from error


def customer(name: str) -> tuple[str, str]:
    """A new organization on the plan `pro`: its id, and a key for all that the API does."""
    with transaction() as session:
        organization = create_organization(session, name, "pro")
        _, key = create_key(session, organization.id, "demo", SCOPES)
        return organization.id, key


def test_key() -> None:
    """Let `test-key` be a key, unless it is one; of a database that others can reach it would be a hole."""
    # Two launchers may do it at the same moment.
    with suppress(IntegrityError), transaction() as session:
        try:
            authenticate(session, TEST_KEY)
        except Unauthorized:
            organization = create_organization(session, "Test", "pro")
            create_key(session, organization.id, TEST_KEY, SCOPES, key=TEST_KEY)


def _variable(name: str) -> str:
    return name if name.isupper() else f"HIGHLIGHTS_{name.upper()}"
