"""Turn a declared study into finished run folders."""
