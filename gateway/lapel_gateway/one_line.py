"""Text that a person gave, as one line: white space is one blank, nothing in it is unprintable, and it has an end."""

from __future__ import annotations


def one_line(
    what: str, text: str, most: int, refusal: type[Exception], *, needed: bool = False, in_bytes: bool = False
) -> str:
    """``text`` as one line of at most ``most`` characters, or bytes of UTF-8. Raises ``refusal``, naming ``what``."""
    text = " ".join(text.split())
    size = len(text.encode("utf-8", "surrogatepass")) if in_bytes else len(text)
    if size > most or not text.isprintable() or (needed and not text):
        unit = "bytes of printable text" if in_bytes else "printable characters"
        raise refusal(f"{what} is at most {most} {unit}{', and not empty' if needed else ''}")
    return text
