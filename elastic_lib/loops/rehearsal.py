"""Selective rehearsal (Peng et al., arXiv 2309.10202): beside each step the best of what was said before is rehearsed.

    D_R = of every cluster of texts by θ0, those that are paid most;        loss = PPO + γ · NLL of D_R

From the text: k-means over embeddings of prompt and answer together, the best of each cluster by the score that pays,
γ = 0.01. Reconstructed, since its numbers are not at hand: how many texts are drawn, how many clusters there are and
how many of each are kept; that an embedding is the mean of θ0's own last states; that a step sees as many of D_R, drawn
at random, as it sees samples.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from elastic_lib import losses

ROUNDS = 20  # of k-means


class Rehearsed(NamedTuple):
    """D_R: texts [N, P+T], which of their last T tokens the policy chose, [N, T]."""

    tokens: Tensor
    acts: Tensor

    def some(self, count: int, generator: torch.Generator) -> Rehearsed:
        """So many of them, drawn at random."""
        rows = torch.randint(len(self.tokens), (count,), generator=generator).to(self.tokens.device)
        return Rehearsed(self.tokens[rows], self.acts[rows])


def nll(logp: Tensor, acts: Tensor) -> Tensor:
    """Mean negative log-likelihood of the tokens that count, of `logp` [N, T]."""
    return -losses.mean(torch.where(acts, logp, 0.0), acts)  # what is never said has no finite one


def best_of_clusters(points: Tensor, paid: Tensor, clusters: int, kept: int, generator: torch.Generator) -> Tensor:
    """Rows of `points` [N, D]: the `kept` of each of so many clusters that are `paid` [N] most; of a small one, all."""
    of = k_means(points, clusters, generator)
    order = paid.argsort(descending=True, stable=True)
    return torch.cat([order[of[order] == one][:kept] for one in range(clusters)]).sort().values


def k_means(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Which cluster each of `points` [N, D] is in, [N]; a cluster that loses all its points stays where it was."""
    centres = points[torch.randperm(len(points), generator=generator)[:clusters].to(points.device)].clone()
    for _ in range(ROUNDS):
        of = torch.cdist(points, centres).argmin(1)
        for one in range(len(centres)):
            if (inside := of == one).any():
                centres[one] = points[inside].mean(0)
    return torch.cdist(points, centres).argmin(1)
