"""Figures for operators: read from the ledger and the disks when they are asked for, kept nowhere else.

Rules that hold here
- Counts, ages and states only: no device, no person, no place, nobody's wearer. A channel that reaches one person by
  name is called by its number.
- A reading costs the same whatever the gateway has ever held: it reads by an index what is open, waiting or new, and
  whole only what grows with the number of devices.
- Whoever reads the figures changes nothing.
"""
