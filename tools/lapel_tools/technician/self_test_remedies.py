"""What to do about each fault that a self-test finds: one table, and where the wires of a part go on this board."""

from __future__ import annotations

import importlib

from lapel_build.release import TARGETS

_WIRES = {
    "microSD": ("card_",),
    "camera": ("camera_",),
    "microphone": ("microphone_",),
    "accelerometer": ("motion_",),
    "GNSS": ("gnss_",),
    "modem": ("modem_",),
    "battery": ("battery", "usb_power"),
    "buttons": ("record_button", "alarm_button"),
    "light": ("light",),
    "vibration": ("vibration",),
    "buzzer": ("buzzer",),
}
"""The beginnings of the names, in a board's data, of the wires that belong to a part."""

_MOST_WIRES = 6
"""The wires of a camera on its own connector help nobody."""

_WIRING = "check its wires and their solder joints{wires}"
_REMEDIES = {
    ("firmware", "damaged"): "flash it: lapel device flash --release FILE --signer FILE PORT",
    ("firmware", "not_active"): "the version that was active is damaged, another runs: flash it again",
    ("board", "error"): "flash it again; when that does not help, the board or a part of it is broken",
    ("cryptography", "wrong"): "do not use it: flash MicroPython and the firmware anew, else replace the board",
    ("entropy", "repeats"): "do not use it: the chip's random source is dead; replace the board",
    ("entropy", "biased"): "do not use it: the chip's random source is bad; replace the board",
    ("clock", "stands"): "unplug it and test again; replace the board if it stands again",
    ("clock", "drifts"): "its crystal is broken: replace the board",
    ("clock", "wrong_time"): "see which is right, this machine's clock or the device's; the gateway sets the device's",
    ("battery", "absent"): "connect the cell; " + _WIRING,
    ("battery", "empty"): "charge it, and test again",
    ("identity", "damaged"): "provision it anew: lapel device reprovision",
    ("key sectors", "unreadable"): "its flash does not answer: flash MicroPython anew and provision it anew",
    ("key sectors", "no_image"): "its keys are lost: provision it anew: lapel device reprovision",
    ("key sectors", "does_not_hold"): "its flash is worn out: replace the board",
    ("key sectors", "does_not_erase"): "its flash is worn out: replace the board",
    ("flash", "full"): "its flash is full: remove what does not belong there, or flash MicroPython anew",
    ("flash", "read_only"): "flash MicroPython anew",
    ("flash", "error"): "its flash is worn out or damaged: flash MicroPython anew, else replace the board",
    ("flash", "corrupt"): "its flash is worn out: replace the board",
    ("flash", "hangs"): "its flash is worn out: replace the board",
    ("microSD", "no_card"): "put a card in, or reseat it; " + _WIRING,
    ("microSD", "no_file_system"): "format the card with FAT32; what is on it is lost",
    ("microSD", "read_only"): "the card protects itself, which a worn-out card does: copy it and replace it",
    ("microSD", "slow"): "use a card of class A1 or better",
    ("microSD", "bad_contact"): "reseat the card and clean its contacts; shorten the wires; " + _WIRING,
    ("microSD", "full"): "let it send its clips, or use a larger card",
    ("microSD", "hangs"): "replace the card",
    ("microSD", "error"): "replace the card; " + _WIRING,
    ("microSD", "corrupt"): "replace the card",
    ("buttons", "stuck"): "free the button; if nobody touches it, its contact or wire is shorted{wires}",
    ("buttons", "record_dead"): "its contact or wire is broken{wires}",
    ("buttons", "alarm_dead"): "do not use it: the contact or wire of ALARM is broken{wires}",
    ("buttons", "no_latch"): "do not use it: flash it again; replace the board if a hold is still not noticed",
    ("light", "dead"): _WIRING,
    ("light", "colour"): "the light is of another kind, or one of its wires is broken{wires}",
    ("buzzer", "dead"): _WIRING + "; a passive buzzer is needed, not one with a tone of its own",
    ("vibration", "dead"): _WIRING + "; see that the motor is free to turn",
    ("camera", "absent"): "reseat the camera's connector; " + _WIRING,
    ("camera", "unknown"): "use an Arducam Mega of 3 or 5 megapixels; " + _WIRING,
    ("camera", "hangs"): "unplug the device, wait ten seconds and test again; then replace the camera",
    ("camera", "no_jpeg"): "shorten the camera's wires; " + _WIRING + "; then replace the camera",
    ("camera", "too_large"): "test it again before something plainer; clean the lens; then replace the camera",
    ("camera", "uniform"): "take the cover off the lens and switch on the light; then replace the camera",
    ("camera", "not_right"): "clean the lens, take its film off; then replace the camera",
    ("microphone", "absent"): _WIRING,
    ("microphone", "no_samples"): _WIRING + ", SCK and WS above all",
    ("microphone", "rate"): "flash MicroPython anew; then replace the board",
    ("microphone", "silent"): _WIRING + ", SD and its L/R above all; then replace the microphone",
    ("microphone", "clipped"): "test it again in a quiet room; " + _WIRING + ", SD above all",
    ("microphone", "offset"): "replace the microphone",
    ("microphone", "overruns"): "test it again; replace the board if gaps remain",
    ("accelerometer", "absent"): _WIRING,
    ("accelerometer", "error"): _WIRING,
    ("accelerometer", "silent"): _WIRING,
    ("accelerometer", "weight"): "put the device down and test again; then replace the accelerometer",
    ("accelerometer", "own_test"): "put the device down and test again; then replace the accelerometer",
    ("GNSS", "silent"): _WIRING,
    ("GNSS", "garbled"): _WIRING + "; the receiver is to speak NMEA at 9600 or 4800 baud",
    ("modem", "no_answer"): _WIRING + ", RXD, TXD and enable above all, and the modem's own supply",
    ("modem", "garbled"): "set the modem to 115200 baud (AT+IPR=115200); shorten its wires; " + _WIRING,
    ("modem", "account"): "correct /modem.json on its flash: a JSON object with apn, and pin, user, password if needed",
    ("modem", "no_ppp"): "flash a MicroPython that has network.PPP, or take /modem.json off: the modem is not used",
    ("modem", "sim_missing"): "put the SIM in, or reseat it; see that it is the right way round",
    ("modem", "sim_broken"): "replace the SIM",
    ("modem", "pin_missing"): "put the SIM's PIN into /modem.json, or switch its PIN off in a phone",
    ("modem", "pin_wrong"): "correct the PIN in /modem.json before the device is switched on again: "
    "the third wrong one locks the SIM",
    ("modem", "puk"): "unlock the SIM with its PUK in a phone, and correct the PIN in /modem.json",
    ("modem", "apn"): "correct apn in /modem.json: it is the one that the SIM's network names",
    ("modem", "not_registered"): "test it by a window, its antenna screwed on; see in a phone that the SIM works here",
    ("modem", "denied"): "ask the SIM's network: it is not activated, out of credit, or may not roam here",
    ("modem", "weak"): "screw on or move its antenna; where it is weak outdoors too, another network's SIM",
    ("modem", "no_context"): "correct apn in /modem.json; ask the SIM's network whether data is booked",
    (
        "modem",
        "no_address",
    ): "correct apn, user and password in /modem.json; ask the SIM's network whether data is booked",
    ("Wi-Fi", "no_networks"): "provision it with its networks: lapel device provision --wifi FILE",
    ("Wi-Fi", "wrong_password"): "correct the password in the file of its networks and provision it anew",
    ("Wi-Fi", "refused"): "let the access point admit it: WPA2 or WPA3 as in the file of its networks, no MAC filter",
    ("Wi-Fi", "not_in_reach"): "test it where one of its networks is, on 2.4 GHz",
    ("Wi-Fi", "radio"): "unplug the device and test again; replace the board if its radio stays silent",
    ("Wi-Fi", "weak"): "go nearer to the access point; if it is weak there too, free or replace the antenna",
    ("broker", "no_network"): "see Wi-Fi",
    ("broker", "no_name"): "the network does not know the broker's name: correct DNS, or [broker] server_name",
    ("broker", "refused"): "nothing listens there: start the gateway and its broker, correct [broker] port or firewall",
    ("broker", "unreachable"): "packets get lost on the way: correct the network's routing, or the firewall",
    ("broker", "certificate"): "the broker's certificate is not of the CA, or not of the name, that the device was "
    "given: lapel gateway doctor; then provision it anew",
    ("broker", "certificate_time"): "the broker's certificate is not valid at the time that the device knows: "
    "lapel gateway doctor",
    (
        "broker",
        "certificate_file",
    ): "its certificates are damaged: provision it anew: lapel device reprovision",
    ("broker", "memory"): "test it again; if it has no memory again, flash it anew",
    ("broker", "tls_refused"): "the broker ends TLS: see its log; the device's certificate may be cut off or too old",
    ("broker", "turned_away"): "the broker turns the device away: see its log; lapel device list --all says whether it "
    "is retired or lost",
    ("broker", "silent"): "see the broker's log: it takes the connection and says nothing",
    ("gateway", "out_of_service"): "see what failed above; provision it anew if nothing did: lapel device reprovision",
    ("gateway", "no_welcome"): "start the gateway: lapel gateway doctor; see that it is the one that the device was "
    "provisioned at",
    ("gateway", "unknown"): "provision it at this gateway, or test it at the one that knows it",
    ("gateway", "not_active"): "provision it anew: lapel device reprovision",
    ("gateway", "wrong_keys"): "what answers has other keys for this device: provision it anew: "
    "lapel device reprovision",
}
_ANY = "test it again; " + _WIRING + "; then replace the part"


def remedy(test: str, fault: str, hardware: str) -> str:
    """What a technician does about a fault; ``hardware``: the board's hardware id, which knows its wires."""
    return _REMEDIES.get((test, fault), _ANY).format(wires=_wires(test, hardware))


def _wires(test: str, hardware: str) -> str:
    """Where the wires of a part go, in brackets; nothing for a board without such data."""
    beginnings = _WIRES.get(test, ())
    target = TARGETS.get(hardware)
    module = target.board_module if target else f"lapel_device.boards.{hardware}"
    if not module.startswith("lapel_device.boards.") or not hardware.isidentifier():
        return ""
    try:
        pins = importlib.import_module(module).PINS
    except ModuleNotFoundError:
        return ""
    prefix = "GPIO" if "esp32" in hardware else "GP"
    found = [
        f"{prefix}{pin} {goes_to}" if isinstance(pin, int) else f"{pin} {goes_to}"
        for name, (pin, _, goes_to) in pins.items()
        if name.startswith(beginnings)
    ]
    return f" ({', '.join(found)})" if 0 < len(found) <= _MOST_WIRES else ""
