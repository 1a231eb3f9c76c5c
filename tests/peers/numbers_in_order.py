"""Bytes of which every four are a number that is one more than the last."""

import array


def numbers(size):
    return array.array("I", range(size // 4)).tobytes()
