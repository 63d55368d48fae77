"""RQ job functions: shells that open the parts and call a stage of `services`."""
