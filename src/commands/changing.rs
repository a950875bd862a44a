//! What verbs share that change messages: choosing and checking them again before anything is done, the ceiling for
//! deletions, and the document that says what was done. It never talks to a server by itself.
