"""GET over http and https: a URL in, blocks of the body out. Standard library only.

Proxies are taken from the environment (https_proxy, no_proxy), passwords from ~/.netrc. A redirection may lead to http
or https only, never from https to http, and no password follows it.
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

from distgan.data.remote.transfer import AGAIN, Failure, blocks, silent


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in _followed(req.full_url):
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        fp.close()  # its body may have no end, and urllib would read it
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def http_blocks(url: str, stall_seconds: float) -> Generator[bytes, None, None]:
    """The body of `url`. Raises Failure."""
    request = urllib.request.Request(quote(url, safe="%/:[]!$&'()*+,;=~"), headers={"User-Agent": "distgan"})
    if authorization := _authorization(urlsplit(url).hostname or ""):
        request.add_unredirected_header("Authorization", authorization)
    try:
        with closing(_opener().open(request, timeout=stall_seconds)) as answer:
            yield from blocks(answer, answer.length, stall_seconds)
    except urllib.error.HTTPError as error:
        error.close()
        raise Failure(_answer(url, error.code, error.headers["Location"] or ""), error.code not in AGAIN) from None
    except (OSError, http.client.HTTPException) as error:
        raise _failure(error, stall_seconds) from None
    except ValueError:  # a host that is no name, also in a redirection
        raise Failure("it, or what it leads to, is no address", lasting=True) from None


def _opener() -> urllib.request.OpenerDirector:
    """Without the handlers for file:, ftp: and data: that urllib's own has."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _authorization(host: str) -> str | None:
    try:
        found = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return found and "Basic " + base64.b64encode(f"{found[0]}:{found[2]}".encode()).decode()


def _followed(url: str) -> tuple[str, ...]:
    """Schemes that a redirection from `url` may lead to."""
    return ("https",) if url.startswith("https:") else ("https", "http")


def _answer(url: str, code: int, leads_to: str) -> str:
    if 300 <= code < 400:
        scheme = urlsplit(leads_to).scheme
        if scheme and scheme not in _followed(url):
            return f"the server answered {code} and leads to {scheme}://, which is not followed"
        return f"the server answered {code} again and again, or leads nowhere"
    phrase = f" {http.HTTPStatus(code).phrase}" if code in http.HTTPStatus.__members__.values() else ""
    hints = {404: "; is it there, under this name?", 401: "; put user and password for this host into ~/.netrc"}
    return f"the server answered {code}{phrase}{hints.get(code, '')}"


def _failure(error: BaseException, stall_seconds: float) -> Failure:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _failure(error.reason, stall_seconds)
    if isinstance(error, TimeoutError):
        return silent(stall_seconds)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure(f"the server's certificate is not valid: {error.verify_message}", lasting=True)
    if isinstance(error, http.client.IncompleteRead):
        return Failure("it was cut short")
    if isinstance(error, http.client.RemoteDisconnected):
        return Failure("the server closed the connection without an answer")
    if isinstance(error, OSError) and error.strerror:
        return Failure(f"the connection failed: {error.strerror}")
    return Failure(f"the connection failed: {type(error).__name__}")
