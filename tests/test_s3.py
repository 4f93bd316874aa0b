"""What is seen of S3: spans with bucket, key and size, transfers in threads, the time of every call, failures too."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import wrapt
from boto3.s3.transfer import TransferConfig
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor

from tldr_observability import span
from tldr_observability.errors import MissingExtraError
from tldr_observability.integrations import botocore, threading

if TYPE_CHECKING:
    from tldr_observability import Observability
    from tldr_observability.testing import OTLPReceiver, Span

DURATION = "tldr.storage.operation.duration"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
MEGABYTE = 1024 * 1024
SMALL_PARTS = TransferConfig(multipart_threshold=5 * MEGABYTE, multipart_chunksize=5 * MEGABYTE)


def client(url: str, service: str = "s3") -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key=SECRET,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, s3={"addressing_style": "path"}),
    )


@dataclass
class Seen:
    """What was exported, and a client whose bucket is there."""

    observability: Observability
    receiver: OTLPReceiver
    s3: Any
    bucket: str

    def spans(self, name: str = "") -> list[Span]:
        self.observability.flush()
        return [each for each in self.receiver.spans if each.name.startswith(name or "S3.")]

    def span(self, name: str) -> Span:
        (found,) = self.spans(name)
        return found

    def calls(self, operation: str, outcome: str, **more: object) -> float:
        self.observability.flush()
        attributes = {"tldr.storage.operation": operation, "tldr.outcome": outcome, **more}
        return self.receiver.total(DURATION, attributes)


@pytest.fixture
def seen(start, otlp_receiver, s3_url, request):
    """S3 observed, by a client that was made before."""
    bucket = f"clips-{abs(hash(request.node.name)) % 10**8}"
    early = client(s3_url)
    early.create_bucket(Bucket=bucket)
    observability = start()
    threading.instrument()
    botocore.instrument()
    yield Seen(observability, otlp_receiver, early, bucket)
    botocore.uninstrument()
    threading.uninstrument()


def test_a_call_names_bucket_key_and_size(seen):
    """The span of a call says what was stored where and how large it is, and reads so in Logfire."""
    seen.s3.put_object(Bucket=seen.bucket, Key="a/b.mp4", Body=b"x" * 1000)

    put = seen.span("S3.PutObject")
    assert put.kind == "client"
    assert put.attributes["aws.s3.bucket"] == seen.bucket
    assert put.attributes["aws.s3.key"] == "a/b.mp4"
    assert put.attributes["tldr.storage.size"] == 1000
    assert put.attributes["rpc.method"] == "PutObject"
    assert put.attributes["logfire.msg"] == f"S3 PutObject {seen.bucket}/a/b.mp4"


@pytest.mark.parametrize("url", ["s3_url", "moto_url"])
def test_reading_says_how_much(seen, request, url):
    """The spans of get, head and copy say the size or the source, from whichever server the answer comes."""
    s3 = client(request.getfixturevalue(url))  # and a client made after instrument()
    bucket = f"{seen.bucket}-{url.partition('_')[0]}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * 300)
    assert len(s3.get_object(Bucket=bucket, Key="k")["Body"].read()) == 300
    s3.head_object(Bucket=bucket, Key="k")
    s3.list_buckets()
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})

    assert seen.span("S3.GetObject").attributes["tldr.storage.size"] == 300
    assert seen.span("S3.HeadObject").attributes["tldr.storage.size"] == 300
    assert seen.span("S3.CopyObject").attributes["aws.s3.copy_source"] == f"{bucket}/k"
    assert "tldr.storage.size" not in seen.span("S3.CopyObject").attributes
    assert seen.span("S3.ListBuckets").attributes["logfire.msg"] == "S3 ListBuckets"
    assert seen.calls("GetObject", "success", **{"tldr.storage.bucket": bucket}) == 1


@pytest.mark.parametrize(
    ("body", "size"),
    [("grüße", 7), (bytearray(b"12345"), 5), (io.BytesIO(b"0123456789"), 10), (b"", 0)],
    ids=["text", "bytearray", "file", "nothing"],
)
def test_every_kind_of_body_is_measured_and_arrives_whole(seen, body, size):
    """Measuring a body takes nothing of it away."""
    if isinstance(body, io.BytesIO):
        body.read(3)
        size -= 3
    seen.s3.put_object(Bucket=seen.bucket, Key="k", Body=body)

    assert seen.span("S3.PutObject").attributes["tldr.storage.size"] == size
    assert seen.s3.head_object(Bucket=seen.bucket, Key="k")["ContentLength"] == size


def test_transfers_stay_in_the_trace(seen, tmp_path):
    """What upload_file and download_file do in threads is below the span that called them, part by part."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x" * (11 * MEGABYTE))
    with span("store clip") as outer:
        seen.s3.upload_file(str(path), seen.bucket, "large.mp4", Config=SMALL_PARTS)
        seen.s3.upload_file(str(tmp_path / "clip.mp4"), seen.bucket, "whole.mp4", Config=TransferConfig())
        seen.s3.upload_fileobj(io.BytesIO(b"y" * 2000), seen.bucket, "small.mp4")
        seen.s3.download_file(seen.bucket, "large.mp4", str(tmp_path / "back.mp4"), Config=SMALL_PARTS)

    assert (tmp_path / "back.mp4").read_bytes() == path.read_bytes()
    trace_id = format(outer.get_span_context().trace_id, "032x")
    spans = seen.spans()
    parent = format(outer.get_span_context().span_id, "016x")
    assert {(each.trace_id, each.parent_id) for each in spans} == {(trace_id, parent)}
    parts = {
        each.attributes["aws.s3.part_number"]: each.attributes["tldr.storage.size"]
        for each in spans
        if each.name == "S3.UploadPart" and each.attributes["aws.s3.key"] == "large.mp4"
    }
    assert parts == {1: 5 * MEGABYTE, 2: 5 * MEGABYTE, 3: MEGABYTE}
    small = [each for each in spans if each.name == "S3.PutObject" and each.attributes["aws.s3.key"] == "small.mp4"]
    assert [each.attributes["tldr.storage.size"] for each in small] == [2000]
    assert sum(each.attributes["tldr.storage.size"] for each in spans if each.name == "S3.GetObject") == 11 * MEGABYTE


