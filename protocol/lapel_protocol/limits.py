"""Every size and bound of the protocol, each with its reason (SPEC section 2).

A length is compared with its bound before anything is allocated for it.
"""

DEVICE_ID_BYTES = 8  # random per provisioning; 64 bits keep a fleet of millions free of collisions
KEY_BYTES = 32
TAG_BYTES = 32  # full HMAC-SHA256, as Tink's AES256_CTR_HMAC_SHA256_4KB has it
NONCE_BYTES = 8  # a device nonce lives for one connection; 64 bits outlast any guessing within it

# Tink AES256_CTR_HMAC_SHA256_4KB
SEGMENT_BYTES = 4096  # ciphertext segment, tag included; the first one shares its 4,096 bytes with the header
SALT_BYTES = 32
PREFIX_BYTES = 7
TINK_HEADER_BYTES = 40  # 1 length byte + salt + nonce prefix
FIRST_BODY_BYTES = SEGMENT_BYTES - TINK_HEADER_BYTES
FIRST_PLAIN_BYTES = FIRST_BODY_BYTES - TAG_BYTES  # 4,024
NEXT_PLAIN_BYTES = SEGMENT_BYTES - TAG_BYTES  # 4,064

CHECK_STRIDE_BYTES = 64  # at least two words of every 128 bytes, the smallest piece that storage writes at once
SEGMENT_HEADER_BYTES = 28  # a multiple of 4, so that the body is word-aligned for the XOR on a Cortex-M0+
FIRST_SEGMENT_RECORD_BYTES = SEGMENT_HEADER_BYTES + FIRST_BODY_BYTES
MAX_SEGMENT_RECORD_BYTES = SEGMENT_HEADER_BYTES + SEGMENT_BYTES  # 4,124
MAX_SEGMENTS = 1_000_000  # 4 GB of clip: 3 h at 3 Mbit/s; times 4,124 it stays below 2^32, the largest file on FAT

RSA_BYTES = 384  # RSA-3072
KEY_ID_BYTES = 8  # names an organisation key among the few that one device ever sees
CLIP_HEADER_BYTES = 588
CLIP_END_BYTES = 120

EVENT_HEADER_BYTES = 40
MAX_EVENT_PAYLOAD_BYTES = 1024  # a hello with a long epoch ledger; an event buffer on the device stays near 1 KiB
MAX_EVENT_RECORD_BYTES = EVENT_HEADER_BYTES + MAX_EVENT_PAYLOAD_BYTES + TAG_BYTES
COMMAND_HEADER_BYTES = 60
MAX_COMMAND_PAYLOAD_BYTES = 1024  # one receive buffer on the device, allocated at boot
MAX_COMMAND_RECORD_BYTES = COMMAND_HEADER_BYTES + MAX_COMMAND_PAYLOAD_BYTES + TAG_BYTES

MAX_CHUNK_SEGMENTS = 4  # 16 KiB: four in flight already cost an alarm 340 ms on a 1 Mbit/s uplink
MAX_MESSAGE_BYTES = 32768  # one MQTT payload: header + a chunk + end fit with room; larger ones are refused unread
MAX_TOPIC_BYTES = 64

MAX_CHAIN_STEPS = 65536  # epochs walked from the last authenticated one: about 0.2 s of HMAC on a gateway
MAX_LEDGER_ENTRIES = 128  # epoch ledger entries in one hello; the rest follows after its receipt
MAX_CREDIT_CLIPS = 60  # clips named in one credit command
MAX_EVENT_RECEIPTS = 100  # events named in one receipt command
MAX_NAME_BYTES = 48  # a person's name as shown on, or sent to, a device
MAX_VISIT_MINUTES = 1440  # a day: whoever stays longer says so by extending; a larger number is a slip

TICKS_PERIOD = 1 << 30  # a board's millisecond ticks wrap here (12.4 days)
TIME_ROUND_TRIP_MS = 10_000  # an answer to a time request is refused when it took longer (SPEC section 8)
