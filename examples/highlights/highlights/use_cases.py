"""What customers can ask for, each as one function: who may, whether it fits the plan, and what then happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from sqlalchemy.orm import Session

from highlights import repositories
from highlights.database import engine, transaction
from highlights.models import StreamStatus
from highlights.problems import Conflict, Forbidden, QuotaExceeded, Unavailable
from highlights.quota import check_quota
from highlights.repositories import OPEN
from highlights.services import StreamProcessingService
from highlights.storage import storage
from highlights.webhooks import limit_reached, trigger_webhook
from tldr_observability import add_processing_context, add_user_context, traced_service_method, traced_use_case

if TYPE_CHECKING:
    from highlights.models import Organization, Stream
    from highlights.principal import Principal
    from highlights.schemas import StreamRequest

__all__ = ["delete_stream", "start_stream", "stop_stream"]

_service = StreamProcessingService()


@traced_use_case
def start_stream(principal: Principal, request: StreamRequest) -> Stream:
    """Begin to look for highlights in a stream.

    Raises:
        Forbidden: the organization is not active.
        QuotaExceeded: its plan allows no further stream now.
        Unavailable: the workers' queue is away.
    """
    # One transaction from the quota's count to the new row, so that no other request counts in between.
    with Session(engine(), expire_on_commit=False) as session:
        organization = validate_user(session, principal)
        try:
            check_quota(session, organization.id, organization.plan)
        except QuotaExceeded as refused:
            session.rollback()  # what follows has a transaction of its own
            limit_reached(organization.id, refused.quota, refused.used, refused.limit)
            raise
        stream = _service.start_stream_processing(session, organization, request)
    add_processing_context(stream_id=stream.id, platform=stream.platform)
    told = {"stream_id": stream.id, "reference": stream.reference, "platform": stream.platform, "type": stream.type}
    trigger_webhook(organization.id, "stream.started", told, event_id=f"{stream.id}:started")
    return stream


@traced_service_method
def validate_user(session: Session, principal: Principal) -> Organization:
    """The organization that a key speaks for, if it may do anything now."""
    organization = repositories.organization(session, principal.organization_id)
    if not organization.active:
        raise Forbidden("the organization is not active", code="organization_inactive")
    add_user_context(organization_id=organization.id)
    return organization


@traced_use_case
def stop_stream(principal: Principal, stream_id: str) -> Stream:
    """End a stream's processing; what was found until now stays, and nothing is found after.

    Raises:
        NotFound: the organization has no such stream.
        Conflict: it has ended already.
    """
    with transaction() as session:
        stream = repositories.stream(session, principal.organization_id, stream_id)
    stopped = _service.end_stream(stream.id, StreamStatus.CANCELLED)
    if stopped is None:
        raise Conflict("the stream has ended already", code="stream_ended")
    return stopped


@traced_use_case
def delete_stream(principal: Principal, stream_id: str) -> None:
    """Remove a stream that has ended, with its highlights and their files.

    Raises:
        NotFound: the organization has no such stream.
        Conflict: it is still being processed.
        Unavailable: the storage is away; the stream is still there.
    """
    with transaction() as session:
        stream = repositories.stream(session, principal.organization_id, stream_id)
        if stream.status in OPEN:
            raise Conflict("stop the stream first", code="stream_running")
        try:
            storage().delete_prefix(f"{stream.id}/")
        except (BotoCoreError, ClientError) as error:
            raise Unavailable("the files can't be deleted now") from error
        repositories.forget_stream(session, stream)
