"""RECORD and ALARM on two pins with pull-ups: pressed is low.

Their edges are taken in hard interrupts, because a TLS handshake keeps a Pico W's loop from looking for up to three
seconds, longer than a hold. Where a port has soft interrupts only (some ESP32 builds), what a handshake hides is seen
by the levels before and after it alone; its handshake takes a third of the time.
"""

from lapel_device.button_log import ButtonLog
from lapel_device.gestures import ALARM_BUTTON, CASE_OPEN, RECORD_BUTTON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from machine import Pin

    from .contract import Clock


class PinButtons:
    """Make it first of all at boot: a push counts from here on."""

    def __init__(self, record: "Pin", alarm: "Pin", clock: "Clock", tamper: "Pin | None" = None) -> None:
        """Pins set up as inputs with pull-ups. `tamper`: a switch to ground that a closed case holds closed."""
        self.mask = 0
        self.ticks = 0
        self._record = record
        self._alarm = alarm
        self._tamper = tamper
        self._clock = clock
        self._log = ButtonLog(clock.ticks_ms())
        _listen(record, self._record_edge)
        _listen(alarm, self._alarm_edge)

    def look(self) -> bool:
        """The next state, in `mask` and `ticks` (contract.Buttons)."""
        ticks = self._clock.ticks_ms()  # first: an edge that comes after it is of the next look
        mask = 0 if self._record.value() else RECORD_BUTTON
        if not self._alarm.value():
            mask |= ALARM_BUTTON
        if self._tamper is not None and self._tamper.value():
            mask |= CASE_OPEN
        missed = self._log.look(mask, ticks)
        self.mask = self._log.mask
        self.ticks = self._log.ticks
        return missed

    def _record_edge(self, pin: "Pin") -> None:
        self._log.record.edge(not pin.value(), self._clock.ticks_ms())

    def _alarm_edge(self, pin: "Pin") -> None:
        self._log.alarm.edge(not pin.value(), self._clock.ticks_ms())


def _listen(pin: "Pin", edge: "Callable[[Pin], None]") -> None:
    """Every edge from now on, and the level that it has now."""
    edges = pin.IRQ_FALLING | pin.IRQ_RISING
    try:
        pin.irq(edge, edges, hard=True)
    except TypeError:
        pin.irq(edge, edges)
    edge(pin)
