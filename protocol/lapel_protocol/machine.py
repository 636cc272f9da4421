"""State machines as tables: {(STATE, EVENT): (NEXT, EFFECTS)}; effects are data that a shell carries out."""

from .errors import BadTransition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Table = Mapping[tuple[int, int], tuple[int, tuple[int, ...]]]


class Machine:
    """One machine: a table and the state it is in."""

    def __init__(self, table: "Table", state: int) -> None:
        self._table = table
        self.state = state

    def allows(self, event: int) -> bool:
        """Whether the table has a row for `event` in this state."""
        return (self.state, event) in self._table

    def handle(self, event: int) -> "tuple[int, ...]":
        """Go where the table says and return the effects to carry out, in order.

        Raises BadTransition, the state unchanged, for an event that the state does not allow.
        """
        row = self._table.get((self.state, event))
        if row is None:
            raise BadTransition("event %d in state %d" % (event, self.state))
        self.state = row[0]
        return row[1]
