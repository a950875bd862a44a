//! A lost archive made anew from the files (and the server), without reading again what is there.
