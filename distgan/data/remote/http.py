"""GET over http and https: a URL in, blocks of the body out. Standard library only.

Proxies come from the environment (https_proxy, no_proxy), passwords from ~/.netrc. A redirection may lead only to http
or https, never from https to http, and no password is sent after it.
"""

from __future__ import annotations

import base64
import http
import http.client
import netrc
import ssl
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import closing
from typing import IO
from urllib.parse import quote, urlsplit

from distgan.data.remote.transfer import RETRY_STATUSES, FetchError, read_blocks, timeout_error


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in _allowed_schemes(req.full_url):
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        fp.close()  # urllib would read the body, which may have no end
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def http_blocks(url: str, stall_seconds: float) -> Generator[bytes, None, None]:
    """Yields the body of the answer to a GET of `url`. Raises FetchError."""
    request = urllib.request.Request(quote(url, safe="%/:[]!$&'()*+,;=~"), headers={"User-Agent": "distgan"})
    if authorization := _authorization(urlsplit(url).hostname or ""):
        request.add_unredirected_header("Authorization", authorization)
    try:
        with closing(_opener().open(request, timeout=stall_seconds)) as answer:
            yield from read_blocks(answer, answer.length, stall_seconds)
    except urllib.error.HTTPError as error:
        error.close()
        reason = _status_reason(url, error.code, error.headers["Location"] or "")
        raise FetchError(reason, permanent=error.code not in RETRY_STATUSES, missing=error.code == 404) from None
    except (OSError, http.client.HTTPException) as error:
        raise _fetch_error(error, stall_seconds) from None
    except ValueError:  # of a malformed host name, also in a redirection
        raise FetchError("it, or the redirection from it, is not an address", permanent=True) from None


def _opener() -> urllib.request.OpenerDirector:
    """Returns an opener without the handlers for file:, ftp: and data: of urllib's default one."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _CheckedRedirects(),
    ):
        opener.add_handler(handler)
    return opener


def _authorization(host: str) -> str | None:
    """Returns the header for a host that ~/.netrc has a password for."""
    try:
        login = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return login and "Basic " + base64.b64encode(f"{login[0]}:{login[2]}".encode()).decode()


def _allowed_schemes(url: str) -> tuple[str, ...]:
    """Returns the schemes that a redirection from `url` may lead to."""
    return ("https",) if url.startswith("https:") else ("https", "http")


def _status_reason(url: str, code: int, redirection: str) -> str:
    """Returns the sentence for an answer that is not a success. redirection: URL that it leads to, or nothing."""
    if 300 <= code < 400:
        scheme = urlsplit(redirection).scheme
        if scheme and scheme not in _allowed_schemes(url):
            return f"the server answered {code} and leads to {scheme}://, which is not followed"
        return f"the server answered {code} again and again, or leads nowhere"
    phrase = f" {http.HTTPStatus(code).phrase}" if code in http.HTTPStatus.__members__.values() else ""
    hints = {404: "; is it there, under this name?", 401: "; put user and password for this host into ~/.netrc"}
    return f"the server answered {code}{phrase}{hints.get(code, '')}"


def _fetch_error(error: BaseException, stall_seconds: float) -> FetchError:
    """Translates an error of the connection."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _fetch_error(error.reason, stall_seconds)
    if isinstance(error, TimeoutError):
        return timeout_error(stall_seconds)
    if isinstance(error, ssl.SSLCertVerificationError):
        return FetchError(f"the server's certificate is not valid: {error.verify_message}", permanent=True)
    if isinstance(error, http.client.IncompleteRead):
        return FetchError("it was cut short")
    if isinstance(error, http.client.RemoteDisconnected):
        return FetchError("the server closed the connection without an answer")
    if isinstance(error, OSError) and error.strerror:
        return FetchError(f"the connection failed: {error.strerror}")
    return FetchError(f"the connection failed: {type(error).__name__}")
