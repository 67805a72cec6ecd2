"""The two colours of all explanations: what speaks for a label or lies above 0, and the opposite.

Orange and blue differ in every common form of colour blindness.  The page in the browser has the same ones in its style
sheet; a test compares them.
"""

ABOVE, BELOW = "#e8730c", "#2f8fd6"


def rgb(colour: str) -> tuple[int, int, int]:
    """``#rrggbb`` as three numbers, 0 to 255."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
