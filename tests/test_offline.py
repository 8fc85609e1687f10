"""The environment that tests install plugins into."""

from offline import needs_uv, plugin_environment

PROJECT = """
[project]
name = "vq-tiny"
version = "1.0"
dependencies = ["vqcore>=0.1,<0.2"]

[project.entry-points.vqcore]
tiny = "vq_tiny"

[project.scripts]
vq-tiny = "vq_tiny:main"

[build-system]
requires = ["hatchling>=1.27,<2"]
build-backend = "hatchling.build"
"""
SOURCE = """
VQ_API = 1

def main():
    print("from here")
"""


@needs_uv
def test_an_environment_has_the_projects_and_the_packages_of_this_one(tmp_path):
    project = tmp_path / "project"
    package = project / "src" / "vq_tiny"
    package.mkdir(parents=True)
    (project / "pyproject.toml").write_text(PROJECT)
    (package / "__init__.py").write_text(SOURCE)
    environment = plugin_environment(tmp_path / "environment", [project])
    listed = environment.run("python", "-m", "vq", "list-plugins", "--json", cwd=tmp_path).stdout
    assert "vq-tiny" in listed
    assert "vqcore-hyperbolic" in listed
    assert environment.run("vq-tiny", cwd=tmp_path).stdout == "from here\n"
    (package / "__init__.py").write_text(SOURCE.replace("here", "its folder"))
    assert environment.run("vq-tiny", cwd=tmp_path).stdout == "from its folder\n"
