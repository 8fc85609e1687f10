"""What the kit finds broken, by name: each check is one rule, called as its method is and told by its docstring."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any, NoReturn
from unittest import SkipTest

import torch
from torch import Tensor


class ConformanceError(AssertionError):
    """A component breaks a rule of its interface.

    Attributes:
        rule: short name of the rule, ``log-inverts-exp`` for the check ``test_log_inverts_exp``.
        sentence: what the rule says.
        detail: what was found instead.
    """

    def __init__(self, rule: str, sentence: str, detail: str) -> None:
        super().__init__(rule, sentence, detail)
        self.rule, self.sentence, self.detail = rule, sentence, detail

    def __str__(self) -> str:
        return f"broken rule {self.rule!r}: {self.sentence} Found: {self.detail}"


def rule(check: Callable[..., None]) -> Callable[[Any], None]:
    """Make a method ``test_name`` the check of one rule: whatever it raises becomes a ``ConformanceError``.

    A check with a parameter ``manifold`` runs on each of the case's ``manifolds()``.
    """
    name, sentence = _name(check), _sentence(check)
    spaces = "manifold" in inspect.signature(check).parameters

    def checked(self: Any) -> None:
        for manifold in self.manifolds() if spaces else (None,):
            try:
                check(self, copy.deepcopy(manifold)) if spaces else check(self)
            except (ConformanceError, SkipTest):
                raise
            except Exception as error:
                where = f"on {type(manifold).__name__}: " if spaces else ""
                raise ConformanceError(name, sentence, where + _told(error)) from error

    # No functools.wraps: a runner that follows __wrapped__ would take ``manifold`` for a fixture.
    checked.__name__, checked.__qualname__, checked.__doc__ = (
        check.__name__,
        check.__qualname__,
        check.__doc__,
    )
    checked.__module__, checked.rule = check.__module__, name  # type: ignore[attr-defined]
    return checked


def rules(case: type | object) -> dict[str, str]:
    """Every rule that a conformance class checks: name -> what it says."""
    checks = (getattr(case, name) for name in dir(case) if name.startswith("test_"))
    return {_name(check): _sentence(check) for check in checks}


def violations(case: object) -> list[ConformanceError]:
    """The rules that a component breaks, found without a test runner: every check of ``case``, an instance, is run."""
    found = []
    for name in [name for name in dir(case) if name.startswith("test_")]:
        try:
            getattr(case, name)()
        except SkipTest:
            continue
        except ConformanceError as error:
            found.append(error)
    return found


# -- what a check says ------------------------------------------------------


def expect(condition: Tensor | bool, detail: str) -> None:
    """Go on if the condition holds; ``detail`` says what was found instead."""
    __tracebackhide__ = True
    if not bool(condition):
        fail(detail)


def fail(detail: str) -> NoReturn:
    """The rule is broken."""
    __tracebackhide__ = True
    raise AssertionError(detail)


def same(found: Any, expected: Any, what: str) -> None:
    """Equal to the bit, in shape and number type too; NaN equals NaN."""
    __tracebackhide__ = True
    if not (isinstance(found, Tensor) and isinstance(expected, Tensor)):
        expect(found == expected, f"{what}: {found!r} instead of {expected!r}")
        return
    kinds = (found.dtype, tuple(found.shape)), (expected.dtype, tuple(expected.shape))
    expect(kinds[0] == kinds[1], f"{what}: {kinds[0]} instead of {kinds[1]}")
    if not torch.equal(found.nan_to_num(), expected.nan_to_num()) or _nans(found) != _nans(
        expected
    ):
        fail(f"{what}: {_apart(found, expected)}")


def near(found: Tensor, expected: Tensor, what: str, rtol: float, atol: float) -> None:
    """Equal within ``atol + rtol |expected|``, and of the same shape; number types may differ."""
    __tracebackhide__ = True
    shapes = tuple(found.shape), tuple(expected.shape)
    expect(shapes[0] == shapes[1], f"{what}: shape {shapes[0]} instead of {shapes[1]}")
    if not torch.allclose(
        found.detach().double(), expected.detach().double(), rtol=rtol, atol=atol
    ):
        fail(f"{what}: {_apart(found, expected)}")


def finite(value: Tensor | None, what: str) -> None:
    """No NaN and no infinity; None, a gradient that is not there, passes."""
    __tracebackhide__ = True
    if value is not None and not bool(torch.isfinite(value).all()):
        fail(
            f"{what}: {int((~torch.isfinite(value)).sum())} of {value.numel()} numbers are NaN or infinite"
        )


def _nans(value: Tensor) -> int:
    return int(value.isnan().sum())


def _apart(found: Tensor, expected: Tensor) -> str:
    """How far apart two tensors of one shape are."""
    a, b = found.detach().double(), expected.detach().double()
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        return f"{_nans(a)} NaN instead of {_nans(b)}, or infinities"
    return f"{int((a != b).sum())} of {a.numel()} numbers differ, by up to {float((a - b).abs().max()):.3g}"


def _name(check: Callable[..., None]) -> str:
    return check.__name__.removeprefix("test_").replace("_", "-")


def _sentence(check: Callable[..., None]) -> str:
    return " ".join((inspect.getdoc(check) or _name(check)).split())


def _told(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if type(error) is AssertionError else f"{type(error).__name__}: {text[:300]}"
