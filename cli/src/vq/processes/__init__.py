"""Several processes that a launcher started for one command: they join, agree, and lose one."""
