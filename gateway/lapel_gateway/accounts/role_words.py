"""What roles and permissions mean, in words for whoever gives them out. The table itself is in `permissions`."""

from __future__ import annotations

from collections.abc import Mapping

from lapel_gateway.accounts.permissions import Permission, RoleName

P = Permission

ROLE_WORDS: Mapping[RoleName, str] = {
    "wearer": "Wears a device or works alone: their own alarms, clips and visits, and nobody else's.",
    "responder": "Answers alarms and looks after people on visits; sees where they are.",
    "evidence": "Plays every clip and passes clips on, each time on the record.",
    "technician": "Looks after devices and channels; no footage, no alarm.",
    "operator": "Gives accounts and roles, reads the audit log; no footage, no alarm.",
    "auditor": "Reads what was done and by whom; changes nothing, plays nothing.",
}
"""A sentence to each."""

PERMISSION_WORDS: Mapping[Permission, str] = {
    P.SEE_OWN: "see their own alarms, clips and visits",
    P.SEE_LIVE: "see what is going on now",
    P.SEE_ALARMS: "see everybody's alarms",
    P.ANSWER_ALARMS: "acknowledge and resolve alarms of others",
    P.RUN_OWN_VISITS: "plan and run their own visits",
    P.SEE_VISITS: "see everybody's visits",
    P.RUN_VISITS: "plan and run everybody's visits",
    P.SEE_POSITIONS: "see where people were in visits and alarms",
    P.SEE_RISKS: "read the risk register",
    P.KEEP_RISKS: "write the risk register",
    P.SEE_PEOPLE: "see people, teams and telephone numbers",
    P.KEEP_PEOPLE: "set people's teams and telephone numbers",
    P.SEE_ALARM_CLIPS: "see the clips of alarms",
    P.SEE_CLIPS: "see that there are clips, everybody's",
    P.PLAY_CLIPS: "play the clips that they see",
    P.PASS_ON_CLIPS: "export clips, and note to whom they were passed on",
    P.SEE_DEVICES: "see devices",
    P.HAND_OUT_DEVICES: "hand devices out and take them back",
    P.SET_DEVICES: "change the settings of devices",
    P.SEE_CHANNELS: "see channels and who is told of alarms",
    P.SEE_REPORTS: "see reports",
    P.KEEP_USERS: "give accounts and roles, end sessions",
    P.SEE_AUDIT: "read the audit log",
    P.OWN_ACCOUNT: "their own password, authenticator, sessions and tokens",
}
"""What somebody who has it may do; a test holds that none is missing."""
