"""What concepts attend to: each choice is a mask over one attention, written out with a plain softmax."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from conceptattention_core.stream import CONCEPT_KEYS, ConceptKeys, concept_attention, merge_heads

B, H, C, N, D = 2, 3, 4, 10, 8


@pytest.mark.parametrize("attend_to", CONCEPT_KEYS)
def test_concepts_attend_to_what_is_named(attend_to: ConceptKeys) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, B, H, C, D)
    image_keys, image_values = torch.randn(2, B, H, N, D)
    allowed = torch.zeros(C, C + N, dtype=torch.bool)
    allowed[:, :C] = torch.eye(C) == 1 if attend_to == "none" else attend_to in ("both", "concepts")
    allowed[:, C:] = attend_to in ("both", "image")
    logits = torch.einsum("b h c d, b h k d -> b h c k", query, torch.cat((key, image_keys), dim=2)) / D**0.5
    weights = logits.masked_fill(~allowed, -torch.inf).softmax(dim=-1)
    expected = merge_heads(weights @ torch.cat((value, image_values), dim=2))
    got = concept_attention(query, key, value, image_keys, image_values, attend_to)
    assert_close(got, expected, atol=1e-6, rtol=1e-5)
    if attend_to == "both":  # the method itself: bit for bit what it was before there was a choice
        whole = torch.cat((key, image_keys), dim=2), torch.cat((value, image_values), dim=2)
        assert torch.equal(got, merge_heads(scaled_dot_product_attention(query, *whole)))
