"""The hub's errors as sentences: what can be done, and no text of a library, which may hold a signed address."""

import errno

import pytest

from distgan.data.remote import hub
from distgan.data.remote.hub import HubFiles
from distgan.utils.errors import DataError

requests = pytest.importorskip("requests")
errors = pytest.importorskip("huggingface_hub.errors")
URL = "https://cdn.example/x?X-Amz-Signature=hunter2"


class Answer:
    status_code = 503


class Busy(Exception):
    response = Answer()


FAILURES = [
    (requests.ConnectionError(f"Max retries exceeded with url: {URL}"), "the connection failed: ConnectionError"),
    (RuntimeError(URL), "the connection failed: RuntimeError"),
    (ValueError(URL), r"cannot be asked for it \(ValueError\); is the address right"),
    (Busy(URL), "the server answered 503"),
    (OSError(errno.ENOSPC, "No space left on device", URL), "No space left on device"),
    (errors.LocalEntryNotFoundError(URL), "the hub cannot be reached, and it is not in the cache"),
]


@pytest.mark.parametrize(("error", "reason"), FAILURES, ids=[type(error).__name__ for error, _ in FAILURES])
def test_a_failure_is_one_sentence_that_tells_no_secret(monkeypatch, error, reason):
    class Library:
        @staticmethod
        def hf_hub_download(*_, **__):
            raise error

    monkeypatch.setattr(hub, "_library", lambda: Library)
    with pytest.raises(DataError, match=rf"me/birds: a\.parquet cannot be downloaded .*{reason}") as caught:
        HubFiles("me/birds", "0" * 40, ("a.parquet",)).path_of("a.parquet")
    assert "hunter2" not in str(caught.value)
