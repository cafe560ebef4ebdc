"""Transformers models behind the house's three methods: prompts padded on the left, LoRA adapters, a reward model.

A small Llama of one's own size at `pocket`, SmolLM2 at `lab`, GPT-2 and LLaMA-7B at `paper`: the same classes.
transformers and peft are imported where they are used.
"""

from __future__ import annotations

import copy
import types
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elastic_lib.nets.fast_linear import Linear, adapted_linear
from elastic_lib.nets.gpt import PAD

OF_THE_FILE = ("quantization_config", "_model_name_or_path")  # in a config that was read from a GGUF


def llama(kind: str, vocabulary: int, width: int, layers: int, heads: int, context: int) -> nn.Module:
    """A Llama from scratch: kind is `CausalLM`, or `SequenceClassification` for one number a text."""
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=3 * width, max_position_embeddings=context, tie_word_embeddings=True, num_labels=1,
        initializer_range=0.05 if width <= 200 else 0.02,
        pad_token_id=PAD, bos_token_id=1, eos_token_id=2, attn_implementation="sdpa",
    )  # fmt: skip
    return _quick(getattr(transformers, f"LlamaFor{kind}")(config))


def load(where: str, kind: str, device: torch.device, precision: str | None = None, **how: Any) -> nn.Module:
    """A model from the hub or a folder (kind: `CausalLM`, …; none: without a head), in 8 bit where that can be had.

    A precision that is named holds everywhere, and warns where the processor has no units for it.
    """
    import transformers

    auto = getattr(transformers, f"AutoModelFor{kind}" if kind else "AutoModel")
    dtypes = _types(device) if precision is None else {"dtype": getattr(torch, precision)}
    if precision == "bfloat16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        warnings.warn(
            "this processor has no units for bfloat16: slower than precision=none, the same otherwise", stacklevel=2
        )
    attention = "sdpa" if precision is None else _attention_in_single_on_a_cpu()
    with _silence():
        return _quick(auto.from_pretrained(where, attn_implementation=attention, **dtypes, **how).eval())


def _attention_in_single_on_a_cpu() -> str:
    """Its name to transformers. There attention's slope takes a third of the time that it takes in half precision."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *how: Any, **more: Any):
        given = query.dtype
        if query.device.type == "cpu":
            query, key, value = query.float(), key.float(), value.float()
        out, weights = sdpa_attention_forward(module, query, key, value, *how, **more)
        return out.to(given), weights

    AttentionInterface.register("sdpa_in_single_on_a_cpu", attend)
    AttentionMaskInterface.register("sdpa_in_single_on_a_cpu", sdpa_mask)
    return "sdpa_in_single_on_a_cpu"


@contextmanager
def _silence() -> Iterator[None]:
    """Without the bars and remarks of each loading: a run has a bar of its own."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


def _quick(model: nn.Module) -> nn.Module:
    """The same weights, with large products through oneDNN."""
    for layer in model.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Linear
    return model


def merged(where: str, model: nn.Module, **how: Any) -> nn.Module:
    """The model with a published adapter merged into it."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, where, **how).merge_and_unload().eval()


def llama_from_gguf(file: Path) -> tuple[Any, Any]:
    """The Llama of a quantised file in plain numbers, and its tokenizer, both ready to be saved.

    transformers takes what it read for a quantised model, which it refuses to save: a plain one takes the weights over.
    """
    import transformers

    with torch.random.fork_rng(devices=[]):
        read = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        config = {name: value for name, value in read.config.to_dict().items() if name not in OF_THE_FILE}
        plain = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config))
    plain.load_state_dict(read.state_dict())
    return plain.eval(), transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


def _types(device: torch.device) -> dict[str, Any]:
    """8 bit where bitsandbytes and a GPU are there, half precision on another GPU, else single."""
    if device.type == "cpu":
        return {"dtype": torch.float32}
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if is_bitsandbytes_available():
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True), "device_map": {"": device}}
    return {"dtype": torch.bfloat16, "device_map": {"": device}}


def lora(layers: int, rank: int, alpha: int, on: Sequence[str], last: int | None = None, **more: Any) -> Any:
    """peft's configuration of adapters in a model of so many layers, or in its last ones."""
    from peft import LoraConfig

    if last is not None and last > layers:
        raise ValueError(f"lora_layers is {last}, and the model has {layers} layers")
    which = None if last is None else list(range(layers - last, layers))
    numbers = dict(r=rank, lora_alpha=alpha, target_modules=list(on), lora_dropout=0.0, layers_to_transform=which)
    return LoraConfig(**numbers, **more)


def adapted(
    model: nn.Module, rank: int, alpha: int, on: Sequence[str], seed: int, last: int | None = None
) -> nn.Module:
    """The model with LoRA adapters in it, or in its last layers, which alone are trained; at first they are nothing."""
    from peft import inject_adapter_in_model
    from peft.tuners import lora as of_peft

    config = lora(model.config.num_hidden_layers, rank, alpha, on, last)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = inject_adapter_in_model(config, model)
    for name, p in model.named_parameters():
        p.requires_grad_("lora_" in name)
        if p.requires_grad:
            p.data = p.data.float()  # on a model in half precision too
    for layer in model.modules():
        if type(layer) is of_peft.Linear and layer.base_layer.weight.dtype != torch.float32:
            layer.forward = types.MethodType(adapted_linear, layer)
    return model


