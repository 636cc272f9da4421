"""What a device that was just stopped had been doing, and what it still holds: read from its storage.

A program does not say what it does before it is interrupted; but the firmware keeps what a restart must know, a latched
alarm and every clip's state, on its storage, which is looked at wherever it is mounted.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from lapel_device.alarm_control import LATCH_PATH
from lapel_device.clip_writer import NOTE_BYTES, SpoolClip, decode_note
from lapel_protocol.alarm import ACKNOWLEDGED, RAISED, RECEIVED, SENT

from .link import BoardLink, LinkError

_ALARM_WORDS = {
    RAISED: "raised, not received yet",
    SENT: "raised, not received yet",
    RECEIVED: "received, not acknowledged yet",
    ACKNOWLEDGED: "acknowledged, not resolved yet",
}
_LATCH = struct.Struct(">IIB")
_CRC_BYTES = 4
_TEST = 0x80
_STATE = 0x3F
_MOST_RECORD_BYTES = 256

_LOOK = f"""\
import gc,os
gc.collect()
def _r(p,n,a=0):
 try:
  with open(p,'rb') as f:
   if a:f.seek(a)
   return f.read(n)
 except OSError:return b''
def _l(d):
 try:return list(os.ilistdir(d))
 except OSError:return []
for _d in ['']+['/'+e[0] for e in _l('/') if e[1]&0x4000]:
 for _n in '01':
  _x=_r(_d+'{LATCH_PATH}'+_n,{_MOST_RECORD_BYTES})
  if _x:print(repr(('alarm',_d,_x,0)))
 for _e in _l(_d+'/spool'):
  if _e[0].endswith('.clp'):
   _z=os.stat(_d+'/spool/'+_e[0])[6]
   print(repr(('clip',_d+'/spool/'+_e[0],_r(_d+'/spool/'+_e[0],{NOTE_BYTES},max(0,_z-{NOTE_BYTES})),_z)))
 gc.collect()
"""


@dataclass(frozen=True)
class Condition:
    """`alarm`: how far a latched one has come, empty where none is. `unfinished`: clips without an end, such as the one
    that is being recorded. `unsent`: clips that the gateway has not taken custody of, with `unsent_bytes`.
    """

    alarm: str = ""
    drill: bool = False
    unfinished: int = 0
    unsent: int = 0
    unsent_bytes: int = 0

    @property
    def objections(self) -> list[str]:
        """Why it should be left alone, in words; empty where there is no reason."""
        found = []
        if self.alarm:
            found.append(f"{'a drill' if self.drill else 'an alarm'} is latched ({self.alarm})")
        if self.unfinished:
            found.append("it was recording, or was cut off while it recorded")
        return found


def read_condition(link: BoardLink) -> Condition:
    """What a stopped device holds. Raises LinkError and BoardError."""
    alarm, drill = "", False
    unfinished = unsent = unsent_bytes = 0
    for kind, _, content, size in link.ask_lines(_LOOK):
        if kind == "alarm":
            state = _latched(content)
            if state is not None and state & _STATE in _ALARM_WORDS:
                alarm, drill = _ALARM_WORDS[state & _STATE], bool(state & _TEST)
        elif kind == "clip":
            entry = SpoolClip(0, 0, False)
            settled = len(content) == NOTE_BYTES and decode_note(content, entry)
            if not settled:
                unfinished += 1
            if not settled or not entry.level:
                unsent += 1
                unsent_bytes += size
        else:
            raise LinkError(f"{link.port}: the board answers with what nobody asked for")
    return Condition(alarm, drill, unfinished, unsent, unsent_bytes)


def _latched(record: bytes) -> int | None:
    """The state byte of a whole copy of the latch that names an alarm."""
    end = len(record) - _CRC_BYTES
    if end < _LATCH.size or zlib.crc32(record[:end]) != int.from_bytes(record[end:], "big"):
        return None
    _, counter, state = _LATCH.unpack_from(record)
    return int(state) if counter else None
