"""The stages of a Beam job: each a pure function in lower case, and beside it the thin PTransform that applies it."""
