"""RECORD and ALARM on two pins with pull-ups: pressed is low.

ALARM's edges are taken in a hard interrupt, because a TLS handshake keeps a Pico W's loop from looking for up to three
seconds, longer than a hold. Where a port has soft interrupts only (some ESP32 builds), what a handshake hides is seen
by the levels before and after it alone; its handshake takes a third of the time.
"""

from lapel_device.gestures import ALARM_BUTTON, ALARM_WAS_HELD, CASE_OPEN, RECORD_BUTTON
from lapel_device.hold_latch import HoldLatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from machine import Pin

    from .contract import Clock


class PinButtons:
    """Make it first of all at boot: a hold counts from here on."""

    def __init__(self, record: "Pin", alarm: "Pin", clock: "Clock", tamper: "Pin | None" = None) -> None:
        """Pins set up as inputs with pull-ups. `tamper`: a switch to ground that a closed case holds closed."""
        self._record = record
        self._alarm = alarm
        self._tamper = tamper
        self._clock = clock
        self._latch = HoldLatch()
        edges = alarm.IRQ_FALLING | alarm.IRQ_RISING
        try:
            alarm.irq(self._edge, edges, hard=True)
        except TypeError:
            alarm.irq(self._edge, edges)
        self._edge(alarm)

    def read(self) -> int:
        """Level bits, CASE_OPEN, and ALARM_WAS_HELD once for each hold of ALARM (contract.Buttons)."""
        mask = 0 if self._record.value() else RECORD_BUTTON
        if not self._alarm.value():
            mask |= ALARM_BUTTON
        if self._latch.completed(self._clock.ticks_ms()):
            mask |= ALARM_WAS_HELD
        if self._tamper is not None and self._tamper.value():
            mask |= CASE_OPEN
        return mask

    def _edge(self, pin: "Pin") -> None:
        self._latch.edge(not pin.value(), self._clock.ticks_ms())
