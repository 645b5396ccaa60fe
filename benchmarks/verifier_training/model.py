"""The cross-encoder as torch trains it; ``export.write_onnx`` writes what it learned.

A BERT encoder reads ``[CLS] a [SEP] b [SEP]``. Every piece is also told whether the same piece stands in the other text
(``embeddings.match``, worked out from the ids), which little data would not teach. The head sees the first piece, the
mean and the maximum over all pieces, and gives two logits: same answer, and "a entails b", which only training uses.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

HEADS = 12


class Layer(nn.Module):
    """One layer of BERT, normalised after each half."""

    def __init__(self, width: int, inner: int, dropout: float, epsilon: float) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.wide = nn.Linear(width, inner)
        self.narrow = nn.Linear(inner, width)
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        n, t, width = x.shape

        def parts(linear: nn.Linear) -> Tensor:
            return linear(x).view(n, t, HEADS, width // HEADS).transpose(1, 2)

        attended = functional.scaled_dot_product_attention(
            parts(self.query), parts(self.key), parts(self.value), attn_mask=mask
        )
        attended = self.out(attended.transpose(1, 2).reshape(n, t, width))
        x = self.norm1(x + functional.dropout(attended, self.dropout, self.training))
        inner = self.narrow(functional.gelu(self.wide(x)))
        return self.norm2(x + functional.dropout(inner, self.dropout, self.training))


class CrossEncoder(nn.Module):
    """``forward`` gives logits (n, 2): same answer, a entails b."""

    def __init__(self, arrays: dict[str, NDArray[np.float32]], *, dropout: float = 0.1, epsilon: float = 1e-12) -> None:
        super().__init__()
        width = arrays["embeddings.word"].shape[1]
        inner = arrays["layers.0.wide.bias"].shape[0]
        count = 1 + max(int(name.split(".")[1]) for name in arrays if name.startswith("layers."))
        self.word = nn.Embedding.from_pretrained(torch.tensor(arrays["embeddings.word"]), freeze=True)
        self.position = nn.Parameter(torch.tensor(arrays["embeddings.position"][:160]))
        self.side = nn.Parameter(torch.tensor(arrays["embeddings.type"]))
        found = arrays.get("embeddings.match", np.zeros((2, width), np.float32))
        self.match = nn.Parameter(torch.tensor(found))
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.layers = nn.ModuleList(Layer(width, inner, dropout, epsilon) for _ in range(count))
        self.head = nn.Linear(3 * width, 2)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.dropout = dropout
        own = self.named()
        with torch.no_grad():
            for name, array in arrays.items():
                if name in own and name != "embeddings.position":
                    own[name].copy_(torch.tensor(array))

    def named(self) -> dict[str, Tensor]:
        """Parameters by the names that weights.py and export.py use."""
        named = {
            "embeddings.word": self.word.weight,
            "embeddings.position": self.position,
            "embeddings.type": self.side,
            "embeddings.match": self.match,
            "embeddings.norm.weight": self.norm.weight,
            "embeddings.norm.bias": self.norm.bias,
            "head.weight": self.head.weight,
            "head.bias": self.head.bias,
        }
        return {**named, **{f"layers.{name}": value for name, value in self.layers.named_parameters()}}

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        return {name: value.detach().numpy().copy() for name, value in self.named().items()}

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        real = mask.bool()
        equal = (ids[:, :, None] == ids[:, None, :]) & (types[:, :, None] != types[:, None, :]) & real[:, None, :]
        match = equal.any(dim=2).long()
        x = self.word(ids) + self.position[: ids.shape[1]] + self.side[types] + self.match[match]
        x = functional.dropout(self.norm(x), self.dropout, self.training)
        for layer in self.layers:
            x = layer(x, real[:, None, None, :])
        weight = mask[:, :, None].float()
        mean = (x * weight).sum(1) / weight.sum(1)
        most = (x + (weight - 1) * 100).amax(1)
        pooled = torch.cat([x[:, 0], mean, most], dim=1)
        return self.head(functional.dropout(pooled, self.dropout, self.training))
