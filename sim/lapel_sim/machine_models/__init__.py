"""MicroPython's hardware modules, made of models: what a board's drivers import instead of a chip's own.

They run inside the real MicroPython, beside the drivers. A socket to CPython for each byte of a bus would make a frame
take seconds; here bus time is added up as it passes, so that how long a driver holds the processor is exact, a card
that hangs costs a test nothing, and a misuse raises where the driver made it. For the same reason time does not pass
by itself (`clock`): only transfers, sleeps and what a test lets pass.

`modules/` goes first on MicroPython's path: it has `machine`, `network`, `rp2`, `esp32`, `camera`, `neopixel` and
`time`. `wiring` is what is soldered to the pins. Signatures and errors are those of MicroPython 1.28; what its hardware
would do wrongly and in silence (two chips selected, a pin that cannot do it, a clock that is too fast) raises Misuse.
The modules and `lapel_sim.chips` keep to what both Pythons read.
"""
