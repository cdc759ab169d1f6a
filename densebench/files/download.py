"""Downloads that go on where they broke off, and end with a file that was verified."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, InvalidURL
from pathlib import Path
from urllib.error import HTTPError, URLError

from densebench.files.addresses import UnsafeRedirectError, open_address, retry_after
from densebench.files.partial import Part, Version
from densebench.files.wanted import Wanted, check
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher

BLOCK = 1 << 18
LONGEST_PAUSE = 60.0
# A try that brought this much does not count as a failure.
WORTH = 8 << 20
PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)


def free_bytes(folder: Path) -> int:
    """Free space where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@dataclass(frozen=True)
class Network:
    """How patient a download is.

    Attributes:
        timeout: seconds without a byte after which a try is given up.
        tries: tries in a row that brought nothing.
        first_pause: seconds before the second try; each further pause is twice as long.
        sleep: waits.
        free: bytes free where a folder is.
    """

    timeout: float = 30.0
    tries: int = 5
    first_pause: float = 1.0
    sleep: Callable[[float], None] = time.sleep
    free: Callable[[Path], int] = free_bytes


class UnreachableError(DensebenchError):
    """A file cannot be had from where it should be; ``reason`` tells why in a few words."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class _PassingError(Exception):
    """A fault after which another try may do better."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def download(
    url: str, target: Path, wanted: Wanted, watcher: Watcher, network: Network | None = None
) -> Path:
    """The verified file: what is there of it is used, the rest is downloaded.

    Raises:
        UnreachableError: it cannot be had, or the server gives something else.
        DensebenchError: it is too large for the disk, or is not the file that it should be.
    """
    return _Download(url, target, wanted, watcher, network or Network()).run()


