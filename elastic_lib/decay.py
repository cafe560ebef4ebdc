"""How much of the initial model θ0 an average still holds, and the η that leaves so much; arithmetic alone."""


def decay_for(left: float, moves: float) -> float:
    """The η with which the share `left` of θ0 is still in θ̄ after so many moves of the average: η^moves = left.

    `moves` counts calls of `update` from reset to reset: `decay_for(left=0.5, moves=100)` keeps half of θ0.
    """
    if isinstance(left, bool) or not isinstance(left, (int, float)) or not 0 <= left <= 1:
        raise ValueError(f"left must be a share from 0 to 1; got {left!r}")
    if isinstance(moves, bool) or not isinstance(moves, (int, float)) or not 0 < moves < float("inf"):
        raise ValueError(f"moves must be a number above 0, of updates from reset to reset; got {moves!r}")
    return float(left) ** (1 / moves)
