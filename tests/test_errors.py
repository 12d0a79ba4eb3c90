"""The line of a `UserError`, whatever a name or a value in it holds."""

import pickle

from unet_jax.errors import UserError


def test_an_error_is_one_line_that_a_terminal_shows_as_it_is():
    error = UserError("seed 'a\nb\x1b[31m\udc80ö 模': give 0")
    assert str(error) == r"seed 'a\nb\x1b[31m\x80ö 模': give 0"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
