"""Programs of the repository itself: they are run by `make`, never by the mesh."""
