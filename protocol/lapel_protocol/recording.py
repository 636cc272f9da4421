"""Recording: from a press, through the notice to the person being filmed, to the end of the clip (SPEC section 10.1).

The camera and microphone are off outside RECORDING: nothing is captured before the notice is given, skipped on purpose,
or timed out under a policy that says so.
"""

IDLE = 0
NOTICE = 1  # the prompt plays; the wearer tells the person
RECORDING = 2

PRESS = 0
HOLD = 1  # "no time to warn", or stop
TIMEOUT_CANCEL = 2  # the notice timed out; policy: cancel
TIMEOUT_START = 3  # the notice timed out; policy: start
ALARM = 4
STOP = 5  # by remote command
STORAGE = 6  # storage is full or failing
BATTERY = 7  # the alarm reserve of the battery is reached
LIMIT = 8  # the longest clip allowed
REPLACE = 9  # the gateway cannot open the clip being recorded

PROMPT = 0
NOTE_CANCELLED = 1
BEGIN_CONFIRMED = 2
BEGIN_NO_TIME = 3
BEGIN_TIMED_OUT = 4
BEGIN_ALARM = 5
BEGIN_CONTINUED = 6
MARK_ALARM = 7  # the running clip now belongs to an alarm
END_WEARER = 8
END_REMOTE = 9
END_STORAGE = 10
END_BATTERY = 11
END_LIMIT = 12
END_UNOPENABLE = 13

TRANSITIONS = {
    (IDLE, PRESS): (NOTICE, (PROMPT,)),
    (IDLE, HOLD): (RECORDING, (BEGIN_NO_TIME,)),
    (IDLE, ALARM): (RECORDING, (BEGIN_ALARM,)),
    (NOTICE, PRESS): (RECORDING, (BEGIN_CONFIRMED,)),
    (NOTICE, HOLD): (RECORDING, (BEGIN_NO_TIME,)),
    (NOTICE, ALARM): (RECORDING, (BEGIN_ALARM,)),
    (NOTICE, TIMEOUT_CANCEL): (IDLE, (NOTE_CANCELLED,)),
    (NOTICE, TIMEOUT_START): (RECORDING, (BEGIN_TIMED_OUT,)),
    (NOTICE, STOP): (IDLE, (NOTE_CANCELLED,)),
    (NOTICE, STORAGE): (IDLE, (NOTE_CANCELLED,)),
    (NOTICE, BATTERY): (IDLE, (NOTE_CANCELLED,)),
    (RECORDING, PRESS): (RECORDING, ()),  # a press alone never stops a clip
    (RECORDING, HOLD): (IDLE, (END_WEARER,)),
    (RECORDING, ALARM): (RECORDING, (MARK_ALARM,)),
    (RECORDING, STOP): (IDLE, (END_REMOTE,)),
    (RECORDING, STORAGE): (IDLE, (END_STORAGE,)),
    (RECORDING, BATTERY): (IDLE, (END_BATTERY,)),
    (RECORDING, LIMIT): (RECORDING, (END_LIMIT, BEGIN_CONTINUED)),
    (RECORDING, REPLACE): (RECORDING, (END_UNOPENABLE, BEGIN_CONTINUED)),
}
