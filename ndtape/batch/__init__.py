"""Many evaluations at once: `nt.vmap`, by packs of lanes where rows are plain numbers."""
