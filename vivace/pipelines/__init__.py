"""Encode, denoise, commit and decode as explicit work, and the loop over it for one stream."""
