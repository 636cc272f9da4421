"""``lapel demo``: one incident on real footage, from the press of a button to the verified MP4 and the answered alarm.

Everything in it is what an installation uses: the `lapel` commands, the gateway's process, a broker, and the firmware
in real MicroPython. Only hardware and radio are simulated.
"""

from lapel_tools.demo.run import run_demo

__all__ = ["run_demo"]
