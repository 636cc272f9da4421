"""Prints the state of the heap in the form that lapel_sim.memory reads. A module of its own: it is loaded only when it
is asked for.
"""

import gc

import micropython


def report() -> None:
    """Collect garbage, then print live and free bytes and the largest free block (counted in garbage-collector
    blocks).
    """
    gc.collect()
    print("lapel-heap begin")  # noqa: T201
    micropython.mem_info()
    print("lapel-heap end")  # noqa: T201
