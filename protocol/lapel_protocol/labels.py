"""The one table of key labels. Every use of a key has its own; none is a prefix of another under the same key."""

# HKDF salt for everything that starts from K_dev
DOMAIN = b"lapel/v1"
CHAIN_START = b"chain"

# under the chain key CK of an epoch
CHAIN_NEXT = b"chain"
CLIP_AUTH = b"auth"
CLIP_ENC = b"enc"
EVENT_AUTH = b"event-auth"
EVENT_ENC = b"event-enc"
COMMAND_AUTH = b"command-auth"
COMMAND_ENC = b"command-enc"
COMMAND_IV = b"command-iv"

# under the pool P of an epoch
POOL_NEXT = b"next"
POOL_SEED = b"seed"
POOL_OAEP = b"oaep"
POOL_SALT = b"salt"
POOL_PREFIX = b"prefix"
POOL_NONCE = b"nonce"

# under the clip's authentication key A
SEAL_MAC_KEY = b"seal"

# hash domain of a clip's head
HEAD = b"lapel/v1 head"
