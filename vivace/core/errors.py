"""The exceptions of Vivace; a message says what was got, what was expected and what to do."""


class VivaceError(Exception):
    """Anything Vivace raises on purpose."""


class ConfigError(VivaceError):
    """A setting is missing, unknown or out of range."""


class InputError(VivaceError):
    """What the user gave cannot be used; the command line prints the sentence and exits with 2."""


class TruncatedInputError(InputError):
    """A source ended early or is damaged; what could be decoded was used (exit code 3)."""


class VivaceWarning(UserWarning):
    """Something works, but not as the user may expect; the command line prints the sentence."""


class StateError(VivaceError):
    """A stream state was used after a forward had consumed it, or belongs to another stream shape."""


class WeightsError(VivaceError):
    """A checkpoint lacks tensors, has tensors of another shape, or holds unknown ones."""
