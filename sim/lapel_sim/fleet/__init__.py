"""Thousands of protocol-true devices in one process, for load: all they say is sealed, all they are told is opened.

No firmware runs here and nothing is stored: a member of a fleet is the protocol of `lapel_protocol`, a connection of
its own and the device's timings (SPEC section 8.10). What only the firmware can show, the simulator's boards show.
"""
