"""Text that several parts of the package print."""


def counted(number: int | str, noun: str) -> str:
    """Write a number with its noun, in the plural unless it is 1: "1 class", "no classes"."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"
