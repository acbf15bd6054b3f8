"""Files with images: found as people have them, unpacked, decoded, and kept decoded."""
