"""The page of `prunebench look`: what was kept and dropped of your own photos, in pictures."""
