"""How numbers are said to people, the same in the report, the pictures and the pages."""


def percent(probability: float) -> str:
    """A probability in whole percent; never 0% or 100%, for no model is certain."""
    if probability > 0.99:
        return ">99%"
    return "<1%" if probability < 0.01 else f"{probability:.0%}"
