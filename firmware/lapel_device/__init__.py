"""Lapel device firmware: sans-I/O cores that run on MicroPython and, for tests, on CPython."""

import gc

if hasattr(gc, "threshold"):
    # Collect often, from the first import on: otherwise what importing leaves behind is scattered over the heap, and
    # no free block is large enough for the buffers that are made at boot.
    gc.threshold(8192)
