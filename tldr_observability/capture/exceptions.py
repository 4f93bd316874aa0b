"""OpenTelemetry's description of an exception, whatever the exception does when it is asked."""

from __future__ import annotations

import traceback
from collections import deque
from itertools import islice
from linecache import getline
from types import WrapperDescriptorType
from typing import TYPE_CHECKING, Final

from tldr_observability.capture.messages import own_message
from tldr_observability.capture.reading import instance_dict
from tldr_observability.capture.shapes import MISSING, raw, shape_of
from tldr_observability.capture.strings import cut, encodable, type_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from opentelemetry.util.types import AttributeValue

__all__ = ["exception_attributes", "is_tame"]

_MAX_MESSAGE: Final = 8_192
_MAX_STACKTRACE: Final = 32_768
_MAX_CHAIN: Final = 20
_TAME_FRAMES: Final = 100
_END_FRAMES: Final = 50
_MAX_STEPS: Final = 100_000
_MAX_LINE: Final = 200
_MAX_NOTES: Final = 10

_MAX_NOTE: Final = 1_000
_MAX_MEMBERS: Final = 10
_MAX_BLOCK_MESSAGE: Final = 2_048

_EARLIER: Final = "[… earlier exceptions]\n\n"
_GAP: Final = "\n[…]\n"
_UNSAYABLE: Final = "<the exception's str() failed>"
_CAUSE: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"

# An exception class may put properties in the place of these.
_cause_of = BaseException.__dict__["__cause__"].__get__
_context_of = BaseException.__dict__["__context__"].__get__
_is_suppressed = BaseException.__dict__["__suppress_context__"].__get__
_trace_of = BaseException.__dict__["__traceback__"].__get__
_source_of = SyntaxError.__dict__["text"].__get__
_members_of = BaseExceptionGroup.__dict__["exceptions"].__get__

_KEPT_BY_THE_INTERPRETER: Final = [
    (name, vars(BaseException)[name])
    for name in ("__cause__", "__context__", "__suppress_context__", "__traceback__", "args")
]


def exception_attributes(error: BaseException, *, escaped: bool = True) -> dict[str, AttributeValue]:
    """The attributes of OpenTelemetry's `exception` event, bounded; for a tame exception the same as the SDK's.

    The exception's `str()` runs. What it raises is held back, except for `KeyboardInterrupt` and `SystemExit`.

    Args:
        error: is neither changed nor kept.
        escaped: whether it leaves what the event is about unhandled.
    """
    message = own_message(error, _MAX_MESSAGE)
    return {
        "exception.type": type_name(type(error)),
        "exception.message": _UNSAYABLE if message is None else message,
        "exception.stacktrace": _stacktrace(error),
        "exception.escaped": str(escaped),
    }


def is_tame(error: BaseException) -> bool:
    """Whether the SDK's own `span.record_exception(error)` is safe and cheap."""
    try:
        return _is_tame(error)
    except Exception:  # noqa: BLE001 - notes that have no length, a source that isn't text: whatever it is, it isn't tame
        return False


def _is_tame(error: BaseException) -> bool:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if len(seen) >= _MAX_CHAIN or not _is_tame_alone(each):
            return False
        waiting += [other for other in (_cause_of(each), _context_of(each)) if other is not None]
        if issubclass(type(each), BaseExceptionGroup):
            members = _members_of(each)
            if len(members) >= _MAX_CHAIN:
                return False
            waiting += members
    return True


def _is_tame_alone(error: BaseException) -> bool:
    cls = type(error)
    shape = shape_of(cls)
    if shape.tame is None:
        shape.tame = _is_tame_class(cls)
    if not shape.tame:
        return False
    message = own_message(error, 2 * _MAX_MESSAGE)
    return (
        message is not None
        and len(message) <= _MAX_MESSAGE
        and len(_notes(error)) == len(instance_dict(error, shape).get("__notes__", ()))  # type: ignore[arg-type]
        and not (issubclass(cls, SyntaxError) and len(_source_of(error) or "") > _MAX_LINE)
        and len(list(islice(_walk(_trace_of(error)), _TAME_FRAMES))) < _TAME_FRAMES
    )


