"""Who holds a clip, one table for both ends (SPEC section 10.3).

A device deletes only from RECEIPTED, and reaches it only by an authenticated receipt whose head equals its own. A
gateway reaches HELD only when every segment up to the settled end is verified and durable.
"""

OPEN = 0  # being recorded, or cut and not settled yet
ENDED = 1  # an end record says how many segments, and the head
CUT = 2  # a CUT event says how many segments, and the head
HELD = 3  # the gateway holds all of it, verified and durable
ASSEMBLED = 4  # the view copy is made, or cannot be without the private key
DELIVERED = 5  # every destination has it
RECEIPTED = 6  # the device knows that the gateway holds it
DELETED = 7  # the device has let it go

END = 0
SETTLE = 1
COMPLETE = 2
ASSEMBLE = 3
DELIVER = 4
RECEIPT = 5
DELETE = 6

TRANSITIONS = {
    (OPEN, END): (ENDED, ()),
    (OPEN, SETTLE): (CUT, ()),
    (ENDED, END): (ENDED, ()),
    (ENDED, SETTLE): (CUT, ()),  # storage lost the end after it was sent: the device's later word counts
    (CUT, END): (CUT, ()),
    (CUT, SETTLE): (CUT, ()),
    (ENDED, COMPLETE): (HELD, ()),
    (CUT, COMPLETE): (HELD, ()),
    (HELD, END): (HELD, ()),
    (HELD, SETTLE): (HELD, ()),
    (HELD, COMPLETE): (HELD, ()),
    (HELD, ASSEMBLE): (ASSEMBLED, ()),
    (ASSEMBLED, END): (ASSEMBLED, ()),
    (ASSEMBLED, SETTLE): (ASSEMBLED, ()),
    (ASSEMBLED, COMPLETE): (ASSEMBLED, ()),
    (ASSEMBLED, DELIVER): (DELIVERED, ()),
    (DELIVERED, END): (DELIVERED, ()),
    (DELIVERED, SETTLE): (DELIVERED, ()),
    (DELIVERED, COMPLETE): (DELIVERED, ()),
    (ENDED, RECEIPT): (RECEIPTED, ()),
    (CUT, RECEIPT): (RECEIPTED, ()),
    (RECEIPTED, RECEIPT): (RECEIPTED, ()),
    (RECEIPTED, DELETE): (DELETED, ()),
}
