"""What this package declares; imports no torch, so that listing plugins is fast."""

from vqcore import hookimpl

from my_plugin.hooks import vq_run_start, vq_step_end

__all__ = ["vq_run_start", "vq_settings", "vq_step_end"]
VQ_API = 1


@hookimpl
def vq_settings() -> str:
    return "my_plugin.config:MyPartConfig"
