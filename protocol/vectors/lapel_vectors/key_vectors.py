"""keys.json and wrap.json: primitives, the chain, the pool, the wrapped seed (SPEC sections 3 and 4)."""

from . import rsa_oaep
from .reference import DEVICE, K_DEV, OTHER_DEVICE, Case, Keys, case, chain_key, crc32, ctr, hkdf, mac, made

_CHAIN_EPOCHS = (0, 1, 2, 3, 7, 64, 255, 256, 1000, 4096)
_HKDF_LENGTHS = ((0, 0, 42), (13, 10, 42), (32, 484, 64), (8, 13, 32), (32, 0, 33), (1, 1, 1))  # salt, info, output
_CTR_LENGTHS = (0, 1, 3, 4, 15, 16, 17, 31, 1023, 1024, 1025, 2049, 4024, 4064)


def _primitives() -> list[Case]:
    cases: list[Case] = []
    for key_length, length in ((0, 0), (1, 1), (20, 8), (32, 55), (32, 56), (32, 64), (63, 119), (64, 200)):
        key, message = made(f"hmac key {key_length}", key_length), made("hmac message", length)
        name = f"hmac of {length} bytes under a key of {key_length}"
        cases.append(case(name, "hmac", key=key.hex(), message=message.hex(), out=mac(key, message).hex()))
    cases.append(case("hmac key of 65 bytes", "hmac", "invalid_argument", key="00" * 65, message=""))
    for salt_length, info_length, length in _HKDF_LENGTHS:
        ikm, salt, info = made("ikm", 32), made("hkdf salt", salt_length), made("hkdf info", info_length)
        name = f"hkdf of {length} bytes with salt {salt_length} and info {info_length}"
        out = hkdf(ikm, salt, info, length).hex()
        cases.append(case(name, "hkdf", ikm=ikm.hex(), salt=salt.hex(), info=info.hex(), out=out))
    for length in _CTR_LENGTHS:
        key, iv, plain = made("ctr key", 32), made("ctr iv", 12), {"label": "ctr plain", "length": length}
        out = ctr(key, iv, made("ctr plain", length)).hex()
        cases.append(case(f"ctr of {length} bytes", "ctr", key=key.hex(), iv=iv.hex(), plain=plain, out=out))
    return cases + [
        case(f"crc32 of {len(data)} bytes", "crc32", data=data.hex(), out=crc32(data))
        for data in (b"", b"123456789", made("crc", 100))
    ]


def _chain() -> list[Case]:
    cases: list[Case] = []
    for device in (DEVICE, OTHER_DEVICE):
        for epoch in _CHAIN_EPOCHS if device == DEVICE else _CHAIN_EPOCHS[:3]:
            keys = Keys(chain_key(K_DEV, device, epoch))
            given = case(f"epoch {epoch} of device {device.hex()}", "chain", k_dev=K_DEV.hex(), device=device.hex())
            cases.append({**given, "epoch": epoch, "chain_key": keys.chain_key.hex(), "keys": keys.named()})
    for k_dev, device in ((K_DEV[:31], DEVICE), (K_DEV, DEVICE[:7]), (K_DEV + b"\0", DEVICE)):
        name = f"chain from a key of {len(k_dev)} and a device id of {len(device)} bytes"
        cases.append(case(name, "chain", "invalid_argument", k_dev=k_dev.hex(), device=device.hex(), epoch=0))
    return cases


def _pool() -> list[Case]:
    pool = made("pool", 32)
    cases: list[Case] = []
    for ticks in (0, 1, 2**30 - 1, 2**32 - 1, 2**32 + 5):
        for entropy in (b"", bytes(32), made("entropy", 32)):
            name = f"next pool from {len(entropy)} bytes {entropy[:2].hex()} at tick {ticks}"
            out = mac(pool, b"next", entropy, (ticks % 2**32).to_bytes(4, "big")).hex()
            cases.append(case(name, "pool_next", pool=pool.hex(), entropy=entropy.hex(), ticks=ticks, out=out))
    for label, length in ((b"seed", 32), (b"oaep", 32), (b"salt", 32), (b"prefix", 7), (b"nonce", 8), (b"jitter", 0)):
        given = case(f"{length} bytes of the pool for {label.decode()}", "pool_bytes", pool=pool.hex())
        cases.append({**given, "label": label.hex(), "length": length, "out": mac(pool, label)[:length].hex()})
    too_long = case("33 bytes of the pool", "pool_bytes", "invalid_argument", pool=pool.hex())
    cases.append({**too_long, "label": b"seed".hex(), "length": 33})
    return cases


def keys() -> Case:
    """The content of keys.json."""
    return {"cases": _primitives() + _chain() + _pool()}


def wrap() -> Case:
    """The content of wrap.json."""
    modulus = rsa_oaep.modulus()
    cases = [case("key id of the test key", "key_id", modulus=modulus.hex(), out=rsa_oaep.key_id().hex())]
    for name, wrong in (
        ("of 383 bytes", modulus[1:]),
        ("of 385 bytes", b"\0" + modulus),
        ("that is even", modulus[:-1] + bytes([modulus[-1] & 0xFE])),
        ("of 3071 bits", bytes([modulus[0] & 0x7F]) + modulus[1:]),
    ):
        cases.append(case(f"key id of a modulus {name}", "key_id", "invalid_argument", modulus=wrong.hex()))
    pairs = [(made(f"seed {n}", 32), made(f"oaep seed {n}", 32)) for n in range(4)]
    pairs += [(bytes(32), bytes(32)), (b"\xff" * 32, b"\xff" * 32)]
    for number, (seed, oaep_seed) in enumerate(pairs):
        out = rsa_oaep.wrap(seed, oaep_seed).hex()
        cases.append(case(f"wrap {number}", "wrap", seed=seed.hex(), oaep_seed=oaep_seed.hex(), out=out))
    for seed_length, oaep_length in ((31, 32), (33, 32), (32, 31), (32, 33)):
        name = f"wrap of a seed of {seed_length} with an OAEP seed of {oaep_length} bytes"
        given = case(name, "wrap", "invalid_argument", seed="00" * seed_length, oaep_seed="00" * oaep_length)
        cases.append(given)
    return {"shared": {"test_only_rsa_3072_modulus": modulus.hex()}, "cases": cases}
