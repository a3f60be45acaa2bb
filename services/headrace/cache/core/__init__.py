"""The decisions of the cache: names, forms, bounds, states. Pure."""
