"""What this package declares; imports no torch, so that listing plugins is fast."""

from vqcore import ComponentSpec, hookimpl

VQ_API = 1


@hookimpl
def HOOK() -> list[ComponentSpec]:
    return [
        ComponentSpec(
            name="my-part",
            target="my_plugin.KIND:MyPart",
            config="my_plugin.config:MyPartConfig",
            summary="SUMMARY",
        )
    ]
