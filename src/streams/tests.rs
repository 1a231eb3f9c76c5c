//! What the public reader can't express.
