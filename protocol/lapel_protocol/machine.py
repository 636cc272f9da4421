"""State machines as tables: {(STATE, EVENT): (NEXT, EFFECTS)}; effects are data that a shell carries out.

On a device, where a dictionary costs heap and bytes stay in flash, a table is bytes: for each row state, event, next,
how many effects, and the effects.
"""

from .errors import BadTransition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Effects = tuple[int, ...] | bytes
    Table = Mapping[tuple[int, int], tuple[int, tuple[int, ...]]] | bytes


class Machine:
    """One machine: a table and the state it is in."""

    def __init__(self, table: "Table", state: int) -> None:
        self._table = table
        self.state = state

    def allows(self, event: int) -> bool:
        """Whether the table has a row for `event` in this state."""
        return self._row(event) is not None

    def handle(self, event: int) -> "Effects":
        """Go where the table says and return the effects to carry out, in order.

        Raises BadTransition, the state unchanged, for an event that the state does not allow.
        """
        row = self._row(event)
        if row is None:
            raise BadTransition("event %d in state %d" % (event, self.state))
        self.state = row[0]
        return row[1]

    def _row(self, event: int) -> "tuple[int, Effects] | None":
        table = self._table
        if not isinstance(table, bytes):
            return table.get((self.state, event))
        at = 0
        while at < len(table):
            end = at + 4 + table[at + 3]
            if table[at] == self.state and table[at + 1] == event:
                return table[at + 2], table[at + 4 : end]
            at = end
        return None
