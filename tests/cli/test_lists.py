"""Options that take several values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlipctl.cli.lists import one_of, several, whole
from catlipctl.errors import UsageError


@given(st.lists(st.integers(3, 99), min_size=1))
def test_values_are_read_once_each_in_their_order(numbers: list[int]) -> None:
    text = " , ".join(map(str, numbers))
    assert several(text, "--sizes", whole(3, 99), "") == list(dict.fromkeys(numbers))


def test_an_option_that_was_not_given_has_no_values() -> None:
    assert several(None, "--sizes", whole(3, 99), "") == []
    assert several("b,a", "--names", one_of("abc"), "") == ["b", "a"]


@pytest.mark.parametrize("text", ["", "3,", "2", "100", "3.5", "d", ","])
def test_what_is_no_list_names_the_option_and_shows_one(text: str) -> None:
    for make in (whole(3, 99), one_of("abc")):
        with pytest.raises(UsageError, match="--sizes") as caught:
            several(text, "--sizes", make, "3,4")
        assert "3,4" in caught.value.hint
