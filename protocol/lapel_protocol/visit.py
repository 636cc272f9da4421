"""A visit's life, as the gateway keeps it (SPEC section 10.4). A device shows what it is told and never imports this.

- Only START begins a visit; a check-in does not, because location would begin with it.
- Only CHECK_IN and EXTEND lead back from AMBER and OVERDUE. Whoever handles them has set the new deadline already.
- An alarm that was raised stays until a human resolves it, whatever becomes of the visit.
- Every event has its row in every state, and repeats are harmless. A loss of contact has no state of its own: its alarm
  is named by the last contact, so that noticing the loss again raises nothing new.
"""

# The numbers of VisitState, whose 0 is no visit
PLANNED = 1
ACTIVE = 2
AMBER = 3  # a check-in is wanted
OVERDUE = 4  # people have been told
ENDED = 5
CANCELLED = 6  # before it began

START = 0
CHECK_IN = 1
EXTEND = 2
WARN = 3  # by time
EXPIRE = 4  # by time
CONTACT_LOST = 5  # by time
END = 6
CANCEL = 7  # takes back a visit that has not begun; one that has is ended

ASK_CHECK_IN = 0  # ask the wearer, tell the buddy
RAISE_OVERDUE = 1
RAISE_CONTACT_LOST = 2
CLEAR_AMBER = 3  # the check-in is not wanted any more
STOP = 4  # timers and location

TRANSITIONS = {
    (PLANNED, START): (ACTIVE, ()),
    (PLANNED, CHECK_IN): (PLANNED, ()),
    (PLANNED, EXTEND): (PLANNED, ()),
    (PLANNED, WARN): (PLANNED, ()),
    (PLANNED, EXPIRE): (PLANNED, ()),
    (PLANNED, CONTACT_LOST): (PLANNED, ()),
    (PLANNED, END): (PLANNED, ()),
    (PLANNED, CANCEL): (CANCELLED, (STOP,)),
    (ACTIVE, START): (ACTIVE, ()),
    (ACTIVE, CHECK_IN): (ACTIVE, ()),
    (ACTIVE, EXTEND): (ACTIVE, ()),
    (ACTIVE, WARN): (AMBER, (ASK_CHECK_IN,)),
    (ACTIVE, EXPIRE): (OVERDUE, (RAISE_OVERDUE,)),
    (ACTIVE, CONTACT_LOST): (ACTIVE, (RAISE_CONTACT_LOST,)),
    (ACTIVE, END): (ENDED, (STOP,)),
    (ACTIVE, CANCEL): (ACTIVE, ()),
    (AMBER, START): (AMBER, ()),
    (AMBER, CHECK_IN): (ACTIVE, (CLEAR_AMBER,)),
    (AMBER, EXTEND): (ACTIVE, (CLEAR_AMBER,)),
    (AMBER, WARN): (AMBER, ()),
    (AMBER, EXPIRE): (OVERDUE, (RAISE_OVERDUE,)),
    (AMBER, CONTACT_LOST): (AMBER, (RAISE_CONTACT_LOST,)),
    (AMBER, END): (ENDED, (CLEAR_AMBER, STOP)),
    (AMBER, CANCEL): (AMBER, ()),
    (OVERDUE, START): (OVERDUE, ()),
    (OVERDUE, CHECK_IN): (ACTIVE, (CLEAR_AMBER,)),
    (OVERDUE, EXTEND): (ACTIVE, (CLEAR_AMBER,)),
    (OVERDUE, WARN): (OVERDUE, ()),
    (OVERDUE, EXPIRE): (OVERDUE, ()),
    (OVERDUE, CONTACT_LOST): (OVERDUE, (RAISE_CONTACT_LOST,)),
    (OVERDUE, END): (ENDED, (CLEAR_AMBER, STOP)),
    (OVERDUE, CANCEL): (OVERDUE, ()),
    (ENDED, START): (ENDED, ()),
    (ENDED, CHECK_IN): (ENDED, ()),
    (ENDED, EXTEND): (ENDED, ()),
    (ENDED, WARN): (ENDED, ()),
    (ENDED, EXPIRE): (ENDED, ()),
    (ENDED, CONTACT_LOST): (ENDED, ()),
    (ENDED, END): (ENDED, ()),
    (ENDED, CANCEL): (ENDED, ()),
    (CANCELLED, START): (ACTIVE, ()),  # it never began, so this is no repeat: somebody is there
    (CANCELLED, CHECK_IN): (CANCELLED, ()),
    (CANCELLED, EXTEND): (CANCELLED, ()),
    (CANCELLED, WARN): (CANCELLED, ()),
    (CANCELLED, EXPIRE): (CANCELLED, ()),
    (CANCELLED, CONTACT_LOST): (CANCELLED, ()),
    (CANCELLED, END): (CANCELLED, ()),
    (CANCELLED, CANCEL): (CANCELLED, ()),
}
