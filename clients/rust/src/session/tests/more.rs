//! Stories of our own, of what the vectors do not tell: overlaps, replays cut in the middle, other ends.

use super::*;
