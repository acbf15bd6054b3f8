"""Score extrapolation: the scorer, its graph network, and the network that gives the first scores."""
