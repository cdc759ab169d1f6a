"""Files: written atomically, hashed once, read out of archives, downloaded and unpacked."""
