"""Where settings come from (defaults < --config < options < --set), and nested components."""

import json

import pytest
import yaml

from vq.composition import compose, given_values
from vq.config.config_file import parse_value, read_config
from vq.config.merging import assign, merge, shown_names
from vq.config.resolved_config import resolve_config
from vq.config.run_config import RunConfig
from vqcore import VectorQuantizer
from vqcore.errors import SettingError, UsageError
from vqcore.plugin.component import SEVERAL
from vqcore.plugin.registry import default_registry

COMPOSITIONS = {
    "defaults": (),
    "poincare": (
        *("--manifold", "poincare", "--set", "manifold.curvature=0.5"),
        *("--optimizer", "adam", "--lr", "1e-4"),
    ),
    "nested": (
        *("--quantizer", "residual", "--quantizer.stages", "3"),
        *("--quantizer.inner.name", "grouped", "--quantizer.inner.inner.name", "ema"),
        *("--quantizer.inner.inner.decay", "0.5"),
    ),
    "regularized": (
        *("--regularizer", "smoothness", "--regularizer", "entropy"),
        *("--regularizers.entropy.weight", "3"),
    ),
    "data": (
        *("--dataset", "trees", "--dataset.depth", "4"),
        *("--backbone", "mlp", "--precision", "bf16"),
    ),
}


@pytest.fixture
def config(vq):
    """A function that gives the resolved config of arguments, names without their package."""

    def read(*arguments):
        result = vq("train", "--print-config", *arguments)
        assert (result.code, result.err) == (0, ""), result
        return shown_names(yaml.safe_load(result.out))

    return read


@pytest.fixture
def file(tmp_path):
    """A function that writes settings to a file: YAML by default."""

    def write(settings, name="settings.yaml"):
        path = tmp_path / name
        path.write_text(settings if isinstance(settings, str) else yaml.safe_dump(settings))
        return path

    return write


# -- the length of a run ----------------------------------------------------

LENGTHS = {
    "neither": ((), {}, (None, 2000)),
    "epochs are not cut by the default steps": (("--epochs", 3), {}, (3, None)),
    "the short name": (("--steps", 9), {}, (None, 9)),
    "no number of epochs is none": (("--set", "epochs=null"), {}, (None, 2000)),
    "steps alone": (("--max-steps", 9), {}, (None, 9)),
    "both, where the fewer end the run": (("--epochs", 3, "--max-steps", 9), {}, (3, 9)),
    "both, in another order": (("--set", "max_steps=9", "--epochs", 3), {}, (3, 9)),
    "a file": ((), {"max_steps": 9}, (None, 9)),
    "an option over a file": (("--max-steps", 9), {"epochs": 3}, (None, 9)),
    "the other way round": (("--epochs", 3), {"max_steps": 9}, (3, None)),
    "an option over both": (("--max-steps", 7), {"epochs": 3, "max_steps": 9}, (None, 7)),
    "nothing of it": (("--dim", 4), {"epochs": 3, "max_steps": 9}, (3, 9)),
    "no limit is no length": (("--set", "max_steps=null"), {"epochs": 3}, (3, None)),
}


@pytest.mark.parametrize("case", LENGTHS)
def test_the_source_that_says_how_long_a_run_is_decides(config, file, case):
    arguments, in_file, expected = LENGTHS[case]
    from_file = ("--config", file(in_file)) if in_file else ()
    found = config(*from_file, *arguments)
    assert (found["epochs"], found["max_steps"]) == expected


def test_a_preset_does_not_cut_the_steps_asked_for(config):
    assert config("--preset", "vq-vae")["epochs"] == 10
    found = config("--preset", "vq-vae", "--max-steps", 5000)
    assert (found["epochs"], found["max_steps"]) == (None, 5000)


def test_a_run_without_a_length_is_refused(vq):
    result = vq("train", "--dry-run", "--set", "max_steps=null")
    assert result.code == 2
    assert "max_steps = None: expected a number of steps; set it or epochs" in result.err


# -- precedence -------------------------------------------------------------


