"""How the factors of a product share its dimensions. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from vqcore.errors import SettingError


def shares(factors: Sequence[str], dims: Sequence[int] | None, dim: int) -> list[int]:
    """The dimensions of each factor, of ``dim``.

    Raises:
        SettingError: for more ``factors`` (names) than dimensions, and for ``dims`` that have no
            whole shares of it.
    """
    found = whole_shares(len(factors), dims, dim)
    if found is None:
        total = sum(dims or ())
        expected = f"dimensions that add up to {dim}, or whole shares of it, not of {total}"
        fix = "change them, or leave them out for equal shares"
        raise SettingError("dims", list(dims or ()), expected, fix)
    if len(found) < len(factors):
        names = ",".join(name.rpartition("/")[2] for name in factors)
        expected = f"at most {dim}, one for each dimension of a latent, group or code"
        raise SettingError("factors", names, expected, "leave some out, or raise dim")
    return found


def whole_shares(count: int, dims: Sequence[int] | None, dim: int) -> list[int] | None:
    """The dimensions of each of ``count`` factors, of the first ones if there are not as many.

    None if ``dims`` have no whole shares.
    """
    if dims is None:
        return [dim // count + (place < dim % count) for place in range(min(count, dim))]
    total = sum(dims)
    whole = all(own * dim % total == 0 for own in dims)
    return [own * dim // total for own in dims] if whole else None
