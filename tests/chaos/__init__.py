"""Every row of the fault table, on a backend of real processes that is disturbed on purpose."""
