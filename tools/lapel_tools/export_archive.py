"""An export as one ZIP file, as a clip's page hands it out, unpacked for whoever verifies it.

Rules that hold here
- Nothing is unpacked but what an export has: some files in one folder, each stored as it is. So a file takes no more
  room unpacked than packed, and none lands anywhere else.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lapel_tools.evidence import NotAnExport

MAX_FILES = 32


@contextmanager
def unpacked(export: Path) -> Iterator[Path]:
    """The folder of an export: ``export`` itself, or a passing copy of what a ZIP file has.

    Raises NotAnExport, and OSError where there is no room for the copy.
    """
    if not export.is_file():
        yield export
        return
    with tempfile.TemporaryDirectory(prefix="lapel-verify-") as scratch:
        folder = Path(scratch)
        try:
            with zipfile.ZipFile(export) as packed:
                _unpack(packed, export, folder)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
            raise _not_whole(export, error) from None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise _not_whole(export, error) from None  # it names a place before its beginning
        yield folder


def _not_whole(export: Path, error: Exception) -> NotAnExport:
    return NotAnExport(f"{export} is not a whole ZIP file ({error}): fetch it again")


def _unpack(packed: zipfile.ZipFile, export: Path, folder: Path) -> None:
    entries = packed.infolist()
    tops = {entry.filename.partition("/")[0] for entry in entries}
    names = [entry.filename.partition("/")[2] for entry in entries]
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    plain = all(name and name == Path(name).name and name != ".." for name in [*tops, *names])
    if len(tops) != 1 or not 0 < len(names) == len(set(names)) <= MAX_FILES or not (stored and plain):
        raise NotAnExport(f"{export} is not an export: it has one folder of files, stored as they are")
    for entry, name in zip(entries, names, strict=True):
        with packed.open(entry) as source, (folder / name).open("xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
