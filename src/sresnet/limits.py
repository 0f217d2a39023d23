"""How much memory what a file says of itself may take: one rule for all readers.

A few bytes can claim anything: a picture of a million rows, a packet that unpacks to gigabytes, a network of a billion
parameters. So a reader works out what a file claims, and asks here before it takes memory for it. A file may always
have some multiple of its own length: the owner of a large file knows that it is large. Beyond that there is a limit,
which a user who trusts the file can raise: the `memory_limit` that readers take, in gigabytes.
"""

from sresnet.errors import UserError

MEMORY_LIMIT = 1.0
"""Gigabytes (1e9 bytes) that a file may claim by default."""
TIMES = 32
"""What is a multiple of the file's length by no more than this is never refused."""


def check_claim(where: str, what: str, claimed: int, length: int, memory_limit: float) -> None:
    """Refuse a file that claims more memory than it may have.

    Args:
        where: the file, for the message.
        what: what takes the memory, such as "a picture of 1 x 1,000,000 pixels".
        claimed: bytes that it takes.
        length: bytes of the file, or of the part that makes the claim.
        memory_limit: gigabytes that may be claimed whatever the length.

    Raises:
        UserError: `claimed` is more than both; or the limit is not a positive number.
    """
    if not memory_limit > 0:
        raise UserError(f"memory-limit {memory_limit:g} is not a valid limit: give gigabytes, such as {MEMORY_LIMIT:g}")
    if claimed > max(1e9 * memory_limit, TIMES * length):
        raise UserError(
            f"{where} claims {claimed / 1e9:,.1f} GB of memory for {what}, more than {TIMES} times its {length:,} "
            f"bytes and more than the limit of {memory_limit:g} GB: remove it, or, if you trust it, raise "
            f"--memory-limit (memory_limit in Python)"
        )
