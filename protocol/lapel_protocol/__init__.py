"""The agreement between a Lapel device and its gateway: records, keys and state machines.

Runs unchanged on MicroPython and CPython. No I/O, no clock, no randomness: time, entropy and bytes are
arguments. `protocol/SPEC.md` owns every byte that is written here.
"""

PROTOCOL_VERSION = 1
SUITE_TINK_4KB = 1
