"""A plain module: its public functions are the commands."""


def echo(value):
    """Gives its argument back."""
    return value