def _is_tame_class(cls: type) -> bool:
    return (
        all(raw(cls, name) is own for name, own in _KEPT_BY_THE_INTERPRETER)
        and raw(cls, "__getattr__") is MISSING
        and type(raw(cls, "__getattribute__")) is WrapperDescriptorType
        and raw(cls, "__notes__") is MISSING
    )


def _stacktrace(error: BaseException) -> str:
    if is_tame(error):
        try:
            return encodable(_without_middle("".join(traceback.format_exception(error)), _MAX_STACKTRACE))
        except Exception:  # noqa: BLE001, S110 - a host's exception may behave differently the second time
            pass
    return _bounded_stacktrace(error)


def _bounded_stacktrace(error: BaseException) -> str:
    text = _block(error)
    seen = {id(error)}
    while True:
        link, earlier = _CAUSE, _cause_of(error)
        if earlier is None and not _is_suppressed(error):
            link, earlier = _CONTEXT, _context_of(error)
        if earlier is None or id(earlier) in seen:
            return text
        block = _block(earlier) + link
        if len(seen) >= _MAX_CHAIN or len(text) + len(block) > _MAX_STACKTRACE - len(_EARLIER):
            return _EARLIER + text
        seen.add(id(earlier))
        text = block + text
        error = earlier


def _block(error: BaseException) -> str:
    """One exception of a chain: its frames, what it says, its notes and members."""
    lines: list[str] = []
    trace = _trace_of(error)
    if trace is not None:
        lines += ["Traceback (most recent call last):\n", *_frames(trace)]
    message = own_message(error, _MAX_BLOCK_MESSAGE)
    said = _UNSAYABLE if message is None else message
    lines.append(f"{type_name(type(error))}: {said}\n" if said else f"{type_name(type(error))}\n")
    lines += [f"{note}\n" for note in _notes(error)]
    if issubclass(type(error), BaseExceptionGroup):
        members = _members_of(error)
        for member in members[:_MAX_MEMBERS]:
            lines.append(f"  | {type_name(type(member))}: {own_message(member, _MAX_LINE) or _UNSAYABLE}\n")
        if len(members) > _MAX_MEMBERS:
            lines.append(f"  | … {len(members) - _MAX_MEMBERS} more\n")
    return _without_middle("".join(lines), _MAX_STACKTRACE - len(_EARLIER))


def _frames(trace: TracebackType) -> Iterator[str]:
    """The outermost and the innermost frames: a deep recursion is the same in between."""
    walk = _walk(trace)
    yield from map(_frame, islice(walk, _END_FRAMES))
    last: deque[TracebackType] = deque(maxlen=_END_FRAMES)
    count = 0
    for count, each in enumerate(islice(walk, _MAX_STEPS), 1):  # noqa: B007 - the count is used after the loop
        last.append(each)
    if count > _END_FRAMES:
        yield f"  [… {count - _END_FRAMES} more frames]\n"
    yield from map(_frame, last)


def _frame(trace: TracebackType) -> str:
    code = trace.tb_frame.f_code
    # Without the module's globals: its loader, which may be the host's, isn't asked for the source.
    line = getline(code.co_filename, trace.tb_lineno or 0)[:_MAX_LINE].strip()
    place = f'  File "{cut(code.co_filename, _MAX_LINE)}", line {trace.tb_lineno}, in {cut(code.co_name, _MAX_LINE)}\n'
    return f"{place}    {line}\n" if line else place


def _walk(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _notes(error: BaseException) -> list[str]:
    """The first notes that are plain, short text."""
    notes = instance_dict(error, shape_of(type(error))).get("__notes__")
    first = notes[:_MAX_NOTES] if type(notes) is list else []
    return [encodable(note) for note in first if type(note) is str and len(note) <= _MAX_NOTE]


def _without_middle(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = (limit - len(_GAP)) // 2
    return f"{text[:half]}{_GAP}{text[-half:]}"
