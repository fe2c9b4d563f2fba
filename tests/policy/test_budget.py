"""Choices within a budget, against every choice there is of small menus."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qconv.policy.budget import Candidate, allocate, largest, smallest

Menu = list[Candidate]


def candidate(size: int, loss: int) -> Candidate:
    return Candidate(f"{size}/{loss}", size, float(loss))


menu = st.lists(st.builds(candidate, st.integers(1, 40), st.integers(0, 60)), min_size=1, max_size=5)
menus = st.lists(menu, min_size=1, max_size=4)
EACH = settings(deadline=None, max_examples=150)


def size_of(choice: Sequence[Candidate]) -> int:
    return sum(c.size for c in choice)


def loss_of(choice: Sequence[Candidate]) -> float:
    return sum(c.loss for c in choice)


def least_loss(menus: Sequence[Menu], size: int) -> float | None:
    """Of every choice that fits."""
    return min((loss_of(choice) for choice in itertools.product(*menus) if size_of(choice) <= size), default=None)


def prices(menus: Sequence[Menu]) -> list[Fraction]:
    """Losses a byte, one between each two at which some menu's best candidate changes."""
    changes = {
        Fraction(int(a.loss - b.loss), b.size - a.size)
        for menu in menus
        for a, b in itertools.permutations(menu, 2)
        if a.size < b.size and a.loss > b.loss
    }
    edges = [Fraction(0), *sorted(changes)]
    return [(a + b) / 2 for a, b in itertools.pairwise(edges)] + [edges[-1] + 1]


def at_price(menus: Sequence[Menu], price: Fraction) -> list[Candidate]:
    return [min(menu, key=lambda c: (int(c.loss) + price * c.size, c.size)) for menu in menus]


@EACH
@given(menus, st.integers(0, 170))
def test_one_of_each_menu_within_the_size(menus: list[Menu], size: int) -> None:
    chosen = allocate(menus, size)
    if chosen is None:
        assert least_loss(menus, size) is None
        assert size < smallest(menus)
        return
    assert size_of(chosen) <= size
    assert all(c in menu for c, menu in zip(chosen, menus, strict=True))


@EACH
@given(menus)
def test_sizes_that_a_price_leads_to_get_the_best_of_all_choices(menus: list[Menu]) -> None:
    """Whatever is cheapest at some price is the best of its size (Everett 1963), and nothing may be lost of that."""
    for price in prices(menus):
        best = at_price(menus, price)
        chosen = allocate(menus, size_of(best))
        assert chosen is not None
        assert loss_of(chosen) == loss_of(best) == least_loss(menus, size_of(best))


@EACH
@given(menus, st.integers(0, 170))
def test_between_them_at_most_one_step_is_missed(menus: list[Menu], size: int) -> None:
    """The best of all choices is no better than the price's with a part of the step that no longer fits."""
    chosen, best = allocate(menus, size), least_loss(menus, size)
    if chosen is None or best is None:
        assert chosen is None
        assert best is None
        return
    points = [at_price(menus, price) for price in prices(menus)]
    steps = [a.loss - b.loss for before in points for after in points for a, b in zip(before, after, strict=True)]
    assert loss_of(chosen) <= best + max(steps, default=0.0)


@EACH
@given(menus, st.integers(0, 170))
def test_what_is_left_is_spent(menus: list[Menu], size: int) -> None:
    """No other candidate of one menu, and none of two, would fit and be better."""
    chosen = allocate(menus, size)
    if chosen is None:
        return
    for count in (1, 2):
        for places in itertools.combinations(range(len(menus)), min(count, len(menus))):
            for others in itertools.product(*(menus[n] for n in places)):
                changed = list(chosen)
                for n, other in zip(places, others, strict=True):
                    changed[n] = other
                assert size_of(changed) > size or loss_of(changed) >= loss_of(chosen) * (1 - 1e-6)


def test_the_smallest_and_the_best() -> None:
    menus = [[candidate(4, 9), candidate(8, 1), candidate(9, 1)], [candidate(5, 3), candidate(3, 3), candidate(7, 0)]]
    assert (smallest(menus), largest(menus)) == (7, 15)
    assert allocate(menus, 6) is None
    assert allocate(menus, 7) == [menus[0][0], menus[1][1]]
    assert allocate(menus, 15) == allocate(menus, 10**12) == [menus[0][1], menus[1][2]]
    assert allocate([], 0) == []


def test_a_step_too_large_leaves_its_bytes_to_others() -> None:
    """The steepest step does not fit; of those that do, both are taken."""
    menus = [
        [candidate(10, 100), candidate(100, 0)],
        [candidate(10, 10), candidate(20, 5)],
        [candidate(10, 10), candidate(20, 4)],
    ]
    assert allocate(menus, 50) == [menus[0][0], menus[1][1], menus[2][1]]


def test_two_are_exchanged_where_one_alone_does_not_fit() -> None:
    """Down a little here, up a lot there: 9 bytes hold 1 + 8 but not 4 + 8."""
    menus = [[candidate(1, 10), candidate(4, 4)], [candidate(2, 20), candidate(8, 9)]]
    assert allocate(menus, 9) == [menus[0][0], menus[1][1]]


@pytest.mark.parametrize("count", [1, 300])
def test_many_tensors_leave_less_than_the_smallest_step(count: int) -> None:
    sizes = [(2, 30), (3, 12), (4, 5), (6, 1)]
    menus = [[candidate(size * (256 + n), loss) for size, loss in sizes] for n in range(count)]
    size = smallest(menus) + count * 300
    chosen = allocate(menus, size)
    assert chosen is not None
    assert size - 256 - count < size_of(chosen) <= size