def test_defaults_are_those_of_run_config(config):
    found = config()
    fields = {name: each for name, each in RunConfig.model_fields.items() if name != "plugins"}
    for name, field in fields.items():
        if name in (*SEVERAL, "plugin_files"):
            assert not found[name]
        elif isinstance(found[name], dict):
            assert found[name]["name"] == field.default.name.rpartition("/")[2]
        else:
            assert found[name] == field.default, name
    assert list(found) == list(fields)


@pytest.mark.parametrize(
    ("setting", "flag", "values"),
    [
        ("seed", "--seed", (1, 2, 3)),
        ("optimizer.lr", "--lr", (0.5, 0.25, 0.125)),
        ("manifold.name", "--manifold", ("sphere", "poincare", "lorentz")),
        ("batch_size", "--batch-size", (17, 19, 23)),
    ],
)
def test_precedence(config, file, setting, flag, values):
    in_file, in_flag, in_set = values
    path = file(assign([(setting, in_file)]))

    def found(*arguments):
        value = config(*arguments)
        for key in setting.split("."):
            value = value[key]
        return value

    assert found() not in values
    assert found("--config", path) == in_file
    assert found(flag, in_flag, "--config", path) == in_flag
    assert found("--set", f"{setting}={in_set}", flag, in_flag, "--config", path) == in_set


def test_the_last_set_of_a_key_wins(config):
    assert config("--set", "seed=1", "--set", "seed=2")["seed"] == 2


def test_settings_that_a_source_leaves_out_come_from_the_one_below(config, file):
    path = file({"quantizer": {"name": "ema", "decay": 0.5, "init": "normal"}, "dim": 12})
    found = config("--config", path, "--codebook-size", "32", "--set", "quantizer.decay=0.25")
    assert (found["dim"], found["codebook_size"]) == (12, 32)
    assert (found["quantizer"]["decay"], found["quantizer"]["init"]) == (0.25, "normal")


@pytest.mark.parametrize(
    "written", [("--quantizer.inner.decay", "0.5"), ("--quantizer.inner.decay=0.5",)]
)
def test_a_dotted_option_is_the_same_as_set(config, written):
    base = ("--quantizer", "grouped", "--set", "quantizer.inner.name=ema")
    dotted = config(*base, *written, "--seed", "4")
    assert dotted == config(*base, "--set", "quantizer.inner.decay=0.5", "--seed", "4")
    assert (dotted["quantizer"]["inner"]["decay"], dotted["seed"]) == (0.5, 4)


def test_a_dotted_option_takes_a_negative_value(vq):
    result = vq("train", "--dry-run", "--optimizer.lr", "-1")
    assert result.code == 2
    assert "optimizer.lr = -1: expected greater than 0" in result.err


@pytest.mark.parametrize(
    ("flag", "setting", "value"),
    [
        ("--quantizer", "quantizer.name", "ema"),
        ("--estimator", "estimator.name", "rotation"),
        ("--dataset", "dataset.name", "photos"),
        ("--backbone", "backbone.name", "mlp"),
        ("--optimizer", "optimizer.name", "adam"),
        ("--dim", "dim", 12),
        ("--codebook-size", "codebook_size", 7),
        ("--epochs", "epochs", 3),
        ("--max-steps", "max_steps", 5),
        ("--device", "device", "cpu"),
        ("--precision", "precision", "bf16"),
        ("--lr", "optimizer.lr", 0.5),
    ],
)
def test_every_option_is_a_setting(config, flag, setting, value):
    by_flag = config(flag, value)
    assert by_flag == config("--set", f"{setting}={value}")
    assert by_flag != config()


def test_compile_is_a_switch(config):
    assert config("--compile")["compile"] is True
    assert config("--set", "compile=true", "--no-compile")["compile"] is True
    assert config("--no-compile")["compile"] is False


# -- files ------------------------------------------------------------------

