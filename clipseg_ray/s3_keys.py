"""S3 keys as they are: whatever follows the bucket's name is the key, also ``?versionId=``."""

from __future__ import annotations

from typing import Any


def take_literally(fs: Any) -> None:
    """Have an s3fs file system look for no version in a key: it would cut the key there, and read another object."""

    def split_path(path: str) -> tuple[str, str, None]:
        """Bucket, key, and no version."""
        bucket, key = fs._find_bucket_key(path.removeprefix("s3://").removeprefix("s3a://").lstrip("/"))
        return bucket, key, None

    fs.split_path = split_path
