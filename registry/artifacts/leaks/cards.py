"""Bank card numbers: Luhn's check digit and the first digits of the networks (ISO/IEC 7812)."""

from __future__ import annotations

# First digits (as a range of numbers of one length) and the lengths that cards of a network have.
_NETWORKS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (62, 62, (16, 17, 18, 19)),  # UnionPay
    (601382, 601382, (19,)),  # Bank of China, before UnionPay's own range
    (955880, 955888, (19,)),  # ICBC, the same
    (4, 4, (16,)),  # Visa
    (51, 55, (16,)),  # Mastercard
    (2221, 2720, (16,)),  # Mastercard
    (3528, 3589, (16,)),  # JCB
    (6011, 6011, (16,)),  # Discover
)


def passes_luhn(digits: str) -> bool:
    """Return whether the last of `digits` is the check digit of the others."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value % 10 + value // 10
    return total % 10 == 0


def is_card_number(digits: str) -> bool:
    """Return whether `digits` (ASCII digits only) is a card number of a known network."""
    known = any(
        len(digits) in lengths and low <= int(digits[: len(str(low))]) <= high
        for low, high, lengths in _NETWORKS
    )
    return known and passes_luhn(digits)
