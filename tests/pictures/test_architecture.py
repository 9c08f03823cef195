from __future__ import annotations

from settings import make_config

from pictures.architecture import FINETUNING, PRETRAINING, draw, hidden, table_rows
from pictures.palette import LIGHT


def test_the_picture_has_the_sizes_of_beit_base() -> None:
    svg = draw(LIGHT)
    for words in (
        "86.5 million parameters",
        "12 blocks",
        "12 heads of 64",
        "197 tokens of 768",
        "768 → 3,072 → 768",
        "768 → 8,192",
        "768 → 1,000",
        "112 × 112 pixels",
        "bias of 732 relative positions",
    ):
        assert words in svg


def test_the_mask_hides_no_more_patches_than_pretraining_does() -> None:
    cfg = make_config(*PRETRAINING)
    mask = hidden(cfg)
    assert mask.shape == (14, 14)
    assert cfg.mask.min_mask_patches_per_block < mask.sum() <= cfg.mask.num_mask_patches


def test_pretraining_shares_a_table_and_finetuning_has_one_in_every_block() -> None:
    before, after = make_config(*PRETRAINING), make_config(*FINETUNING)
    assert before.model.shared_rel_pos_bias and not before.model.rel_pos_bias
    assert after.model.rel_pos_bias and not after.model.shared_rel_pos_bias
    assert table_rows(before) == table_rows(after)
