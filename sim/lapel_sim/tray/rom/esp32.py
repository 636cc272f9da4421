"""MicroPython's `esp32`, as far as the partition behind the file system."""

from flash import Flash  # type: ignore[import-not-found,unused-ignore]


class Partition(Flash):  # type: ignore[misc,unused-ignore]
    """The partition table of an official image: one partition of data, "vfs"."""

    TYPE_DATA = 1

    @staticmethod
    def find(type: int = 1, subtype: int = 0xFF, label: "str | None" = None) -> "list[Partition]":
        return [Partition()] if label in (None, "vfs") and type == Partition.TYPE_DATA else []
