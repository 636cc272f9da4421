"""``python -m lapel_tools`` is the ``lapel`` command."""

from lapel_tools.cli import main

main()
