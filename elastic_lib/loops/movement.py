"""Where a policy lies in weight space, in few enough numbers to be kept at every evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad

from elastic_lib.reset import ElasticReset

WIDTH = 128  # numbers a sketch: lengths and angles come out within about 1/√128 of what they are


@torch.no_grad()
def sketch(now: Mapping[str, Tensor], initial: Mapping[str, Tensor]) -> Tensor:
    """θ − θ0 as WIDTH sums of weights under random signs, [WIDTH]; the signs are the same for every run.

    Inner products of two sketches are those of the weights, without bias: runs from one θ0 lie in one picture.
    """
    total = torch.zeros(WIDTH, dtype=torch.float64)
    signs = torch.Generator().manual_seed(WIDTH)
    for name, start in initial.items():
        moved = now[name].detach().to("cpu", torch.float64).flatten() - start.to("cpu", torch.float64).flatten()
        moved *= torch.randint(0, 2, moved.shape, generator=signs) * 2 - 1
        total += pad(moved, (0, -len(moved) % WIDTH)).view(-1, WIDTH).sum(0)
    return total


def whereabouts(elastic: ElasticReset | None) -> tuple[dict[str, float], dict[str, list[float]]]:
    """How far θ is from θ0 and from θ̄, and sketches of θ and θ̄; nothing where nothing is averaged."""
    if elastic is None:
        return {}, {}
    distances = elastic.distances()
    whose = {"policy": elastic.parameters, "average": elastic.ema}
    sketches = {name: sketch(weights, elastic.initial).tolist() for name, weights in whose.items()}
    return {"dist_init": distances.init, "dist_ema": distances.ema}, sketches
