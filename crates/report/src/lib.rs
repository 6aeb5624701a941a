//! Self-contained HTML report from paired scores
