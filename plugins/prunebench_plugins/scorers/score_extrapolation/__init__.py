"""Score extrapolation: the scorer, what carries scores over, and the network it rests on."""
