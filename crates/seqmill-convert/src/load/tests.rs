//! Tests of the stitcher.
