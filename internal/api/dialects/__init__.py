"""Other servers' APIs over our own tasks, for the clients that were written for them."""