IN_FORMATS = {
    "a.yaml": "seed: 3\noptimizer: {lr: 1e-4}\nquantizer:\n  name: grouped\n  inner: ema\n",
    "a.yml": "seed: 3\noptimizer: {lr: 0.0001}\nquantizer: {name: grouped, inner: {name: ema}}\n",
    "a.toml": 'seed = 3\noptimizer.lr = 1e-4\n[quantizer]\nname = "grouped"\ninner = "ema"\n',
    "a.json": (
        '{"seed": 3, "optimizer": {"lr": 1e-4},'
        ' "quantizer": {"name": "grouped", "inner": {"name": "ema"}}}'
    ),
}


@pytest.mark.parametrize("name", IN_FORMATS)
def test_a_config_file_is_yaml_toml_or_json(config, file, name):
    found = config("--config", file(IN_FORMATS[name], name))
    assert found == config(
        "--seed", 3, "--lr", 1e-4, "--quantizer", "grouped", "--set", "quantizer.inner.name=ema"
    )


def test_a_number_that_yaml_reads_as_text_becomes_a_float(config, file):
    assert yaml.safe_load("1e-4") == "1e-4"
    lr = config("--config", file("optimizer: {lr: 1e-4}"))["optimizer"]["lr"]
    assert isinstance(lr, float)
    assert lr == 1e-4
    assert config("--set", "optimizer.lr=1e-4")["optimizer"]["lr"] == 1e-4


def test_a_bare_no_is_a_precision(config, file):
    assert config("--precision", "bf16", "--set", "precision=no")["precision"] == "no"
    assert config("--config", file("precision: no"))["precision"] == "no"


def test_an_empty_file_holds_no_setting_which_is_told(config, file, vq):
    path = file("# nothing yet\n")
    result = vq("train", "--print-config", "--config", path)
    assert shown_names(yaml.safe_load(result.out)) == config()
    assert result.err == f"warning: --config {path} holds no settings\n"


@pytest.mark.parametrize("arguments", COMPOSITIONS.values(), ids=COMPOSITIONS)
@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_printed_config_reproduces_itself(config, file, arguments, suffix):
    first = config(*arguments)
    text = yaml.safe_dump(first) if suffix == "yaml" else json.dumps(first)
    assert config("--config", file(text, f"printed.{suffix}")) == first
    assert first != config() or not arguments


# -- components -------------------------------------------------------------


def test_quantizers_nest(config):
    outer = config(*COMPOSITIONS["nested"])["quantizer"]
    assert (outer["name"], outer["stages"]) == ("residual", 3)
    assert (outer["inner"]["name"], outer["inner"]["groups"]) == ("grouped", 2)
    assert (outer["inner"]["inner"]["name"], outer["inner"]["inner"]["decay"]) == ("ema", 0.5)


def test_options_without_a_name_are_the_default_components(config, file):
    assert config("--set", "quantizer.codebook_weight=2")["quantizer"]["codebook_weight"] == 2
    found = config("--config", file({"quantizer": {"codebook_weight": 2}}))["quantizer"]
    assert (found["name"], found["codebook_weight"]) == ("codebook", 2)
    inner = config("--quantizer", "grouped", "--set", "quantizer.inner.codebook_weight=2")[
        "quantizer"
    ]["inner"]
    assert (inner["name"], inner["codebook_weight"]) == ("codebook", 2)


@pytest.mark.parametrize(
    "settings", [{"name": "ema", "decay": 0.5, "init": "uniform"}, {"init": "uniform"}]
)
def test_another_choice_drops_the_options_of_the_previous_one(config, file, settings):
    path = file({"quantizer": settings})
    assert config("--config", path)["quantizer"]["init"] == "uniform"
    found = config("--config", path, "--quantizer", "residual", "--set", "quantizer.stages=2")[
        "quantizer"
    ]
    assert found == config("--quantizer", "residual", "--set", "quantizer.stages=2")["quantizer"]


@pytest.mark.parametrize(
    "settings", [{"name": "ema", "init": "uniform"}, {"name": "codebook", "init": "uniform"}]
)
def test_the_same_choice_keeps_its_options(config, file, settings):
    path = file({"quantizer": settings})
    assert (
        config("--config", path, "--quantizer", settings["name"])["quantizer"]["init"] == "uniform"
    )


