"""What a board may ask of its world: one request, one answer, over a stream socket that the world made.

Request: op u8, index u8, zero u16, a u32, b u32, room u32, payload length u32, little-endian; then the payload.
Answer: result i32 (negative = -errno), extra u32, payload length u32 (at most the request's room); then the payload.
"""

REQUEST_LAYOUT = "<BBHIIII"
ANSWER_LAYOUT = "<iII"
REQUEST_BYTES = 20
ANSWER_BYTES = 12

HELLO = 1  # payload out: JSON options of this boot
BUTTONS = 2  # result = level bits, and MISSED where nobody has seen them so; extra = its ticks
INDICATOR = 3  # a = 0xRRGGBB, b = buzzer Hz, index = vibrate
CAMERA_START = 4  # a = width, b = height
CAMERA_STOP = 5
CAMERA_WAIT = 6  # result = ms until the next frame can be fetched
CAMERA_FETCH = 7  # result = size (0 = larger than the room), extra = ticks of the exposure; payload out: JPEG
MICROPHONE_START = 8  # a = rate
MICROPHONE_STOP = 9
MICROPHONE_READ = 10  # result = size; payload out: PCM
BATTERY = 11  # result = percent, extra = minutes left
SECTOR_READ = 12  # index = sector, a = offset; payload out
SECTOR_ERASE = 13  # index = sector
SECTOR_PROGRAM = 14  # index = sector, a = offset; payload in
BLOCK_READ = 15  # a = block, b = offset; payload out
BLOCK_WRITE = 16  # a = block, b = offset; payload in
BLOCK_ERASE = 17  # a = block
BLOCK_SYNC = 18
ENTROPY = 19  # payload out
NETWORK_UP = 20  # result = 1 when the bearer is joined
ROUTE = 21  # a = port, payload in: host; result = local port of the link proxy
FEED = 22  # watchdog; result 1 = report the heap now
RESET = 23
FILE_NEXT = 24  # result = one of FILE_..., extra = size; payload out: path
FILE_READ = 25  # payload out: next piece of the file to be written
FILE_GIVE = 26  # payload in: next piece of a file that is read, or of a list of names; empty = end
I2C_READ = 27  # index = address, a = register; payload out
I2C_WRITE = 28  # index = address, a = register; payload in
GNSS_POWER = 29  # index = on
GNSS_READ = 30  # result = size; payload out: NMEA
CHARGED = 31  # index = one of WORK, a = µs that the board's own slowness was charged on the board's side

MISSED = 0x80

FILE_DONE = 0
FILE_FORMAT = 1
FILE_WRITE = 2
FILE_DUMP = 3
FILE_LIST = 4
FILE_FILL = 5  # write filler until `extra` bytes are free
FILE_REMOVE = 6

WORK_SEAL = 0
WORK_RATCHET = 1
WORK_WRAP = 2
WORK_HANDSHAKE = 3
WORK_TLS = 4
