"""GET from S3 and compatible servers (AWS_ENDPOINT_URL): s3://BUCKET/KEY in, blocks of the object out.

Only this module imports boto3, at the first request; `pip install "distgan[s3]"` installs it. boto3 finds region and
credentials in the environment, in ~/.aws or in the role of the machine.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from distgan.data.remote.transfer import RETRY_STATUSES, FetchError, read_blocks, timeout_error

RETRY_CODES = ("RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "InternalError", "ServiceUnavailable")
_client_lock = threading.Lock()


def s3_blocks(url: str, stall_seconds: float) -> Generator[bytes, None, None]:
    """Yields the object at `url`. Raises FetchError."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    with _errors(stall_seconds):
        answer = _client(os.getpid(), stall_seconds).get_object(Bucket=bucket, Key=key)
        with answer["Body"] as body:
            yield from read_blocks(body, answer.get("ContentLength"), stall_seconds)


def s3_names(url: str, stall_seconds: float) -> list[str]:
    """The sorted names of the objects right below `url`. Raises FetchError."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    prefix = f"{prefix}/" if prefix else ""
    with _errors(stall_seconds):
        pages = _client(os.getpid(), stall_seconds).get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        return sorted(entry["Key"][len(prefix) :] for page in found for entry in page.get("Contents", ()))


@contextmanager
def _errors(stall_seconds: float) -> Iterator[None]:
    """Turns the errors of boto3 into FetchError."""
    try:
        from botocore import exceptions as boto
        from urllib3 import exceptions as urllib3
    except ImportError:
        raise FetchError('s3:// needs boto3; pip install "distgan[s3]"', permanent=True) from None
    try:
        yield
    except boto.ClientError as error:
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        name = "" if str(code) == str(status) else f" {code}"
        permanent = status not in RETRY_STATUSES and code not in RETRY_CODES
        raise FetchError(f"S3 answered {status}{name}", permanent, missing=status == 404) from None
    except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError) as error:
        reason = "there are no credentials" if isinstance(error, boto.NoCredentialsError) else "the credentials are bad"
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise FetchError(f"{reason}; {hint}", permanent=True) from None
    except ValueError:
        raise FetchError("AWS_ENDPOINT_URL is not an address", permanent=True) from None
    except (boto.ConnectTimeoutError, boto.ReadTimeoutError, urllib3.ReadTimeoutError, TimeoutError):
        raise timeout_error(stall_seconds) from None
    except urllib3.ProtocolError as error:
        cut = isinstance(error.__cause__, urllib3.IncompleteRead)
        raise FetchError("it was cut short" if cut else f"the connection failed: {_cause(error)}") from None
    except (boto.ConnectionError, boto.HTTPClientError, urllib3.HTTPError, OSError) as error:
        raise FetchError(f"the connection failed: {_cause(error)}") from None
    except boto.BotoCoreError as error:
        raise FetchError(f"boto3 cannot ask for it: {type(error).__name__}", permanent=True) from None


def _cause(error: BaseException) -> str:
    """Returns the system's reason, which the errors of the libraries wrap; it contains no address."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__context__
    return type(error).__name__


def _client(process: int, stall_seconds: float) -> Any:
    """Returns the client of a process: a forked worker must not share the connections of its parent."""
    with _client_lock:  # boto3 can make clients in only one thread at a time
        return _cached_client(process, stall_seconds)


@functools.lru_cache(maxsize=1)
def _cached_client(_process: int, stall_seconds: float) -> Any:
    import boto3
    from botocore.config import Config

    once = Config(connect_timeout=stall_seconds, read_timeout=stall_seconds, retries={"total_max_attempts": 1})
    return boto3.session.Session().client("s3", config=once)