def adapted_writer(model: nn.Module) -> nn.Module:
    """A language model that is finetuned through adapters, sized as StackLLaMA's, which can be merged into it."""
    return _adapted(model, r=16, lora_dropout=0.05)


def adapted_judge(model: nn.Module) -> nn.Module:
    """A reward model of which adapters and the head alone are trained, sized as StackLLaMA's."""
    return _adapted(model, r=8, lora_dropout=0.1, task_type="SEQ_CLS")


def _adapted(model: nn.Module, **sized) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(lora_alpha=32, target_modules=["q_proj", "v_proj"], **sized))


def beside(model: nn.Module) -> nn.Module:
    """A copy that shares what is frozen: many adapters on weights that are kept once."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in frozen})


class CausalLM(nn.Module):
    """A transformers causal LM that never reads a `pad`, neither before a prompt nor after an answer; none: no pads.

    Where its lowest layers are frozen, what they make of a batch is the same for policy, value and anchor in every
    epoch, and is computed once.
    """

    def __init__(self, model: nn.Module, pad: int | None = PAD):
        super().__init__()
        self.model, self.pad = model, pad
        self.width, self.context = model.config.hidden_size, model.config.max_position_embeddings
        self._halves = _halves(model.base_model)  # in a tuple, so that no weight is counted twice
        self._below: tuple[Tensor, Tensor] | None = None  # the last texts, and their states above the frozen layers

    def hidden(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Final states of positions `start` and later, [B, T-start, width]."""
        how = reading(tokens, self.pad) | {"use_cache": False}
        if self._halves is None:
            return self.model.base_model(tokens, **how).last_hidden_state[:, start:]
        lower, upper = self._halves
        if self._below is None or not torch.equal(self._below[0], tokens):
            with torch.no_grad():
                self._below = tokens.clone(), lower(tokens, **how).last_hidden_state
        return upper(inputs_embeds=self._below[1], **how).last_hidden_state[:, start:]

    def words(self, hidden: Tensor) -> Tensor:
        """Next-token logits from final states."""
        return self.model.get_output_embeddings()(hidden).float()

    def logits(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Next-token logits after positions `start` and later, [B, T-start, V]."""
        return self.words(self.hidden(tokens, start))

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        return self.logits(tokens, start)

    def new_cache(self, batch: int, length: int) -> Cache:
        """An empty cache."""
        return Cache(self.model.config, self.pad)

    def extend(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Logits after the last of the new tokens [B, T], [B, V]; the cache then holds them too."""
        how = cache.read(tokens)
        states = self.model.base_model(tokens, past_key_values=cache.layers, use_cache=True, **how).last_hidden_state
        return self.words(states[:, -1])


class Cache:
    """Keys and values of every layer, and which of the positions hold a word."""

    def __init__(self, config, pad: int | None):
        from transformers import DynamicCache

        self.layers, self.pad, self.there = DynamicCache(config=config), pad, None

    def read(self, tokens: Tensor) -> dict[str, Tensor]:
        """Notes new tokens [B, T]; what the model has to be told of those before them."""
        if self.there is None:
            padded = reading(tokens, self.pad)
            self.there = tokens != self.pad if padded else False
            return padded
        if self.there is False:  # nobody is padded
            return {}
        self.there = torch.cat([self.there, self.there.new_ones(tokens.shape)], 1)
        return {"attention_mask": self.there[:, None, None, :], "position_ids": self.there.sum(1, keepdim=True) - 1}

    def keep(self, rows: Tensor) -> None:
        """Leaves out all rows but these."""
        self.layers.batch_select_indices(rows)
        if self.there is not False:
            self.there = self.there[rows]


def _halves(body: nn.Module) -> tuple[nn.Module, nn.Module] | None:
    """A Llama's frozen layers below its lowest trained one, and the rest of it: the same modules; None if none is."""
    layers = getattr(body, "layers", None)
    if layers is None or not hasattr(body, "rotary_emb"):  # another layout may add positions to what it is given
        return None
    trained = [i for i, layer in enumerate(layers) if any(p.requires_grad for p in layer.parameters())]
    if not trained or trained[0] == 0 or body.embed_tokens.weight.requires_grad:
        return None

    def part(of: nn.ModuleList, norm: nn.Module) -> nn.Module:
        half = copy.copy(body)
        half._modules = body._modules | {"layers": of, "norm": norm}
        return half

    return part(layers[: trained[0]], nn.Identity()), part(layers[trained[0] :], body.norm)


def reading(tokens: Tensor, pad: int | None = PAD) -> dict[str, Tensor]:
    """Mask and positions of texts [B, T] that begin with pads; nothing where none does."""
    there = tokens != pad
    if pad is None or bool(there[:, 0].all()):
        return {}
    length = tokens.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril_()
    itself = torch.eye(length, dtype=torch.bool, device=tokens.device)  # a pad reads something, so that nothing is NaN
    mask = (causal & there[:, None, :]) | itself
    return {"attention_mask": mask[:, None], "position_ids": (there.cumsum(1) - 1).clamp_(min=0)}


class RewardModel(nn.Module):
    """One number a text [B, T], read after its last word."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.model.base_model(tokens, use_cache=False, **reading(tokens)).last_hidden_state
        last = (torch.arange(tokens.shape[1], device=tokens.device) * (tokens != PAD)).argmax(1)
        return self.model.score(states[torch.arange(len(tokens)), last]).squeeze(-1).float()