def test_naming_the_default_component_keeps_options_without_a_name(config, file):
    path = file({"quantizer": {"codebook_weight": 2}})
    assert config("--config", path, "--quantizer", "codebook")["quantizer"]["codebook_weight"] == 2


def test_another_inner_choice_drops_the_options_of_the_previous_one(config, file):
    path = file(
        {"quantizer": {"name": "grouped", "groups": 4, "inner": {"name": "ema", "init": "uniform"}}}
    )
    found = config("--config", path, "--set", "quantizer.inner=codebook")["quantizer"]
    assert (found["groups"], found["inner"]["name"], found["inner"]["init"]) == (
        4,
        "codebook",
        "data",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        (
            "--quantizer.inner.decay",
            "0.5",
            "--quantizer.inner.name",
            "ema",
            "--quantizer.name",
            "grouped",
        ),
        ("--set", "quantizer.inner.decay=0.5", "--set", "quantizer={name: grouped, inner: ema}"),
        (
            "--set",
            "quantizer.inner={decay: 0.5}",
            "--set",
            "quantizer.inner.name=ema",
            "--quantizer",
            "grouped",
        ),
    ],
)
def test_the_order_of_a_choice_and_its_options_does_not_matter(config, arguments):
    written = config("--quantizer", "grouped", "--set", "quantizer.inner={name: ema, decay: 0.5}")
    assert config(*arguments) == written


SIZED = {"size": "large", "hidden": 256, "residual_blocks": 2, "residual_hidden": 256}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--backbone.size", "large"], SIZED),
        (["--backbone.hidden", "9", "--backbone.size", "large"], SIZED | {"hidden": 9}),
        (["--preset", "rotation-vqvae"], {"size": "base", "hidden": 128, "residual_hidden": 32}),
        (["--preset", "rotation-vqvae", "--backbone.size", "large"], SIZED | {"output": "tanh"}),
        (["--preset", "vq-vae", "--backbone.size", "large"], SIZED | {"output": "linear"}),
        (["--backbone", "hierarchical", "--backbone.size", "large"], SIZED | {"levels": 2}),
        (["--backbone", "resnet", "--backbone.size", "large"], {"channels": 128, "blocks": 4}),
        (["--backbone", "vit", "--backbone.size", "small"], {"width": 512, "depth": 8, "heads": 8}),
        ([], {"size": None, "hidden": 32, "residual_blocks": 2, "residual_hidden": None}),
    ],
)
def test_a_size_sets_the_options_that_are_not_given(config, arguments, expected):
    assert config(*arguments)["backbone"].items() >= expected.items()


def test_another_size_of_an_inner_backbone_replaces_the_one_before(config, tmp_path):
    small = config("--backbone", "classifier", "--backbone.inner.size", "small")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small))
    found = config("--config", tmp_path / "small.yaml", "--backbone.inner.size", "large")
    assert found["backbone"]["inner"].items() >= SIZED.items()


def test_a_later_size_replaces_what_a_resolved_config_has_of_the_one_before(config, file):
    resolved = config("--backbone.size", "large", "--backbone.hidden", 9)
    assert config("--config", file(resolved)) == resolved
    again = config("--config", file(resolved), "--backbone.size", "base")
    assert again["backbone"].items() >= {"hidden": 128, "residual_hidden": 32}.items()


def test_lr_applies_to_an_optimizer_that_set_chooses(config):
    assert config("--lr", 0.5, "--set", "optimizer.name=adam")["optimizer"]["lr"] == 0.5


