"""A Raspberry Pi Pico as rp2040py emulates it: real MicroPython from an official image, on a port like a tray's boards.

Needs the extra `pico`. Nothing here is imported by the rest of the simulator.
"""
