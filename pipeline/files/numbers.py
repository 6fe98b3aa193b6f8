"""Numbers in messages."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 photo" or "1,776 photos"."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"
