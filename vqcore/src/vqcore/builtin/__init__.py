"""Components that come with the core, registered through the same hooks as any plugin's."""
