"""What a board's day costs: bytes on its link, time of its processor, charge of its battery.

Rules that hold here:

- Bytes and times are measured (`measuring`, kept in `figures.json`), currents are data sheets' (`currents`): nothing
  here has met hardware, and what is told says so.
- `traffic` and `energy` are arithmetic alone: no files, no clock.
"""
