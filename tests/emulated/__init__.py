"""Tests on an emulated RP2040 with an official image of MicroPython: `make test-pico PICO_UF2=FILE`.

Nothing here is collected without an image. An emulated chip is some fifty times slower than a real one.
"""