def test_factors_of_a_product_are_a_list_with_options_by_place(config, file):
    product = ("--manifold", "product", "--manifold.factors", "poincare,sphere,euclidean")
    found = config(*product, "--manifold.factors.0.curvature", 0.5, "--manifold.dims", "4,2,2")
    space = found["manifold"]
    assert [each["name"] for each in space["factors"]] == ["poincare", "sphere", "euclidean"]
    assert (space["factors"][0]["curvature"], space["dims"]) == (0.5, [4, 2, 2])
    assert config("--config", file(found)) == found
    changes = ("--manifold.factors.1.max_angle", 1.2, "--set", "manifold.factors.2=lorentz")
    again = config("--config", file(found), *changes)["manifold"]["factors"]
    assert again[:2] == [space["factors"][0], {**space["factors"][1], "max_angle": 1.2}]
    assert again[2]["name"] == "lorentz"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--manifold.dims 4,5", "manifold.dims = [4, 5]: expected dimensions that add up to 8"),
        ("--manifold.dims 4,12 --quantizer grouped --quantizer.groups 4", "that add up to 2"),
        ("--manifold.dims 4,5 --bottleneck gaussian", "that add up to 8"),
        ("--manifold.dims 8,8", "dim = 8: expected 16, as the options of manifold say; set dim"),
        ("--manifold.dims 2,2 --bottleneck none", "dim = 8: expected 4, as the options of"),
        ("--manifold.dims 4,4 --code-dim 4", "code_dim = 4: expected 8, as the options of"),
        ("--manifold.dims 4,5 --code-dim 12", "that add up to 12"),
        ("--quantizer residual --quantizer.inner.name grouped --dim 1 --quantizer.inner.groups 1",
         "manifold.factors = 'sphere,euclidean': expected at most 1"),
        ("--quantizer grouped --quantizer.groups 3", "quantizer.groups = 3: expected a divisor"),
        ("--manifold.factors.0 product --manifold.factors.0.dims 3,2",
         "manifold.factors.0.dims = [3, 2]: expected dimensions that add up to 4"),
    ],
)  # fmt: skip
def test_a_dry_run_refuses_dimensions_that_do_not_fit(vq, words, message):
    product = ("--manifold", "product", "--manifold.factors", "sphere,euclidean")
    result = vq("train", "--dry-run", *product, *words.split())
    assert (result.code, message in result.err) == (2, True), result


@pytest.mark.parametrize(
    "words", ["--quantizer fsq", "--backbone patches", "--dim 9", "--code-dim 9"]
)
def test_dimensions_that_fit_or_are_not_known_yet_are_accepted(vq, words):
    product = ("--manifold", "product", "--manifold.factors", "sphere:4,euclidean:5")
    assert vq("train", "--dry-run", *product, *words.split()).code == 0


BACKBONES_OF_OTHERS = """
from vqcore import ComponentConfig
class Plain(ComponentConfig):
    pass
class Taking(ComponentConfig):
    sets_dim = False
def spec(name, config):
    return ComponentSpec(name=name, target="nowhere:Nothing", config=config, summary="x")
@hookimpl
def vq_backbones():
    return [spec("bare", None), spec("plain", f"{__name__}:Plain"),
            spec("taking", f"{__name__}:Taking")]
"""


@pytest.mark.parametrize(
    ("words", "code"), [("bare", 0), ("plain", 0), ("classifier --backbone.inner bare", 0),
                        ("taking", 2), ("plain --code-dim 8", 2)]
)  # fmt: skip
def test_a_backbone_that_does_not_say_so_may_set_the_dimension(vq, plugin_file, words, code):
    groups = ("--quantizer", "grouped", "--quantizer.groups", 3)
    file = plugin_file("backbones_of_others", BACKBONES_OF_OTHERS)
    result = vq("train", "--dry-run", "--plugin-file", file, *groups, "--backbone", *words.split())
    assert (result.code, "groups = 3: expected a divisor" in result.err) == (code, code == 2), (
        result
    )


def test_a_trained_model_is_not_asked_whether_its_dimensions_fit():
    registry = default_registry()
    values = {"quantizer": {"name": "grouped", "groups": 3}}
    with pytest.raises(SettingError, match="groups = 3: expected a divisor"):
        resolve_config(dict(values), registry)
    resolve_config(dict(values), registry, trained=True)


