"""Prints a greeting into its own protocol stream before it speaks the protocol."""

import original

original.write_bytes(b"Hello, I am a worker!\n")
original.serve()
