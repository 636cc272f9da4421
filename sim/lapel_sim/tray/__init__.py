"""A technician's tray: boards behind pseudo-terminals, drives in BOOTSEL and an ESP32's ROM, as the tools meet them."""