def test_options_of_a_factor_may_come_before_the_factors(config, file):
    options = ("--manifold.factors.1.max_angle", 1.2, "--manifold.factors", "euclidean,sphere")
    space = config("--manifold", "product", *options)["manifold"]
    assert space["factors"][1]["max_angle"] == 1.2
    numbers = file({"manifold": {"name": "product", "factors": {1: {"max_angle": 1.2}}}})
    assert config("--config", numbers)["manifold"]["factors"][1]["max_angle"] == 1.2
    assert config("--config", file({"manifold": space}), "--config", numbers)["manifold"] == space
    over = given_values({"manifold": {"factors": {1: {"max_angle": 1.2}}}})
    base = {"manifold": {"name": "product", "factors": {1: {"name": "sphere"}}}}
    found = compose(over, base=base)[0].components["manifold"].children["factors.1"]
    assert (found.name, found.options.max_angle) == ("sphere", 1.2)


def test_the_component_of_a_place_may_come_before_the_list(config):
    words = "--manifold.factors.0.max_angle 1.2 --manifold.factors.0.name sphere"
    space = config("--manifold", "product", *words.split(), "--manifold.factors", "lorentz,lorentz")
    assert [each["name"] for each in space["manifold"]["factors"]] == ["sphere", "lorentz"]
    assert space["manifold"]["factors"][0]["max_angle"] == 1.2


def test_a_radius_beyond_float32_is_refused_in_a_factor_too(vq):
    product = ("--manifold", "product", "--manifold.factors", "sphere,poincare")
    result = vq("train", "--dry-run", *product, "--manifold.factors.1.max_radius", 5)
    assert result.code == 2
    assert "manifold.factors.1.max_radius = 5.0: expected at most 3.1 in float32" in result.err


def test_regularizers_are_a_list_or_a_mapping(config, file):
    as_list = file("regularizers: [smoothness, {name: entropy, weight: 3}]", "list.yaml")
    as_mapping = file("regularizers: {smoothness: , entropy: {weight: 3}}", "mapping.yaml")
    by_option = (
        "--regularizer",
        "smoothness",
        "--regularizer",
        "entropy",
        "--set",
        "regularizers.entropy.weight=3",
    )
    found = config("--config", as_list)
    assert list(found["regularizers"]) == ["smoothness", "entropy"]
    assert found["regularizers"]["entropy"]["weight"] == 3
    assert found == config("--config", as_mapping) == config(*by_option)


@pytest.mark.parametrize("written", ["[smoothness, entropy]", "{smoothness: {}, entropy: {}}"])
def test_a_setting_of_one_regularizer_leaves_the_others(config, file, written):
    path = file(f"regularizers: {written}")
    found = config("--config", path, "--set", "regularizers.entropy.weight=3")["regularizers"]
    assert list(found) == ["smoothness", "entropy"]
    assert found["entropy"]["weight"] == 3
    listed = file("regularizers: [smoothness]")
    found = config("--config", listed, "--regularizer", "entropy")["regularizers"]
    assert list(found) == ["smoothness", "entropy"]


def test_regularizer_is_an_alias_of_regularizers(config):
    found = config("--regularizer", "entropy", "--regularizer.entropy.weight", "3")
    assert found == config("--set", "regularizers.entropy.weight=3")
    assert found["regularizers"]["entropy"]["weight"] == 3


def test_dry_run_checks_and_names_the_composition(vq, tmp_path):
    result = vq(
        "train",
        "--dry-run",
        "--manifold",
        "poincare",
        "--estimator",
        "rotation",
        "--regularizer",
        "entropy",
    )
    assert (result.code, result.err) == (0, "")
    assert result.out.strip() == "config is valid: digits-poincare-codebook-rotation-entropy"
    assert vq("train", "--dry-run", "--set", "dim=0").code == 2
    assert not list(tmp_path.iterdir())


# -- merge, assign, parse_value, read_config --------------------------------


