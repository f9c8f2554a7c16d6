"""C code that holds the GIL and does not come back."""

import ctypes


def hold():
    ctypes.PyDLL(None).sleep(3600)  # PyDLL, unlike CDLL, keeps the GIL
