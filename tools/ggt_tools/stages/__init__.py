"""The stages of the pipeline, a package each, in the order in which a photograph passes them."""
