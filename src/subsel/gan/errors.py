"""What can go wrong that a person can mend; anything else keeps its traceback."""


class UsageError(Exception):
    """Bad input: names the value, what was expected and what to do. Exit status 2."""


class RunError(Exception):
    """A run that cannot go on, with what was saved and how to go on. Exit status 1."""
