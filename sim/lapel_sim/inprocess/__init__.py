"""A board, a file system, a network and a broker in one CPython process, for seeded fault schedules.

The application that runs on them is the real one; what stands here stands for hardware and for the broker's program.
Nothing reads a clock, and every choice comes from the seed: the same seed gives the same run.
"""
