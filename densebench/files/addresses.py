"""Addresses: written as a server is asked for them, and redirects that are safe to follow."""

from email.message import Message
from http.client import HTTPResponse
from typing import Any
from urllib.error import URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

UNRESERVED = "/%:@!$&'()*+,;=~"


class UnsafeRedirectError(URLError):
    """A server sends elsewhere, where no file should be taken from; another try changes nothing."""


def open_address(
    url: str, headers: dict[str, str], timeout: float, is_checked: bool
) -> HTTPResponse:
    """The server's answer.

    Args:
        url: http or https.
        headers: of the request.
        timeout: seconds without a byte after which it is given up.
        is_checked: whether the file's checksum is known, so that who changes it is found out.

    Raises:
        ValueError: no address.
        URLError: no answer.
        UnsafeRedirectError: a redirect from https to what anybody on the way can change.
    """
    opener = build_opener(_Redirects(is_checked))
    response: HTTPResponse = opener.open(Request(ascii_url(url), headers=headers), timeout=timeout)
    return response


class _Redirects(HTTPRedirectHandler):
    """Follows redirects; to an address that anybody on the way can change, with a checksum only."""

    def __init__(self, is_checked: bool) -> None:
        self._is_checked = is_checked

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https"):
            raise UnsafeRedirectError(f"redirected to {newurl}, which is no address of the web")
        if req.type == "https" and scheme == "http" and not self._is_checked:
            raise UnsafeRedirectError(
                f"redirected from https to {newurl}, and there is no checksum to know the file by"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def ascii_url(url: str) -> str:
    """The address with what is no ASCII in the forms that a server is asked in.

    Raises:
        ValueError: it is no address.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna").decode("ascii")
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port is None else f":{parts.port}"
    user, at, _ = parts.netloc.rpartition("@")
    path, query = quote(parts.path, UNRESERVED), quote(parts.query, UNRESERVED + "?")
    return parts._replace(netloc=f"{user}{at}{host}{port}", path=path, query=query).geturl()


def retry_after(headers: "Message[str, str]") -> float:
    """How many seconds the server wants to be left alone."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0
