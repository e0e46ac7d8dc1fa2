"""Laws of commands.flags: what KEY=VALUE says is kept as it is written."""

import pytest
from hypothesis import given, strategies as st

from jaxrec.commands.flags import assigned
from jaxrec.system.errors import UserError

keys = st.text(st.sampled_from("ab._"), min_size=1, max_size=5)
values = st.text(st.sampled_from("a1=, -"), min_size=1, max_size=5)


@given(st.dictionaries(keys, values, max_size=4))
def test_values_are_what_stands_behind_the_first_sign_of_equality(wanted):
    assert assigned("--set", [f"{key}={value}" for key, value in wanted.items()]) == wanted


@given(st.dictionaries(keys, values, max_size=3), keys, st.sampled_from(["{}", "{}="]))
def test_what_has_no_value_is_named_with_its_flag(others, key, form):
    texts = [f"{other}={value}" for other, value in others.items()]
    with pytest.raises(UserError) as refused:
        assigned("--vary", [*texts, wrong := form.format(key), "x"])
    assert str(refused.value).startswith(f"--vary {wrong}: write it as KEY=VALUE")


@given(st.dictionaries(keys, values, min_size=1, max_size=4), st.data())
def test_a_key_that_is_set_otherwise_is_named(given, data):
    key = data.draw(st.sampled_from([*given]))
    with pytest.raises(UserError, match=rf"^--set {key}: not a key that can be set here for every configuration$"):
        assigned("--set", [f"{each}={value}" for each, value in given.items()], ("seed", key))
