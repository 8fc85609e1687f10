"""Former names of options, components, functions and attributes: they work, with a warning."""

import sys
import warnings
from types import ModuleType
from typing import Annotated

import pytest

from vqcore import ComponentConfig, ComponentSpec, UsageError, VQError, hookimpl
from vqcore.plugin.bounds import Decay
from vqcore.plugin.deprecation import (
    FormerName,
    VQDeprecationWarning,
    VQFutureWarning,
    deprecated,
    former_attributes,
)
from vqcore.plugin.loader import Loader, Plugin
from vqcore.plugin.plugin_settings import PluginSettings
from vqcore.plugin.registry import PluginRecord, Registry


class RenamedConfig(ComponentConfig):
    decay: Annotated[Decay, FormerName("ema_decay", gone_in="0.4")] = 0.9


@pytest.fixture(scope="module")
def registry():
    """A plugin with a renamed component, and a renamed option of it and of the plugin itself."""
    module = ModuleType("renamed")
    module.VQ_API = 1
    spec = ComponentSpec(
        name="new", target="a:B", config=f"{__name__}:RenamedConfig", summary="renamed",
        former_names=(FormerName("old", gone_in="0.3"),),
    )  # fmt: skip
    module.vq_quantizers = hookimpl(lambda: [spec])
    module.vq_settings = hookimpl(lambda: f"{__name__}:RenamedConfig")
    loader = Loader(discover=False)
    loader.load(Plugin("renamed", "a-package", "0"), lambda: module)
    assert loader.plugins[0].status == "ok", loader.plugins[0].error
    return Registry(loader=loader)


def test_a_former_option_is_read_with_a_warning(registry):
    text = "quantizer.ema_decay is called quantizer.decay now; the former name goes in version 0.4"
    with pytest.warns(VQFutureWarning, match=text):
        found = registry.resolve("quantizer", {"name": "new", "ema_decay": 0.5})
    assert found.dump() == {"name": "a-package/new", "decay": 0.5}
    with pytest.warns(VQFutureWarning, match=r"plugins.renamed.ema_decay is called plugins.renam"):
        settings = PluginSettings(registry, {"renamed": {"ema_decay": 0.5}})
    assert settings["renamed"].decay == 0.5


def test_an_option_under_both_names_is_refused_unless_they_agree(registry):
    both = {"name": "new", "decay": 0.5, "ema_decay": 0.4}
    with pytest.raises(UsageError, match=r"quantizer.ema_decay: a former name of decay, which"):
        registry.resolve("quantizer", both)
    with pytest.warns(VQFutureWarning):
        assert registry.resolve("quantizer", both | {"ema_decay": 0.5}).options.decay == 0.5


@pytest.mark.parametrize("name", ["old", "a-package/old"])
def test_a_former_name_of_a_component_is_read_with_a_warning(registry, name):
    text = "quantizer 'old' is called quantizer 'new' now; the former name goes in version 0.3"
    with pytest.warns(VQFutureWarning, match=text):
        found = registry.resolve("quantizer", name)
    assert (found.name, found.qualified) == ("new", "a-package/new")
    assert registry.names("quantizer") == ["new"]


def test_a_recorded_run_may_have_former_names(registry):
    providers = {("quantizer", name): ("a-package", "0") for name in ("old", "a-package/old")}
    recorded = registry.with_record(PluginRecord(providers=providers))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = recorded.resolve("quantizer", {"name": "a-package/old", "ema_decay": 0.5})
    assert found.dump() == {"name": "a-package/new", "decay": 0.5}


def test_code_that_uses_a_former_function_or_attribute_is_told_where(monkeypatch):
    class Source:
        @deprecated("source.tree.distance", gone_in="0.3")
        def tree_distance(self, a, b):
            """Distance."""
            return b - a

    with pytest.warns(VQDeprecationWarning, match=r"tree_distance is called source.tree.d") as told:
        assert Source().tree_distance(1, b=3) == 2
    assert told[0].filename == __file__
    assert Source.tree_distance.__doc__ == "Distance."

    module = ModuleType("a_module")
    module.New = 5
    names = {"Old": ("New", "0.3"), "Moved": ("vqcore.errors:VQError", "0.3")}
    module.__getattr__ = former_attributes("a_module", names)
    monkeypatch.setitem(sys.modules, "a_module", module)
    with pytest.warns(VQDeprecationWarning, match=r"a_module.Old is called a_module.New now"):
        assert module.Old == 5
    with pytest.warns(VQDeprecationWarning, match=r"a_module.Moved is called vqcore.errors.VQ"):
        from a_module import Moved
    assert Moved is VQError
    with pytest.raises(AttributeError, match="module 'a_module' has no attribute 'Other'"):
        module.Other  # noqa: B018


def test_users_see_what_they_wrote_and_authors_what_their_code_calls():
    assert issubclass(VQFutureWarning, FutureWarning)
    assert issubclass(VQDeprecationWarning, DeprecationWarning)
