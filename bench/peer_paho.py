"""``python -m bench.peer_paho PORT COUNT``: a bare paho subscriber that counts to COUNT and ends."""

from __future__ import annotations

import sys
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


def main() -> None:
    """Count."""
    port, count = int(sys.argv[1]), int(sys.argv[2])
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "subscriber", clean_session=False)
    left = count

    def on_connect(*_: Any) -> None:
        client.subscribe("lapel/v1/+/+/clip", 1)

    def on_subscribe(*_: Any) -> None:
        print("ready", flush=True)

    def on_message(_client: mqtt.Client, _data: Any, _message: mqtt.MQTTMessage) -> None:
        nonlocal left
        left -= 1
        if not left:
            print("done", flush=True)

    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.loop_forever()


if __name__ == "__main__":
    main()