EMA = {"name": "ema"}
MERGED = [
    ({}, {"a": 1}, {"a": 1}),
    ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
    (
        {"backbone": {"hidden": 1}},
        {"backbone": {"layers": 2}},
        {"backbone": {"hidden": 1, "layers": 2}},
    ),
    ({"quantizer": "ema"}, {"quantizer": {"decay": 0.5}}, {"quantizer": {**EMA, "decay": 0.5}}),
    (
        {"quantizer": {**EMA, "decay": 0.5}},
        {"quantizer": "residual"},
        {"quantizer": {"name": "residual"}},
    ),
    ({"quantizer": {"init": "data"}}, {"quantizer": "ema"}, {"quantizer": EMA}),
    ({"quantizer": 5}, {"quantizer": EMA}, {"quantizer": EMA}),
    ({"quantizer": EMA}, {"quantizer": None}, {"quantizer": None}),
    ({"quantizer": EMA}, {"quantizer": 5}, {"quantizer": 5}),
    (
        {"regularizers": ["a"]},
        {"regularizers": {"b": {"x": 2}}},
        {"regularizers": {"a": {}, "b": {"x": 2}}},
    ),
    ({"plugin_files": ["a"]}, {"plugin_files": ["b"]}, {"plugin_files": ["b"]}),
    # a key of digits is that of a component only by its place in a list of components
    ({"x": {"1": "a", "2": "b"}}, {"x": {"1": "c"}}, {"x": {"1": "c", "2": "b"}}),
    ({"x": {1: "sphere"}}, {"x": {1: {"y": 2}}}, {"x": {1: {"name": "sphere", "y": 2}}}),
    ({"x": {1: {"name": "a", "y": 2}}}, {"x": {1: "b"}}, {"x": {1: {"name": "b"}}}),
    (
        {"plugins": {"p": {"dataset": "a", "losses": ["a"], "1": {"name": "a", "x": 1}}}},
        {"plugins": {"p": {"dataset": "b", "losses": "b", "1": {"name": "b"}}}},
        {"plugins": {"p": {"dataset": "b", "losses": "b", "1": {"name": "b", "x": 1}}}},
    ),
    (
        {"plugins": {"p": {"x": [1, 2]}}},
        {"plugins": {"p": {"x": {"1": 3}}}},
        {"plugins": {"p": {"x": [1, 3]}}},
    ),
]


@pytest.mark.parametrize(("base", "over", "expected"), MERGED)
def test_merge(base, over, expected):
    before = json.dumps([base, over])
    assert merge(base, over) == expected
    assert json.dumps([base, over]) == before


def test_names_in_settings_of_plugins_are_shown_as_they_are():
    values = {"manifold": {"name": "x/sphere"}, "plugins": {"p": {"name": "team/run"}}}
    assert shown_names(values) == {**values, "manifold": {"name": "sphere"}}


def test_assign_nests_key_paths():
    pairs = [
        ("seed", 1),
        ("quantizer.inner.name", "ema"),
        ("quantizer.name", "grouped"),
        ("seed", 2),
    ]
    assert assign(pairs) == {"seed": 2, "quantizer": {"name": "grouped", "inner": {"name": "ema"}}}
    assert assign([("loss.l1.weight", 2)]) == {"losses": {"l1": {"weight": 2}}}
    assert assign([("regularizer.entropy.weight", 2)]) == {
        "regularizers": {"entropy": {"weight": 2}}
    }
    assert assign([]) == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ("{a: 1}", {"a": 1}),
        ("ema", "ema"),
    ],
)
def test_a_value_is_read_as_yaml(text, value):
    assert parse_value(text) == value


def test_a_config_is_resolved_without_the_command(tmp_path):
    config = resolve_config(
        {"quantizer": {"name": "ema", "decay": "0.5"}, "regularizers": ["entropy"]},
        default_registry(),
    )
    assert config.components["quantizer"].options.decay == 0.5
    assert list(config.regularizers) == ["entropy"]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.dump()))
    assert resolve_config(read_config(path), default_registry()).dump() == config.dump()


