"""Weights made by a formula from their names in a state dict, as docs/weights.md documents it; test/nn/formula.ts is the twin."""

import math

import numpy as np


def seed_of(name: str) -> int:
    """FNV-1a, 32 bits, of the name's bytes."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    return h


def signed(name: str, n: int) -> np.ndarray:
    """n numbers in [-1, 1), multiples of 2^-23: murmur3's finaliser of seed + i * 0x9e3779b9."""
    x = np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(seed_of(name))
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)).astype(np.float64) * 2.0**-23 - 1.0


def value_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor of a name and a shape, float32."""
    t = signed(name, math.prod(shape)).reshape(shape)
    if name.endswith(".running_var") or (name.endswith("weight") and len(shape) == 1):
        t = 1.0 + t / 4.0
    elif len(shape) == 1:
        t = t / 4.0
    else:
        t = t * math.sqrt(6.0 / math.prod(shape[1:]))
    return t.astype(np.float32)


def image(batch: int, side: int) -> np.ndarray:
    """Images [batch, 3, side, side], float32 in [-2, 2)."""
    shape = (batch, 3, side, side)
    return (2.0 * signed("image", math.prod(shape))).astype(np.float32).reshape(shape)