def test_transfers_stay_in_the_trace_of_any_provider(program, s3_url):
    """Without Logfire, which patches thread pools itself, our own patch carries the context to transfers."""
    uploading = program(
        f"""
        import boto3, io
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from tldr_observability.integrations import botocore, threading

        trace.set_tracer_provider(TracerProvider())
        s3 = boto3.client("s3", endpoint_url={s3_url!r}, region_name="us-east-1",
                          aws_access_key_id="id", aws_secret_access_key="secret")
        s3.create_bucket(Bucket="any-provider")
        seen = []
        s3.meta.events.register(
            "before-call.s3.PutObject",
            lambda **_: seen.append(trace.get_current_span().parent),
        )
        threading.instrument()
        botocore.instrument()
        with trace.get_tracer("test").start_as_current_span("store clip") as outer:
            s3.upload_fileobj(io.BytesIO(b"x"), "any-provider", "k")
        print(seen == [outer.get_span_context()])
        """
    )
    assert uploading.finish() == 0, uploading.output
    assert uploading.output == "True\n"


def test_failures_are_counted_and_pass_unchanged(seen):
    """No such key, no such server: the caller gets the error as ever, and the call has its span and its time."""
    with pytest.raises(ClientError) as missing:
        seen.s3.get_object(Bucket=seen.bucket, Key="none")
    with pytest.raises(EndpointConnectionError):
        client("http://127.0.0.1:1").put_object(Bucket=seen.bucket, Key="k", Body=b"x")

    assert missing.value.response["Error"]["Code"] == "NoSuchKey"
    where = {"tldr.storage.bucket": seen.bucket}
    assert seen.calls("GetObject", "failed", **where) == 1
    assert seen.calls("PutObject", "failed", **where) == 1
    assert seen.calls("GetObject", "success") == 0
    assert seen.span("S3.GetObject").status == "error"
    refused = seen.span("S3.PutObject")
    assert refused.status == "error"
    assert refused.attributes["aws.s3.key"] == "k"
    (point,) = (
        point
        for metric in seen.receiver.metrics
        if metric.name == DURATION
        for point in metric.points
        if point.attributes["tldr.storage.operation"] == "PutObject"
    )
    assert 0 < point.sum < 5


