"""Linear layers whose large float32 products go through oneDNN, and adapters on them in one pass over what comes out.

PyTorch's CPU build sends them to MKL, which reaches less than half of oneDNN's speed on AMD's processors; both are
inside torch, both compute in float32. The operator is the one that torch's own compiler calls; where it is missing, on
a GPU, in another type, or for few rows, this is `nn.Linear`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEWEST_ROWS = 512  # below, oneDNN gains nothing: the sampler stays with MKL
AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b over the last axis of x [..., in], weight [out, in]."""
    fast = AVAILABLE and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    if not fast or x.numel() < FEWEST_ROWS * x.shape[-1]:
        # of a part of a batch torch copies the weight for every row of it; in single precision records hold those bits
        if x.dtype != torch.float32:
            x = x.contiguous()
        return F.linear(x, weight, bias)
    return _OneDNN.apply(x, weight, bias)


class Linear(nn.Linear):
    """`nn.Linear` through `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def adapted_linear(layer: nn.Module, x: Tensor) -> Tensor:
    """What peft's LoRA layer makes of x [..., in], x Wᵀ + s (x Aᵀ) Bᵀ, in the precision of x and in one pass.

    For frozen weights in half precision, of which peft goes over what comes out four times more, in single precision.
    """
    (name,) = layer.active_adapters
    down, up = (part[name].weight.to(x.dtype) for part in (layer.lora_A, layer.lora_B))
    flat = x.reshape(-1, x.shape[-1])
    out = layer.base_layer(flat).addmm_(F.linear(flat, down), up.t(), alpha=layer.scaling[name])
    return out.view(*x.shape[:-1], -1)


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a bᵀ + bias for a [M, K] and b [N, K]."""
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")


class _OneDNN(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        rows, above = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        below = _product(above, weight.t()).view(x.shape) if for_x else None
        to_weight = None
        if for_weight:  # the longer side last: oneDNN is faster so
            wide = weight.shape[0] > weight.shape[1]
            to_weight = _product(rows.t(), above.t()).t() if wide else _product(above.t(), rows.t())
        return below, to_weight, above.sum(0) if for_bias else None
