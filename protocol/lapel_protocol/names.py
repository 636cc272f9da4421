"""Words for the protocol's numbers: for logs, pages, exports and the command line. A device does not carry them."""

TRUST_NAMES = ("none", "rtc", "ntp", "gateway")
NOTICE_NAMES = ("", "confirmed", "prompted", "no_time", "alarm", "continued")
CLIP_END_NAMES = ("", "wearer", "remote", "storage", "battery", "limit", "unopenable", "restart")
EVENT_KIND_NAMES = (
    "",
    "hello",
    "heartbeat",
    "alarm_raised",
    "alarm_cancelled",
    "recording_note",
    "clip_cut",
    "storage_note",
    "probe",
    "visit",
    "location",
    "update_note",
    "update_ask",
    "alarm_sending",
)
COMMAND_KIND_NAMES = (
    "",
    "welcome",
    "credit",
    "receipt",
    "want",
    "event_receipt",
    "alarm_receipt",
    "alarm_ack",
    "alarm_resolved",
    "unopenable",
    "settings",
    "stop_recording",
    "visit_state",
    "update_offer",
    "update_block",
)
EPOCH_NAMES = ("", "boot", "clip", "burned", "lost")
ALARM_KIND_NAMES = ("", "panic", "duress", "man_down", "low_battery", "tamper")
NOTE_NAMES = ("", "prompted", "confirmed", "skipped", "timed_out", "cancelled", "started", "stopped", "refused")
WHY_NAMES = (
    "none",
    "wearer",
    "power",
    "storage_full",
    "storage_error",
    "battery",
    "policy",
    "alarm",
    "remote",
    "unopenable",
)
VISIT_WHAT_NAMES = ("", "start", "check_in", "extend", "end")
UPDATE_WHAT_NAMES = ("", "begun", "ready", "failed", "rolled_back", "good")
UPDATE_WHY_NAMES = (
    "none",
    "malformed",
    "bad_signature",
    "wrong_hardware",
    "wrong_code",
    "below_floor",
    "damaged",
    "older",
    "no_room",
    "storage",
    "unanswered",
    "replaced",
)
LEVEL_NAMES = ("", "verified", "opened")
RESOLVED_NAMES = ("", "true", "false", "test")
RECORDING_STATE_NAMES = ("idle", "notice", "recording")
RECORDING_EVENT_NAMES = (
    "press",
    "hold",
    "timeout_cancel",
    "timeout_start",
    "alarm",
    "stop",
    "storage",
    "battery",
    "limit",
    "replace",
)
ALARM_STATE_NAMES = ("quiet", "raised", "sent", "received", "notifying", "acknowledged", "resolved")
ALARM_EVENT_NAMES = ("raise", "broker_has_it", "receipt", "notify", "acknowledge", "resolve")
CUSTODY_STATE_NAMES = ("open", "ended", "cut", "held", "assembled", "delivered", "receipted", "deleted")
CUSTODY_EVENT_NAMES = ("end", "settle", "complete", "assemble", "deliver", "receipt", "delete")
VISIT_STATE_NAMES = ("none", "planned", "active", "amber", "overdue", "ended", "cancelled")
VISIT_EVENT_NAMES = ("start", "check_in", "extend", "warn", "expire", "contact_lost", "end", "cancel")
