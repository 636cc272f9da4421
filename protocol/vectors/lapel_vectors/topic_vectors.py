"""topic.json: MQTT topic names, of which only one spelling is accepted (SPEC section 9)."""

import hashlib

from .reference import DEVICE, OTHER_DEVICE, Case, case

LANES = ("alarm", "event", "clip", "down")


def topic_name(device: bytes, lane: str) -> str:
    """The topic of a lane."""
    return f"lapel/v1/{hashlib.sha256(device).digest()[0]:02x}/{device.hex()}/{lane}"


def topic() -> Case:
    """The content of topic.json."""
    cases: list[Case] = []
    for device in (DEVICE, OTHER_DEVICE, bytes(8), b"\xff" * 8):
        for lane in LANES:
            name = f"{lane} of {device.hex()}"
            good: Case = {"name": name, "op": "topic", "expect": "ok", "device": device.hex(), "lane": lane}
            cases.append({**good, "topic": topic_name(device, lane)})
    cases += [case(f"filter of {lane}", "lane_filter", lane=lane, out=f"lapel/v1/+/+/{lane}") for lane in LANES]
    good_name = topic_name(DEVICE, "clip")
    root, version, shard, device_name, lane = good_name.split("/")
    other_shard = f"{int(shard, 16) ^ 1:02x}"
    wrong = {
        "empty": "",
        "only slashes": "////",
        "leading slash": "/" + good_name,
        "trailing slash": good_name + "/",
        "another root": good_name.replace("lapel", "label"),
        "another version": good_name.replace("v1", "v2"),
        "unknown lane": f"{root}/{version}/{shard}/{device_name}/status",
        "lane in capitals": f"{root}/{version}/{shard}/{device_name}/CLIP",
        "no lane": f"{root}/{version}/{shard}/{device_name}",
        "device in capitals": f"{root}/{version}/{shard}/{DEVICE.hex().upper()}/{lane}",
        "device one digit short": f"{root}/{version}/{shard}/{device_name[:-1]}/{lane}",
        "device one digit long": f"{root}/{version}/{shard}/{device_name}0/{lane}",
        "device not hexadecimal": f"{root}/{version}/{shard}/{device_name[:-1]}g/{lane}",
        "device with spaces": f"{root}/{version}/{shard}/0f 1e 2d 3c 4b 5/{lane}",
        "device of other digits": f"{root}/{version}/{shard}/{'٠' * 16}/{lane}",
        "shard of another device": f"{root}/{version}/{other_shard}/{device_name}/{lane}",
        "shard in capitals": f"{root}/{version}/{shard.upper()}/{device_name}/{lane}",
        "no shard": f"{root}/{version}//{device_name}/{lane}",
        "wildcards": f"{root}/{version}/+/+/{lane}",
        "NUL at the end": good_name + "\0",
    }
    if shard.upper() == shard:
        raise SystemExit("choose a device whose shard has a letter")
    cases += [case(name, "parse_topic", "malformed", topic=text) for name, text in wrong.items()]
    cases.append(case("65 characters", "parse_topic", "oversized", topic=good_name.ljust(65, "x")))
    cases.append(case("64 characters", "parse_topic", "malformed", topic=good_name.ljust(64, "x")))
    return {"cases": cases}
