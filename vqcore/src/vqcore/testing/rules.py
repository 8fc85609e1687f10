"""The rules of the kit: each check is one rule, named after its method, stated by its docstring."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection
from typing import Any, NoReturn
from unittest import SkipTest

import torch
from torch import Tensor

#: pytest then shows the line of the check that failed instead of the helper's.
__tracebackhide__ = True


class ConformanceError(AssertionError):
    """A component breaks a rule of its interface.

    Attributes:
        rule: short name of the rule, ``log-inverts-exp`` for the check ``test_log_inverts_exp``.
        sentence: the rule itself.
        detail: what was found instead.
    """

    def __init__(self, rule: str, sentence: str, detail: str) -> None:
        super().__init__(rule, sentence, detail)
        self.rule = rule
        self.sentence = sentence
        self.detail = detail

    def __str__(self) -> str:
        return f"broken rule {self.rule!r}: {self.sentence} Found: {self.detail}"


def rule(check: Callable[..., None]) -> Callable[[Any], None]:
    """Make a method ``test_name`` the check of one rule: what it raises becomes ConformanceError.

    A check with a parameter ``manifold`` runs on a copy of each of the case's ``manifolds()``.
    """
    name, sentence = _name(check), _sentence(check)
    on_manifolds = "manifold" in inspect.signature(check).parameters

    def checked(self: Any) -> None:
        where = ""
        try:
            for manifold in self.manifolds() if on_manifolds else [None]:
                where = f"on {type(manifold).__name__}: " if on_manifolds else ""
                check(self, *([copy.deepcopy(manifold)] if on_manifolds else []))
        except (ConformanceError, SkipTest):
            raise
        except Exception as error:
            raise ConformanceError(name, sentence, where + _summary(error)) from error

    # No functools.wraps: a runner that follows __wrapped__ would take ``manifold`` for a fixture.
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__"):
        setattr(checked, attribute, getattr(check, attribute))
    return checked


def rules(case: type | object) -> dict[str, str]:
    """Every rule that a conformance class checks: name -> sentence."""
    checks = (getattr(case, name) for name in dir(case) if name.startswith("test_"))
    return {_name(check): _sentence(check) for check in checks}


def violations(case: object, skip: Collection[str] = ()) -> list[ConformanceError]:
    """The rules that a component breaks: runs every check of ``case``, an instance.

    ``skip`` names rules that are left out.
    """
    found = []
    for name in [name for name in dir(case) if name.startswith("test_")]:
        if name.removeprefix("test_").replace("_", "-") in skip:
            continue
        try:
            getattr(case, name)()
        except SkipTest:
            continue
        except ConformanceError as error:
            found.append(error)
    return found


def expect(condition: object, detail: str) -> None:
    """Fail with ``detail``, what was found instead, unless the condition is true."""
    if not bool(condition):
        fail(detail)


def fail(detail: str) -> NoReturn:
    """Fail with ``detail``, what was found instead."""
    raise AssertionError(detail)


def same(found: Any, expected: Any, what: str) -> None:
    """Equal to the bit, in shape and dtype too; NaN equals NaN."""
    if not (isinstance(found, Tensor) and isinstance(expected, Tensor)):
        expect(found == expected, f"{what}: {found!r} instead of {expected!r}")
        return
    kind = (found.dtype, tuple(found.shape))
    wanted = (expected.dtype, tuple(expected.shape))
    expect(kind == wanted, f"{what}: {kind} instead of {wanted}")
    equal = torch.equal(found.detach().nan_to_num(), expected.detach().nan_to_num())
    if not equal or _nans(found) != _nans(expected):
        fail(f"{what}: {_difference(found, expected)}")


def near(found: Tensor, expected: Tensor, what: str, rtol: float, atol: float) -> None:
    """Equal within ``atol + rtol |expected|``, and of the same shape; dtypes may differ."""
    shape, wanted = tuple(found.shape), tuple(expected.shape)
    expect(shape == wanted, f"{what}: shape {shape} instead of {wanted}")
    a, b = found.detach().double(), expected.detach().double()
    if not torch.allclose(a, b, rtol=rtol, atol=atol):
        fail(f"{what}: {_difference(found, expected)}")


def finite(value: Tensor | None, what: str) -> None:
    """No NaN and no infinity; None, an absent gradient, passes."""
    if value is not None and not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        fail(f"{what}: {bad} of {value.numel()} numbers are NaN or infinite")


def valid(manifold: Any, points: Tensor, what: str) -> None:
    """Points of the manifold."""
    why = manifold.check_points(points)
    expect(why is None, f"{what}: {why}")


def _nans(value: Tensor) -> int:
    return int(value.isnan().sum())


def _difference(found: Tensor, expected: Tensor) -> str:
    """How much two tensors of one shape differ."""
    a, b = found.detach().double(), expected.detach().double()
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        return f"{_nans(a)} NaN instead of {_nans(b)}, or infinities"
    largest = float((a - b).abs().max())
    return f"{int((a != b).sum())} of {a.numel()} numbers differ, by up to {largest:.3g}"


def _name(check: Callable[..., None]) -> str:
    return check.__name__.removeprefix("test_").replace("_", "-")


def _sentence(check: Callable[..., None]) -> str:
    return " ".join((inspect.getdoc(check) or _name(check)).split())


def _summary(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if type(error) is AssertionError else f"{type(error).__name__}: {text[:300]}"
