"""What the package declares, what it imports and when, and its options."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from vqcore import Registry
from vqcore.errors import UsageError


@pytest.fixture(scope="module")
def registry():
    return Registry()


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_declaring_and_choosing_import_neither_torch_nor_geoopt():
    python(
        "import sys, vq_hyperbolic.plugin as p, vq_hyperbolic.hyperbolic_config\n"
        "assert p.VQ_API == 1 and len(p.vq_manifolds()) == 2 and len(p.vq_optimizers()) == 1\n"
        "assert not {'torch', 'geoopt', 'numpy'} & set(sys.modules)"
    )


def test_geoopt_is_imported_for_riemannian_codes_alone_without_its_warnings():
    python(
        "import sys, warnings\n"
        "from vq_hyperbolic.poincare import Poincare\n"
        "from vq_hyperbolic.lorentz import Lorentz\n"
        "for m in (Poincare(), Lorentz()):\n"
        "    m.squared_dist(*m.codes(m.parameter(m.random(2, 3)))[1])\n"
        "assert 'geoopt' not in sys.modules\n"
        "warnings.simplefilter('error', FutureWarning)\n"
        "before = list(warnings.filters)\n"
        "m = Poincare(codes='riemannian')\n"
        "m.parameter(m.random(2, 3))\n"
        "assert 'geoopt' in sys.modules and warnings.filters == before"
    )


def test_other_warnings_at_import_of_geoopt_are_shown(tmp_path):
    (tmp_path / "geoopt.py").write_text(
        "import warnings\n"
        "warnings.warn('`torch.jit.script` is deprecated. Please', FutureWarning)\n"
        "warnings.warn('something else', FutureWarning)\n"
        "class optim:\n    RiemannianAdam = object\n"
        "Manifold = object\n"
    )
    shown = python(
        f"import sys, warnings\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    import vq_hyperbolic.riemannian\n"
        "print([str(w.message) for w in caught])"
    )
    assert shown.strip() == "['something else']"


@pytest.mark.parametrize("name", ["poincare", "lorentz"])
def test_manifolds_are_built_from_their_options(registry, name):
    options = {"curvature": 0.5, "gain": 2.0, "max_radius": 1.0, "codes": "riemannian"}
    manifold = registry.build(
        registry.resolve("manifold", {"name": f"vqcore-hyperbolic/{name}", **options})
    )
    assert type(manifold).__name__.lower() == name
    assert (manifold.curvature, manifold.gain, manifold.max_radius) == (0.5, 2.0, 1.0)
    assert manifold.riemannian


@pytest.mark.parametrize(
    "options",
    [{"curvature": 0}, {"gain": -1}, {"max_radius": 0}, {"codes": "points"}, {"radius": 1.0}],
)
def test_bad_options_are_refused_by_name(registry, options):
    with pytest.raises(UsageError, match=rf"^manifold\.{next(iter(options))}"):
        registry.resolve("manifold", {"name": "vqcore-hyperbolic/poincare", **options})


def test_the_optimizer_is_built_from_its_options(registry):
    chosen = registry.resolve(
        "optimizer", {"name": "riemannian-adam", "lr": 0.01, "betas": [0.5, 0.9]}
    )
    optimizer = registry.build(chosen, params=[torch.nn.Parameter(torch.zeros(2))])
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (0.01, (0.5, 0.9))


def test_options_and_signatures_have_the_same_defaults(registry):
    for kind, name in (
        ("manifold", "poincare"),
        ("manifold", "lorentz"),
        ("optimizer", "riemannian-adam"),
    ):
        chosen = registry.resolve(kind, f"vqcore-hyperbolic/{name}")
        module, _, attribute = chosen.spec.target.partition(":")
        target = getattr(__import__(module, fromlist=[attribute]), attribute)
        classes = target.__mro__[:-1] if isinstance(target, type) else ()
        inits = [vars(each)["__init__"] for each in classes if "__init__" in vars(each)] or [target]
        defaults = [getattr(each, "__kwdefaults__", None) or {} for each in reversed(inits)]
        assert {k: v for each in defaults for k, v in each.items()} == chosen.options.model_dump()
