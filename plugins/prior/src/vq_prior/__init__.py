"""A prior over the codes of a trained run: trained, kept in the run folder, sampled from."""
