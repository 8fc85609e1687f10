"""The plugins that ``vq new-plugin`` wrote, together: copied beside them and run where they are
installed, as a test module of their environment.
"""

import json
from pathlib import Path

PLUGINS = sorted(path.parent.name for path in Path(__file__).parent.glob("*/pyproject.toml"))
COMPONENTS = [name for name in PLUGINS if name not in ("hooks", "command")]


def test_each_is_listed(vq):
    done = vq("list-plugins", "--json")
    rows = {row["package"]: row for row in json.loads(done.out)}
    for kind in PLUGINS:
        row = rows[f"vq-own-{kind}"]
        assert (row["status"], row["plugin"]) == ("ok", f"own-{kind}")
    for kind in COMPONENTS:
        (component,) = rows[f"vq-own-{kind}"]["provides"]
        assert (component["kind"], component["name"]) == (kind, f"own-{kind}")


def test_a_check_is_clean(vq):
    done = vq("list-plugins", "--check")
    assert done.code == 0, done.err
    assert "own" not in done.err


def test_a_run_is_made_of_all(vq, without_plots, tmp_path):
    chosen = [part for kind in COMPONENTS for part in (f"--{kind}", f"own-{kind}")]
    settings = ("--plugins.own-hooks.every", 1, "--set", "log_every=1", "--max-steps", 4)
    run = tmp_path / "run"
    done = vq("train", *chosen, *settings, "--dataset.samples", 80, "--run-dir", run)
    assert done.code == 0, done.err
    lines = (run / "plugins" / "own-hooks" / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
    assert {"reconstruction", "own-regularizer"} <= json.loads(lines[0]).keys()
    done = vq("own-command", run, "--metric", "reconstruction")
    assert done.out.startswith("step ")
