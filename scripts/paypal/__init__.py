"""A simulator of PayPal for development and tests: it speaks PayPal's protocol over a socket and moves no money."""
