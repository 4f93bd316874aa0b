"""Where clips and thumbnails lie: a bucket of any S3."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from highlights.settings import settings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Storage", "storage"]

_CONFIG: Final = Config(
    connect_timeout=2, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 2}, signature_version="s3v4"
)


class Storage:
    """One bucket.

    Args:
        client: boto3's.
        bucket: its name.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def ensure(self) -> None:
        """Make the bucket, unless it is there; Amazon's own are made by whoever pays for them."""
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:  # noqa: PLR2004 - HTTP's
                raise
            self._client.create_bucket(Bucket=self._bucket)

    def upload(self, path: Path, key: str, content_type: str) -> None:
        """Put a file there, in parts and threads if it is large."""
        self._client.upload_file(str(path), self._bucket, key, ExtraArgs={"ContentType": content_type})

    def link(self, key: str) -> str:
        """An address where the object can be had without a key, for `settings().link_seconds`."""
        url: str = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=settings().link_seconds
        )
        return url

    def delete_prefix(self, prefix: str) -> None:
        """Remove every object whose key begins so."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        for page in pages:
            for found in page.get("Contents", []):
                self._client.delete_object(Bucket=self._bucket, Key=found["Key"])

    def check(self) -> None:
        """Raise what is wrong, unless the bucket answers."""
        self._client.head_bucket(Bucket=self._bucket)


@cache
def storage() -> Storage:
    """This process's bucket; it connects when first used."""
    return Storage(boto3.client("s3", endpoint_url=settings().s3_endpoint_url, config=_CONFIG), settings().s3_bucket)
