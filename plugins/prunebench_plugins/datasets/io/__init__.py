"""Image files: finding, unpacking, decoding, and keeping the decoded pixels."""
