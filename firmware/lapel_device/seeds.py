"""Clip seeds, wrapped ahead to the organisation's public key (SPEC section 4.3).

Rules that hold here:

- A seed, its OAEP seed and the pool they come from live in RAM only; the pool moves on with every draw, so what
  was drawn cannot be found again from what is left.
- Wrapping takes about 0.3 s on an RP2040: `stage` is called while nothing is captured. Only a clip that must
  start with nothing staged (an alarm right after a clip) pays for it on the spot.
"""

from lapel_protocol import labels
from lapel_protocol.keys import pool_bytes, pool_next
from lapel_protocol.limits import KEY_BYTES
from lapel_protocol.wrap import wrap_seed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import Board

    WrappedSeed = tuple[bytes, bytes, bytes]
    """A clip's seed (32 bytes), its OAEP seed (32), and the wrapped seed (384)."""

STAGED = 2
"""One for the next clip, and one for the clip that continues it when it reaches its limit."""

_ENTROPY_BYTES = 32
# Longer than what the key store mixes in, so that this pool and the next epoch's can never be the same.
_STAGE = b"stage"


class Seeds:
    """The wrapped seeds of one boot."""

    def __init__(self, board: "Board", pool: bytes, modulus: bytes) -> None:
        """`pool` is the boot epoch's (nobody else uses its SEED and OAEP labels), `modulus` the organisation's key."""
        self._board = board
        self._pool = pool
        self._modulus = modulus
        self._staged: list[WrappedSeed] = []

    @property
    def ready(self) -> bool:
        """Whether all that can be made ahead is made."""
        return len(self._staged) >= STAGED

    def stage(self) -> None:
        """Wrap one seed ahead, if there is room for it; about 0.3 s on an RP2040."""
        if not self.ready:
            self._staged.append(self.draw())

    def take(self) -> "WrappedSeed":
        """The seed for a clip that starts now; made on the spot when none is staged."""
        if self._staged:
            return self._staged.pop(0)
        return self.draw()

    def draw(self) -> "WrappedSeed":
        """A new wrapped seed that nobody else gets."""
        seed = pool_bytes(self._pool, labels.POOL_SEED, KEY_BYTES)
        oaep_seed = pool_bytes(self._pool, labels.POOL_OAEP, KEY_BYTES)
        entropy = _STAGE + self._board.entropy(_ENTROPY_BYTES)
        self._pool = pool_next(self._pool, entropy, self._board.clock.ticks_ms())
        return seed, oaep_seed, wrap_seed(seed, oaep_seed, self._modulus)
