"""Entry of a MicroPython process on models: `on_models PROGRAM ...` runs its main(), or the functions that are named.

What each case did is told as one line of JSON. A case begins on an unwired board; what it raises is its failure.
"""

import io
import json
import sys


def main() -> None:
    """Run what the arguments name. The simulator's sources go first: the board's own lapel_sim has no models."""
    sys.path.insert(0, __file__.split("/lapel_sim/")[0])
    del sys.argv[0]
    program = __import__(sys.argv[0])
    if hasattr(program, "main"):
        program.main()
        return
    from lapel_sim.machine_models.wiring import wiring

    for case in sys.argv[1:]:
        wiring.reset("rp2")
        failure = ""
        try:
            getattr(program, case)()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this case's outcome
            text = io.StringIO()
            sys.print_exception(error, text)  # type: ignore[attr-defined,unused-ignore]
            failure = text.getvalue()
        print(json.dumps({"case": case, "failure": failure}))  # noqa: T201 - the console is how it talks to its test
