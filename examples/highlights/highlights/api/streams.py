"""`/api/v1/streams`: begin, watch, stop and delete streams, and get their highlights."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from highlights import repositories, use_cases
from highlights.addresses import check_url
from highlights.api.access import allowed
from highlights.api.paging import Before, Id, Limit, page
from highlights.database import transaction
from highlights.models import StreamStatus  # noqa: TC001 - FastAPI reads it
from highlights.principal import Principal
from highlights.schemas import HighlightAnswer, HighlightList, StreamAnswer, StreamList, StreamRequest

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/streams", tags=["streams"])
Reader = Annotated[Principal, Depends(allowed("streams:read"))]
Writer = Annotated[Principal, Depends(allowed("streams:write"))]
Viewer = Annotated[Principal, Depends(allowed("highlights:read"))]


@router.post("", status_code=201)
def start_stream(principal: Writer, request: StreamRequest, response: Response) -> StreamAnswer:
    """Begin to look for highlights in a stream."""
    check_url(request.url)
    stream = use_cases.start_stream(principal, request)
    response.headers["Location"] = f"{router.prefix}/{stream.id}"
    return StreamAnswer.of(stream)


@router.get("")
def list_streams(
    principal: Reader, limit: Limit = 20, before: Before = None, status: StreamStatus | None = None
) -> StreamList:
    """The organization's streams, the newest first."""
    with transaction() as session:
        found = repositories.streams(session, principal.organization_id, limit=limit + 1, before=before, status=status)
    shown, following = page(found, limit)
    return StreamList(streams=[StreamAnswer.of(each) for each in shown], next=following)


@router.get("/{stream_id}")
def get_stream(principal: Reader, stream_id: Id) -> StreamAnswer:
    """How far a stream is."""
    with transaction() as session:
        return StreamAnswer.of(repositories.stream(session, principal.organization_id, stream_id))


@router.post("/{stream_id}/stop")
def stop_stream(principal: Writer, stream_id: Id) -> StreamAnswer:
    """End the processing of a stream; its highlights until now stay."""
    return StreamAnswer.of(use_cases.stop_stream(principal, stream_id))


@router.delete("/{stream_id}", status_code=204)
def delete_stream(principal: Writer, stream_id: Id) -> None:
    """Remove a stream that has ended, with its clips."""
    use_cases.delete_stream(principal, stream_id)


@router.get("/{stream_id}/highlights")
def list_highlights(
    principal: Viewer, stream_id: Id, min_confidence: Annotated[float, Query(ge=0, le=1)] = 0.0
) -> HighlightList:
    """A stream's highlights in the order of time, with links to their clips."""
    with transaction() as session:
        stream = repositories.stream(session, principal.organization_id, stream_id)
        found = repositories.highlights(session, stream.id, min_confidence=min_confidence)
    return HighlightList(highlights=[HighlightAnswer.of(each) for each in found])
