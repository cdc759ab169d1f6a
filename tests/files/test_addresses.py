"""Addresses are asked for in ASCII, and no redirect leaves https unless a checksum is known."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.error import URLError
from urllib.request import Request

import pytest

from densebench.files.addresses import _Redirects, ascii_url, open_address


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://[::1]:8080/a b?c=ü", "http://[::1]:8080/a%20b?c=%C3%BC"),
        ("https://exämple.org/ü/x", "https://xn--exmple-cua.org/%C3%BC/x"),
        ("https://user@host.org/a%20b", "https://user@host.org/a%20b"),
    ],
)
def test_any_address_is_written_in_ascii(url: str, asked: str) -> None:
    assert ascii_url(url) == asked


@pytest.mark.parametrize("url", ["http://[::1/x", "http://h:99999999/", f"http://{'a' * 80}.org/"])
def test_what_is_no_address_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError):
        open_address(url, {}, 1.0, True)


@pytest.mark.parametrize("is_checked", [True, False])
@pytest.mark.parametrize("target", ["http://mirror.org/x", "https://mirror.org/x"])
def test_https_is_left_with_a_checksum_only(is_checked: bool, target: str) -> None:
    handler, asked = _Redirects(is_checked), Request("https://host.org/x")
    if is_checked or target.startswith("https:"):
        followed = handler.redirect_request(asked, None, 302, "", {}, target)
        assert followed is not None
        assert followed.full_url == target
    else:
        with pytest.raises(URLError, match="redirected from https to http:"):
            handler.redirect_request(asked, None, 302, "", {}, target)


@pytest.mark.parametrize("target", ["ftp://host.org/x", "file:///etc/passwd"])
def test_the_web_is_not_left(target: str) -> None:
    with pytest.raises(URLError, match="no address of the web"):
        _Redirects(True).redirect_request(Request("http://h.org"), None, 302, "", {}, target)


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302 if self.path == "/first" else 200)
            self.send_header("Location", "/second%C3%BC")
            self.end_headers()
            self.wfile.write(self.path.encode())

    with HTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_a_redirect_within_http_is_followed(server: str) -> None:
    with open_address(f"{server}/first", {}, 5.0, False) as answer:
        assert answer.read() == b"/second%C3%BC"
