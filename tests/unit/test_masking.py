"""What is shown of personal values."""

from __future__ import annotations

import pytest

from backend.domain.masking import mask_value, outline


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Kim Example", "K••• E•••"),
        ("kim@example.com", "k•••@e•••"),
        ("+44 20 7946 0000", "••• ••• ••• •••"),
        ("2019-02-28", "2019-••-••"),
        ("Bo Li", "••• •••"),
        ("王小明", "王•••"),
        ("x" * 3_000, "x•••"),
        ("", ""),
    ],
)
def test_a_masked_value_shows_initials_or_the_year(value: str, expected: str) -> None:
    """Enough to see that the right column arrived; short names show no letter at all."""
    assert expected == mask_value(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("31.02.2019", "99.99.9999"), ("n/a", "x/x"), ("9" * 50, "9" * 39 + "…"), ("محمد ٣", "xxxx 9")],
)
def test_an_outline_shows_how_a_value_is_written(value: str, expected: str) -> None:
    """Digits and letters are told apart, nothing else."""
    assert expected == outline(value)
