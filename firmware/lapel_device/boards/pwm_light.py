"""A light of three colours on three PWM outputs."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from machine import PWM

LIGHT_HZ = 1000


class PwmLight:
    """`common_anode`: the outputs pull the colours on."""

    def __init__(self, red: "PWM", green: "PWM", blue: "PWM", common_anode: bool = False) -> None:
        self._outputs = (red, green, blue)
        self._common_anode = common_anode

    def show(self, rgb: int) -> None:
        """Show 0xRRGGBB."""
        shift = 16
        for output in self._outputs:
            duty = (rgb >> shift & 0xFF) * 257
            output.duty_u16(65535 - duty if self._common_anode else duty)
            shift -= 8
