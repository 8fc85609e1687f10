"""The log of runs that end, fail and go on."""

import sqlite3

import pytest
from vq.testing import HooksConformance, tiny_run
from vqcore.testing import PluginConformance

from vq_sqlite_log.report import section

DATABASE = "plugins/sqlite-log/metrics.db"


class TestHooks(HooksConformance):
    plugin = "vq_sqlite_log.plugin"


class TestPlugin(PluginConformance):
    package = "vq-sqlite-log"


class Failing:
    """A callback that ends the run with an error."""

    def vq_step_end(self, step):
        if step == 6:
            raise RuntimeError("as if the machine failed")


def rows(folder, query):
    with sqlite3.connect(folder / DATABASE) as db:
        return db.execute(query).fetchall()


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """The folder of a run that failed after six steps, two after its checkpoint."""
    path = tmp_path_factory.mktemp("sqlite") / "run"
    settings = {"log_every": 1, "checkpoint_every": 4}
    with pytest.raises(Exception, match="as if the machine failed"):
        tiny_run(path, settings, steps=8, callbacks=[Failing()])
    return path


def test_a_failed_run_is_logged_and_goes_on(failed):
    assert rows(failed, "SELECT first_step, status FROM sessions") == [(0, "failed")]
    assert rows(failed, "SELECT max(step) FROM metrics") == [(5,)]

    run = tiny_run(failed, resume=failed, steps=8)
    sessions = rows(failed, "SELECT first_step, last_step, status FROM sessions")
    assert sessions == [(0, 6, "failed"), (4, 8, "done")]
    logged = dict(rows(failed, "SELECT step, value FROM metrics WHERE name = 'loss'"))
    assert logged == {line["step"]: line["loss"] for line in run.history}


def test_settings_choose_the_metrics(tmp_path):
    tiny_run(tmp_path / "run", {"plugins.sqlite-log.names": ["loss", "perplexity"]})
    assert rows(tmp_path / "run", "SELECT DISTINCT name FROM metrics ORDER BY name") == [
        ("loss",), ("perplexity",)
    ]  # fmt: skip


def test_the_report_has_a_section(failed, tmp_path):
    assert section(failed / DATABASE).blocks[0].rows[-1][-1] == "failed"
    damaged = tmp_path / "metrics.db"
    damaged.write_bytes(b"no database" * 100)
    assert "cannot be read: file is not a database" in section(damaged).blocks[0].text
