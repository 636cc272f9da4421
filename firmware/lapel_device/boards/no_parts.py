"""What a board says in place of parts that it has not: a profile without pictures and sound never asks for them."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    Writable = bytearray | memoryview

_ENODEV = 19


class NoClips:
    """Stands in the key store's place where an alarm would name the clip that is to come: 0 = there will be none."""

    epoch = 0


class NoCamera:
    """There is none: starting it is an error, stopping it is harmless."""

    sensor = ""

    def start(self, width: int, height: int) -> None:
        """Raises OSError(ENODEV)."""
        raise OSError(_ENODEV)

    def stop(self) -> None:
        """Nothing to stop."""

    async def capture(self) -> "tuple[memoryview, int, int, int]":
        """Raises OSError(ENODEV)."""
        raise OSError(_ENODEV)


class NoMicrophone:
    """There is none."""

    def start(self, rate_hz: int) -> None:
        """Raises OSError(ENODEV)."""
        raise OSError(_ENODEV)

    def stop(self) -> None:
        """Nothing to stop."""

    def readinto(self, buffer: "Writable") -> int:
        """Never any."""
        return 0
