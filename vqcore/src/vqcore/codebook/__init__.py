"""What quantizers with a table of codes share: the table, its initialization, dead codes, usage."""
