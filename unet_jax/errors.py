"""The one exception that means: the input is wrong, not the program."""


class UserError(ValueError):
    """Bad input: the message names the thing, its value and the remedy, in one line.

    `run_train.py` and `run_eval.py` print it without a traceback; in a notebook it is an ordinary `ValueError`.
    """
