"""What torch.save wrote is a zip with checksums, at which torch.load does not look."""

import zipfile
import zlib
from errno import EINVAL
from pathlib import Path

from densebench.files.regular import open_regular

DAMAGE = (ValueError, EOFError, RuntimeError, LookupError, zipfile.BadZipFile, zlib.error)


def check_parts(path: Path) -> None:
    """Nothing, if every part of a zip is what its checksum says, or the file is no zip.

    Raises:
        OSError: the file cannot be read, or is a pipe or a device.
        ValueError: a part is not what was written.
    """
    with open_regular(path) as file:
        if not zipfile.is_zipfile(file):
            return
        try:
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
        except DAMAGE as error:
            raise ValueError(f"it is damaged: {error}") from error
        except OSError as error:  # the directory tells of a place before the file's beginning
            if error.errno != EINVAL:
                raise
            raise ValueError("it is damaged: parts of it are missing") from error
    if damaged is not None:
        raise ValueError(f"it is damaged: the checksum of its part {damaged} does not match")
