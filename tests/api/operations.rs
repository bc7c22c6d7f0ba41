//! Problems, the document and its page.
