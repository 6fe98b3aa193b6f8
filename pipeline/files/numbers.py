"""Numbers in messages."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 photo" or "1,776 photos"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
