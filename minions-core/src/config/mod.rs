//! The configuration file: what was written, and what it means.
