"""The duty room of a run: every open alarm is acknowledged and resolved through the API, however often that is down."""

from __future__ import annotations

import threading

import httpx

from lapel_tools.killing.plant import Plant

_LOOK_S = 0.5
_RESOLUTION = {"reason": "test", "note": "a drill"}


class DutyOfficer:
    """Acknowledges an alarm when it is seen, and resolves it at a later look. `refused` counts calls that failed."""

    def __init__(self, plant: Plant) -> None:
        self.refused = 0
        self.faults: list[str] = []
        self._plant = plant
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="duty officer", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def end(self) -> None:
        """Stop looking."""
        self._ending.set()
        self._thread.join(30.0)

    def _run(self) -> None:
        while not self._ending.wait(_LOOK_S):
            try:
                self._answer()
            except httpx.HTTPStatusError as error:
                if error.response.is_client_error:
                    self.faults.append(f"the API refuses its own user: {error}")
                self.refused += 1
            except httpx.HTTPError:
                self.refused += 1  # killed, or starting

    def _answer(self) -> None:
        for alarm in self._plant.read("/api/v1/alarms?limit=500")["alarms"]:
            if alarm["resolved"] is not None:
                continue
            path = f"/api/v1/alarms/{alarm['id']}"
            if alarm["acknowledged"] is None:
                self._plant.post(f"{path}/acknowledge")
            else:
                self._plant.post(f"{path}/resolve", _RESOLUTION)
