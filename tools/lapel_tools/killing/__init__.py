"""``lapel sim kill``: real processes under SIGKILL, and what is left of every clip and alarm afterwards.

The gateway's roles as processes, a real Mosquitto with mutual TLS, devices on the real MicroPython behind faulty links;
everything is killed at random and started again. At the end every clip in the vault must be, byte for byte, what a
witness took from the device's own medium.
"""
