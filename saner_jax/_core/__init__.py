"""What every part of a step rests on: strengths, trees, precision, counts."""
