//! Which messages of a store are meant: by folder, query, moment, generation, and whether gone ones count.