class _Download:
    def __init__(
        self, url: str, target: Path, wanted: Wanted, watcher: Watcher, network: Network
    ) -> None:
        self._url, self._target, self._wanted = url, target, wanted
        self._watcher, self._network = watcher, network
        self._part = Part(target)
        self._resumed = False

    def run(self) -> Path:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        if self._target.is_file() and self._is_official(self._target):
            return self._target
        self._transfer()
        try:
            check(self._part.file, self._wanted, self._watcher)
        except DensebenchError as error:
            self._part.discard()
            if not self._resumed:
                raise DensebenchError(f"{self._url}: {error}") from error
            # What was there from before may have been of another version: once more, in one go.
            self._watcher.say(f"{self._target.name}: does not match; fetching it from the start")
            self._resumed = False
            return self.run()
        self._part.finish()
        return self._target

    def _is_official(self, path: Path) -> bool:
        try:
            check(path, self._wanted, self._watcher)
        except DensebenchError as error:
            self._watcher.say(f"{error}; fetching it again")
            path.unlink()
            return False
        return True

    def _transfer(self) -> None:
        failures = 0
        while True:
            before = self._part.n_bytes()
            try:
                return self._once()
            except _PassingError as error:
                reason, wished = str(error), error.pause
            except HTTPError as error:
                if error.code not in PASSING_STATUS:
                    raise self._hopeless(f"HTTP {error.code} {error.reason}") from error
                reason, wished = f"HTTP {error.code} {error.reason}", retry_after(error.headers)
            except UnsafeRedirectError as error:
                raise self._hopeless(str(error.reason)) from error
            except URLError as error:
                reason, wished = str(error.reason), 0.0
            except (HTTPException, TimeoutError, ConnectionError) as error:
                reason, wished = str(error) or type(error).__name__, 0.0
            failures = 0 if self._part.n_bytes() - before >= WORTH else failures + 1
            if failures >= self._network.tries:
                raise self._hopeless(f"{reason}; gave up after {failures} tries")
            pause = max(self._network.first_pause * 2 ** max(failures - 1, 0), wished)
            self._pause(min(pause, LONGEST_PAUSE), reason)

    def _pause(self, seconds: float, reason: str) -> None:
        self._watcher.say(f"{self._target.name}: {reason}; trying again in {seconds:.0f} s")
        self._network.sleep(seconds)

    def _once(self) -> None:
        known, have = self._part.version(), self._part.n_bytes()
        if known is None or known.url != self._url:
            have = 0
        elif known.size is not None and have == known.size:
            self._resumed = True
            return
        headers = {"User-Agent": "densebench", "Accept-Encoding": "identity"}
        if have and known is not None:
            headers["Range"] = f"bytes={have}-"
            # A weak ETag may not stand in If-Range; the answer's own is compared below.
            strong = known.etag if known.etag and not known.etag.startswith("W/") else None
            if strong or known.modified:
                headers["If-Range"] = str(strong or known.modified)
        try:
            response = self._opened(headers)
        except HTTPError as error:
            if error.code == 416 and have:
                self._part.discard()
                raise _PassingError("the file on the server is another one now") from error
            raise
        with response:
            self._receive(response, known, have)

    def _opened(self, headers: dict[str, str]) -> HTTPResponse:
        is_checked = self._wanted.checksum is not None
        try:
            return open_address(self._url, headers, self._network.timeout, is_checked)
        except (ValueError, InvalidURL) as error:
            raise self._hopeless(f"not an address: {error}") from error

    def _receive(self, response: HTTPResponse, known: Version | None, have: int) -> None:
        start, size = _range(response, have)
        version = Version(
            self._url, response.headers.get("ETag"), response.headers.get("Last-Modified"), size
        )
        if start and version != known:
            self._part.discard()
            raise _PassingError("the file on the server is another one now")
        self._check_size(size, start)
        self._part.begin(version, from_start=not start)
        self._resumed = self._resumed or start > 0
        self._copy(response, start, size)
        if size is not None and self._part.n_bytes() != size:
            raise _PassingError(f"broke off after {self._part.n_bytes():,} of {size:,} bytes")

    def _check_size(self, size: int | None, start: int) -> None:
        known, most = self._wanted.size, self._wanted.most
        if size is not None and known is not None and size != known:
            self._part.discard()
            raise self._hopeless(
                f"the server announces {size:,} bytes, but the {self._wanted.called} has "
                f"{known:,}: another release, or a page in its place"
            )
        if size is not None and most is not None and size > most:
            raise self._hopeless(f"the server announces {size:,} bytes, far more than expected")
        free = self._network.free(self._target.parent)
        needed = (size or known or self._wanted.about or 0) - start
        if needed > free:
            raise DensebenchError(
                f"{self._target.name}: needs {needed / 1e9:.2f} GB more in {self._target.parent}, "
                f"and {free / 1e9:.2f} GB are free; free some, or choose {self._wanted.elsewhere}"
            )

    def _copy(self, response: HTTPResponse, start: int, size: int | None) -> None:
        most = size or self._wanted.most or self._network.free(self._target.parent) + start
        title = f"fetching {self._target.name}"
        with (
            self._part.file.open("r+b" if start else "wb") as file,
            self._watcher.phase(title, size, "bytes", done=start) as advance,
        ):
            file.seek(start)
            for block in _blocks(response):
                start += len(block)
                if start > most:
                    file.close()
                    self._part.discard()
                    raise self._hopeless(f"sent more than the {most:,} bytes that it may have")
                file.write(block)
                advance(len(block))

    def _hopeless(self, reason: str) -> UnreachableError:
        message = f"cannot fetch {self._url} ({reason}); {self._wanted.instead}"
        return UnreachableError(message, reason)


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    """What has come, as it comes, so that what was received before a stall is kept."""
    while True:
        try:
            block = response.read1(BLOCK)
        except OSError as error:  # unlike an error of writing, worth another try
            raise _PassingError(str(error) or type(error).__name__) from error
        if not block:
            return
        yield block


def _range(response: HTTPResponse, have: int) -> tuple[int, int | None]:
    """Where the answer begins, and the size of the whole."""
    if response.status != 206:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    span, _, total = response.headers.get("Content-Range", "").partition("/")
    if span.partition("-")[0].strip() != f"bytes {have}":
        raise _PassingError(f"sent another range than asked for: {span}")
    return have, int(total) if total.isdecimal() else None