@pytest.mark.parametrize("listed", [1, {"weight": 2}, {"name": 3}, ["entropy"]])
def test_a_listed_regularizer_needs_a_name(listed):
    with pytest.raises(UsageError, match="expected the name of one"):
        resolve_config({"regularizers": [listed]}, default_registry())


# -- settings that cannot act -----------------------------------------------

LRU = "least-recently-used"
IDLE = {
    "a baseline has no codes": (
        {"bottleneck": "none", "quantizer": "ema", "codebook_size": 99, "kl_weight": 2},
        ["kl_weight", "quantizer", "codebook_size"],
    ),
    "another kind of start": ({"quantizer": {"init_scale": 2}}, ["quantizer.init_scale"]),
    "replaced by age": (
        {"quantizer": {"dead_codes": LRU, "dead_code_threshold": 0.1, "usage_decay": 0.5}},
        ["quantizer.dead_code_threshold", "quantizer.usage_decay"],
    ),
    "never replaced": (
        {"quantizer": {"dead_code_threshold": 0, "dead_code_noise": 1, "dead_code_patience": 5}},
        ["quantizer.dead_code_patience", "quantizer.dead_code_noise"],
    ),
    "an inner one": (
        {"quantizer": {"name": "residual", "inner": {"name": "ema", "init_scale": 2}}},
        ["quantizer.inner.init_scale"],
    ),
    "one stage": (
        {"quantizer": {"name": "residual", "stages": 1, "stage_dropout": 0.5}},
        ["quantizer.stage_dropout"],
    ),
    "a fixed curvature": (
        {"manifold": {"name": "poincare", "curvature_lr": 1, "curvature_span": 2}},
        ["manifold.curvature_lr", "manifold.curvature_span"],
    ),
    "a term without weight": (
        {"regularizers": {"homology": {"weight": 0, "every": 2, "period": 9, "backend": "gudhi"}}},
        [f"regularizers.homology.{name}" for name in ("every", "period", "backend")],
    ),
    "no entropy term": (
        {"quantizer": {"name": "lfq", "entropy_weight": 0, "temperature": 1}},
        ["quantizer.temperature"],
    ),
    "no residual blocks": (
        {"backbone": {"residual_blocks": 0, "residual_hidden": 4}},
        ["backbone.residual_hidden"],
    ),
    # -- and those that act
    "codes drawn": ({"quantizer": {"init": "normal", "init_scale": 2}}, []),
    "aged codes": ({"quantizer": {"dead_codes": LRU, "dead_code_noise": 1}}, []),
    "a learned curvature": (
        {"manifold": {"name": "sphere", "learn_curvature": True, "curvature_lr": 1}},
        [],
    ),
    "loops": ({"regularizers": {"homology": {"h1_weight": 1, "edge_quantile": 0.5}}}, []),
    "a baseline": ({"bottleneck": "gaussian", "kl_weight": 2, "manifold": "sphere"}, []),
}


@pytest.mark.parametrize("case", IDLE)
def test_a_setting_that_cannot_act_is_named(case):
    values, expected = IDLE[case]
    config = resolve_config(values, default_registry())
    found = list(config.idle_settings())
    assert [sentence.split(" = ")[0] for sentence in found] == expected
    assert all("has no effect with" in sentence for sentence in found)
    again = resolve_config(config.dump(), default_registry())
    assert list(again.idle_settings()) == found, "a run's own config says something else"


def test_a_setting_that_cannot_act_is_a_warning(vq):
    result = vq("train", "--dry-run", "--set", "quantizer.init_scale=2")
    assert result.code == 0
    warning = "warning: quantizer.init_scale = 2.0: has no effect with init = 'data'"
    assert result.err.strip() == warning


def test_the_layer_warns_of_an_option_that_cannot_act():
    with pytest.warns(
        UserWarning, match=r"manifold.curvature_lr = 1.0: has no effect with learn_c"
    ):
        VectorQuantizer(dim=4, codebook_size=4, manifold={"name": "sphere", "curvature_lr": 1})
