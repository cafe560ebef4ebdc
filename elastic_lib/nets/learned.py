"""The weights that training changes: all of a network's, or adapters alone on top of frozen ones."""

from __future__ import annotations

from torch import Tensor, nn


def learned(net: nn.Module) -> dict[str, Tensor]:
    """What is trained of a network, buffers included."""
    frozen = {name for name, p in net.named_parameters(remove_duplicate=False) if not p.requires_grad}
    return {name: tensor for name, tensor in net.state_dict().items() if name not in frozen}


def relearn(net: nn.Module, state: dict[str, Tensor]) -> None:
    """Puts back what `learned` gave."""
    if odd := set(learned(net)) ^ set(state):
        raise ValueError(f"these weights are of another network; only one of the two has {', '.join(sorted(odd)[:4])}")
    net.load_state_dict(state, strict=False)
