"""Consoles as wide as their output can be read, and the cause of an error below what wraps it."""

import io
from contextlib import redirect_stdout

import pytest

from benchmark.base.progress import console, reporting
from benchmark.base.records import InputError, first_cause, sentence


def test_a_console_has_a_width_of_its_own_where_there_is_no_terminal(monkeypatch):
    with redirect_stdout(io.StringIO()):
        assert console().width == 100 and console(piped=160).width == 160
        assert console(least=120).width == 120
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "70")
    assert console().width == 70 and console(piped=160).width == 70
    assert console(least=160).width == 160


def test_what_ends_soon_is_not_reported(capsys):
    with reporting("preparing", after=60.0) as progress:
        progress(1, 1, "a")
    assert capsys.readouterr().err == ""
    with reporting("preparing") as progress:
        progress(1, 1, "a")
    assert capsys.readouterr().err == "preparing 1/1 a\n"


def test_the_first_cause_is_below_all_that_wraps_it():
    def fail():
        try:
            try:
                raise KeyError("the cause")
            except KeyError as error:
                raise ValueError("Failed to evaluate x") from error
        except ValueError as error:
            raise RuntimeError("Failed to evaluate y") from error

    with pytest.raises(RuntimeError) as found:
        fail()
    assert isinstance(first_cause(found.value), KeyError)
    assert isinstance(first_cause(RuntimeError("of its own")), RuntimeError)
    other = InputError("a sentence")
    other.__cause__ = ValueError("of a library")
    outer = RuntimeError("Failed to instantiate component 'x' with keywords: a\n set '_mode_=debug' to enter")
    outer.__cause__ = other
    assert first_cause(outer) is other and sentence(outer) == "a sentence"
    assert sentence(ValueError("two\nlines")) == "ValueError: two lines"
    assert sentence(KeyboardInterrupt()) == "KeyboardInterrupt: without a message"
