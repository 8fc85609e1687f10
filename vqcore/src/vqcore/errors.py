"""What can go wrong for a user, as exceptions that carry the exit code a command ends with."""

from __future__ import annotations

from collections.abc import Iterable


class VQError(Exception):
    """A mistake or failure that a user can act on; its text is the whole message, no traceback needed."""

    exit_code = 1


class RunError(VQError):
    """A run that was set up correctly failed while it worked (exit code 1)."""


class SettingError(VQError, ValueError):
    """A setting has a value that cannot be used (exit code 2).

    The message names the setting by its whole key path, the value, what was expected and, where one is known,
    the fix. A component raises it with its own option's name; whoever builds the component adds the path.
    """

    exit_code = 2

    def __init__(self, setting: str, value: object, expected: str, fix: str = "") -> None:
        super().__init__(setting, value, expected, fix)
        self.setting, self.value, self.expected, self.fix = setting, value, expected, fix

    def __str__(self) -> str:
        fix = f"; {self.fix}" if self.fix else ""
        return f"{self.setting} = {self.value!r}: expected {self.expected}{fix}"

    def under(self, prefix: str) -> SettingError:
        """The same error with the key path it was raised under, as in ``quantizer`` + ``groups``."""
        setting = f"{prefix}.{self.setting}" if prefix else self.setting
        return SettingError(setting, self.value, self.expected, self.fix)


class UsageError(VQError):
    """A command or a config file that cannot be understood (exit code 2)."""

    exit_code = 2


class ComponentError(VQError):
    """A component that was asked for is missing, ambiguous or broken (exit code 3)."""

    exit_code = 3


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean 'poincare'?`` for a near miss, else an empty string."""
    import difflib  # not at the start of every command

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""
