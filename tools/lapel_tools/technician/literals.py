"""Python's parser, one thread at a time.

CPython before 3.13 counts the depth of a tree that it hands out for the whole interpreter, not for each thread: two
threads that parse at once end in "AST constructor recursion depth mismatch". Whoever works on several boards side by
side parses under this lock, and compiles firmware under it.
"""

from __future__ import annotations

import ast
import threading
from typing import Any

PARSING = threading.RLock()


def literal(text: str) -> Any:
    """The value that a Python literal stands for. Raises what ast.literal_eval raises."""
    with PARSING:
        return ast.literal_eval(text)
