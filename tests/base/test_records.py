"""What all rooms hand to each other."""

import pytest

from benchmark.base.records import InputError


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a\nb", "a\\nb"), ("\x1b[31m", "\\x1b[31m"), ("caf\udce9", "caf\\udce9"), ("Müller µ", "Müller µ")],
)
def test_a_name_from_a_file_cannot_break_the_sentence(name, shown):
    assert str(InputError(f"{name}: expected a file.")) == f"{shown}: expected a file."
