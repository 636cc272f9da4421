"""A board's flash as it would be read on a bench: its littlefs, opened by a littlefs of this machine."""

from __future__ import annotations

from littlefs import LittleFS, UserContext
from littlefs.errors import LittleFSError

BLOCK_BYTES = 4096


def read_flash(content: bytes) -> dict[str, bytes]:
    """Every file by absolute path; none for a flash that was never formatted."""
    context = UserContext(len(content))
    context.buffer[:] = content
    try:
        filesystem = LittleFS(context=context, block_size=BLOCK_BYTES, block_count=len(content) // BLOCK_BYTES)
    except LittleFSError:
        return {}
    found = {}
    for folder, _, names in filesystem.walk("/"):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with filesystem.open(path, "rb") as file:
                found[path] = file.read()
    return found
