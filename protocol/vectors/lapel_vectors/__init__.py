"""Makes the test vectors from public libraries alone: `cryptography`, `tink`, `struct`, `hashlib`.

Never imports lapel_protocol: what is here is written from SPEC.md, so that a mistake has to be made twice to go unseen.
"""
