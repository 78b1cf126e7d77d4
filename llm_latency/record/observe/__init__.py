"""How a call's progress becomes visible, one file per way of producing tokens."""
