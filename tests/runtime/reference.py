"""What ``tests/runtime/models.py`` computes, in numpy's float64: the inputs of every matrix, and logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.runtime import models

Array = NDArray[np.float64]


def norm(x: Array, weight: NDArray[Any]) -> Array:
    normed: Array = x / np.sqrt((x * x).mean(-1, keepdims=True) + models.EPSILON) * weight
    return normed


def silu(x: Array) -> Array:
    activated: Array = x / (1 + np.exp(-x))
    return activated


def rope(x: Array) -> Array:
    """Pairs of neighbours turned by their position; ``(tokens, heads, head)``."""
    angles = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(0, models.HEAD, 2) / models.HEAD)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    even, odd = x[..., ::2], x[..., 1::2]
    return np.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)


def attention(q: Array, k: Array, v: Array) -> Array:
    """Causal; k and v are rounded to float16, as llama.cpp's cache holds them."""
    n = len(q)
    q = rope(q.reshape(n, models.HEADS, models.HEAD))
    k, v = (x.reshape(n, models.HEADS_KV, models.HEAD) for x in (k, v))
    k, v = (np.repeat(x.astype(np.float16).astype(np.float64), 2, axis=1) for x in (rope(k), v))
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(models.HEAD)
    scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
    p = np.exp(scores - scores.max(-1, keepdims=True))
    mixed: Array = np.einsum("hqk,khd->qhd", p / p.sum(-1, keepdims=True), v).reshape(n, -1)
    return mixed


def forward(weights: models.Weights, tokens: NDArray[np.int32]) -> tuple[dict[str, list[tuple[int, Array]]], Array]:
    """Inputs by tensor, each with the number of its matrix and its rows ``(n, columns)``; logits of every token."""
    inputs: dict[str, list[tuple[int, Array]]] = {}

    def product(name: str, x: Array, matrix: int | None = None) -> Array:
        inputs.setdefault(name, []).append((matrix or 0, x))
        weight = weights[f"{name}.weight"].astype(np.float64)
        return x @ (weight if matrix is None else weight[matrix]).T

    x = weights["token_embd.weight"][tokens].astype(np.float64)
    for layer in range(models.LAYERS):
        blk = f"blk.{layer}"
        h = norm(x, weights[f"{blk}.attn_norm.weight"])
        q, k, v = (product(f"{blk}.attn_{part}", h) for part in "qkv")
        x = x + product(f"{blk}.attn_output", attention(q, k, v))
        h = norm(x, weights[f"{blk}.ffn_norm.weight"])
        if f"{blk}.ffn_gate.weight" in weights:
            middle = silu(product(f"{blk}.ffn_gate", h)) * product(f"{blk}.ffn_up", h)
            x = x + product(f"{blk}.ffn_down", middle)
            continue
        routing = product(f"{blk}.ffn_gate_inp", h)
        p = np.exp(routing - routing.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        chosen = np.argsort(-p, axis=1)[:, : models.CHOSEN]
        shares = np.take_along_axis(p, chosen, 1)
        shares /= shares.sum(1, keepdims=True)
        added = np.zeros_like(x)
        for expert in range(models.EXPERTS):
            rows, place = np.nonzero(chosen == expert)
            gate, up = (product(f"{blk}.ffn_{part}_exps", h[rows], expert) for part in ("gate", "up"))
            down = product(f"{blk}.ffn_down_exps", silu(gate) * up, expert)
            np.add.at(added, rows, shares[rows, place][:, None] * down)
        x = x + added
    logits = product("output", norm(x, weights["output_norm.weight"]))
    return {f"{name}.weight": list(rows) for name, rows in inputs.items()}, logits
