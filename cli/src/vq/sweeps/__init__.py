"""Many runs of ``vq train`` from one command: every combination of some settings, each with several seeds. No torch."""
