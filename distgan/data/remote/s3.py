"""GET from S3 and what speaks like it (AWS_ENDPOINT_URL): s3://BUCKET/KEY in, blocks of the object out.

boto3 is imported here only, and late; `pip install "distgan[s3]"` brings it. Region and credentials come from boto3's
usual places: the environment, ~/.aws, the machine's role.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Generator
from typing import Any

from distgan.data.remote.transfer import AGAIN, Failure, blocks, silent

BUSY = ("RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "InternalError", "ServiceUnavailable")
_making = threading.Lock()


def s3_blocks(url: str, stall_seconds: float) -> Generator[bytes, None, None]:
    """The object at `url`. Raises Failure."""
    try:
        from botocore import exceptions as boto
        from urllib3 import exceptions as urllib3
    except ImportError:
        raise Failure('s3:// needs boto3; pip install "distgan[s3]"', lasting=True) from None
    bucket, _, key = url.removeprefix("s3://").partition("/")
    try:
        answer = _client(os.getpid(), stall_seconds).get_object(Bucket=bucket, Key=key)
        with answer["Body"] as body:
            yield from blocks(body, answer.get("ContentLength"), stall_seconds)
    except boto.ClientError as error:
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        name = "" if str(code) == str(status) else f" {code}"
        raise Failure(f"S3 answered {status}{name}", lasting=status not in AGAIN and code not in BUSY) from None
    except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError) as error:
        reason = "there are no credentials" if isinstance(error, boto.NoCredentialsError) else "the credentials are bad"
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise Failure(f"{reason}; {hint}", lasting=True) from None
    except ValueError:
        raise Failure("AWS_ENDPOINT_URL is no address", lasting=True) from None
    except (boto.ConnectTimeoutError, boto.ReadTimeoutError, urllib3.ReadTimeoutError, TimeoutError):
        raise silent(stall_seconds) from None
    except urllib3.ProtocolError as error:
        cut = isinstance(error.__cause__, urllib3.IncompleteRead)
        raise Failure("it was cut short" if cut else f"the connection failed: {_cause(error)}") from None
    except (boto.ConnectionError, boto.HTTPClientError, urllib3.HTTPError, OSError) as error:
        raise Failure(f"the connection failed: {_cause(error)}") from None
    except boto.BotoCoreError as error:
        raise Failure(f"boto3 cannot ask for it: {type(error).__name__}", lasting=True) from None


def _cause(error: BaseException) -> str:
    """The system's reason, which lies under the libraries' own errors and holds no address."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__context__
    return type(error).__name__


def _client(process: int, stall_seconds: float) -> Any:
    """process: a forked worker must not share its parent's connections."""
    with _making:  # boto3 makes clients in one thread at a time only
        return _made(process, stall_seconds)


@functools.lru_cache(maxsize=1)
def _made(_process: int, stall_seconds: float) -> Any:
    import boto3
    from botocore.config import Config

    once = Config(connect_timeout=stall_seconds, read_timeout=stall_seconds, retries={"total_max_attempts": 1})
    return boto3.session.Session().client("s3", config=once)
