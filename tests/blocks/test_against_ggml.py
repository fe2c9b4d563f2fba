"""Encoders and decoders against ggml itself, over every kind of data; ``scripts/check_kernels`` runs more of it."""

from __future__ import annotations

import pytest
from check_kernels import check_decoder, check_encoder
from reference import generators

from qconv import blocks

WEIGHTS = 70_000


def test_there_are_at_least_forty_kinds_of_data() -> None:
    assert len(generators.ROWS) >= 40
    assert {"zeros", "one-hot", "huge ratios"} <= set(generators.IMPORTANCE)


@pytest.mark.parametrize("block_type", blocks.encodable())
def test_encode(block_type: str) -> None:
    outcome = check_encoder(block_type, WEIGHTS, with_importance=False)
    assert outcome.cases >= len(generators.ROWS)
    assert outcome.different == 0, outcome.first


@pytest.mark.parametrize("block_type", blocks.encodable())
def test_encode_with_importance(block_type: str) -> None:
    outcome = check_encoder(block_type, WEIGHTS, with_importance=True, every_source=False)
    assert outcome.cases >= len(generators.ROWS) * len(generators.IMPORTANCE)
    assert outcome.different == 0, outcome.first


@pytest.mark.parametrize("block_type", blocks.decodable())
def test_decode(block_type: str) -> None:
    outcome = check_decoder(block_type, WEIGHTS)
    assert outcome.cases >= len(generators.ROWS)
    assert outcome.different == 0, outcome.first


@pytest.mark.parametrize("block_type", blocks.encodable())
def test_tails_of_one_to_nineteen_blocks(block_type: str) -> None:
    outcome = check_encoder(block_type, len(generators.ROWS) * 19 * 256, with_importance=False, every_source=False)
    assert outcome.different == 0, outcome.first