def test_neither_credentials_nor_presigned_links_are_told(seen):
    """Nothing that was exported holds the secret key or a signature; making a presigned link leaves no trace at all."""
    link = seen.s3.generate_presigned_url("get_object", Params={"Bucket": seen.bucket, "Key": "k"})
    seen.s3.put_object(Bucket=seen.bucket, Key="k", Body=b"x")

    assert "Signature=" in link
    (put,) = seen.spans()
    everything = repr((put, seen.receiver.logs, seen.receiver.metrics))
    for secret in (SECRET, "AKIAIOSFODNN7EXAMPLE", "Signature"):
        assert secret not in everything


def test_other_services_keep_their_spans(seen, moto_url):
    """Calls of SQS are traced by OpenTelemetry's instrumentation as ever, and are no S3."""
    client(moto_url, "sqs").create_queue(QueueName="clips")

    (queue,) = seen.spans("SQS.")
    assert queue.attributes["rpc.method"] == "CreateQueue"
    assert not any(key.startswith(("aws.s3", "tldr.storage")) for key in queue.attributes)
    assert seen.calls("CreateQueue", "success") == 0


def test_a_body_that_can_not_be_measured_is_sent_all_the_same(seen, strict):
    """An object that fails when it is asked for its size costs the span its size, and the call nothing."""
    from tldr_observability import guard

    class Odd(io.BytesIO):
        asked = 0

        def tell(self):
            Odd.asked += 1
            if Odd.asked == 1:
                raise RuntimeError("odd")
            return super().tell()

    guard.set_strict(False)
    seen.s3.put_object(Bucket=seen.bucket, Key="k", Body=Odd(b"12345"))

    put = seen.span("S3.PutObject")
    assert put.attributes["aws.s3.key"] == "k"
    assert "tldr.storage.size" not in put.attributes


def test_twice_is_once_and_undone_is_undone(seen):
    """A second instrument() adds nothing, and uninstrument() leaves botocore as it was."""
    assert botocore.instrument() == botocore.instrument()
    seen.s3.list_buckets()
    assert len(seen.spans()) == 1
    assert seen.calls("ListBuckets", "success") == 1

    botocore.uninstrument()
    seen.s3.list_buckets()
    assert len(seen.spans()) == 1
    assert not isinstance(vars(BaseClient)["_make_api_call"], wrapt.ObjectProxy)

    botocore.instrument()
    seen.s3.list_buckets()
    assert len(seen.spans()) == 2
    assert seen.calls("ListBuckets", "success") == 2


def test_a_service_that_instruments_botocore_itself_keeps_its_spans(seen):
    """Where the service has its own hooks in place, they stay, the sentence says so, and the time is measured."""
    botocore.uninstrument()
    BotocoreInstrumentor().instrument(request_hook=lambda span, *_: span.set_attribute("mine", True))
    try:
        assert "service's own BotocoreInstrumentor" in botocore.instrument()
        seen.s3.list_buckets()
        assert seen.span("S3.ListBuckets").attributes["mine"]
        assert seen.calls("ListBuckets", "success") == 1
        botocore.uninstrument()
        seen.s3.list_buckets()
        assert len(seen.spans()) == 2
        assert seen.calls("ListBuckets", "success") == 1
    finally:
        BotocoreInstrumentor().uninstrument()


@pytest.mark.parametrize("module", ["botocore", "opentelemetry.instrumentation.botocore"])
def test_a_missing_library_is_named(monkeypatch, module):
    """Who asks for S3 without its packages reads which extra to install."""
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingExtraError, match=r"tldr-observability\[s3\]"):
        botocore.instrument()


@pytest.mark.parametrize("imports", ["opentelemetry.instrumentation.botocore", "botocore.client", "boto3"])
def test_whichever_import_comes_first_after_the_set_up(program, otlp_receiver, s3_url, imports):
    """S3 is observed whichever library a service imports first, OpenTelemetry's own instrumentation of it too."""
    service = program(
        f"""
        from tldr_observability import setup
        observability = setup()
        import {imports}
        import boto3
        (status,) = [each for each in observability.report() if each.part == "s3"]
        assert status.on, status
        boto3.client("s3", endpoint_url={s3_url!r}, region_name="us-east-1", aws_access_key_id="a",
                     aws_secret_access_key="b").list_buckets()
        """
    )

    assert service.finish() == 0, service.output
    assert [each.name for each in otlp_receiver.spans] == ["S3.ListBuckets"]
    assert otlp_receiver.total(DURATION, {"tldr.storage.operation": "ListBuckets"}) == 1
