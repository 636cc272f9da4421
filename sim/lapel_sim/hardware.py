"""The boards that can be simulated: what the firmware is told of each, what storage it has, and what its work costs.

Costs are those of the device, not of this machine, which is some 300 times faster. Sources: trials on an emulated
RP2040 at 125 MHz with half as much again for flash-cache misses; RP2350 and ESP32-S3 figures are those scaled by clock
and core (a guess to be replaced by measurement).
"""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Costs:
    """What a board's work takes, in milliseconds unless the name says otherwise; multiplied by the cost scale."""

    seal_ms: float  # encrypt and authenticate one 4 KiB segment
    ratchet_ms: float  # one step of the epoch chain, without its flash erases
    wrap_ms: float  # RSA-3072-OAEP of one seed
    handshake_ms: float  # processor time of a mutual-TLS handshake
    tls_bytes_per_s: float  # encrypting and sending over an open session
    sector_erase_ms: float  # raw flash
    sector_program_ms: float
    disk_bytes_per_s: float  # writing to the card or flash file system
    disk_sync_ms: float
    camera_ms: float  # from the exposure until the JPEG can be read out
    camera_bytes_per_s: float  # reading it out

    def on_board(self, scale: float) -> dict[str, float]:
        """What is charged on the board's side of the simulation, in milliseconds."""
        return {
            "seal_ms": self.seal_ms * scale,
            "ratchet_ms": self.ratchet_ms * scale,
            "wrap_ms": self.wrap_ms * scale,
            "handshake_ms": self.handshake_ms * scale,
            "tls_ms_per_kib": 1024 * 1000 / self.tls_bytes_per_s * scale,
        }


@dataclass(frozen=True)
class DiskKind:
    """The medium that the file system is on."""

    filesystem: str  # "littlefs" or "fat"
    block_bytes: int
    unit_bytes: int  # littlefs' smallest read and write; MicroPython gives every open file a cache of four of them
    blocks: int
    # True: writes may be lost or reordered until a sync (cards). False: durable at once, clears bits only (NOR flash).
    write_cache: bool


@dataclass(frozen=True)
class Hardware:
    """One kind of board. The fields up to `sync_segments` are the contract's Profile."""

    name: str
    max_frame_bytes: int
    frame_width: int
    frame_height: int
    frame_interval_ms: int
    audio_rate_hz: int
    audio_block_bytes: int
    chunk_segments: int
    window_bytes: int
    storage_reserve_bytes: int
    sync_segments: int
    sectors: int
    disk: DiskKind
    costs: Costs
    heap_bytes: int = 192 * 1024  # a Pico W has 209 kB; here pointers are twice as wide, so this is the harder test
    watchdog_ms: int = 8000  # the RP2040's longest is 8388 ms
    send_buffer_bytes: int = 11680  # lwIP's TCP_SND_BUF of the Pico W build: 8 segments of 1460 bytes

    def profile(self, hardware_id: str) -> dict[str, object]:
        """The contract's Profile as plain values."""
        facts = asdict(self)
        for other in ("sectors", "disk", "costs", "heap_bytes", "watchdog_ms", "send_buffer_bytes"):
            del facts[other]
        facts["hardware_id"] = hardware_id
        return facts


def card(filesystem: str = "littlefs", mebibytes: int = 16) -> DiskKind:
    """A microSD card: its controller caches writes until a sync."""
    block_bytes = 512 if filesystem == "fat" else 4096
    return DiskKind(filesystem, block_bytes, 128, mebibytes * 1024 * 1024 // block_bytes, write_cache=True)


def flash(mebibytes: int = 4) -> DiskKind:
    """NOR flash behind littlefs: 256-byte pages, 4 KiB sectors, no cache."""
    return DiskKind("littlefs", 4096, 128, mebibytes * 1024 * 1024 // 4096, write_cache=False)


# One frame a second with 16 kHz sound is what the costs below leave room for while the clip is uploaded.
PICO_W = Hardware(
    name="pico_w",
    max_frame_bytes=12288,
    frame_width=640,
    frame_height=480,
    frame_interval_ms=1000,
    audio_rate_hz=16000,
    audio_block_bytes=1600,
    chunk_segments=1,
    window_bytes=16384,
    storage_reserve_bytes=1024 * 1024,
    sync_segments=4,
    sectors=2,
    disk=card(),
    costs=Costs(
        seal_ms=18,
        ratchet_ms=22,
        wrap_ms=450,
        handshake_ms=2500,
        tls_bytes_per_s=150_000,
        sector_erase_ms=50,
        sector_program_ms=1,
        disk_bytes_per_s=400_000,
        disk_sync_ms=5,
        camera_ms=120,
        camera_bytes_per_s=700_000,
    ),
)

PICO2_W = Hardware(
    name="pico2_w",
    max_frame_bytes=16384,
    frame_width=640,
    frame_height=480,
    frame_interval_ms=333,
    audio_rate_hz=16000,
    audio_block_bytes=3200,
    chunk_segments=1,
    window_bytes=16384,
    storage_reserve_bytes=1024 * 1024,
    sync_segments=4,
    sectors=2,
    disk=card(),
    costs=Costs(
        seal_ms=9,
        ratchet_ms=11,
        wrap_ms=200,
        handshake_ms=1100,
        tls_bytes_per_s=300_000,
        sector_erase_ms=50,
        sector_program_ms=1,
        disk_bytes_per_s=600_000,
        disk_sync_ms=5,
        camera_ms=120,
        camera_bytes_per_s=1_000_000,
    ),
    heap_bytes=400 * 1024,  # of the RP2350's 520 kB
)

ESP32S3_CAM = Hardware(
    name="esp32s3_cam",
    max_frame_bytes=16384,
    frame_width=640,
    frame_height=480,
    frame_interval_ms=100,
    audio_rate_hz=16000,
    audio_block_bytes=3200,
    chunk_segments=1,
    window_bytes=16384,
    storage_reserve_bytes=1024 * 1024,
    sync_segments=8,
    sectors=2,
    disk=card(),
    costs=Costs(
        seal_ms=4,
        ratchet_ms=5,
        wrap_ms=60,
        handshake_ms=700,
        tls_bytes_per_s=900_000,
        sector_erase_ms=45,
        sector_program_ms=1,
        disk_bytes_per_s=1_200_000,
        disk_sync_ms=3,
        camera_ms=40,
        camera_bytes_per_s=8_000_000,
    ),
    heap_bytes=2 * 1024 * 1024,  # of 8 MB of PSRAM
    send_buffer_bytes=5744,  # lwIP's default of ESP-IDF: 4 segments of 1436 bytes
)

BOARDS: dict[str, Hardware] = {hardware.name: hardware for hardware in (PICO_W, PICO2_W, ESP32S3_CAM)}
