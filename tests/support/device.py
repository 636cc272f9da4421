"""A protocol-true device of a gateway under test: `lapel_sim.fleet.sealer`, made from what provisioning gives out."""

from __future__ import annotations

import functools

from cryptography.hazmat.primitives.asymmetric import rsa

from lapel_gateway.keystore import OrganisationKey
from lapel_gateway.registry import Package
from lapel_sim.fleet.sealer import DECODERS, Message, SealedClip, Sealer

__all__ = ["DECODERS", "Message", "SealedClip", "TrueDevice", "organisation_key", "public_half"]


@functools.cache
def organisation_key(number: int = 0) -> OrganisationKey:
    """An organisation's key pair, another for each number; each is made once a process, which takes a moment."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    return OrganisationKey(private.public_key(), private)


def public_half(key: OrganisationKey) -> OrganisationKey:
    """The same key as a gateway has it where the private half is kept elsewhere."""
    modulus = int.from_bytes(key.modulus, "big")
    return OrganisationKey(rsa.RSAPublicNumbers(65537, modulus).public_key(), None)


class TrueDevice(Sealer):
    """A device that this gateway has provisioned."""

    def __init__(self, package: Package, organisation: OrganisationKey, seed: int = 0) -> None:
        super().__init__(package.device, package.chain_key, organisation, seed)
        self.package = package
