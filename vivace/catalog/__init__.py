"""From a model's name to a ready pipeline: specs, sampling defaults, weights, licences; trains nothing."""
