"""The network: MiniLM's six layers over a real sentence pair, three logits from the two sides' pooled tokens.

Weights come from all-MiniLM-L6-v2 under their own names. That model was trained to put equal meanings close together,
so the head sees both sides' mean token (after cross-attention), their difference and product, beside [CLS]: it starts
from what the base knows instead of from nothing.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS, WIDTH, HEADS, INNER, VOCABULARY, POSITIONS = 6, 384, 12, 1536, 30522, 512


class Layer(nn.Module):
    """One BERT layer (post-norm)."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.mix = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.grow, self.shrink = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.norm_attention, self.norm_inner = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # (b, t, WIDTH), (b, 1, 1, t) additive
        b, t, _ = x.shape
        q, k, v = (
            part(x).view(b, t, HEADS, WIDTH // HEADS).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5 + mask
        attended = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, WIDTH)
        x = self.norm_attention(x + self.mix(attended))
        return self.norm_inner(x + self.shrink(functional.gelu(self.grow(x))))


class CrossEncoder(nn.Module):
    """Token ids of (premise, hypothesis) to logits of contradiction, neutral, entailment; shape (b, 3)."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.sides, self.norm = nn.Embedding(2, WIDTH), nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.head = nn.Linear(5 * WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, 3)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        seen = attention_mask.to(self.words.weight.dtype)
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.dropout(self.norm(self.words(input_ids) + self.places(places) + self.sides(token_type_ids)))
        mask = (1.0 - seen)[:, None, None, :] * -1e4
        for layer in self.layers:
            x = layer(x, mask)
        second = token_type_ids.to(seen.dtype) * seen
        u, v = _mean(x, seen - second), _mean(x, second)
        features = torch.cat([x[:, 0], u, v, (u - v).abs(), u * v], dim=-1)
        return self.out(self.dropout(torch.tanh(self.head(self.dropout(features)))))


def _mean(x: Tensor, chosen: Tensor) -> Tensor:
    return (x * chosen[:, :, None]).sum(1) / chosen.sum(1, keepdim=True).clamp(min=1.0)


def from_base(path: Path) -> CrossEncoder:
    """The network with the weights of all-MiniLM-L6-v2 (``model.safetensors``); the head is new."""
    from safetensors.torch import load_file

    network = CrossEncoder()
    found, missing = network.load_state_dict(_renamed(load_file(path)), strict=False)
    assert all(name.startswith(("head", "out")) for name in found) and not missing, (found, missing)
    return network


def _renamed(base: dict[str, Tensor]) -> dict[str, Tensor]:
    ours = {
        "attention.self.query": "query",
        "attention.self.key": "key",
        "attention.self.value": "value",
        "attention.output.dense": "mix",
        "attention.output.LayerNorm": "norm_attention",
        "intermediate.dense": "grow",
        "output.dense": "shrink",
        "output.LayerNorm": "norm_inner",
    }
    renamed = {}
    for name, tensor in base.items():
        part, _, kind = name.rpartition(".")
        if part.startswith("encoder.layer."):
            number, _, inner = part.removeprefix("encoder.layer.").partition(".")
            renamed[f"layers.{number}.{ours[inner]}.{kind}"] = tensor
    for ours_name, theirs in (
        ("words", "word_embeddings"),
        ("places", "position_embeddings"),
        ("sides", "token_type_embeddings"),
    ):
        renamed[f"{ours_name}.weight"] = base[f"embeddings.{theirs}.weight"]
    return renamed | {f"norm.{kind}": base[f"embeddings.LayerNorm.{kind}"] for kind in ("weight", "bias")}


def from_shipped(path: Path) -> CrossEncoder:
    """The network with the weights of an exported entailment.onnx, int8 taken back to float; it serves as a start.

    Each int8 matrix is found by the bias that is added to its product.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    arrays = {one.name: torch.from_numpy(numpy_helper.to_array(one).astype("float32")) for one in graph.initializer}
    uses = {given: node for node in graph.node for given in node.input}
    state = {name: value for name, value in arrays.items() if name.endswith((".bias", "norm.weight"))}
    state |= {name: value for name, value in arrays.items() if ".norm_" in name}
    for name in [name.removesuffix("_quantized") for name in arrays if name.endswith("_quantized")]:
        whole = (arrays[f"{name}_quantized"] - arrays[f"{name}_zero_point"]) * arrays[f"{name}_scale"]
        if name.endswith(".weight") and name.split(".")[0] in ("words", "places", "sides"):
            state[name] = whole
            continue
        node = uses[f"{name}_quantized"]
        while not (bias := next((given for given in node.input if given.endswith(".bias")), "")):
            node = uses[node.output[0]]
        state[f"{bias.removesuffix('bias')}weight"] = whole.T.contiguous()
    network = CrossEncoder()
    network.load_state_dict(state)
    return network
