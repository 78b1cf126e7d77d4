"""The gate tried on slowdowns that are planted, through the same engine; what it found right and wrong."""
