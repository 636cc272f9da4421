"""MicroPython's `rp2`, as far as the flash behind the file system."""

from flash import Flash  # type: ignore[import-not-found,unused-ignore]

__all__ = ["Flash"]
